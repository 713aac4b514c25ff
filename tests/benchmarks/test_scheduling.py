"""The scheduling bench at its smallest, on a real Slurm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slurm.devcluster.cluster import missing_packages
from tests.conftest import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def test_every_figure_is_measured(tmp_path: Path) -> None:
    if missing_packages() or os.getuid() != 0:
        pytest.skip("needs Slurm's packages and root")
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "scheduling.py"),
        "--shards",
        "60",
        "--tasks",
        "3",
        "--repeat",
        "1",
    ]
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "result.json")], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NO PEER WAS MEASURED" in done.stdout
    result = json.loads((tmp_path / "result.json").read_text())
    (submit,) = result["submit"]
    assert (
        submit["ours_arrays"] == submit["single_arrays"] == 1
        and submit["ours_files"] <= 4
        and submit["single_tasks"] == 60
    )
    assert (
        0 < submit["ours_sbatch"] < submit["ours"] < submit["command"] and submit["bare"] > 0 and submit["limits"] > 0
    )
    assert result["tasks"]["ours"] > 0
    assert (result["status"]["done"], result["status"]["pending"]) == (54, 6)
    assert sorted(result["status"]["calls"]) == ["sacct", "squeue"]
