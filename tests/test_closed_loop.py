"""The commands of the closed loop: pilot, acceptance, topup in rounds, a plan by `auto`. Uses no model."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import launch_here as launch
from tests.slurm.test_topup import loop_config

pytestmark = pytest.mark.slow


def last_line(result: subprocess.CompletedProcess[str]) -> str:
    return result.stdout.strip().splitlines()[-1]


def test_pilot_acceptance_topup_and_a_plan_by_what_was_measured(tmp_path: Path) -> None:
    config = loop_config(tmp_path, cluster={"kind": "local", "parallel": 2})
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    size = config.dataset.size

    pilot = launch("pilot", str(file), f"dataset.size={10 * size}", "--rows", str(size))
    assert pilot.returncode == 0
    assert "Acceptance by route" in pilot.stdout and "worst strata" in pilot.stdout
    run = Path(last_line(pilot))
    assert set(json.loads((run / "plan.json").read_text())["stages"]) == {"sample", "generate", "merge"}
    assert not (run / "adapter").exists() and (run / "dataset" / "train.parquet").is_file()

    measured = json.loads(launch("acceptance", str(run), "--json").stdout)
    assert 0 < measured["lacks"]["rows"] < size and measured["lacks"]["requests"] > measured["lacks"]["rows"]
    assert sum(row["lacks"] for row in measured["lacks"]["strata"]) == measured["lacks"]["rows"]
    assert "python launch.py topup" in launch("acceptance", str(run)).stdout

    topped = launch("topup", str(run), "--rounds", "8", "--shards", "2")
    assert topped.returncode == 0
    assert "Every quota is met." in topped.stdout and "top-up 1" in topped.stdout
    full = Path(last_line(topped))
    assert full.name.startswith(f"{run.name}-topup")
    again = launch("topup", str(full))
    assert again.returncode == 0 and "nothing was submitted" in again.stdout and last_line(again) == str(full)
    # Repeated on the first run, it finds the existing top-up, which is done.
    assert "nothing was submitted" in launch("topup", str(run)).stdout

    plan = launch("plan", str(file), "generate.acceptance=auto", f"dataset.size={3 * size}", "--json")
    assert plan.returncode == 0
    assert "based on the acceptance measured in" in plan.stderr and "merge-" in plan.stderr
    other = launch("plan", str(file), "generate.acceptance=auto", "checks.grounding=0.5", "--json")
    assert other.returncode == 0 and "requests follow generate.oversample" in other.stderr
    bad = launch("plan", str(file), f"generate.acceptance={tmp_path / 'nowhere'}")
    assert bad.returncode == 2 and "no acceptance has been measured here" in bad.stderr
    assert launch("pilot", str(file), "--rows", str(size)).returncode == 2
