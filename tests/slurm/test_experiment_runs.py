"""Whole experiments, from config to table."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest
import yaml

from routenator.files import sha256_file
from slurm.experiments.table import render_table
from tests.conftest import ROOT, TINY, launch_here
from tests.routenator.tiny_model import save_tiny_model
from tests.slurm.experiments import world


def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return launch_here("experiment", *arguments)


@pytest.mark.slow
def test_an_experiment_from_config_to_table(tmp_path: Path) -> None:
    """Two arms share their data; repeating the command does nothing, and the results contain no query."""
    file = str(world(tmp_path, model=str(save_tiny_model(tmp_path / "model"))))
    results = tmp_path / "results"
    assert launch(file, "--collect", "--results", str(results)).returncode == 1
    assert launch(file, "--results", str(results)).returncode == 0
    found = json.loads((results / "try" / "results.json").read_text())
    assert [run["arm"] for run in found["runs"]] == ["plain", "more"] and not found["missing"]
    assert [run["training"]["steps"] for run in found["runs"]] == [2, 3]
    golden = [json.loads(line)["query"] for line in (TINY / "golden.jsonl").read_text().splitlines() if line.strip()]
    assert found["runs"][0]["queries"]["golden_index"] == list(range(len(golden)))
    for name in ("results.json", "table.md", "provenance.json"):
        assert not any(query in (results / "try" / name).read_text() for query in golden)
    origin = json.loads((results / "try" / "provenance.json").read_text())
    assert origin["golden"][0]["rows"] == len(golden) and origin["seeds"] == [1]
    assert (results / "try" / "table.md").read_text() == render_table(found, origin)
    assert "plain against more steps: " in (results / "try" / "table.md").read_text()
    ElementTree.fromstring((results / "try" / "scores.svg").read_text())
    again = launch(file, "--results", str(results))
    assert (
        again.returncode == 0
        and "2 runs, 2 of them already done" in again.stdout
        and "started; log" not in again.stdout
    )
    confirm(tmp_path, file, results)


def confirm(folder: Path, file: str, results: Path) -> None:
    """The same models are scored on other queries, without those they may know; nothing is trained."""
    golden = [json.loads(line) for line in (TINY / "golden.jsonl").read_text().splitlines() if line.strip()]
    trained = pl.read_parquet(next((folder / "runs").glob("try-plain-*/dataset/train.parquet"))).row(0, named=True)
    known = [
        {**golden[0], "query": golden[0]["query"].upper() + "!"},
        {"query": trained["query"], "call": json.loads(trained["calls"])[0]},
    ]
    new = [{**one, "query": f"{one['query']} right now"} for one in golden[:3]]
    other = folder / "other.jsonl"
    other.write_text("".join(f"{json.dumps(one)}\n" for one in [*known, *new]))
    stages = sorted((folder / "runs" / "stages").iterdir())
    command = [file, "--confirm", str(other), "--results", str(results)]
    assert launch(*command, "--collect").returncode == 1
    assert launch(*command, "--arm", "plain").returncode == 0
    assert launch(*command).returncode == 0
    assert sorted((folder / "runs" / "stages").iterdir()) == stages
    found = json.loads((results / "try-confirm" / "results.json").read_text())
    assert (found["name"], found["confirms"], found["left_out"]) == ("try-confirm", "try", len(known))
    assert [(run["arm"], run["queries"]["golden_index"]) for run in found["runs"]] == [
        ("plain", [2, 3, 4]),
        ("more", [2, 3, 4]),
    ]
    assert all(run["scores"]["n"] == len(new) for run in found["runs"])
    assert found["runs"][0]["training"]["steps"] == 2 and found["verdicts"][0]["other"] == "more"
    origin = json.loads((results / "try-confirm" / "provenance.json").read_text())
    assert origin["golden"] == [{"name": "other.jsonl", "sha256": sha256_file(other), "rows": len(known + new)}]
    table = (results / "try-confirm" / "table.md").read_text()
    assert "2 queries were left out" in table and not any(
        one["query"] in table + json.dumps(found) for one in [*known, *new]
    )
    again = launch(*command)
    assert again.returncode == 0 and "started; log" not in again.stdout
    refused = launch(file, "--confirm", str(folder / "none.jsonl"), "--results", str(results))
    assert refused.returncode == 2 and "the golden file is missing" in refused.stderr


@pytest.mark.slow
def test_a_stopped_ceiling_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    """Two folds; Ctrl-C during the training of the first, then the same command again."""
    file = world(
        tmp_path, model=str(save_tiny_model(tmp_path / "model")), kind="ceiling", folds=2, arms={}, reference=None
    )
    base = yaml.safe_load((tmp_path / "base.yaml").read_text())
    base["train"] |= {"max_steps": 120, "save_steps": 20}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    command = [str(file), "--results", str(tmp_path / "results")]
    folder = tmp_path / "runs" / "experiments" / "try"
    first = subprocess.Popen([sys.executable, "launch.py", "experiment", *command], cwd=ROOT)
    deadline = time.monotonic() + 300
    while not (kept := list(folder.glob("folds/*/work/checkpoint-*"))):
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.1)
    first.send_signal(signal.SIGINT)
    assert first.wait(300) == 130
    kept = list(folder.glob("folds/*/work/checkpoint-*"))
    assert len(kept) == 1
    log = folder / "seed-1-fold-0.log"
    before = log.read_text().count(": loss ")
    assert 20 <= before < 120
    assert launch(*command).returncode == 0
    assert log.read_text().count(": loss ") == 120  # no step was taken twice, and none was left out
    assert not list(folder.glob("folds/*/work"))
    found = json.loads((tmp_path / "results" / "try" / "results.json").read_text())
    golden = (TINY / "golden.jsonl").read_text().splitlines()
    (run,) = found["runs"]
    assert run["training"]["steps"] == 120 and len(run["queries"]["golden_index"]) == len(golden)
