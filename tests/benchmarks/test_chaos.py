"""The chaos bench at its smallest: two faults in a run of four shards, on a real Slurm."""

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


def test_a_run_with_faults_makes_the_same_data_set(tmp_path: Path) -> None:
    if missing_packages() or os.getuid() != 0:
        pytest.skip("needs Slurm's packages and root")
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "chaos.py"),
        "--shards",
        "4",
        "--faults",
        "2",
        "--pause",
        "0.05",
        "--limit",
        "200",
    ]
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "result.json")], capture_output=True, text=True, timeout=420, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["faults"] >= 2 and sum(result["by_kind"].values()) == result["faults"]
    assert result["rows"] > 0 and result["files_compared"] > 6
    assert (result["rows_lost"], result["rows_twice"], result["files_different"]) == (0, 0, 0)
    assert result["chaos"]["submitted_at_work"] == result["chaos"]["jobs_started_unrecorded"] == 0
    assert "the data set is the same to the byte" in done.stdout
