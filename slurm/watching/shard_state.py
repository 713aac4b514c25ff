"""Determines the state of one shard from its newest submission, the queue and its last failure."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slurm.local import processes
from slurm.submission.answers import ABSENT, QueueEntry
from slurm.submission.queue import HIDDEN, QueueView
from slurm.submission.submissions import Submission
from slurm.watching.wait_reasons import stuck

# A network file system may take a while to show a new receipt to other machines.
_RECEIPT_S = 30.0


@dataclass(frozen=True)
class ShardState:
    """State of an unfinished shard.

    Attributes:
        state: running, ending (its nodes are being freed), pending, stuck (waits for something that only a person can
            do), failed, cancelled, unknown or missing. Unknown: neither Slurm nor a file says what became of it; it may
            be running.
        reason: why it waits (Slurm's reason code or our text), or why it failed.
        submission: the newest submission that includes it.
        entry: its task's entry in the queue.
        failure: the failure's record, if the task could write one.
    """

    state: str
    reason: str = ""
    submission: Submission | None = None
    entry: QueueEntry | None = None
    failure: Mapping[str, Any] | None = None


def shard_state(
    shard: int,
    submission: Submission | None,
    queue: QueueView,
    driver: Mapping[str, Any] | None,
    failure: Mapping[str, Any] | None,
) -> ShardState:
    """Return the state of an unfinished shard.

    Args:
        submission: the newest submission that includes it, or None.
        driver: the local driver's record, or None.
        failure: the record of its last failure, or None.
    """
    driver_alive = bool(driver and driver["alive"])
    if submission is None:
        return ShardState("pending", "waiting its turn") if driver_alive else ShardState("missing", "not submitted")
    if failure is not None and not is_of(failure, submission, shard):
        failure = None
    if submission.kind == "local":
        return _local(submission, driver_alive, failure)
    entry = queue.entry(submission, shard)
    if entry is not None and entry.live and not queue.stale:
        if entry.waiting:
            state = "stuck" if is_stuck(entry) else "pending"
            return ShardState(state, entry.reason or entry.state.lower(), submission, entry)
        return ShardState("ending" if entry.state == "COMPLETING" else "running", "", submission, entry)
    if failure is not None:
        return ShardState("failed", f"{failure['kind']}: {failure['message']}", submission, entry, failure)
    if entry is not None and entry.live:
        reason = f"the queue could not be read; accounting says {entry.state}"
        return ShardState("unknown", reason, submission, entry)
    if entry is None:
        hidden = queue.problem is not None and queue.problem.startswith(HIDDEN)
        return ShardState("unknown", HIDDEN if hidden else "the queue could not be read", submission)
    if entry.state == ABSENT:
        reason = "Slurm did not have it when asked once; `retry`, `monitor` and --watch ask again"
        return ShardState("unknown", reason, submission)
    if entry.reason == "DependencyNeverSatisfied":
        return ShardState("cancelled", entry.reason, submission, entry)
    if entry.state == "CANCELLED":
        return ShardState("cancelled", "cancelled", submission, entry)
    if entry.state == "COMPLETED":
        if queue.looks.seconds(("receipt", submission.task_id(shard), submission.name, shard)) < _RECEIPT_S:
            return ShardState("unknown", "COMPLETED, and its receipt is not visible here yet", submission, entry)
        reason = "COMPLETED without a receipt"
    else:
        ending = f"({entry.reason})" if entry.reason else ""
        reason = " ".join(filter(None, [entry.state, ending, f"on {entry.nodes}" if entry.nodes else ""]))
    return ShardState("failed", reason, submission, entry)


def is_of(failure: Mapping[str, Any], submission: Submission, shard: int) -> bool:
    """Whether a failure was recorded by a task of this submission; by ids, because the clocks of two hosts differ."""
    task = submission.task_id(shard)
    return failure["job"] == (f"local-{task}" if submission.kind == "local" else task) and (
        failure["attempt"] >= submission.attempt
    )


def is_stuck(entry: QueueEntry) -> bool:
    """Whether a waiting task starts only after a person has done something."""
    return stuck(entry.reason) or stuck(entry.state.lower())


def _local(submission: Submission, driver_alive: bool, failure: Mapping[str, Any] | None) -> ShardState:
    if failure is not None:
        return ShardState("failed", f"{failure['kind']}: {failure['message']}", submission, failure=failure)
    if not driver_alive:
        return ShardState("cancelled", "stopped; `retry` resumes from its last chunk", submission)
    # Processes of another host cannot be looked up; there the driver's heartbeat stands for its tasks too.
    gone = submission.started is None or not processes.is_same(int(submission.job), submission.started)
    if gone and submission.host == socket.gethostname():
        return ShardState("pending", "waiting its turn", submission)
    return ShardState("running", "", submission)
