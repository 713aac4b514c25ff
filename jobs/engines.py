"""Runs a generate task's engines in processes of their own, if it has several or one that spans several GPUs.

Each process gets one chunk at a time and does all the work for it (prompts, replies, checks, checkpoint), so the result
does not depend on the number of processes. The first failure stops them all and becomes the task's error.
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

# A scheduler sends its signals to every process of a task, but only the main process may react to them.
_SIGNALS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
_END_S = 20.0  # time for an engine to release its resources
_PARENT_DEATH = 1  # PR_SET_PDEATHSIG
_PARENT_DIED = signal.SIGHUP  # tells the guard that its parent died; no scheduler sends it


@dataclass(frozen=True)
class Order:
    """A chunk to generate: its stage and shard, the path of its checkpoint, and its requests."""

    run_dir: str
    stage: str
    shard: int
    path: Path
    requests: pa.Table


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    order: Order | None = None


class EnginePool:
    """A pool of processes with one engine each, started on demand and kept for the following shards. ``close`` it.

    Args:
        places: the devices of each engine.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = list(places)
        self.start_seconds = 0.0  # longest time that one of them took to load its model, during the last `make`
        self.is_open = True
        self._workers: list[_Worker] = []
        self._scratch = Path(tempfile.mkdtemp(prefix="rn-"))

    def make(self, orders: Sequence[Order]) -> Iterator[Path]:
        """Generate these chunks and yield each path once it is written.

        Raises:
            StageError: an engine died or failed.
            Exception: as raised in an engine's process.
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
        """Stop the processes and remove their temporary files. Safe to repeat.

        Args:
            at_once: kill them without giving them time to exit.
        """
        self.is_open = False
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.connection.close()
        for worker in workers:
            if not at_once:
                worker.process.join(_END_S)
            worker.process.kill()  # the processes of a split model die with it
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
        # Block the signals around the start: the engine inherits the mask and so never sees them. A signal that arrives
        # meanwhile is delivered to this process when it unblocks them.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            # `start` would start the tracker, and that unblocks SIGINT and SIGTERM. Start it first, then block again.
            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
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
            f"was killed by {signal.Signals(-code).name}"
            if code is not None and code < 0
            else f"exited with code {code}"
        )
        return StageError(
            f"{worker.process.name}, one of {len(self.places)} of this task, {how}; its output is in the task's log"
        )


@dataclass
class _Kept:
    """The pool that this process keeps for the following shards."""

    config: EngineConfig | None = None
    pool: EnginePool | None = None


_kept = _Kept()


def use_pool(config: EngineConfig, places: Sequence[Place]) -> EnginePool:
    """Return a pool for an engine: the current one if it is for the same engine, otherwise a new one."""
    pool = _kept.pool
    if pool is None or not pool.is_open or _kept.config != config or pool.places != list(places):
        release_pool()
        pool = _kept.pool = EnginePool(places)
        _kept.config = config
        atexit.register(release_pool)
    return pool


def release_pool(at_once: bool = False) -> None:
    """Close the pool: after a failure, before another model needs the memory, or at exit. Safe to repeat."""
    pool, _kept.pool = _kept.pool, None
    atexit.unregister(release_pool)
    if pool is not None:
        pool.close(at_once)


def _serve(connection: Connection, place: Place, engines: int, scratch: Path, parent: int) -> None:
    """Main function of an engine's process: generates the chunks it receives until the connection closes."""
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
            if shard != (order.run_dir, order.stage, order.shard):
                shard = (order.run_dir, order.stage, order.shard)
                made_by = open_shard(Task(Run.load(order.run_dir), order.stage, order.shard))
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
    """Lead a process group, with the processes of a split model, that dies when this process or its parent dies.

    The processes of a split model busy-wait for each other and would run forever if the engine were killed from
    outside. So a forked guard waits for the engine's death and then kills the group.

    Args:
        parent: process id of the parent.

    Returns:
        False if the parent is already dead.
    """
    os.setsid()
    engine = os.getpid()
    # Blocked before the fork, so that the guard can `sigwait` for it: unblocked, it would kill the guard instead.
    signal.pthread_sigmask(signal.SIG_BLOCK, [_PARENT_DIED])
    if os.fork() == 0:
        # The guard must not hold the engine's pipes open: the main process waits for their end when the engine dies.
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        if _die_with(engine, _PARENT_DIED):
            signal.sigwait([_PARENT_DIED])
        os.killpg(engine, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [_PARENT_DIED])
    return _die_with(parent, signal.SIGKILL)


def _die_with(parent: int, how: signal.Signals) -> bool:
    """Ask the kernel to signal this process when its parent dies; False if the parent is already dead."""
    ctypes.CDLL(None).prctl(_PARENT_DEATH, how)
    # Checked after the request: a parent that died before it would send nothing.
    return os.getppid() == parent
