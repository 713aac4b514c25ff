"""The command line as typed: short options, completion, a run by its name, configs shown, a plan at 80 columns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from routenator.compose import load_config
from slurm.commands.shared import find_run
from tests.conftest import ROOT, launch_here


def test_short_options_of_all_commands() -> None:
    assert launch_here("-v").stdout == launch_here("--version").stdout
    for command in ([], ["status"], ["config", "show"]):
        assert launch_here(*command, "-h").stdout == launch_here(*command, "--help").stdout != ""


def test_a_shell_completes_commands_and_their_options(tmp_path: Path) -> None:
    link = tmp_path / "routenator"
    link.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\nimport launch\nlaunch.app()\n")
    link.chmod(0o700)

    def complete(line: str) -> str:
        words = line.split(" ")
        asked = {"_ROUTENATOR_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        return subprocess.run(
            [str(link)], env={**os.environ, **asked}, capture_output=True, text=True, check=False
        ).stdout

    assert complete("routenator ret").split() == ["retry"]
    assert "--failed" in complete("routenator logs --f")


def test_a_config_is_shown_as_resolved() -> None:
    value = json.loads(launch_here("config", "show", "quickstart", "dataset.size=7", "--json").stdout)
    assert value == load_config("quickstart", ["dataset.size=7"]).model_dump(mode="json")
    assert yaml.safe_load(launch_here("config", "show", "quickstart", "dataset.size=7").stdout) == value
    wrong = launch_here("config", "show", "quickstrat")
    assert wrong.returncode == 2 and "nearest:  quickstart.yaml" in wrong.stderr


def test_what_can_be_given_by_name_is_listed() -> None:
    value = json.loads(launch_here("config", "list", "--json").stdout)
    assert "quickstart" in value["configs"] and "creative" in value["domains"] and "slurm" in value["clusters"]
    assert "smollm2-135m" in value["models"] and "snips" in value["experiments"] and "run" in value["schemas"]
    assert "\ndomains:" in launch_here("config", "list").stdout


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of three runs and a top-up; the last is the newest."""
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(["pets-3aa1", "pets-large-0bb2", "pets-large-0bb2-topup1", "pets-0cc3"]):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "plan.json").write_text("{}")
        os.utime(folder / "plan.json", (age + 1, age + 1))
    return Path("runs")


def test_a_run_is_named_by_its_name_or_a_unique_part(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {
        given: find_run(Path(given))
        for given in ("pets", "pets-large-0bb2", "large-0bb2-t", "aa1", "runs/pets-3aa1", "elsewhere/x", "dogs")
    }
    assert found == {
        "pets": runs / "pets-0cc3",  # the newest of this name
        "pets-large-0bb2": runs / "pets-large-0bb2",  # and not its top-up
        "large-0bb2-t": runs / "pets-large-0bb2-topup1",
        "aa1": runs / "pets-3aa1",
        "runs/pets-3aa1": runs / "pets-3aa1",
        "elsewhere/x": Path("elsewhere/x"),  # refused as before: it has no plan
        "dogs": runs / "dogs",  # refused too, with the nearest name
    }
    assert "the newest run of this name: runs/pets-0cc3" in capsys.readouterr().err
    assert find_run(None) == runs / "pets-0cc3" and "the newest run: runs/pets-0cc3" in capsys.readouterr().err
    said = launch_here("status", "pet")
    assert said.returncode == 2 and "several runs" in said.stderr and "pets-large-0bb2" in said.stderr
    assert "pets-0cc3" in launch_here("status", "pets-0cx3").stderr
    assert launch_here("cancel").returncode == 2


def test_a_fresh_clone_has_no_runs_and_that_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = launch_here("runs")
    assert done.returncode == 0 and "no runs in runs" in done.stderr
    assert launch_here("runs", "--root", "run").returncode == 2
    assert "no runs here" in launch_here("status").stderr


def test_a_plan_is_whole_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    stages = "cluster.stages={train: {gpus: 4, nodes: 2, cpus: 64, memory_gib: 480}}"
    lines = launch_here("plan", "quickstart", "cluster=slurm", "train.nodes=2", stages).stdout.splitlines()
    head = next(line for line in lines if line.startswith("stage"))
    assert head.split() == ["stage", "shards", "to", "do", "per", "task", "limit", "expected", "node-h", "GPU-h"]
    assert len(head) <= 80 and not any("…" in line for line in lines)
    train = next(number for number, line in enumerate(lines) if line.startswith("train"))
    assert "2 nodes of 64 cores, " in lines[train] and lines[train + 1].strip() == "480 GiB, 4 GPU"
