"""Faults on a real Slurm with toy stages: dead nodes and controllers, races, full disks, large arrays."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.disk import DiskFullError
from jobs.plan import Run
from jobs.task import done_shards, read_receipt
from routenator.config import RunConfig
from slurm import control
from slurm.devcluster import faults
from slurm.devcluster.cluster import DevCluster
from slurm.planning.planner import make_plan, materialise
from slurm.submission.executor import make_executor
from slurm.submission.queue import read_queue
from slurm.submission.submissions import load_submissions
from slurm.submission.submit import _task, submit_missing
from tests.cluster.conftest import DISK_MIB, MAX_ARRAY_SIZE, SMALL, ended, slurm_profile, told, until, wait_for
from tests.conftest import ROOT, TINY
from tests.slurm.conftest import PACKAGE

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

MakeRun = Callable[..., Run]


def logs_of(run: Run, stage: str, job: str) -> list[str]:
    """Names of a job's logs, without the job's id."""
    return sorted(path.name.removeprefix(job) for path in run.log_dir(stage).glob(f"{job}*attempt*.log"))


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def at_work(job: str) -> list[str]:
    """The job's tasks that the controller lists as running or completing; none while it is down."""
    command = ["squeue", "-h", "-r", "-t", "RUNNING,COMPLETING", "-o", "%i", "-j", job]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()


def test_a_dead_node_and_a_killed_controller(cluster: DevCluster, make_run: MakeRun, toys: Path) -> None:
    """The controller dies while tasks run and comes back; then a node dies with its daemon and all its steps."""
    run = make_run(cluster=slurm_profile(extra={"nodelist": "n4"}), sample__shards=1, generate__shards=2)
    (toys / "generate-0.hold").touch()
    (toys / "generate-1.sleep").write_text("180")
    made = submit_missing(run, PACKAGE)
    chunks = run.stage_dir("generate") / "shard-00001.work"
    until((chunks / "5").exists, "the generate task")
    # The controller would forget what it has not saved yet; it saves when something changes.
    running, state = time.time(), Path(cluster.root) / "state" / "job_state"
    subprocess.run(["scontrol", "update", f"jobid={made[2].job}", "comment=changed"], check=True)
    until(lambda: state.stat().st_mtime > running, "the controller to save what runs")
    assert faults.kill_daemon(cluster, "slurmctld")
    until(lambda: len(at_work(made[1].job)) == 2, "the controller to be back")
    (toys / "generate-0.hold").unlink()
    wait_for(run, lambda seen: seen.stage("generate").done == 1)
    # A task is done before its process has exited; if its node died in between, it would be restarted for nothing.
    until(lambda: at_work(made[1].job) == [f"{made[1].job}_1"], "the controller to know of the task's end")
    assert faults.kill_node(cluster, "n4", held=True) >= 2
    reached = len(list(chunks.iterdir()))
    (toys / "generate-1.sleep").write_text(str((reached + 100.5) / 10))  # ten chunks a second
    until(lambda: "State=DOWN" in output("scontrol", "show", "node", "n4"), "the controller to miss the node")
    faults.release(cluster, "n4")
    status = wait_for(run, ended)
    assert status.state == "done", told(status)
    first, second = (read_receipt(run.stage_dir("generate"), shard) for shard in range(2))
    assert first is not None and second is not None
    assert (first.attempt, second.attempt) == (1, 2), "only the dead node's task was restarted"
    attempts = [(chunks / str(number)).read_text() for number in range(reached + 100)]
    assert attempts == sorted(attempts) and attempts.count("1") >= reached, (
        "the second attempt repeated the first one's chunks"
    )
    assert logs_of(run, "generate", made[1].job) == ["_0_0.attempt-1.log", "_1_0.attempt-1.log", "_1_0.attempt-2.log"]


