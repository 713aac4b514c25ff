"""A generate task's engines, where it has several or one over several GPUs: a process each, which is dealt one chunk
after the other.

A chunk is made whole in one process (prompts, replies, checks, its checkpoint), so nothing in it depends on how many
there are. The first that fails ends them all: what it says is what the task says.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.chunks import open_shard, write_chunk
from jobs.plan import Run
from jobs.task import Task
from routenator.config import EngineConfig
from routenator.errors import RoutenatorError, StageError
from routenator.generation.engine import when_lost
from routenator.generation.loading import release_engine
from routenator.generation.places import Place

if TYPE_CHECKING:
    import pyarrow as pa

# A scheduler sends its signals to every process of a task; only the first knows what to make of them.
_SIGNALS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
_END_S = 20.0  # for an engine to let go of what it holds
_PARENT_DEATH = 1  # PR_SET_PDEATHSIG
_PARENT_DIED = signal.SIGHUP  # as the guard is told; no scheduler sends it


@dataclass(frozen=True)
class Order:
    """A chunk to be made: of which shard, where it is to be written, and its requests."""

    run_dir: str
    shard: int
    path: Path
    requests: pa.Table


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    order: Order | None = None


class EnginePool:
    """Processes with an engine each; started when there is work for them, kept for the shards that follow. ``close``
    it.

    Args:
        places: one for each engine.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = list(places)
        self.start_seconds = 0.0  # that the slowest of them took to load its model, for the chunks asked for last
        self.is_open = True
        self._workers: list[_Worker] = []
        self._scratch = Path(tempfile.mkdtemp(prefix="rn-"))

    def make(self, orders: Sequence[Order]) -> Iterator[Path]:
        """Have these chunks made and yield each one's path when it is there.

        Raises:
            StageError: an engine died or failed.
            Exception: as it was raised in an engine's process.
        """
        self.start_seconds = 0.0
        waiting = list(reversed(orders))
        try:
            while waiting or any(worker.order for worker in self._workers):
                for worker in self._free(len(waiting)):
                    worker.order = waiting.pop()
                    try:
                        worker.connection.send(worker.order)
                    except OSError:
                        raise self._dead(worker) from None
                busy = {worker.connection: worker for worker in self._workers if worker.order}
                for ready in wait(list(busy)):
                    assert isinstance(ready, Connection)
                    yield self._result(busy[ready])
        except BaseException:
            self.close(at_once=True)
            raise

    def close(self, at_once: bool = False) -> None:
        """End the processes, and remove what they left. Safe to repeat.

        Args:
            at_once: without asking first.
        """
        self.is_open = False
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.connection.close()
        for worker in workers:
            if not at_once:
                worker.process.join(_END_S)
            worker.process.kill()  # its parts die with it
            worker.process.join()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _free(self, wanted: int) -> list[_Worker]:
        free = [worker for worker in self._workers if worker.order is None][:wanted]
        while len(free) < wanted and len(self._workers) < len(self.places):
            free.append(self._start())
        return free

    def _start(self) -> _Worker:
        context = get_context("spawn")
        here, there = context.Pipe()
        number = len(self._workers)
        process = context.Process(
            target=_serve,
            args=(there, self.places[number], len(self.places), self._scratch / str(number), os.getpid()),
            name=f"engine-{number}",
        )
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            resource_tracker.ensure_running()
            signal.pthread_sigmask(
                signal.SIG_BLOCK, _SIGNALS
            )  # the tracker's start has let some through; the engine inherits the mask
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        there.close()
        worker = _Worker(process, here)
        self._workers.append(worker)
        return worker

    def _result(self, worker: _Worker) -> Path:
        try:
            said = worker.connection.recv()
        except (EOFError, OSError):
            raise self._dead(worker) from None
        if isinstance(said, BaseException):
            raise said
        self.start_seconds = max(self.start_seconds, said)
        assert worker.order is not None
        path, worker.order = worker.order.path, None
        return path

    def _dead(self, worker: _Worker) -> StageError:
        worker.process.join(_END_S)
        code = worker.process.exitcode
        how = (
            f"was ended by {signal.Signals(-code).name}"
            if code is not None and code < 0
            else f"ended with exit code {code}"
        )
        return StageError(
            f"{worker.process.name}, one of {len(self.places)} of this task, {how}; what it said is in the task's log"
        )


@dataclass
class _Kept:
    """The pool that this process holds, for the shards that follow."""

    config: EngineConfig | None = None
    pool: EnginePool | None = None


_kept = _Kept()


def use_pool(config: EngineConfig, places: Sequence[Place]) -> EnginePool:
    """The processes for an engine: those that there are, if they are for the same; else those end and others start."""
    pool = _kept.pool
    if pool is None or not pool.is_open or _kept.config != config or pool.places != list(places):
        release_pool()
        pool = _kept.pool = EnginePool(places)
        _kept.config = config
        atexit.register(release_pool)
    return pool


def release_pool(at_once: bool = False) -> None:
    """Let the processes go: after a failure, before another model needs the memory, at exit. Safe to repeat."""
    pool, _kept.pool = _kept.pool, None
    atexit.unregister(release_pool)
    if pool is not None:
        pool.close(at_once)


def _serve(connection: Connection, place: Place, engines: int, scratch: Path, parent: int) -> None:
    """The process of one engine: makes the chunks that it is sent until there are no more."""
    if not lead_group(parent):
        return
    scratch.mkdir(parents=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    place.take()
    when_lost(connection.send)
    shard, made_by = None, None
    try:
        while True:
            try:
                order: Order = connection.recv()
            except EOFError:
                return
            if shard != (order.run_dir, order.shard):
                shard = (order.run_dir, order.shard)
                made_by = open_shard(Task(Run.load(order.run_dir), "generate", order.shard))
            assert made_by is not None
            write_chunk(order.path, *made_by, order.requests, engines)
            connection.send(made_by[0].start_seconds)
    except Exception as error:
        if not isinstance(error, RoutenatorError | OSError):
            traceback.print_exc()
            sys.stderr.flush()
            error = StageError(f"{type(error).__name__}: {error}")
        connection.send(error)
    finally:
        release_engine()


def lead_group(parent: int) -> bool:
    """Make one group of this process and the parts of a split model that it starts, which ends when this process or its
    parent does.

    Parts wait for each other busily, and would go on for ever where the engine is killed from outside. So a guard waits
    for its end.

    Args:
        parent: of this process.

    Returns:
        False if the parent is dead already.
    """
    os.setsid()
    engine = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, [_PARENT_DIED])
    if os.fork() == 0:
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # others wait for the ends of the engine's pipes
        if _die_with(engine, _PARENT_DIED):
            signal.sigwait([_PARENT_DIED])
        os.killpg(engine, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [_PARENT_DIED])
    return _die_with(parent, signal.SIGKILL)


def _die_with(parent: int, how: signal.Signals) -> bool:
    """Have this process sent a signal when its parent dies; False if it is dead already."""
    ctypes.CDLL(None).prctl(_PARENT_DEATH, how)
    return os.getppid() == parent
