"""Runs the pieces of work of an experiment on this machine, several at once, each on its own cores.

Most are runs, started by the command ``run CONFIG``, so like any run they resume, reuse what is done, and have
their own logs; runs on a cluster return once they are submitted. The resolved config is written to a file and the code
is a snapshot from the start of the experiment, so that editing either does not change an experiment that takes hours.

    ROOT/experiments/NAME/configs/ARM-SEED.yaml   ARM-SEED.log   code-FINGERPRINT/

Two runs that would write the same stage directory never run at once: both would be correct, but one would be wasted.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from slurm.planning.planner import code_fingerprint, copy_code

_POLL_S = 0.2
_STOP_GRACE_S = 60.0  # a run's own driver gives its tasks ten seconds
_PR_SET_PDEATHSIG = 1


class Work(Protocol):
    """A piece of work that runs in a process of its own."""

    @property
    def name(self) -> str:
        """Its name, which is also that of its log."""

    def missing(self) -> Mapping[str, Path]:
        """Return what is not done yet, with the directories that it would write; empty once everything is done."""

    def command(self, folder: Path) -> list[str]:
        """Return its command, after writing the command's input into ``folder``; PYTHONPATH will name the snapshot."""

    def failure(self) -> str | None:
        """Return why it failed, if it recorded that."""

    def summary(self) -> str:
        """Describe its outcome in one line."""


@dataclass
class _Child:
    work: Work
    process: subprocess.Popen[bytes]
    log: Path
    began: float


@dataclass(frozen=True)
class Ended:
    """A piece of work that has ended.

    Attributes:
        seconds: its duration.
        left_s: estimated seconds until the others are done; None if there are none.
    """

    work: Work
    code: int
    log: Path
    seconds: float
    left_s: float | None


class Stopped(Exception):
    """The experiment was stopped by this signal."""

    def __init__(self, number: int) -> None:
        self.number = number


def snapshot(folder: Path) -> Path:
    """Copy the running code, unless the copy exists.

    Returns:
        The folder of the copy.
    """
    copy = folder / f"code-{code_fingerprint()}"
    if not copy.is_dir():
        temporary = folder / f".code-{os.getpid()}"
        copy_code(temporary)
        try:
            temporary.rename(copy)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)  # another command has created the same
    return copy


def run_all(
    works: Sequence[Work],
    folder: Path,
    parallel: int,
    *,
    told: Callable[[Ended], None],
    began: Callable[[Work, Path], None],
) -> list[Ended]:
    """Run these pieces of work. A failure does not stop the others.

    Args:
        works: the pieces of work.
        folder: folder for logs, configs and code.
        parallel: number of runs at once.
        told: called when one has ended.
        began: called when one starts, with its log.

    Raises:
        Stopped: SIGINT or SIGTERM; the children were stopped and can be resumed later.
    """
    folder.mkdir(parents=True, exist_ok=True)
    code = snapshot(folder)
    waiting, running, ended = list(works), dict[int, _Child](), list[Ended]()
    stopped: list[int] = []
    before = {
        number: signal.signal(number, lambda received, frame: stopped.append(received))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        while waiting or running:
            if stopped:
                raise Stopped(stopped[0])
            for slot in range(parallel):
                work = _startable(waiting, [child.work for child in running.values()]) if slot not in running else None
                if work is not None:
                    waiting.remove(work)
                    running[slot] = _start(code, work, folder, cores(slot, parallel))
                    began(work, running[slot].log)
            time.sleep(_POLL_S)
            for slot, child in list(running.items()):
                result = child.process.poll()
                if result is not None:
                    del running[slot]
                    seconds = time.monotonic() - child.began
                    left = _left(
                        [*ended, Ended(child.work, result, child.log, seconds, None)],
                        len(waiting),
                        list(running.values()),
                        parallel,
                    )
                    ended.append(Ended(child.work, result, child.log, seconds, left))
                    told(ended[-1])
    finally:
        _end(list(running.values()))
        for number, handler in before.items():
            signal.signal(number, handler)
    return ended


def cores(slot: int, parallel: int) -> set[int]:
    """Return one run's share of this process's cores; all of them if there are fewer cores than runs."""
    every = sorted(os.sched_getaffinity(0))
    return set(every[slot * len(every) // parallel : (slot + 1) * len(every) // parallel]) or set(every)


def _startable(waiting: Sequence[Work], running: Sequence[Work]) -> Work | None:
    """Return the first that writes no directory that a running one writes."""
    busy = {directory for work in running for directory in work.missing().values()}
    return next((work for work in waiting if not busy.intersection(work.missing().values())), None)


def _start(code: Path, work: Work, folder: Path, own: set[int]) -> _Child:
    log = folder / f"{work.name}.log"
    command = work.command(folder)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(code), os.environ.get("PYTHONPATH")]))}
    prctl = ctypes.CDLL(None).prctl

    def prepare() -> None:
        os.sched_setaffinity(0, own)
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # if this process is killed, its children stop too

    with open(log, "ab") as stream:
        stream.write(f"\n{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {shlex.join(command)}\n".encode())
        stream.flush()
        # A session of its own: the terminal's Ctrl-C reaches only us, and we stop our children in an orderly way.
        process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509  (this process has no other thread that could hold a lock)
        )
    return _Child(work, process, log, time.monotonic())


def _left(ended: Sequence[Ended], waiting: int, running: Sequence[_Child], parallel: int) -> float | None:
    if not waiting and not running:
        return None
    each = sum(one.seconds for one in ended) / len(ended)
    under_way = sum(max(0.0, each - (time.monotonic() - child.began)) for child in running)
    return (waiting * each + under_way) / max(1, min(parallel, waiting + len(running)))


def _end(children: Sequence[_Child]) -> None:
    for child in children:
        child.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + _STOP_GRACE_S
    for child in children:
        try:
            child.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()


def why(ended: Ended) -> str:
    """Return why it failed, in one line: its recorded error, or else the end of its log."""
    said = ended.work.failure()
    if said is not None:
        return said
    with open(ended.log, "rb") as stream:
        return _last_words(stream) or f"exit code {ended.code}"


def _last_words(stream: IO[bytes]) -> str:
    stream.seek(0, os.SEEK_END)
    stream.seek(max(0, stream.tell() - 4000))
    lines = [line.strip() for line in stream.read().decode(errors="replace").splitlines() if line.strip()]
    return next((line for line in reversed(lines) if line.startswith("error:")), lines[-1] if lines else "")