def test_a_python_error_is_not_repeated_and_a_requeue_by_hand_is_an_attempt(
    cluster: DevCluster, make_run: MakeRun, toys: Path
) -> None:
    run = make_run(cluster=slurm_profile(), sample__shards=2, generate__shards=8)
    (toys / "generate-3.fail").touch()
    (toys / "generate-7.sleep").write_text("6")  # longer than Slurm lets a requeued task wait
    made = submit_missing(run, PACKAGE)
    chunks = run.stage_dir("generate") / "shard-00007.work"
    until((chunks / "3").exists, "the generate task")
    subprocess.run(["scontrol", "requeue", f"{made[1].job}_7"], check=True)
    # One task of the array has failed and one is running: the jobs that wait for it are replaced by jobs that also wait
    # for the new attempt.
    wait_for(run, lambda seen: seen.stage("generate").failed == 1)
    (toys / "generate-3.fail").unlink()
    again = submit_missing(run, PACKAGE)
    assert [(item.stage, item.shards) for item in again] == [
        ("generate", "3"),
        ("merge", "0"),
        ("train", "0"),
        ("evaluate", "0"),
        ("report", "0"),
    ]
    script = (run.log_dir("merge") / f"{again[1].job}_submission.sh").read_text()
    assert f"--dependency=afterok:{again[0].job},afterany:{made[1].job}" in script
    assert submit_missing(run, PACKAGE) == [], "retry is safe to repeat"
    status = wait_for(run, ended)
    assert status.state == "done", told(status)
    receipts = {shard: read_receipt(run.stage_dir("generate"), shard) for shard in range(8)}
    numbers = {shard: receipt.attempt for shard, receipt in receipts.items() if receipt is not None}
    assert numbers == {0: 1, 1: 1, 2: 1, 3: 2, 4: 1, 5: 1, 6: 1, 7: 2}
    assert logs_of(run, "generate", made[1].job) == sorted(
        [*(f"_{task}_0.attempt-1.log" for task in range(8)), "_7_0.attempt-2.log"]
    ), "the failed task was not restarted by Slurm"
    assert logs_of(run, "generate", again[0].job) == ["_3_0.attempt-2.log"]
    assert {path.read_text() for path in chunks.iterdir()} == {"1", "2"}


def test_a_warned_task_goes_on_where_no_slurm_command_is(
    cluster: DevCluster, make_run: MakeRun, toys: Path, tmp_path: Path
) -> None:
    """As in a container: the task cannot requeue itself and asks its batch script to do it."""
    bare = f"env PATH={tmp_path} {shlex.quote(sys.executable)}"
    run = make_run(cluster=slurm_profile(python=bare), sample__shards=1, generate__shards=1)
    (toys / "sample-0.sleep").write_text("12")
    made = submit_missing(run, PACKAGE)
    chunks = run.stage_dir("sample") / "shard-00000.work"
    until((chunks / "5").exists, "the sample task")
    subprocess.run(["scancel", "--signal=USR2", made[0].job], check=True)
    status = wait_for(run, ended)
    assert status.state == "done", told(status)
    receipt = read_receipt(run.stage_dir("sample"), 0)
    assert receipt is not None and receipt.attempt == 2
    assert {path.read_text() for path in chunks.iterdir()} == {"1", "2"}
    assert not list(run.log_dir("sample").glob("requeue-*"))


def test_a_task_that_could_not_hear_the_signal_is_started_again(
    cluster: DevCluster, make_run: MakeRun, toys: Path
) -> None:
    """Like a process before its first line, it is killed by the signal; its script requeues it, and no other task.

    It is the last task of its array, whose plain job id is the array's own.
    """
    run = make_run(cluster=slurm_profile(), sample__shards=3, generate__shards=1)
    (toys / "sample-0.hold").touch()
    (toys / "sample-2.unheard").touch()
    made = submit_missing(run, PACKAGE)
    wait_for(run, lambda seen: seen.stage("sample").done == 2 or seen.state == "failed")
    (toys / "sample-0.hold").unlink()
    status = wait_for(run, ended)
    assert status.state == "done", told(status)
    receipts = [read_receipt(run.stage_dir("sample"), shard) for shard in range(3)]
    assert [receipt.attempt for receipt in receipts if receipt is not None] == [1, 1, 2]
    assert logs_of(run, "sample", made[0].job) == [
        "_0_0.attempt-1.log",
        "_1_0.attempt-1.log",
        "_2_0.attempt-1.log",
        "_2_0.attempt-2.log",
    ]


