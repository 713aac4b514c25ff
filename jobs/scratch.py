"""Where a task keeps what it has worked out so far, so that a killed attempt's successor need not begin again.

SCRATCH/attempt-1f3c9a7e/       an attempt at work, which holds the lock on attempt-1f3c9a7e/lock; removed by the next
attempt if it is dead SCRATCH/NAME-40c583177011/      a finished step, named by its input; whoever finishes it first
gives it this name
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from jobs.task import Task
from routenator.files import digest


class Scratch:
    """A task's scratch folder.

    Args:
        task: whose.
        place: a folder of the user's choice, in which the task gets one of its own (variables such as $TMPDIR are
            filled in); None: the task's work folder.
    """

    def __init__(self, task: Task, place: str | None) -> None:
        self.root = task.work_dir
        if place is not None:
            self.root = Path(os.path.expandvars(place)).expanduser() / f"{task.dir.name}-{digest(str(task.dir), 8)}"
        self._token = task.token

    def begin(self) -> Path:
        """Make this attempt's own folder, and remove those of attempts that are dead."""
        self.root.mkdir(parents=True, exist_ok=True)
        own = self.root / f"attempt-{self._token}"
        hidden = own.with_name(f".{own.name}")  # until it is locked, lest another attempt take it for dead
        hidden.mkdir()
        self._lock = open(hidden / "lock", "w")  # noqa: SIM115  (held until the process ends or `end` is called)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        hidden.rename(own)
        for other in self.root.glob("attempt-*"):
            if other != own and not _alive(other):
                shutil.rmtree(other, ignore_errors=True)
        return own

    def step(self, name: str, key: str) -> Path:
        """Where a finished step lies, if it is finished."""
        return self.root / f"{name}-{key}"

    def finish(self, made: Path, step: Path) -> Path:
        """Give a finished step its name; if another attempt was first, its step is as good.

        Returns:
            The folder that now has the name.
        """
        try:
            made.rename(step)
        except OSError:
            if not step.is_dir():
                raise
        return step

    def end(self) -> None:
        """Remove what is there: this attempt's folder, and all else unless another attempt is at work."""
        self._lock.close()
        shutil.rmtree(self.root / f"attempt-{self._token}", ignore_errors=True)
        if not any(_alive(other) for other in self.root.glob("attempt-*")):
            shutil.rmtree(self.root, ignore_errors=True)


def _alive(attempt: Path) -> bool:
    """Whether its lock is held. Where a file system knows no locks, nothing is taken for dead."""
    try:
        with open(attempt / "lock", "r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
