"""Toy stages through a real Slurm: arrays, dependencies, failures, requeues, cancel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.plan import Run
from jobs.task import done_shards, read_receipt
from slurm import control
from slurm.devcluster.cluster import VARIABLE, DevCluster, down, missing_packages, up
from slurm.local import processes
from slurm.submission.options import MANAGED_OPTIONS, SBATCH_OPTIONS, SubmitError
from slurm.submission.queue import read_queue
from slurm.submission.submissions import attempt_counts, load_submissions
from slurm.submission.submit import submit_missing
from slurm.watching.status import StatusReader
from tests.cluster.conftest import ended, slurm_profile, until, wait_for
from tests.slurm.conftest import PACKAGE

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def test_the_whole_dag_is_submitted_at_once(cluster: DevCluster, make_run: Callable[..., Run]) -> None:
    run = make_run(cluster=slurm_profile(), sample__shards=6, generate__shards=6)
    made = submit_missing(run, PACKAGE)
    assert [(item.stage, item.shards, item.offset, item.array) for item in made] == [
        ("sample", "0-5", 0, True),
        ("generate", "0-5", 0, True),
        ("merge", "0", 0, False),
        ("train", "0", 0, False),
        ("evaluate", "0", 0, False),
        ("report", "0", 0, False),
    ]
    scripts = {item.job: (run.log_dir(item.stage) / f"{item.job}_submission.sh").read_text() for item in made}
    sample, generate, merge = (item.job for item in made[:3])
    assert f"--dependency=afterok:{sample}\n" in scripts[generate]
    assert f"--dependency=afterok:{generate},afterok:{sample}\n" in scripts[merge]
    status = wait_for(run, ended)
    assert status.state == "done" and status.accounting
    assert done_shards(run.stage_dir("generate"), 6) == set(range(6))
    receipt = read_receipt(run.stage_dir("generate"), 5)
    assert receipt is not None and receipt.job == f"{generate}_5" and receipt.host in ("n1", "n2", "n3", "n4")
    until((run.path / "report").exists, "the link to the report, which comes a little after its receipt")
    assert submit_missing(run, PACKAGE) == []


def test_a_failed_shard_stops_what_needs_it_and_retry_submits_only_what_is_missing(
    cluster: DevCluster, make_run: Callable[..., Run], toys: Path
) -> None:
    run = make_run(cluster=slurm_profile())
    (toys / "generate-1.fail").touch()
    (toys / "generate-2.kill").touch()
    submit_missing(run, PACKAGE)
    status = wait_for(run, lambda seen: ended(seen) and not seen.stage("merge").pending)
    assert status.state == "failed"
    generate = status.stage("generate")
    assert (generate.done, generate.failed) == (1, 2) and generate.failed_shards == [1, 2]
    reasons = {failure.shard: failure.reason for failure in generate.failures}
    assert "ValueError: told to fail at generate 1" in reasons[1]
    assert "FAILED" in reasons[2] and "on n" in reasons[2]
    assert any("told to fail" in line for line in generate.failures[0].tail)
    # Only accounting records how a task ended, a little later.
    killed = re.compile(r"FAILED \(exit (9, or )?137: SIGKILL\) on n")
    wait_for(run, lambda seen: killed.search(seen.stage("generate").failures[1].reason) is not None)
    assert status.stage("merge").state == "cancelled"

    (toys / "generate-1.fail").unlink()
    (toys / "generate-2.kill").unlink()
    made = submit_missing(run, PACKAGE)
    assert [(item.stage, item.shards) for item in made][:2] == [("generate", "1-2"), ("merge", "0")]
    assert wait_for(run, ended).state == "done"
    receipt = read_receipt(run.stage_dir("generate"), 1)
    assert receipt is not None and receipt.attempt == 2


def test_retry_while_the_rest_is_at_work_replaces_what_waits_for_the_failed(
    cluster: DevCluster, make_run: Callable[..., Run], toys: Path
) -> None:
    run = make_run(cluster=slurm_profile())
    (toys / "generate-0.fail").touch()
    (toys / "generate-1.hold").touch()
    before = submit_missing(run, PACKAGE)
    wait_for(run, lambda seen: seen.stage("generate").failed == 1 and seen.stage("generate").running >= 1)
    (toys / "generate-0.fail").unlink()
    made = submit_missing(run, PACKAGE)
    (toys / "generate-1.hold").unlink()
    assert ("generate", "0") in [(item.stage, item.shards) for item in made]
    assert ("merge", "0") in [(item.stage, item.shards) for item in made]
    merge = next(item for item in before if item.stage == "merge")
    assert wait_for(run, ended).state == "done"
    entry = read_queue([merge]).entry(merge)
    assert entry is not None and entry.state == "CANCELLED"
    assert attempt_counts(load_submissions(run), "generate") == {0: 2, 1: 1, 2: 1}


def test_cancel_ends_this_runs_jobs_and_no_others(
    cluster: DevCluster, make_run: Callable[..., Run], toys: Path
) -> None:
    (toys / "sample-0.sleep").write_text("120")
    run, other = make_run(cluster=slurm_profile()), make_run(cluster=slurm_profile(), name="other", seed=5)
    submit_missing(run, PACKAGE)
    submit_missing(other, PACKAGE)
    for one in (run, other):
        wait_for(one, lambda seen: seen.stage("sample").running >= 1 and seen.stage("merge").pending == 1)
    assert len(control.cancel(run).jobs) == 6
    status = wait_for(run, ended)
    assert status.state == "cancelled"
    assert control.cancel(run) == control.Cancelled([], False, 0)
    assert wait_for(other, lambda seen: True).stage("sample").running >= 1
    control.cancel(other)
    wait_for(other, ended)


def test_a_warning_signal_requeues_and_the_task_goes_on(
    cluster: DevCluster, make_run: Callable[..., Run], toys: Path
) -> None:
    run = make_run(cluster=slurm_profile())
    (toys / "sample-1.sleep").write_text("60")
    made = submit_missing(run, PACKAGE)
    chunks = run.stage_dir("sample") / "shard-00001.work"
    wait_for(run, lambda seen: (chunks / "5").exists())
    subprocess.run(["scancel", "--signal=USR2", f"{made[0].job}_1"], check=True)
    # The second attempt may be faster: ten chunks a second.
    (toys / "sample-1.sleep").write_text(str(len(list(chunks.iterdir())) / 10 + 5))
    status = wait_for(run, ended)
    assert status.state == "done"
    assert {path.read_text() for path in chunks.iterdir()} == {"1", "2"}, (
        "the second attempt repeated the first one's chunks"
    )
    receipt = read_receipt(run.stage_dir("sample"), 1)
    assert receipt is not None and receipt.attempt == 2


def test_submission_from_inside_an_allocation_inherits_nothing(
    cluster: DevCluster, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CPU_BIND", "quiet,mask_cpu:0x1")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "0:01")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "77")
    run = make_run(cluster=slurm_profile(setup=["env | sort > $SLURM_JOB_ID.env"]), generate__shards=1)
    monkeypatch.chdir(run.path)
    submit_missing(run, PACKAGE)
    assert wait_for(run, ended).state == "done"
    assert os.environ["SLURM_ARRAY_TASK_ID"] == "77"
    seen = "".join(path.read_text() for path in run.path.glob("*.env"))
    assert "mask_cpu:0x1" not in seen and "SBATCH_TIMELIMIT" not in seen and f"SLURM_CONF={cluster.slurm_conf}" in seen


def test_a_job_that_slurm_refuses_leaves_nothing_in_the_queue(
    cluster: DevCluster, make_run: Callable[..., Run]
) -> None:
    stages = {
        **slurm_profile()["stages"],
        "evaluate": {"cpus": 1, "memory_gib": 0.25, "minutes": 5, "partition": "nowhere"},
    }
    run = make_run(cluster=slurm_profile(stages=stages))
    with pytest.raises(SubmitError, match="sbatch rejected evaluate"):
        submit_missing(run, PACKAGE)
    submitted = load_submissions(run)
    assert submitted
    # A cancelled task that had started takes a moment to end.
    deadline = time.monotonic() + 30
    while live := [entry for entry in read_queue(submitted).entries.values() if entry.live]:
        assert time.monotonic() < deadline, live
        time.sleep(0.5)


def test_without_accounting_failures_are_seen_and_down_leaves_nothing(
    make_run: Callable[..., Run], toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing_packages(accounting=False):
        pytest.skip("Slurm is not installed")
    root = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        cluster = up(root, 1, accounting=False)
        monkeypatch.setenv("SLURM_CONF", str(cluster.slurm_conf))
        (toys / "generate-1.kill").touch()
        (toys / "generate-2.sleep").write_text("600")
        run = make_run(cluster=slurm_profile())
        submit_missing(run, PACKAGE)
        status = wait_for(run, lambda seen: seen.stage("generate").failed == 1 and seen.stage("generate").running == 1)
        assert status.accounting is False and "FAILED" in status.stage("generate").failures[0].reason
        assert down(root) and not down(root)
        assert not root.exists()
        assert not processes.with_variable(VARIABLE, str(root))
        assert not processes.with_variable("SLURM_CONF", str(cluster.slurm_conf)), "a job outlived its cluster"
        # The cluster is gone, so the state of running tasks is unknown, and status says so.
        monkeypatch.setenv("PATH", str(root))
        status = StatusReader(run).read()
        assert status.state == "unknown" and status.problem is not None and status.stage("generate").unknown == 2
        with pytest.raises(SubmitError, match="nothing submitted"):
            submit_missing(run, PACKAGE)
        with pytest.raises(control.CancelError, match="nothing cancelled"):
            control.cancel(run)
    finally:
        down(root)
        shutil.rmtree(root, ignore_errors=True)


def test_every_option_of_this_sbatch_is_known(cluster: DevCluster) -> None:
    text = subprocess.run(["sbatch", "--help"], capture_output=True, text=True, check=True).stdout
    own = {"help", "usage", "version", "quiet", "verbose", "ignore-pbs", "requeue", "no-requeue"}
    assert set(re.findall(r"--([a-z][a-z0-9-]+)", text)) - own - SBATCH_OPTIONS - set(MANAGED_OPTIONS) == set()