def test_two_attempts_of_a_shard_at_once_leave_one_whole_result(
    cluster: DevCluster, make_run: MakeRun, toys: Path
) -> None:
    run = make_run(cluster=slurm_profile(), sample__shards=1, generate__shards=1)
    (toys / "sample-0.sleep").write_text("2")
    first = submit_missing(run, PACKAGE)[0]
    second = replace(first, attempt=2)
    job = make_executor(run, "sample", None, second.attempt).send(_task(run, second, PACKAGE), {0: [0]}, None, [])
    status = wait_for(run, ended)
    assert status.state == "done", told(status)
    both = (first, replace(second, job=job.job, name=job.name))
    until(lambda: not any(entry.live for entry in read_queue(both).entries.values()), "the other attempt")
    queue = read_queue(both)
    states = {item.job: queue.entry(item) for item in both}
    assert all(entry is not None and entry.state == "COMPLETED" for entry in states.values()), states
    receipt = read_receipt(run.stage_dir("sample"), 0)
    assert receipt is not None and receipt.job in (first.job, job.job)
    left = {path.name for path in run.stage_dir("sample").iterdir() if path.is_file()}
    assert left == {"shard-00000.receipt.json", receipt.files["data"]["name"]}


def test_1200_shards(cluster: DevCluster, make_run: MakeRun, toys: Path) -> None:
    """With one task per shard there are arrays that the cluster accepts (held, not run); packed, all of them run."""
    each = {**SMALL, "sample": {**SMALL["sample"], "shards_per_task": 1, "extra": {"hold": True}}}
    run = make_run(name="held", seed=1, cluster=slurm_profile(stages=each), sample__shards=1200, generate__shards=1)
    made = [item for item in submit_missing(run, PACKAGE) if item.stage == "sample"]
    assert [(item.offset, len(item.indices())) for item in made] == [
        (101 * part, min(101, 1200 - 101 * part)) for part in range(12)
    ]
    queue = read_queue(made)
    assert sum(entry.waiting for entry in queue.entries.values()) == 1200
    assert wait_for(run, lambda seen: True).stage("sample").stuck == 1200
    assert len(control.cancel(run).jobs) == 17 and control.cancel(run).jobs == []

    packed = make_run(
        name="packed", seed=2, cluster=slurm_profile(array_parallelism=12), sample__shards=1200, generate__shards=8
    )
    (toys / "sample-777.fail").touch()
    first = submit_missing(packed, PACKAGE)[0]
    assert (first.shards, first.per_task, len(first.tasks())) == ("0-1199", 25, 48)
    status = wait_for(packed, ended)
    assert status.stage("sample").done == 1199, "a failed shard does not stop the others"
    assert status.stage("sample").failed_shards == [777]
    assert any("told to fail" in line for line in status.stage("sample").failures[0].tail)
    (toys / "sample-777.fail").unlink()
    again = submit_missing(packed, PACKAGE)
    assert (again[0].shards, again[0].attempt, again[0].tasks()) == ("777", 2, {777 % MAX_ARRAY_SIZE: [777]})
    status = wait_for(packed, ended)
    assert status.state == "done", told(status)
    receipt = read_receipt(packed.stage_dir("sample"), 777)
    assert receipt is not None and receipt.attempt == 2


INSIDE = """
import os
from jobs.plan import Run
from slurm.submission.submit import submit_missing
assert os.environ["SLURM_JOB_ID"] and os.environ["SLURM_STEP_ID"] and os.environ["SLURM_CPU_BIND"]
submit_missing(Run.load({run!r}), {package!r})
"""


def test_submission_from_inside_a_job(cluster: DevCluster, make_run: MakeRun, tmp_path: Path) -> None:
    """From a step bound to one core of a job with its own limits, none of which reaches the run's jobs."""
    run = make_run(
        cluster=slurm_profile(setup=["env | sort > $SLURM_JOB_ID.env"]), sample__shards=1, generate__shards=2
    )
    code = INSIDE.format(run=str(run.path), package=PACKAGE)
    command = f"srun --ntasks=1 --cpu-bind=map_cpu:0 {shlex.quote(sys.executable)} -c {shlex.quote(code)}"
    options = [
        "--wait",
        "--time=2",
        "--cpus-per-task=1",
        "--mem=300M",
        f"--output={tmp_path}/outer.log",
        f"--wrap={command}",
    ]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ['PYTHONPATH']}"}
    outer = subprocess.run(["sbatch", *options], cwd=run.path, env=environment, check=False)
    assert outer.returncode == 0, (tmp_path / "outer.log").read_text()
    status = wait_for(run, ended)
    assert status.state == "done", told(status)
    files = list(run.path.glob("*.env"))
    assert len(files) == 7
    for file in files:
        seen = file.read_text()
        assert "map_cpu" not in seen and f"SLURM_CONF={cluster.slurm_conf}" in seen
        assert f"SLURM_JOB_ID={file.stem}\n" in seen and "SLURM_STEP_ID" not in seen


