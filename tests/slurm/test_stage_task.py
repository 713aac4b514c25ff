"""When a stopped task resumes, and when it is given up."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

import pytest

from jobs.entry import read_failure
from jobs.plan import Run
from jobs.task import Task
from slurm.worker.stage_task import LOCAL_VARIABLE, MAX_STALLS, StageTask, code_environment, job_id, progress_mark
from tests.slurm.conftest import PACKAGE


def stopped(run: Run, task: StageTask, *, writes: bool, ran_s: float) -> StageTask | None:
    """The task that resumes after a signal; None if it does not resume."""
    task._mark = progress_mark(run, task.stage, task.indices)
    if writes:
        work = Task(run, task.stage, task.indices[0]).work_dir
        (work / str(len(list(work.iterdir())))).touch()
    task._started = time.time() - ran_s
    again = task.stopped()
    return None if again is None else StageTask(**json.loads(json.dumps(again.as_dict())))


def test_a_task_that_makes_progress_is_never_given_up(make_run: Callable[..., Run]) -> None:
    run = make_run()
    task: StageTask | None = StageTask(run.path, "sample", [0], limit_s=600, lead_s=60, package=PACKAGE)
    for number in range(2 * MAX_STALLS):
        assert task is not None and task._attempt() == 1 + number
        task = stopped(run, task, writes=True, ran_s=600)
    assert task is not None and task.stalls == 0


def test_a_task_without_progress_is_given_up_with_a_reason(make_run: Callable[..., Run]) -> None:
    run = make_run()
    task: StageTask | None = StageTask(run.path, "sample", [0], limit_s=600, lead_s=60, package=PACKAGE)
    for _ in range(MAX_STALLS):
        assert task is not None
        task = stopped(run, task, writes=False, ran_s=540)
    assert task is None
    failure = read_failure(run, "sample", 0)
    assert (
        failure is not None and failure["kind"] == "timeout" and "cluster.stages.sample.minutes" in failure["message"]
    )


def test_preemption_counts_as_nothing(make_run: Callable[..., Run]) -> None:
    run = make_run()
    task: StageTask | None = StageTask(run.path, "sample", [0], limit_s=3600, lead_s=60, package=PACKAGE)
    for _ in range(2 * MAX_STALLS):
        assert task is not None
        task = stopped(run, task, writes=False, ran_s=100)
    assert task is not None and task.stalls == 0


def test_requeue_off_ends_it(make_run: Callable[..., Run]) -> None:
    run = make_run()
    assert (
        stopped(run, StageTask(run.path, "sample", [0], requeue=False, package=PACKAGE), writes=True, ran_s=1) is None
    )
    failure = read_failure(run, "sample", 0)
    assert failure is not None and "cluster.requeue is off" in failure["message"]


def test_requeues_by_slurm_itself_count_as_attempts(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = StageTask(make_run().path, "sample", [0], attempt=2)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
    assert task._attempt() == 5


def test_job_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID", LOCAL_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    assert job_id() is None
    monkeypatch.setenv(LOCAL_VARIABLE, "sample/0/abc")
    assert job_id() == f"local-{os.getpid()}"
    monkeypatch.setenv("SLURM_JOB_ID", "43")
    assert job_id() == "43"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "40")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert job_id() == "40_3"


def test_the_snapshot_comes_first_on_the_path(make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    monkeypatch.setenv("PYTHONPATH", "/a:/b")
    assert code_environment(run) == {"PYTHONPATH": f"{run.path}/code:/a:/b", "PYTHONSAFEPATH": "1"}
    monkeypatch.setenv("PYTHONPATH", "")
    assert code_environment(run)["PYTHONPATH"] == f"{run.path}/code"
