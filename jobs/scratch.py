"""Stores a task's intermediate results, so that the attempt after a killed one need not start from scratch.

SCRATCH/attempt-1f3c9a7e/     folder of a running attempt, which holds the lock on its file `lock`;
                              the next attempt removes it if nobody holds the lock
SCRATCH/NAME-40c583177011/    a finished step, named by its input; the first attempt to finish it renames its
                              result to this name

A scratch folder that the user puts elsewhere may lie where others can write, such as a node's /tmp. It is a folder of
mode 0700 and random name, which the task's work folder keeps for later attempts. Nobody else can put anything into it
or foresee it, and a link or a folder of someone else with its name is refused.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import uuid
from pathlib import Path

from jobs.task import Task
from routenator.errors import InputError
from routenator.locks import Lock, claim, is_locked


class Scratch:
    """A task's scratch folder.

    Args:
        task: the task.
        place: the user's folder, in which the task gets its own subfolder (variables such as $TMPDIR are expanded);
            None: the task's work folder.
    """

    def __init__(self, task: Task, place: str | None) -> None:
        self.root = task.work_dir
        self._place = None if place is None else Path(os.path.expandvars(place)).expanduser()
        if self._place is not None:
            self._record = task.work_dir / "spill"
            self.root = self._place / _own_name(self._record, task.dir.name)
        self._token = task.token

    def begin(self) -> Path:
        """Create this attempt's own folder, and remove those of dead attempts.

        Raises:
            InputError: something else has the name of the user's scratch folder.
        """
        if self._place is None:
            self.root.mkdir(parents=True, exist_ok=True)
        else:
            self._place.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                self.root.mkdir(mode=0o700)
            self._check_own()
        own = self.root / f"attempt-{self._token}"
        hidden = own.with_name(f".{own.name}")  # hidden until it is locked: others would take an unlocked one for dead
        hidden.mkdir()
        self._lock = Lock(hidden / "lock")  # held until the process ends or `end` is called
        self._lock.acquire(wait=True)
        hidden.rename(own)
        for other in self.root.glob("attempt-*"):
            if other != own and not is_locked(other / "lock"):
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
        self._lock.release()
        if self._place is not None:
            self._check_own()
        shutil.rmtree(self.root / f"attempt-{self._token}", ignore_errors=True)
        if not any(is_locked(other / "lock") for other in self.root.glob("attempt-*")):
            shutil.rmtree(self.root, ignore_errors=True)

    def _check_own(self) -> None:
        """Refuse a scratch folder that is a link, or that others own or can write to."""
        state = self.root.lstat()
        mode = stat.S_IMODE(state.st_mode)
        if stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid() and not mode & 0o077:
            return
        self._record.unlink(missing_ok=True)
        kind = "a link" if stat.S_ISLNK(state.st_mode) else f"owned by user {state.st_uid}, mode {mode:04o}"
        raise InputError(
            "someone else may have made this scratch folder",
            file=self.root,
            key="merge.spill_dir",
            found=kind,
            expected=f"a folder of user {os.geteuid()} with mode 0700; `retry` takes another name",
        )


def _own_name(record: Path, stem: str) -> str:
    """Return the random name that the first attempt chose, as noted in the task's work folder."""
    record.parent.mkdir(parents=True, exist_ok=True)
    mine = record.with_name(f".{record.name}-{uuid.uuid4().hex}")
    mine.write_text(f"{stem}-{uuid.uuid4().hex}")
    try:
        with contextlib.suppress(FileExistsError):
            claim(mine, record)
        return record.read_text()
    finally:
        mine.unlink(missing_ok=True)
