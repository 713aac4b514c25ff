"""State of an unfinished shard, from its submission, the queue, its driver and its last failure."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

from slurm.local import processes
from slurm.submission.queue import QueueEntry, QueueView
from slurm.submission.submissions import Submission
from slurm.watching.shard_state import shard_state

NOW = 1_700_000_000.0
JOB = Submission("slurm", "merge", "5", "0", time=NOW - 500)
FAILURE = {"time": NOW - 100, "kind": "ValueError", "message": "no more"}
ALIVE, ENDED = {"alive": True}, {"alive": False}
QUIET = QueueView({}, True)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Freeze time at NOW, so that limits can be tested to a hundredth of a second."""
    monkeypatch.setattr("slurm.watching.shard_state.time.time", lambda: NOW)


def said(
    submission: Submission | None,
    entry: QueueEntry | None = None,
    driver: dict[str, Any] | None = None,
    failure: dict[str, Any] | None = None,
) -> tuple[str, str]:
    queue = QueueView({("5", ""): entry}, True) if entry else QUIET
    state = shard_state(0, submission, queue, driver, failure)
    return state.state, state.reason


def test_a_shard_that_was_never_submitted_waits_for_its_driver_or_is_missing() -> None:
    assert said(None) == said(None, driver=ENDED) == ("missing", "not submitted")
    assert said(None, driver=ALIVE) == ("pending", "waiting its turn")


def test_what_is_in_the_queue_runs_or_waits_whatever_failed_before() -> None:
    assert said(JOB, QueueEntry("RUNNING"), failure=FAILURE) == ("running", "")
    assert said(JOB, QueueEntry("PENDING", "Priority"), failure=FAILURE) == ("pending", "Priority")
    assert said(JOB, QueueEntry("CONFIGURING")) == ("pending", "configuring")


def test_a_failure_counts_if_it_is_not_of_an_earlier_submission() -> None:
    told = ("failed", "ValueError: no more")
    lost = ("failed", "left the queue without a receipt")
    assert said(JOB, failure=FAILURE) == said(JOB, QueueEntry("FAILED"), failure=FAILURE) == told
    assert said(JOB, failure={**FAILURE, "time": JOB.time}) == told
    assert said(JOB, failure={**FAILURE, "time": JOB.time - 0.01}) == lost
    state = shard_state(0, JOB, QUIET, None, FAILURE)
    assert (state.failure, state.submission) == (FAILURE, JOB)


def test_a_queue_that_cannot_be_read_says_nothing_but_what_failed() -> None:
    broken = QueueView({}, False, "squeue: no answer")
    assert shard_state(0, JOB, broken, None, None).state == "unknown"
    assert shard_state(0, JOB, broken, None, FAILURE).state == "failed"


@pytest.mark.parametrize(
    ("age", "state"), [(0, "pending"), (14.99, "pending"), (15, "failed"), (15.01, "failed"), (500, "failed")]
)
def test_a_job_may_take_seconds_to_appear_in_the_queue(age: float, state: str) -> None:
    submission = Submission("slurm", "merge", "5", "0", time=NOW - age)
    reason = {"pending": "just submitted", "failed": "left the queue without a receipt"}[state]
    assert said(submission) == (state, reason)


@pytest.mark.parametrize(("age", "state"), [(0, "running"), (29.99, "running"), (30, "failed"), (30.01, "failed")])
def test_a_receipt_may_take_seconds_to_be_seen(age: float, state: str) -> None:
    assert said(JOB, QueueEntry("COMPLETED", end=NOW - age))[0] == state


@pytest.mark.parametrize(
    ("entry", "state", "reason"),
    [
        (QueueEntry("COMPLETED"), "failed", "COMPLETED without a receipt"),
        (QueueEntry("CANCELLED", nodes="n1"), "cancelled", "cancelled"),
        (QueueEntry("PENDING", "DependencyNeverSatisfied"), "cancelled", "cancelled"),
        (QueueEntry("TIMEOUT"), "failed", "TIMEOUT"),
        (QueueEntry("TIMEOUT", nodes="n1"), "failed", "TIMEOUT on n1"),
        (QueueEntry("FAILED", "exit 1"), "failed", "FAILED (exit 1)"),
        (QueueEntry("FAILED", "exit 1", "n1"), "failed", "FAILED (exit 1) on n1"),
    ],
)
def test_how_a_task_ended(entry: QueueEntry, state: str, reason: str) -> None:
    assert said(JOB, entry) == (state, reason)


def local(**changes: Any) -> Submission:
    """A submission whose task is this process."""
    here: dict[str, Any] = {"host": socket.gethostname(), "started": processes.started(os.getpid()), "time": NOW - 500}
    return Submission("local", "merge", str(os.getpid()), "0", **{**here, **changes})


def test_a_local_task_runs_while_its_process_and_its_driver_do() -> None:
    assert said(local(), driver=ALIVE) == ("running", "")
    stopped = ("cancelled", "stopped; `retry` resumes from its last chunk")
    assert said(local(), driver=ENDED) == said(local()) == stopped


def test_a_local_task_that_failed_is_told_with_its_reason() -> None:
    for driver in (ALIVE, ENDED, None):
        assert said(local(), driver=driver, failure=FAILURE) == ("failed", "ValueError: no more")


@pytest.mark.parametrize("started", [None, 0.0])
def test_a_local_task_whose_process_is_gone_waits_for_its_driver(started: float | None) -> None:
    """It has not started yet, or its id now belongs to another process."""
    assert said(local(started=started), driver=ALIVE) == ("pending", "waiting its turn")


@pytest.mark.parametrize("started", [None, 0.0])
def test_a_task_on_another_host_runs_while_its_driver_does(started: float | None) -> None:
    """Its process cannot be looked up here, so the driver's heartbeat decides."""
    assert said(local(host="elsewhere", started=started), driver=ALIVE) == ("running", "")
