"""Cancels a run's jobs and local processes, and describes submitted jobs."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass, field

from jobs.plan import Run
from jobs.task import missing_shards
from routenator.errors import RoutenatorError
from slurm.local import processes
from slurm.local.driver import STOP_GRACE_S, read_driver, stop_driver
from slurm.submission.answers import ABSENT, QueueEntry
from slurm.submission.client import scancel, scancel_named
from slurm.submission.queue import QueueView, read_queue
from slurm.submission.submissions import Submission, compact, load_submissions


class CancelError(RoutenatorError):
    """The run's jobs or driver cannot be reached."""


@dataclass(frozen=True)
class Cancelled:
    """The jobs and processes stopped by ``cancel``.

    Attributes:
        jobs: Slurm jobs (an array counts once).
        driver: whether a local driver was stopped.
        processes: number of local processes left behind without a driver.
        unseen: Slurm jobs that have not ended as far as is known, and that Slurm did not list; it was told to end them.
            A job whose submission was not confirmed is here by its name.
    """

    jobs: list[str]
    driver: bool
    processes: int
    unseen: list[str] = field(default_factory=list)


def describe(submissions: list[Submission]) -> list[str]:
    """Return one line per job: stage, job id, array expression, dependencies."""
    lines = []
    for item in submissions:
        array = f" --array={compact(item.tasks())}" if item.array else ""
        told = [f"{item.per_task} per task"] if item.per_task > 1 else []
        told += [f"from {item.offset * item.per_task}"] if item.offset else []
        offset = f" (shards {', '.join(told)})" if told else ""
        after = f" after {', '.join(item.depends)}" if item.depends else ""
        lines.append(f"{item.stage:<9} job {item.job}{array}{offset}{after}")
    return lines


def cancel(run: Run) -> Cancelled:
    """Stop this run's jobs and its processes on this machine, and nothing else. Keeps receipts and chunks.

    Safe to repeat.

    Raises:
        CancelError: the queue cannot be read, or the driver is on another host.
    """
    jobs, unseen = _cancel_jobs(run)
    driver = read_driver(run)
    if driver and driver["alive"] and driver["host"] != socket.gethostname():
        raise CancelError(f"the driver runs on {driver['host']} (process {driver['pid']}); cancel it there")
    stopped = stop_driver(run)
    left = processes.end(processes.RUN_VARIABLE, str(run.path), STOP_GRACE_S)
    return Cancelled(jobs, stopped, left, unseen)


def _cancel_jobs(run: Run) -> tuple[list[str], list[str]]:
    """Cancel the Slurm jobs that have not ended, whether Slurm lists them or not.

    Returns:
        Jobs that it lists, and those that it does not.
    """
    submissions = [item for item in load_submissions(run) if item.kind == "slurm"]
    queue = read_queue(submissions)
    submissions = [queue.resolved(item) for item in submissions]
    missing = {stage: missing_shards(run, stage) for stage in run.plan.stages}
    live: dict[str | None, list[str]] = {}
    unseen: list[Submission] = []
    for item in submissions:
        states = [queue.entry(item, shard) for shard in item.indices()]
        # A task in COMPLETING has ended and cannot be cancelled any more.
        if any(entry is not None and entry.live and entry.state != "COMPLETING" for entry in states):
            live.setdefault(item.cluster, []).append(item.job)
        elif not _is_over(item, queue, missing.get(item.stage, set())):
            unseen.append(item)
    problems = [scancel(sorted(jobs, key=int), cluster=cluster) for cluster, jobs in live.items()]
    problems += _cancel_unseen(unseen, queue)
    if problem := "; ".join(dict.fromkeys(filter(None, problems))):
        if queue.problem:
            raise CancelError(f"nothing cancelled: {queue.problem}; scancel: {problem}")
        raise CancelError(f"scancel: {problem}")
    # One without an id was looked up by its name above; if the queue could be read, Slurm has no such job.
    told = [item.job or item.name for item in unseen if item.job or queue.problem]
    return sorted({job for jobs in live.values() for job in jobs}, key=int), told


def _is_over(item: Submission, queue: QueueView, missing: set[int]) -> bool:
    """Whether every task of a job has ended, as Slurm says or receipts show, or its id is another job's by now."""

    def ended(entry: QueueEntry | None) -> bool:
        return entry is not None and entry.state != ABSENT

    return item.job in queue.foreign or all(
        shard not in missing or ended(queue.entry(item, shard)) for shard in item.indices()
    )


def _cancel_unseen(jobs: Iterable[Submission], queue: QueueView) -> list[str | None]:
    """Cancel jobs that Slurm did not list: its answer may have been incomplete."""
    jobs = list(jobs)
    if queue.problem:
        # One by one, by name: nothing shows that an id is not another job's by now.
        return [scancel_named(item.name, item.cluster) for item in jobs]
    clusters: dict[str | None, list[str]] = {}
    for item in jobs:
        if not item.job:  # its submission was never confirmed, and Slurm has no job of its name
            continue
        clusters.setdefault(item.cluster, []).append(item.job)
    return [scancel(ids, cluster=cluster) for cluster, ids in clusters.items()]
