"""What the person on call at midnight needs, on a real Slurm: held jobs, a partition that is down, a cancelled run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs.plan import Run
from slurm import control
from slurm.devcluster.cluster import DevCluster
from slurm.devcluster.faults import kill_daemon, release, tasks
from slurm.submission.submissions import Submission
from slurm.submission.submit import submit_missing
from slurm.watching.run_status import RunStatus
from tests.cluster.conftest import SMALL, ended, slurm_profile, told, until, wait_for
from tests.conftest import ROOT
from tests.slurm.conftest import PACKAGE

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

STUCK = 3


def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), *arguments], capture_output=True, text=True, check=False
    )


def job_of(made: list[Submission], stage: str) -> str:
    return next(item.job for item in made if item.stage == stage)


def is_stuck(status: RunStatus) -> bool:
    return status.state == "stuck"


@pytest.fixture
def partition_down(cluster: DevCluster) -> Iterator[Callable[[str], None]]:
    """Sets the state of the partition `gpu`; it is up again after the test."""

    def put(state: str) -> None:
        subprocess.run(["scontrol", "update", "partitionname=gpu", f"state={state}"], check=True)

    yield put
    put("up")


def test_on_call_1_and_2_a_held_run_is_stuck_and_goes_on_by_the_command_that_status_names(
    cluster: DevCluster, make_run: Callable[..., Run], toys: Path
) -> None:
    """Also after a task was requeued in held state."""
    (toys / "generate-1.hold").touch()
    stages = {**SMALL, "generate": {**SMALL["generate"], "extra": {"hold": True}, "shards_per_task": 1}}
    run = make_run(cluster=slurm_profile(stages=stages))
    made = submit_missing(run, PACKAGE)
    generate = job_of(made, "generate")
    wait_for(run, is_stuck)
    done = launch("status", str(run.path), "--watch", "--every", "0.5", "--patience", "0.02")
    assert done.returncode == STUCK, done.stdout + done.stderr
    command = re.search(r"scontrol release [^ (;]+", done.stdout)
    assert command is not None and command[0] == f"scontrol release {generate}_[0-2]", done.stdout
    subprocess.run(command[0].split(), check=True)
    wait_for(run, lambda seen: seen.stage("generate").done == 2 and seen.stage("generate").running == 1)

    value = json.loads(launch("status", str(run.path), "--json").stdout)
    (task,) = value["stages"][1]["tasks"]
    assert (task["shard"], task["job"]) == (1, f"{generate}_1") and re.fullmatch(r"n\d", task["nodes"])
    assert [group["jobs"] for group in value["stages"][2]["waiting"]] == [[job_of(made, "merge")]]

    subprocess.run(["scontrol", "requeuehold", f"{generate}_1"], check=True)
    wait_for(run, is_stuck)
    (toys / "generate-1.hold").unlink()
    text = launch("status", str(run.path)).stdout
    assert f"scontrol release {generate}_1 (job requeued in held state)" in text and "the next start" not in text, text
    subprocess.run(["scontrol", "release", f"{generate}_1"], check=True)
    assert wait_for(run, ended).state == "done"


def test_on_call_2_and_F3_a_partition_that_is_down(
    cluster: DevCluster, make_run: Callable[..., Run], partition_down: Callable[[str], None]
) -> None:
    """The run is stuck until it is up again, and the partition shows nothing as free."""
    partition_down("down")
    run = make_run(cluster=slurm_profile(partition="gpu"))
    submit_missing(run, PACKAGE)
    wait_for(run, is_stuck)
    done = launch("retry", str(run.path), "--wait", "--patience", "0")
    assert done.returncode == STUCK and "its partition is down (PartitionDown)" in done.stdout, done.stdout
    assert "The run is stuck" in done.stdout
    (seen,) = json.loads(launch("queue", "--partition", "gpu", "--json").stdout)["partitions"]
    assert seen["state"] == "down" and seen["cpus_total"] == 16 and seen["cpus_free"] == 0
    partition_down("up")
    wait_for(run, lambda status: status.stage("sample").state == "done")
    control.cancel(run)
    wait_for(run, ended)


@contextmanager
def patience(cluster: DevCluster) -> Iterator[None]:
    """Slurm waits an hour for a node that does not answer before it takes its tasks away, and not ten seconds.

    A busy machine takes longer than those to cancel the run and to look at it.
    """
    conf = cluster.slurm_conf
    saved = conf.read_text()
    changed = saved.replace("SlurmdTimeout=10\n", "SlurmdTimeout=3600\n")
    assert changed != saved
    try:
        conf.write_text(changed)
        subprocess.run(["scontrol", "reconfigure"], check=True)
        yield
    finally:
        conf.write_text(saved)
        subprocess.run(["scontrol", "reconfigure"], check=True)


def test_on_call_3_a_cancelled_run_is_ending_while_its_nodes_are_freed(
    cluster: DevCluster, make_run: Callable[..., Run], toys: Path
) -> None:
    """A node that does not answer keeps its task in Slurm's state COMPLETING."""
    (toys / "sample-0.hold").touch()
    run = make_run(cluster=slurm_profile(), sample__shards=1)
    submit_missing(run, PACKAGE)
    status = wait_for(run, lambda seen: seen.stage("sample").running == 1)
    (task,) = status.stage("sample").tasks
    assert task.nodes is not None
    # Slurm says RUNNING before the node knows about the task; if its daemon died in between, the task would wait again.
    until(lambda: task.job in {started.task for started in tasks(cluster)}, "the task to start on its node")
    try:
        with patience(cluster):
            until(lambda: kill_daemon(cluster, task.nodes or "", held=True), "the node's daemon")
            control.cancel(run)
            # A busy controller may answer too late for one look, which is unknown then.
            status = wait_for(run, lambda seen: seen.state not in ("running", "unknown"))
            assert (status.state, status.stage("sample").state) == ("ending", "ending"), told(status)
    finally:
        release(cluster, task.nodes)
    assert wait_for(run, ended).state == "cancelled"
    until(lambda: _idle(task.nodes or ""), "the node to be back")


def _idle(node: str) -> bool:
    done = subprocess.run(
        ["sinfo", "-h", "-n", node, "-p", "main", "-o", "%T"], capture_output=True, text=True, check=True
    )
    if done.stdout.strip().rstrip("*") in ("down", "drained", "draining"):
        # It was away for longer than Slurm waits; then an administrator must bring it back.
        subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], check=False, capture_output=True)
    return done.stdout.strip() == "idle"
