"""An experiment whose runs are on a cluster: submitted by one command, collected by another."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jobs.plan import Run
from slurm import control
from slurm.devcluster.cluster import DevCluster
from tests.cluster.conftest import SMALL, ended, slurm_profile, wait_for
from tests.conftest import ROOT
from tests.routenator.tiny_model import save_tiny_model
from tests.slurm.experiments import world

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def experiment(file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "launch.py",
        "experiment",
        str(file),
        "--results",
        str(file.parent / "results"),
        *options,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=480, check=False)
    sys.stdout.write(done.stdout[-4000:] + done.stderr[-4000:])
    return done


def test_runs_are_submitted_and_collected_later(cluster: DevCluster, tmp_path: Path) -> None:
    file = world(tmp_path, model=str(save_tiny_model(tmp_path / "model")))
    base = yaml.safe_load((tmp_path / "base.yaml").read_text())
    stages = {name: {**one, "memory_gib": 1} for name, one in SMALL.items()}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base | {"cluster": slurm_profile(stages=stages)}))
    early = experiment(file, "--collect")
    assert early.returncode == 1 and "plain-1, more-1" in early.stdout
    submitted = experiment(file, "--parallel", "2")
    runs = [Run.load(path) for path in (tmp_path / "runs").glob("try-*")]
    try:
        assert submitted.returncode == 0 and "run the same command with --collect" in submitted.stdout
        assert len(runs) == 2
        for run in runs:
            assert wait_for(run, ended).state == "done", run.path
    finally:
        for run in runs:
            control.cancel(run)
    collected = experiment(file, "--collect")
    assert collected.returncode == 0
    found = json.loads((tmp_path / "results" / "try" / "results.json").read_text())
    assert [run["training"]["steps"] for run in found["runs"]] == [2, 3] and not found["missing"]
