"""State of an unfinished shard, from its submission, the queue, its driver and its last failure."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from typing import Any

import pytest

from slurm.local import processes
from slurm.submission.answers import QueueEntry
from slurm.submission.queue import Looks, QueueView, another_look
from slurm.submission.submissions import Submission
from slurm.watching.shard_state import shard_state

NOW = 1_700_000_000.0
JOB = Submission("slurm", "merge", "5", "0", time=NOW - 500)
FAILURE = {"job": "5", "attempt": 1, "kind": "ValueError", "message": "no more"}
ALIVE, ENDED = {"alive": True}, {"alive": False}
QUIET = QueueView({}, True)


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
    assert said(JOB, failure=FAILURE) == said(JOB, QueueEntry("FAILED"), failure=FAILURE) == told
    again = replace(JOB, job="6", attempt=3)
    for earlier in (FAILURE, {**FAILURE, "job": "6", "attempt": 2}, {**FAILURE, "attempt": 3}):
        assert shard_state(0, again, QUIET, None, earlier).state == "unknown"
    requeued = {**FAILURE, "job": "6", "attempt": 4}
    assert shard_state(0, again, QUIET, None, requeued).failure == requeued
    state = shard_state(0, JOB, QUIET, None, FAILURE)
    assert (state.failure, state.submission) == (FAILURE, JOB)


def test_a_queue_that_cannot_be_read_says_nothing_but_what_failed() -> None:
    broken = QueueView({}, False, "squeue: no answer")
    assert shard_state(0, JOB, broken, None, None).state == "unknown"
    assert shard_state(0, JOB, broken, None, FAILURE).state == "failed"


def states(queue: QueueView, monkeypatch: pytest.MonkeyPatch, *times: float) -> list[str]:
    """The state at looks at these times."""
    looks, found = Looks(), []
    for now in times:
        with monkeypatch.context() as clock:
            clock.setattr("slurm.submission.queue.time.monotonic", lambda now=now: now)
            found.append(shard_state(0, JOB, another_look(queue, looks), None, None).state)
    return found


def test_what_slurm_does_not_have_is_unknown_and_lost_at_a_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    assert states(QUIET, monkeypatch, 50.0, 54.9, 55.0) == ["unknown", "unknown", "failed"]
    assert states(replace(QUIET, problem="no answer"), monkeypatch, 50.0, 60.0, 70.0) == ["unknown"] * 3


def test_a_receipt_may_take_seconds_to_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = QueueView({("5", ""): QueueEntry("COMPLETED")}, True)
    assert states(queue, monkeypatch, 50.0, 79.9, 80.0) == ["unknown", "unknown", "failed"]


@pytest.mark.parametrize(
    ("entry", "state", "reason"),
    [
        (QueueEntry("COMPLETED"), "unknown", "COMPLETED, and its receipt is not visible here yet"),
        (QueueEntry("LOST", "asked twice"), "failed", "LOST (asked twice)"),
        (QueueEntry("CANCELLED", nodes="n1"), "cancelled", "cancelled"),
        (QueueEntry("PENDING", "DependencyNeverSatisfied"), "cancelled", "DependencyNeverSatisfied"),
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
    failure = {**FAILURE, "job": f"local-{os.getpid()}"}
    for driver in (ALIVE, ENDED, None):
        assert said(local(), driver=driver, failure=failure) == ("failed", "ValueError: no more")


@pytest.mark.parametrize("started", [None, 0.0])
def test_a_local_task_whose_process_is_gone_waits_for_its_driver(started: float | None) -> None:
    """It has not started yet, or its id now belongs to another process."""
    assert said(local(started=started), driver=ALIVE) == ("pending", "waiting its turn")


@pytest.mark.parametrize("started", [None, 0.0])
def test_a_task_on_another_host_runs_while_its_driver_does(started: float | None) -> None:
    """Its process cannot be looked up here, so the driver's heartbeat decides."""
    assert said(local(host="elsewhere", started=started), driver=ALIVE) == ("running", "")
