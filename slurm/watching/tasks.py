"""Groups a stage's shards by state and reason, with the ids of their jobs, as a person would give them to Slurm."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from slurm.submission.submissions import Submission, compact
from slurm.watching.shard_state import ShardState

_MAX_TEXT = 60  # columns


@dataclass
class RunningTask:
    """A shard whose task has its nodes.

    Attributes:
        state: running or ending.
        job: the task's id; of a local run the process id.
        nodes: where it runs, in Slurm's notation: ``n[1-2]``.
        started: seconds since the epoch; None if unknown.
    """

    shard: int
    state: str
    job: str
    nodes: str | None
    started: float | None


@dataclass
class Waiting:
    """Shards in the same state for the same reason.

    Attributes:
        state: pending, stuck, cancelled, unknown or missing.
        reason: Slurm's reason code or our text.
        shards: the shards, as an array expression: ``3-7,9``.
        jobs: ids of their tasks, as Slurm's commands accept them: ``12_[3-7,9]``; empty if they were never submitted.
    """

    state: str
    reason: str
    count: int
    shards: str
    jobs: list[str] = field(default_factory=list)


def running_task(shard: int, found: ShardState) -> RunningTask:
    """Describe a shard that is running or ending."""
    assert found.submission is not None
    entry, submission = found.entry, found.submission
    return RunningTask(
        shard=shard,
        state=found.state,
        job=submission.task_id(shard),
        nodes=(entry.nodes if entry else submission.host) or None,
        started=entry.start if entry else None,
    )


def waiting(state: str, reason: str, shards: Sequence[tuple[int, Submission | None]]) -> Waiting:
    """Describe shards that wait for one reason, each with its newest submission."""
    tasks: dict[str, set[int] | None] = {}
    for shard, submission in shards:
        if submission is None:
            continue
        if not submission.array:
            tasks[submission.job] = None
        elif (own := tasks.setdefault(submission.job, set())) is not None:
            own.add(shard // submission.per_task - submission.offset)
    jobs = [job if own is None else _array(job, own) for job, own in tasks.items()]
    return Waiting(state, reason, len(shards), compact(shard for shard, _ in shards), jobs)


def job_list(jobs: Sequence[str], separator: str = ", ") -> str:
    """Join job ids for a line of text; names an array as a whole where its tasks would take too much space."""
    text = separator.join(jobs)
    return text if len(text) <= _MAX_TEXT else separator.join(dict.fromkeys(job.partition("_")[0] for job in jobs))


def task_list(tasks: Sequence[RunningTask], limit: int) -> str:
    """Say where shards run: ``0 on n1 (12_0), 3 on n2 (12_3) and 7 more``."""
    parts = [f"{task.shard}{f' on {task.nodes}' if task.nodes else ''} ({task.job})" for task in tasks[:limit]]
    more = f" and {len(tasks) - limit:,} more" if len(tasks) > limit else ""
    return f"{', '.join(parts)}{more}"


def _array(job: str, tasks: Iterable[int]) -> str:
    ids = compact(tasks)
    return f"{job}_{ids}" if ids.isdigit() else f"{job}_[{ids}]"
