"""Our own processes on this machine, found by a variable that every local task and all that it starts inherit.

A process id alone proves nothing (it may have been given to another since), and process groups miss what a stage starts
in a session of its own (Ray's daemons). The environment that a process was started with cannot be mistaken, and is read
for our own user only.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable

import psutil

# Value: the run directory. Set for a local task's processes only, not for the driver.
RUN_VARIABLE = "ROUTENATOR_LOCAL_RUN"
# Value: STAGE/SHARD/TOKEN, another one for each task.
TASK_VARIABLE = "ROUTENATOR_LOCAL_TASK"


def with_variable(name: str, value: str) -> list[psutil.Process]:
    """Processes of this user, without this one, that were started with the variable at this value."""
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
    """When a process was started (seconds since the epoch), None if there is none."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def is_same(pid: int, created: float) -> bool:
    """Whether a process id still means the process that was started then."""
    now = started(pid)
    return now is not None and abs(now - created) < 1.0


def end(name: str, value: str, grace_s: float) -> int:
    """End every process that carries the variable: interrupt first, kill what is left after ``grace_s`` seconds.

    A task ignores SIGTERM (submitit keeps it for the scheduler) but not SIGINT, on which Python unwinds and closes what
    is open. submitit's controller is not interrupted: it would kill its task a second later, and ends by itself when
    the task has.

    Returns:
        How many processes there were.
    """
    seen: set[int] = set()
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline:
        left = with_variable(name, value)
        if not left:
            return len(seen)
        # Once each: a second interrupt would break into the cleaning up after the first.
        seen |= _signal(
            [process for process in left if process.pid not in seen and not _is_controller(process)], signal.SIGINT
        )
        time.sleep(0.1)
    # What is killed may have been about to start another; look again until nothing is left.
    for _ in range(50):
        left = with_variable(name, value)
        if not left:
            break
        seen |= _signal(left, signal.SIGKILL)
        time.sleep(0.1)
    return len(seen)


def _is_controller(process: psutil.Process) -> bool:
    try:
        return "submitit.local._local" in process.cmdline()
    except psutil.Error:
        return False


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> set[int]:
    sent = set()
    for process in processes:
        try:
            process.send_signal(number)
            sent.add(process.pid)
        except psutil.Error:
            continue
    return sent
