"""The command line refuses every kind of bad input: exit code 2, a message that names the place, nothing written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from jobs.plan import Plan
from tests.conftest import TINY, make_config
from tests.conftest import launch_here as launch


class World:
    """A config, its own copy of a domain, and an empty folder for runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.domain = Path(shutil.copytree(TINY, folder / "domain"))
        self.runs = folder / "runs"
        self.config = folder / "run.yaml"
        self.config.write_text(
            yaml.safe_dump(
                {
                    "name": "bad",
                    "domain": str(self.domain),
                    "root": str(self.runs),
                    "cluster": "local",
                    "model": "smollm2-135m",
                    "dataset": {"size": 100},
                }
            )
        )

    def edit(self, name: str, old: str, new: str) -> None:
        file = self.domain / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


GOLDEN = (
    '{"query": "a logo", "call": {"name": "search", "arguments": {"content_type": "logos", "extracted_prompt": "a"}}}\n'
)
CASES = {
    "unknown key": (lambda w: None, ["train.learning_rat=1"], ["unknown key", "nearest:  learning_rate"]),
    "wrong type": (lambda w: None, ["dataset.size=many"], ["dataset.size", "many", "integer"]),
    "missing domain file": (lambda w: (w.domain / "edges.csv").unlink(), [], ["not found", "edges.csv"]),
    "edge to an unknown node": (
        lambda w: w.edit("edges.csv", "d_logo,s_cake", "d_logo,s_cak"),
        [],
        ["edges.csv", "line 9", "s_cake"],
    ),
    "content type the API lacks": (
        lambda w: w.edit("statistics.yaml", "card: 0.3}", "cart: 0.3}"),
        [],
        ["cart", "nearest:  card"],
    ),
    "negative weight": (
        lambda w: w.edit("edges.csv", "d_card,s_dog,1", "d_card,s_dog,-1"),
        [],
        ["edges.csv", "-1", "above 0"],
    ),
    "weights all zero": (
        lambda w: w.edit("statistics.yaml", "search: 0.6, book: 0.4", "search: 0, book: 0"),
        [],
        ["weights are zero"],
    ),
    "golden call violates its schema": (
        lambda w: (w.domain / "golden.jsonl").write_text(GOLDEN),
        [],
        ["enum", "logos", "nearest:  logo"],
    ),
    "golden file missing": (lambda w: None, ["golden=nowhere.jsonl"], ["nowhere.jsonl"]),
    "model path missing": (lambda w: None, ["model.trainee=/nowhere/model"], ["/nowhere/model"]),
    "unknown model package": (lambda w: None, ["model.trainee=package:smollm"], ["package:smollm", "nearest"]),
    "template with unknown variable": (
        lambda w: w.edit("templates/text/shared.yaml", "{{ draft }}", "{{ drafft }}"),
        [],
        ["shared.yaml", "templates.paraphrase.text, line 12", "drafft", "nearest:  draft"],
    ),
    "too little disk": (lambda w: None, ["dataset.size=1000000000000"], ["disk"]),
    "no write permission": (lambda w: None, ["root=/sys/kernel/runs"], ["/sys/kernel/runs", "writ"]),
    "categories that no walk reaches": (
        lambda w: (w.edit("edges.csv", "i_sale,d_logo,1\n", ""), w.edit("edges.csv", "i_birthday,d_card,5\n", "")),
        [],
        ["edges.csv", "logo (20.0%), card (30.0%)", "50.0% of its requests"],
    ),
    "a path that the graph cannot walk": (
        lambda w: w.edit("domain.yaml", "{type: Design}, {type: Scene}]", "{type: Design}, {type: City, name: Scene}]"),
        [],
        ["domain.yaml", "functions.search.path", "Design -> City"],
    ),
    "fewer rows than cells": (lambda w: None, ["dataset.size=2"], ["too few rows", "dataset.size"]),
    "unknown sbatch option": (
        lambda w: None,
        ["cluster=slurm", "cluster.extra={reservasion: x}"],
        ["reservasion", "nearest:  reservation"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_before_anything_is_written(world, name):
    spoil, overrides, expected = CASES[name]
    spoil(world)
    before = sorted(p for p in world.folder.rglob("*"))
    result = launch("run", str(world.config), *overrides)
    assert result.returncode == 2, result.stdout + result.stderr
    for part in expected:
        assert part in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(p for p in world.folder.rglob("*")) == before, "something was written"


def test_a_run_directory_of_another_plan_is_refused(world):
    run = world.folder / "mine"
    run.mkdir(mode=0o700)
    other = Plan(
        fingerprint="0" * 12,
        created="2025-01-01T00:00:00Z",
        version="0.1.0",
        config=make_config(),
        domain_sha256="0" * 64,
        golden_sha256="0" * 64,
        stages={},
    )
    (run / "plan.json").write_text(other.model_dump_json())
    before = sorted(p for p in world.folder.rglob("*"))
    result = launch("run", str(world.config), f"run_dir={run}")
    assert result.returncode == 2, result.stderr
    assert "another plan" in result.stderr and str(run) in result.stderr
    assert sorted(p for p in world.folder.rglob("*")) == before


def test_a_misspelt_run_is_answered_with_the_name_that_was_meant(tmp_path):
    run = tmp_path / "pet-ad51e2dd2a81"
    run.mkdir()
    (run / "plan.json").write_text("{}")
    for asked, nearest in (("pett", "pet"), ("pet-ad51e2dd2a82", "pet-ad51e2dd2a81")):
        result = launch("status", str(tmp_path / asked))
        assert result.returncode == 2 and result.stderr.rstrip().endswith(f"nearest:  {nearest}")


@pytest.mark.parametrize("command", ["status", "logs", "retry", "cancel", "report"])
def test_commands_refuse_a_folder_that_is_not_a_run(tmp_path, command):
    result = launch(command, str(tmp_path / "nothing"))
    assert result.returncode == 2
    assert "not a run directory" in result.stderr
