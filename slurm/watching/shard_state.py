"""Determines the state of one shard from its newest submission, the queue and its last failure."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slurm.local import processes
from slurm.submission.queue import QueueEntry, QueueView
from slurm.submission.submissions import Submission

# Just after sbatch a job may appear in neither squeue nor sacct.
_JUST_SUBMITTED_S = 15.0
# A network file system may take a while to show a new receipt to other machines.
_JUST_ENDED_S = 30.0


@dataclass(frozen=True)
class ShardState:
    """State of an unfinished shard.

    Attributes:
        state: running, pending, failed, cancelled, unknown or missing.
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
    if failure is not None and failure["time"] < submission.time:
        failure = None  # of an earlier submission
    if submission.kind == "local":
        return _local(submission, driver_alive, failure)
    entry = queue.entry(submission, shard)
    if entry is not None and entry.live:
        if entry.waiting:
            return ShardState("pending", entry.reason or entry.state.lower(), submission, entry)
        return ShardState("running", "", submission, entry)
    if failure is not None:
        return ShardState("failed", f"{failure['kind']}: {failure['message']}", submission, entry, failure)
    if queue.problem:
        # Absence proves nothing now: neither lost nor failed.
        return ShardState("unknown", "the queue cannot be read", submission)
    if entry is None:
        if time.time() - submission.time < _JUST_SUBMITTED_S:
            return ShardState("pending", "just submitted", submission)
        return ShardState("failed", "left the queue without a receipt", submission)
    if entry.state == "CANCELLED" or entry.reason == "DependencyNeverSatisfied":
        return ShardState("cancelled", "cancelled", submission, entry)
    if entry.state == "COMPLETED":
        if entry.end is not None and time.time() - entry.end < _JUST_ENDED_S:
            return ShardState("running", "", submission, entry)
        reason = "COMPLETED without a receipt"
    else:
        ending = f"({entry.reason})" if entry.reason else ""
        reason = " ".join(filter(None, [entry.state, ending, f"on {entry.nodes}" if entry.nodes else ""]))
    return ShardState("failed", reason, submission, entry)


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
