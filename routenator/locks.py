"""Locks between processes, also of several hosts, and names that only the first can take, on any file system.

A lock is flock(2) on a file, which the kernel releases when the process dies. Where the file system refuses it (Lustre
mounted without ``flock``), the lock is a second file beside it, PATH.held, that only one process can create. It names
its owner, and the owner touches it every few seconds. A lock whose owner died is taken over: at once if the owner was
on this host, otherwise after nobody has touched it for ``STALE_S`` of our own watching, so that no two hosts' clocks
are compared.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from routenator.errors import RoutenatorError
from routenator.files import NO_LINKS
from routenator.terminal import put

# What file systems without flock(2) answer. Other errors are real.
NO_LOCKS = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL})
BEAT_S = 5.0  # between two touches of PATH.held
STALE_S = 45.0  # several touches, and longer than a network file system shows old times
_POLL_S = 0.5
_SETTLE_S = 1.0  # for two processes that take over the same lock; the last to write its name has it


class LockedError(RoutenatorError):
    """Another process holds the lock."""


class Lock:
    """A lock on a file, which need not exist; it may be renamed while the lock is held.

    Args:
        path: the file; it stays when the lock is released.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None
        self._held: _HeldFile | None = None

    def acquire(self, wait: bool) -> None:
        """Take the lock.

        Args:
            wait: wait for another process to release it.

        Raises:
            LockedError: another process holds it, and ``wait`` is false.
            OSError: the file cannot be created.
        """
        held = _HeldFile(self.path)
        file = open(self.path, "a")  # noqa: SIM115  (held until the process ends or `release` is called)
        try:
            if not _flock(file.fileno(), wait):
                held.take(wait)
                self._held = held
            elif held.exists():
                held.wait_until_free(wait)  # a host that has no flock(2) on this file system
        except BaseException:
            file.close()
            raise
        self._file = file

    def release(self) -> None:
        """Give the lock back; does nothing if it is not held."""
        if self._held is not None:
            self._held.give_back()
            self._held = None
        if self._file is not None:
            self._file.close()
            self._file = None


