"""Start, go on, and stop: what ``run``, ``retry`` and ``cancel`` do to a run that has a directory."""

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
    """What is to be cancelled cannot be reached."""


@dataclass(frozen=True)
class Cancelled:
    """What ``cancel`` ended.

    Attributes:
        jobs: Slurm jobs (arrays count once).
        driver: whether a local driver was stopped.
        processes: local processes that were left without a driver.
    """

    jobs: list[str]
    driver: bool
    processes: int


def describe(submissions: list[Submission]) -> list[str]:
    """One line a job: stage, job id, array expression, what it waits for."""
    lines = []
    for item in submissions:
        array = f" --array={compact(item.tasks())}" if item.array else ""
        told = [f"{item.per_task} a task"] if item.per_task > 1 else []
        told += [f"from {item.offset * item.per_task}"] if item.offset else []
        offset = f" (shards {', '.join(told)})" if told else ""
        after = f" after {', '.join(item.depends)}" if item.depends else ""
        lines.append(f"{item.stage:<9} job {item.job}{array}{offset}{after}")
    return lines


def cancel(run: Run) -> Cancelled:
    """End what this run has in the queue and on this machine, and nothing else. Safe to repeat; receipts and chunks
    stay.

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
    """scancel those of the Slurm jobs that are live."""
    queue = read_queue(submissions)
    if queue.problem:
        raise CancelError(f"nothing cancelled: {queue.problem}")
    going = {task for (task, _), entry in queue.entries.items() if entry.live and entry.state != "COMPLETING"}
    live = sorted({task.partition("_")[0] for task in going}, key=int)
    if live and (problem := scancel(live)):
        raise CancelError(f"scancel: {problem}")
    return live
