"""Odd paths, and the user's setup lines, on a real Slurm with toy stages."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.plan import Run
from jobs.task import read_receipt
from slurm import control
from slurm.devcluster.cluster import DevCluster
from slurm.submission.submit import submit_missing
from tests.cluster.conftest import ended, slurm_profile, told, until, wait_for
from tests.conftest import ROOT
from tests.slurm.conftest import PACKAGE

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

MakeRun = Callable[..., Run]
ODD = """a b 'c' "d" $HOME [0-3] ü `e` {f,g} (h); *?&|<>~#"""


def test_C1_a_run_in_a_folder_of_any_name_is_logged_requeued_and_retried(
    cluster: DevCluster, make_run: MakeRun, toys: Path, tmp_path: Path
) -> None:
    """The log was literally named ..._0.attempt-"$ROUTENATOR_ATTEMPT".log, and a Python error was run four times."""
    bare = f"env PATH={tmp_path} {shlex.quote(sys.executable)}"  # as in a container: the batch script has to requeue
    run = make_run(root=str(tmp_path / ODD), cluster=slurm_profile(python=bare), sample__shards=2, generate__shards=2)
    (toys / "sample-1.sleep").write_text("12")
    (toys / "generate-0.fail").touch()
    made = submit_missing(run, PACKAGE)
    until((run.stage_dir("sample") / "shard-00001.work" / "5").exists, "the sample task")
    subprocess.run(["scancel", "--signal=USR2", f"{made[0].job}_1"], check=True)
    status = wait_for(run, lambda seen: ended(seen) and seen.stage("generate").done == 1)
    (failure,) = status.stage("generate").failures
    assert failure.reason == "ValueError: told to fail at generate 0" and failure.log is not None, told(status)
    assert "Traceback" in Path(failure.log).read_text() and "told to fail" in failure.tail[-1]
    receipt = read_receipt(run.stage_dir("sample"), 1)
    assert receipt is not None and receipt.attempt == 2, "requeued by its mark"
    logs = {path.name for path in run.log_dir("generate").glob("*attempt*")}
    assert logs == {f"{made[1].job}_{task}_0.attempt-1.log" for task in (0, 1)}, "a Python error is not requeued"
    (toys / "generate-0.fail").unlink()
    submit_missing(run, PACKAGE)
    status = wait_for(run, ended)
    assert status.state == "done", told(status)
    assert {path.name for path in tmp_path.iterdir()} <= {ODD, "control", "domain", "cache"}, "no stray folders"


def test_D3_a_failed_setup_line_is_the_reason_in_status_and_is_not_requeued(
    cluster: DevCluster, make_run: MakeRun, toys: Path
) -> None:
    """With ``source /missing/activate`` the run continued, and only JOB_batch.log said so."""
    setup = ["set -u", "echo preparing", "source /missing/activate"]
    run = make_run(cluster=slurm_profile(setup=setup), sample__shards=2, generate__shards=1)
    made = submit_missing(run, PACKAGE)
    status = wait_for(run, ended)
    assert status.state == "failed", told(status)
    command = [sys.executable, "launch.py", "status", str(run.path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    failures = next(stage for stage in json.loads(done.stdout)["stages"] if stage["stage"] == "sample")["failures"]
    assert [failure["reason"] for failure in failures] == [
        "SetupError: cluster.setup: exit code 1 of: source /missing/activate; "
        "/missing/activate: No such file or directory"
    ] * 2
    assert [failure["job"] for failure in failures] == [f"{made[0].job}_0", f"{made[0].job}_1"]
    assert {path.name for path in run.log_dir("sample").glob("*attempt*.log")} == {
        f"{made[0].job}_{task}_0.attempt-1.log" for task in (0, 1)
    }
    control.cancel(run)


def test_D4_a_preempted_task_in_a_container_is_requeued_whatever_options_setup_sets(
    cluster: DevCluster, make_run: MakeRun, toys: Path, tmp_path: Path
) -> None:
    """With ``set -e`` in cluster.setup, a preempted task in a container was FAILED instead of requeued."""
    bare = f"env PATH={tmp_path} {shlex.quote(sys.executable)}"
    setup = ["set -euo pipefail", "trap 'exit 0' EXIT", "trap 'exit 3' ERR"]
    run = make_run(cluster=slurm_profile(python=bare, setup=setup), sample__shards=1, generate__shards=1)
    (toys / "sample-0.sleep").write_text("12")
    made = submit_missing(run, PACKAGE)
    until((run.stage_dir("sample") / "shard-00000.work" / "5").exists, "the sample task")
    subprocess.run(["scancel", "--signal=USR2", made[0].job], check=True)
    status = wait_for(run, ended)
    assert status.state == "done", told(status)
    receipt = read_receipt(run.stage_dir("sample"), 0)
    assert receipt is not None and receipt.attempt == 2
