"""The experiment that compares languages, from its config to its table, on the domain `rooms` and a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from routenator.domain.loader import load_domain
from slurm.experiments.config import load_experiment
from slurm.experiments.planned import entries_of
from tests.conftest import ROOT, launch_here
from tests.routenator.tiny_model import save_tiny_model
from tests.slurm.experiments import world

ROOMS = ROOT / "tests" / "domains" / "rooms"
MEASURES = ["function_f1_micro", "argument_f1", "exact_match"]
ARMS = {"both": {"title": "both languages"}, "english": {"derive": {"languages": ["en"]}, "set": {"dataset.size": 30}}}


def experiment(folder: Path, model: str | None = None) -> Path:
    """The tiny experiment on `rooms`, whose golden queries get the ids that join the two languages."""
    file = world(folder, model, arms=ARMS, reference="both", measures=MEASURES, golden=str(folder / "golden.jsonl"))
    base = yaml.safe_load((folder / "base.yaml").read_text()) | {"domain": str(ROOMS)}
    base["train"]["max_steps"] = 1
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    rows = [json.loads(line) for line in (ROOMS / "golden.jsonl").read_text().splitlines()]
    for row in rows:
        row["id"] = next(n for n, one in enumerate(rows) if one["calls"][0]["name"] == row["calls"][0]["name"])
    (folder / "golden.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_an_arm_may_have_some_of_the_domain_s_languages(tmp_path: Path) -> None:
    both, english = entries_of(load_experiment(str(experiment(tmp_path))))
    assert set(load_domain(both.plan.config.domain).languages) == {"de"}
    assert load_domain(english.plan.config.domain).languages == {}


@pytest.mark.slow
def test_languages_from_config_to_table(tmp_path: Path) -> None:
    file = str(experiment(tmp_path, str(save_tiny_model(tmp_path / "model"))))
    assert launch_here("experiment", file, "--results", str(tmp_path / "results")).returncode == 0
    folder = tmp_path / "results" / "try"
    found = json.loads((folder / "results.json").read_text())
    assert list(found["languages"]) == ["en", "de"]
    german = found["languages"]["de"]
    assert german["queries"] == 3 and set(german["arms"]) == set(ARMS)
    assert set(german["arms"]["both"]) == set(MEASURES)
    assert german["arms"]["both"]["exact_match"]["english"]["queries"] == 3
    assert [run["queries"]["language"] for run in found["runs"]] == [["en"] * 3 + ["de"] * 3] * 2
    table = (folder / "table.md").read_text()
    assert table.count("6 queries (sha256") == 1  # the arms have the same golden file
    assert "## By language" in table and "## Against English, on the same queries" in table
    assert not any(query in table + json.dumps(found) for query in ("licht aus", "play imagine"))
    drawn = (folder / "languages.svg").read_text()
    ElementTree.fromstring(drawn)
    assert "Argument F1, by language" in drawn