def test_cancel_while_tasks_work_and_others_start(cluster: DevCluster, make_run: MakeRun, toys: Path) -> None:
    for shard in range(6):
        (toys / f"sample-{shard}.sleep").write_text("0.5")
    run = make_run(cluster=slurm_profile(array_parallelism=2), sample__shards=6)
    submit_missing(run, PACKAGE)
    wait_for(run, lambda seen: seen.stage("sample").running > 0)
    ends: list[control.Cancelled] = []
    both = [threading.Thread(target=lambda: ends.append(control.cancel(run))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(ends) == 2 and max(len(item.jobs) for item in ends) == 6
    status = wait_for(run, ended)
    assert status.state == "cancelled", told(status)
    kept = done_shards(run.stage_dir("sample"), 6)
    again = submit_missing(run, PACKAGE)
    assert set(again[0].indices()) == set(range(6)) - kept
    status = wait_for(run, ended)
    assert status.state == "done", told(status)


def disk_config(root: Path, spill: Path, **cluster: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "full",
            "domain": str(TINY),
            "root": str(root),
            "dataset": {"size": 6000},
            "generate": {"shards": 2, "chunk_rows": 2000, "routes": {"heuristic": 1}, "refill": 0},
            # Merge asks for some hundred MiB before it begins, for what does not fit into memory.
            "merge": {"spill_dir": str(spill)},
            "model": {
                "generator": {"model": "package:smollm2-135m-instruct"},
                "trainee": "package:smollm2-135m-instruct",
                "embedder": "package:all-minilm-l6-v2",
            },
            "cluster": slurm_profile(**cluster),
        }
    )  # fmt: skip


def test_a_full_disk_fails_clearly_and_retry_goes_on_when_there_is_space(
    cluster: DevCluster, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The bytecode of the run's copy of the code would take the little room that is left for the failure's record.
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    held = {name: {**SMALL[name], "extra": {"hold": True}} for name in ("generate", "train", "evaluate", "report")}
    run = materialise(make_plan(disk_config(small_disk / "runs", tmp_path, stages={**SMALL, **held})))
    submit_missing(run)
    wait_for(run, lambda seen: seen.stage("sample").state == "done")
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - 64 * 1024)
    job = next(item.job for item in load_submissions(run) if item.stage == "generate")
    subprocess.run(["scontrol", "release", job], check=True)
    status = wait_for(run, lambda seen: seen.stage("generate").failed == 2)
    reason = status.stage("generate").failures[0].reason
    disk = rf"disk {small_disk} has \S+ KiB of {DISK_MIB}\.0 MiB free"
    assert re.fullmatch(
        rf"DiskFullError: no space to write {small_disk}/runs/stages/generate-\S+: {disk}; "
        r"this shard needs about \S+ MiB\. "
        rf"Free some space, then: python launch\.py retry {run.path}",
        reason,
    ), told(status)
    assert not done_shards(run.stage_dir("generate"), 2)
    with open(ballast, "ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    with pytest.raises(DiskFullError, match="Free some space"):
        submit_missing(run)
    ballast.unlink()
    again = submit_missing(run)
    assert [(item.stage, item.shards) for item in again][:2] == [("generate", "0-1"), ("merge", "0")]
    subprocess.run(["scontrol", "release", again[0].job], check=True)
    status = wait_for(run, lambda seen: seen.stage("merge").state == "done" or seen.state == "failed")
    assert status.stage("merge").state == "done", told(status)
    control.cancel(run)
    assert (run.path / "dataset" / "train.jsonl").stat().st_size > 0
    for shard in range(2):
        receipt = read_receipt(run.stage_dir("generate"), shard)
        assert receipt is not None and receipt.attempt == 2
    left = {path.name for path in run.stage_dir("generate").iterdir()}
    assert len(left) == 4, "only receipts and data; nothing of the failed attempts is left"
