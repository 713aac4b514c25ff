"""Finds and stops our processes on this machine by an environment variable that every local task's children inherit.

A process id alone proves nothing (it may have been reused), and process groups miss what a stage starts in a session of
its own (Ray's daemons). The environment that a process was started with is unambiguous; only our own user's processes
are read.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from slurm.worker.stage_task import LOCAL_VARIABLE

# Value: the run directory. Set for a local task's processes, not for the driver.
RUN_VARIABLE = "ROUTENATOR_LOCAL_RUN"
TASK_VARIABLE = LOCAL_VARIABLE


def with_variable(name: str, value: str) -> list[psutil.Process]:
    """Return this user's processes, except this one, that were started with the variable set to this value."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.pid != os.getpid()
                and process.status() != psutil.STATUS_ZOMBIE
                and process.environ().get(name) == value
            ):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def started(pid: int) -> float | None:
    """Return when a process was started, in seconds since the epoch; None if there is no such process."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def is_same(pid: int, created: float) -> bool:
    """Whether a process id still belongs to the process that was created at that time."""
    now = started(pid)
    return now is not None and abs(now - created) < 1.0


def is_driver(pid: int, run: Path) -> bool:
    """Whether a process is a driver of this run, started by this user; its command line names both."""
    try:
        process = psutil.Process(pid)
        arguments = process.cmdline()
        return process.uids().effective == os.geteuid() and {"slurm.local.driver", str(run)} <= set(arguments)
    except psutil.Error:
        return False


def end(name: str, value: str, grace_s: float) -> int:
    """Stop every process that carries the variable: interrupt first, kill what is left after ``grace_s`` seconds.

    A task ignores SIGTERM, which is reserved for the scheduler, but not SIGINT, on which Python unwinds and closes what
    is open.

    Returns:
        The number of processes.
    """
    seen: set[int] = set()
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline:
        left = with_variable(name, value)
        if not left:
            return len(seen)
        # Only once each: a second interrupt would break off the cleanup started by the first.
        seen |= _signal([process for process in left if process.pid not in seen], signal.SIGINT)
        time.sleep(0.1)
    # A killed process may just have started another; look again until nothing is left.
    for _ in range(50):
        left = with_variable(name, value)
        if not left:
            break
        seen |= _signal(left, signal.SIGKILL)
        time.sleep(0.1)
    return len(seen)


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> set[int]:
    sent = set()
    for process in processes:
        try:
            process.send_signal(number)
            sent.add(process.pid)
        except psutil.Error:
            continue
    return sent
