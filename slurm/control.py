"""Cancels a run's jobs and local processes, and describes submitted jobs."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from jobs.plan import Run
from routenator.errors import RoutenatorError
from slurm.local import processes
from slurm.local.driver import STOP_GRACE_S, read_driver, stop_driver
from slurm.submission.queue import read_queue, scancel
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
    """

    jobs: list[str]
    driver: bool
    processes: int


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
    jobs = _cancel_jobs(load_submissions(run))
    driver = read_driver(run)
    if driver and driver["alive"] and driver["host"] != socket.gethostname():
        raise CancelError(f"the driver runs on {driver['host']} (process {driver['pid']}); cancel it there")
    stopped = stop_driver(run)
    left = processes.end(processes.RUN_VARIABLE, str(run.path), STOP_GRACE_S)
    return Cancelled(jobs, stopped, left)


def _cancel_jobs(submissions: list[Submission]) -> list[str]:
    """Cancel those of the Slurm jobs that are live."""
    queue = read_queue(submissions)
    if queue.problem:
        raise CancelError(f"nothing cancelled: {queue.problem}")
    # A task in COMPLETING has ended and cannot be cancelled any more.
    going = {task for (task, _), entry in queue.entries.items() if entry.live and entry.state != "COMPLETING"}
    live = sorted({task.partition("_")[0] for task in going}, key=int)
    if live and (problem := scancel(live)):
        raise CancelError(f"scancel: {problem}")
    return live
