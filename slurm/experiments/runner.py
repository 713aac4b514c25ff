"""Start the pieces of work of an experiment on this machine, a few at once, each on its own cores.

Most are runs: ``python launch.py run CONFIG``, so they resume, use again what is done, and say what they do in a log of
their own, as any run; those of a cluster return when they are submitted. The config is written down resolved, and the
code is a snapshot made when the experiment began: who edits either meanwhile does not change an experiment that goes on
for hours.

    ROOT/experiments/NAME/configs/ARM-SEED.yaml   ARM-SEED.log   code-FINGERPRINT/

Two runs that would make the same directory of a stage are never at work at once: either would be right, but one
would be in vain.
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

from slurm.planning.planner import code_fingerprint, code_folders, copy_code

_POLL_S = 0.2
_STOP_GRACE_S = 60.0  # a run's own driver has ten seconds for its tasks
_PR_SET_PDEATHSIG = 1


class Work(Protocol):
    """A piece of work that a process of its own does."""

    @property
    def name(self) -> str:
        """Of its log."""

    def missing(self) -> Mapping[str, Path]:
        """What is not done yet, with the directories that it would make; empty when all is."""

    def command(self, code: Path, folder: Path) -> list[str]:
        """The command that does it. What it reads is written below ``folder``; ``code`` is the snapshot."""

    def failure(self) -> str | None:
        """Why it failed, if it said so."""

    def summary(self) -> str:
        """What came of it, on a line."""


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
        seconds: that it took.
        left_s: estimate of what the others still take; None if there are none.
    """

    work: Work
    code: int
    log: Path
    seconds: float
    left_s: float | None


class Stopped(Exception):
    """The experiment was asked to stop, by this signal."""

    def __init__(self, number: int) -> None:
        self.number = number


def snapshot(folder: Path) -> Path:
    """The code that is running now and its launch.py, copied unless they are there.

    Returns:
        The copy's folder.
    """
    copy = folder / f"code-{code_fingerprint()}"
    if not copy.is_dir():
        temporary = folder / f".code-{os.getpid()}"
        copy_code(temporary)
        shutil.copyfile(code_folders()["slurm"].parent / "launch.py", temporary / "launch.py")
        try:
            temporary.rename(copy)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)  # another command has made the same
    return copy


def run_all(
    works: Sequence[Work],
    folder: Path,
    parallel: int,
    *,
    told: Callable[[Ended], None],
    began: Callable[[Work, Path], None],
) -> list[Ended]:
    """Run what is missing. One that fails does not stop the others.

    Args:
        works: what is missing.
        folder: for logs, configs and code.
        parallel: runs at once.
        told: called when a run has ended.
        began: called when one starts, with its log.

    Raises:
        Stopped: SIGINT or SIGTERM; the children were ended and can go on later.
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
    """The share of this process's cores of one of so many runs; all of them where there are fewer cores than runs."""
    every = sorted(os.sched_getaffinity(0))
    return set(every[slot * len(every) // parallel : (slot + 1) * len(every) // parallel]) or set(every)


def _startable(waiting: Sequence[Work], running: Sequence[Work]) -> Work | None:
    """The first that makes no directory that one at work makes."""
    busy = {directory for work in running for directory in work.missing().values()}
    return next((work for work in waiting if not busy.intersection(work.missing().values())), None)


def _start(code: Path, work: Work, folder: Path, own: set[int]) -> _Child:
    log = folder / f"{work.name}.log"
    command = work.command(code, folder)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(code), os.environ.get("PYTHONPATH")]))}
    prctl = ctypes.CDLL(None).prctl

    def prepare() -> None:
        os.sched_setaffinity(0, own)
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # should this process be killed, its children end, too

    with open(log, "ab") as stream:
        stream.write(f"\n{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {shlex.join(command)}\n".encode())
        stream.flush()
        # A session of its own: the terminal's Ctrl-C is for us, and we end our children in order.
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
    """Why it failed, in one line: what it said, or else the end of its log."""
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
