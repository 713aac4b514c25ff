"""Stores a task's intermediate results, so that the attempt after a killed one need not start from scratch.

SCRATCH/attempt-1f3c9a7e/     folder of a running attempt, which holds the lock on its file `lock`;
                              the next attempt removes it if nobody holds the lock
SCRATCH/NAME-40c583177011/    a finished step, named by its input; the first attempt to finish it renames its
                              result to this name
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
        task: the task.
        place: the user's folder, in which the task gets its own subfolder (variables such as $TMPDIR are expanded);
            None: the task's work folder.
    """

    def __init__(self, task: Task, place: str | None) -> None:
        self.root = task.work_dir
        if place is not None:
            self.root = Path(os.path.expandvars(place)).expanduser() / f"{task.dir.name}-{digest(str(task.dir), 8)}"
        self._token = task.token

    def begin(self) -> Path:
        """Create this attempt's own folder, and remove those of dead attempts."""
        self.root.mkdir(parents=True, exist_ok=True)
        own = self.root / f"attempt-{self._token}"
        hidden = own.with_name(f".{own.name}")  # hidden until it is locked: others would take an unlocked one for dead
        hidden.mkdir()
        self._lock = open(hidden / "lock", "w")  # noqa: SIM115  (held until the process ends or `end` is called)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        hidden.rename(own)
        for other in self.root.glob("attempt-*"):
            if other != own and not _alive(other):
                shutil.rmtree(other, ignore_errors=True)
        return own

    def step(self, name: str, key: str) -> Path:
        """Return the path of a step's result; it exists only once the step is finished."""
        return self.root / f"{name}-{key}"

    def finish(self, made: Path, step: Path) -> Path:
        """Rename a finished step to its final name; if another attempt was first, use its equal result.

        Returns:
            The step's folder.
        """
        try:
            made.rename(step)
        except OSError:
            if not step.is_dir():
                raise
        return step

    def end(self) -> None:
        """Remove this attempt's folder, and everything else unless another attempt is running."""
        self._lock.close()
        shutil.rmtree(self.root / f"attempt-{self._token}", ignore_errors=True)
        if not any(_alive(other) for other in self.root.glob("attempt-*")):
            shutil.rmtree(self.root, ignore_errors=True)


def _alive(attempt: Path) -> bool:
    """Whether the attempt's lock is held. On a file system without locks every attempt counts as alive."""
    try:
        with open(attempt / "lock", "r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
