"""``launch.py domain fit`` from the point of view of users and scripts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import launch
from routenator.domain.loader import load_domain
from tests.conftest import ROOT, TINY

GOLDEN = ROOT / "configs" / "domains" / "creative" / "golden.jsonl"


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(launch.app, ["domain", "fit", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_the_file_written_is_valid_for_the_domain(tmp_path: Path) -> None:
    out = tmp_path / "statistics.yaml"
    code, printed, told = call("creative", str(GOLDEN), "--out", str(out))
    assert code == 0 and printed == ""
    assert "369 queries with calls" in told and "kept from the domain: routes" in told and str(out) in told
    copy = Path(shutil.copytree(GOLDEN.parent, tmp_path / "creative"))
    shutil.copy(out, copy / "statistics.yaml")
    assert load_domain(copy).statistics.functions["search"] == pytest.approx(199 / 319, abs=1e-4)


def test_without_out_the_statistics_go_to_stdout(tmp_path: Path) -> None:
    code, printed, told = call("creative", str(GOLDEN), "--min-count", "20", "--epsilon", "3")
    assert code == 0 and set(yaml.safe_load(printed)) >= {"functions", "categories", "lengths", "routes"}
    assert "epsilon 3 = " in told and "epsilon 3, add or remove one query" in printed
    assert list(tmp_path.iterdir()) == []


def test_json_for_scripts() -> None:
    code, printed, _ = call("creative", str(GOLDEN), "--json")
    value = json.loads(printed)
    assert code == 0 and value["labelled"] == 369 and value["guessed"] == 0 and value["budget"] == {}
    assert value["statistics"]["functions"]["search"] + value["statistics"]["functions"]["generate"] == pytest.approx(
        1.0
    )
    assert "menu" in value["pooled"]["categories.search"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("creativ", str(GOLDEN)), ["nearest:  creative"]),
        (("creative", "nowhere.jsonl"), ["nowhere.jsonl"]),
        (("creative", str(GOLDEN), "--min-count", "0"), ["--min-count"]),
        (("creative", str(GOLDEN), "--epsilon", "0"), ["--epsilon"]),
        (("creative", str(GOLDEN), "--out", "/sys/kernel/statistics.yaml"), ["--out", "/sys/kernel"]),
        ((str(TINY), str(GOLDEN)), ["line 3, name", "generate", "search"]),
    ],
)
def test_bad_input_exits_with_2(arguments: tuple[str, ...], expected: list[str]) -> None:
    code, printed, told = call(*arguments)
    assert code == 2 and printed == ""
    for part in expected:
        assert part in told