@contextlib.contextmanager
def hold(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold a lock; see ``Lock.acquire``."""
    lock = Lock(path)
    lock.acquire(wait)
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock; False if there is no such file."""
    if not path.exists():
        return False
    try:
        with hold(path, wait=False):
            return False
    except LockedError:
        return True
    except FileNotFoundError:
        return False


def has_flock(path: Path) -> bool:
    """Whether the file system of an existing file has flock(2)."""
    handle = os.open(path, os.O_RDWR)
    try:
        return _flock(handle, wait=True)
    finally:
        os.close(handle)


def claim(temporary: Path, final: Path) -> None:
    """Give a complete file its final name, unless another process was first.

    By link(2), which is atomic and fails if the name exists. It also works on NFS, where O_EXCL has not always been
    reliable. On a file system without hard links: lock, look, rename. A process that dies before the rename loses the
    lock and leaves no file of that name, so another can claim it; one that dies after it was first.

    Args:
        temporary: the file; without hard links it is renamed, else it keeps this name too.
        final: its name. The file that had it may not be removed while others may claim it.

    Raises:
        FileExistsError: another process was first.
    """
    try:
        os.link(temporary, final)
        return
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
    lock = final.with_name(f".{final.name}.lock")
    with hold(lock, wait=True):
        first = not final.exists()
        if first:
            temporary.rename(final)
        # Only now that the name is taken: whoever waits for this lock, or makes another, will see that.
        lock.unlink(missing_ok=True)
    if not first:
        raise FileExistsError(f"{final} exists")


def _flock(handle: int, wait: bool) -> bool:
    """Lock an open file; False if the file system has no such locks.

    Raises:
        LockedError: another process holds it, and ``wait`` is false.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise LockedError("another process holds the lock") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return False
    return True


@dataclass(frozen=True)
class _Owner:
    """The record in PATH.held.

    Attributes:
        place: the host and its namespace of process ids: only there the id means anything.
        pid: process id.
        started: when that process was created, as its host counts.
        token: unique to this lock.
    """

    place: str
    pid: int
    started: float
    token: str

    @staticmethod
    def me() -> _Owner:
        return _Owner(_place(), os.getpid(), _created(os.getpid()) or 0.0, uuid.uuid4().hex)

    def is_dead(self) -> bool:
        """Whether it surely is gone; only its own host can tell."""
        return self.place == _place() and _created(self.pid) != self.started

    def is_near(self) -> bool:
        return self.place == _place()

    def __str__(self) -> str:
        return f"process {self.pid} on {self.place.partition(' ')[0]}"


class _HeldFile:
    """The file PATH.held: creates it, keeps touching it, and judges one that another process created."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}.held")
        self._owner = _Owner.me()
        self._handle = -1
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def exists(self) -> bool:
        return self.path.exists()

    def take(self, wait: bool) -> None:
        """Create the file, or take over that of an owner who died.

        Raises:
            LockedError: its owner is alive, and ``wait`` is false.
        """
        while not self._create():
            self.wait_until_free(wait)
        self._thread = threading.Thread(target=self._beat, daemon=True, name="lock")
        self._thread.start()

    def give_back(self) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        os.close(self._handle)
        owner = _read(self.path)[0]
        if owner is not None and owner.token == self._owner.token:
            self.path.unlink(missing_ok=True)

    def wait_until_free(self, wait: bool) -> None:
        """Return once the file is gone: released, or removed because its owner died.

        Raises:
            LockedError: its owner is alive, and ``wait`` is false.
        """
        first = seen = _read(self.path)
        since = time.monotonic()
        told = False
        while seen != _GONE:
            owner = seen[0]
            if owner is not None and owner.is_dead():
                return self._take_over(owner)
            if owner is not None and not wait and (owner.is_near() or seen != first):
                raise LockedError(f"{owner} holds the lock {self.path}")
            if not told and not wait:
                put(
                    f"{owner or 'a process'} holds {self.path}; checking for {STALE_S:g} s whether it is alive",
                    err=True,
                )
                told = True
            time.sleep(_POLL_S)
            now = _read(self.path)
            if now != seen:
                seen, since = now, time.monotonic()
            elif (owner is None or not owner.is_near()) and time.monotonic() - since > STALE_S:
                return self._take_over(owner)
        return None

    def _take_over(self, dead: _Owner | None) -> None:
        """Remove the file of an owner who died, unless another process did so first."""
        # Renamed before it is removed: of two processes one finds nothing to rename, and neither removes the other's
        # new file unseen.
        aside = self.path.with_name(f".{self.path.name}.{self._owner.token}")
        with contextlib.suppress(FileNotFoundError):
            self.path.rename(aside)
            found = _read(aside)[0]
            if found != dead:  # a new owner's, created since we looked
                aside.rename(self.path)
                return
            aside.unlink()
            put(f"{dead or 'the process'} that held {self.path} has died; its lock was removed", err=True)

    def _create(self) -> bool:
        if _read(self.path)[0] == self._owner:  # moved away and back, see `_take_over`
            self._handle = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
            return True
        try:
            self._handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            return False
        os.write(self._handle, json.dumps(vars(self._owner)).encode())
        time.sleep(_SETTLE_S)
        owner = _read(self.path)[0]
        if owner is not None and owner.token == self._owner.token:
            return True
        os.close(self._handle)  # someone who took us for the dead owner moved our file away
        return False

    def _beat(self) -> None:
        while not self._end.wait(BEAT_S):
            with contextlib.suppress(OSError):
                os.utime(self._handle)  # by the handle, because a folder above the file may be renamed


# What a look at PATH.held found: its owner if readable, and its time of change.
_Look = tuple[_Owner | None, int]
_GONE: _Look = (None, -1)


def _read(path: Path) -> _Look:
    """Look at PATH.held. It is opened anew each time, which makes a network file system ask its server."""
    try:
        with open(path, "rb") as handle:
            changed = os.fstat(handle.fileno()).st_mtime_ns
            value: Any = json.loads(handle.read() or "null")
    except FileNotFoundError:
        return _GONE
    except ValueError:
        return None, 0
    return (_Owner(**value) if isinstance(value, dict) else None), changed


def _place() -> str:
    return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"


def _created(pid: int) -> float | None:
    """Return when a process of this host was created; None if there is none."""
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None
