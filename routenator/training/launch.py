"""Starts the training processes of this node and supervises them until they exit.

A process that trains alone without DeepSpeed needs no group; the others join one by ``group.py``. On a signal, the
processes are asked (by a file) to write a checkpoint and exit; then the previous handler of the signal is called. A
failure is reported with the exception of the process that failed first, or else the end of the log.

On several nodes, an attempt begins when the first node writes ``job.json`` and ends when it removes it. The other nodes
may see either late: they wait for the file, and whatever fails once it is gone is not their failure.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any

from routenator.errors import InputError, StageError
from routenator.extras import require_training
from routenator.files import read_json
from routenator.nodes import ALONE, Nodes
from routenator.place import ROOT
from routenator.quiet import quiet_environment
from routenator.training.group import FOREIGN, group_environment
from routenator.training.job import LAUNCHER_VARIABLE, TrainingJob, TrainingResult

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR2)
_TAIL = 40  # lines of log in an error
_TRACE = 12  # lines of traceback in an error; the log has all of it
_POLL_S = 0.2
_STOP_GRACE_S = 600.0  # for a step and a checkpoint of a large model; the scheduler's own limit is usually shorter
_KILL_GRACE_S = 5.0
_FIRST_NODE_S = 600.0  # the nodes start within minutes of each other; each checks the data and a checkpoint first

Progress = Callable[[dict[str, Any]], None]


class StoppedError(StageError):
    """Training was asked to stop; a checkpoint was written."""


class FirstNodeLeftError(StageError):
    """The first node has ended the attempt while this node took part in it, and decides what becomes of it."""


def command(job: TrainingJob) -> list[str]:
    """Build the command line of a training process; its place among others is in its environment."""
    return [sys.executable, "-m", "routenator.training.worker", str(job.file)]


def _is_plain(job: TrainingJob, nodes: Nodes) -> bool:
    return job.config.processes == 1 and nodes.count == 1 and not job.config.deepspeed


def environment(processes: int, cpu: bool) -> dict[str, str]:
    """Build the workers' environment: ours without another launcher's variables, with the cores divided among them."""
    env = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    env["OMP_NUM_THREADS"] = str(max(1, _cores() // processes))
    env["TOKENIZERS_PARALLELISM"] = "false"
    env |= quiet_environment()  # before they import torch
    env["PYTHONUNBUFFERED"] = "1"
    env[LAUNCHER_VARIABLE] = str(os.getpid())
    # The workers must run the same code as this process.
    env["PYTHONPATH"] = os.pathsep.join(
        dict.fromkeys([str(ROOT), *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))])
    )
    if cpu:
        env["DS_ACCELERATOR"] = "cpu"
        env["CUDA_VISIBLE_DEVICES"] = ""
    return env


def _cores() -> int:
    """Number of cores for this node's processes.

    Those that the task is bound to, or ``OMP_NUM_THREADS`` if that is fewer, for clusters that do not bind tasks.
    """
    bound, given = len(os.sched_getaffinity(0)), os.environ.get("OMP_NUM_THREADS", "")
    return min(bound, int(given)) if given.isdecimal() and int(given) else bound


def _one_device() -> dict[str, str]:
    """Show one GPU to a process that trains alone.

    With more, transformers would silently multiply the batch over all of them.
    """
    if _on_cpu():
        return {}
    return {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}


def launch(
    job: TrainingJob, progress: Progress = lambda line: None, nodes: Nodes = ALONE, out: IO[str] | None = None
) -> TrainingResult:
    """Run a job on this node until it ends.

    Args:
        job: node 0 makes its folder and writes its file.
        progress: called with each new line of ``metrics.jsonl``.
        nodes: this node's place; nodes other than 0 return the result that node 0 wrote.
        out: destination of the processes' log; default: this process's stdout.

    Raises:
        InputError: a worker rejected its input, or a package is missing.
        StageError: a worker failed, or the first node did not begin.
        StoppedError: a signal stopped the training, and its previous handler, if any, returned.
        FirstNodeLeftError: the first node ended the attempt before this one was through; only on the others.
    """
    require_training(job.config.method, job.config.deepspeed, job.config.tracker)
    if nodes.index == 0:
        job.root.mkdir(parents=True, exist_ok=True)
        job.write()
    tail: deque[str] = deque(maxlen=_TAIL)
    # Only this user may enter the folder, through which the processes of one node meet.
    with tempfile.TemporaryDirectory(prefix="routenator-") as folder, _Signals() as signals:
        if nodes.index:
            _wait_for_first(job, nodes, out or sys.stdout)
        workers = _start(job, nodes, Path(folder))
        readers = [
            threading.Thread(target=_copy, args=(worker.stdout, out or sys.stdout, tail), daemon=True)
            for worker in workers
        ]
        for reader in readers:
            reader.start()
        try:
            codes = _watch(workers, job, signals, _Metrics(job.metrics_file), progress)
        finally:
            _end(workers)
            for reader in readers:
                reader.join(timeout=_KILL_GRACE_S)
        result = _result(job)
        if signals.caught is not None and (result is None or not result.finished):
            signals.pass_on()
            # Node 0's processes write the result, perhaps later than those of another node exit.
            unknown = "before its first step" if nodes.index == 0 else "(the first node's log names the step)"
            reached = f"at step {result.step} of {result.max_steps}, with a checkpoint" if result else unknown
            raise StoppedError(
                f"training was stopped by {signal.Signals(signals.caught).name} {reached}; run it again to resume"
            )
    if result is not None and not any(codes):
        return result
    if nodes.index and not job.file.is_file():
        # The processes of this node failed for want of the folder or of those on the first node, or the result has
        # been removed before it could be read.
        raise FirstNodeLeftError(f"node {nodes.index} of {nodes.count}: the first node has ended this attempt")
    raise _failure(job, codes, tail)


def _wait_for_first(job: TrainingJob, nodes: Nodes, out: IO[str]) -> None:
    """Wait until the first node has written the job, which the processes of this node read as soon as they start.

    A first node that has already left is waited for too, until the scheduler ends this task.

    Raises:
        StageError: it did not write the job in time.
    """
    if not job.file.is_file():
        out.write(f"node {nodes.index} of {nodes.count}: waiting for the first node to begin\n")
        out.flush()
    deadline = time.monotonic() + _FIRST_NODE_S
    while not job.file.is_file():
        if time.monotonic() > deadline:
            raise StageError(
                f"node {nodes.index} of {nodes.count}: the first node did not begin within {_FIRST_NODE_S:g} s, "
                f"or has left ({job.file})"
            )
        time.sleep(_POLL_S)


def _result(job: TrainingJob) -> TrainingResult | None:
    try:
        return TrainingResult.model_validate(read_json(job.result_file))
    except FileNotFoundError:
        return None


def _on_cpu() -> bool:
    """Whether to train on the CPU, judged by the absence of accelerator device nodes, without importing torch."""
    return not any(Path(name).exists() for name in ("/dev/nvidiactl", "/dev/kfd"))


@dataclass
class _Signals:
    """Records signals that ask to stop; ``pass_on`` calls the previous handler of the first."""

    caught: int | None = None
    _before: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # A handler can interrupt any code, so it only records the signal; the main loop acts on it.
        self.caught = self.caught or number

    def pass_on(self) -> None:
        former = self._before.get(self.caught or 0)
        if callable(former):
            former(self.caught, None)


class _Metrics:
    """Reads the new complete lines of a growing file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._at = 0

    def new(self) -> list[dict[str, Any]]:
        try:
            with open(self.file, "rb") as source:
                source.seek(self._at)
                text = source.read()
        except FileNotFoundError:  # not yet there, or removed by the first node
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._at += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


def _start(job: TrainingJob, nodes: Nodes, folder: Path) -> list[subprocess.Popen[str]]:
    """Start this node's processes.

    Args:
        folder: of the file through which they meet if there is only this node.
    """
    shared = environment(job.config.processes, _on_cpu())
    workers = []
    # A scheduler signals every process of a task, but only this one handles the signal. The children inherit the mask.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        for local in range(job.config.processes):
            own = (
                _one_device()
                if _is_plain(job, nodes)
                else group_environment(local, job.config.processes, nodes, folder)
            )
            workers.append(
                subprocess.Popen(
                    command(job),
                    env=shared | own,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    # A new session: a terminal's Ctrl-C reaches only this process, which stops the workers in its own
                    # way.
                    start_new_session=True,
                )
            )
    except BaseException:
        _end(workers)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    return workers


def _watch(
    workers: Sequence[subprocess.Popen[str]],
    job: TrainingJob,
    signals: _Signals,
    metrics: _Metrics,
    progress: Progress,
) -> list[int]:
    """Wait until the processes exit, or fail to exit in time after a stop request or an error.

    Returns:
        Exit codes of those that exited by themselves.
    """
    asked: float | None = None
    failed: float | None = None
    while any(worker.poll() is None for worker in workers):
        if signals.caught is not None and asked is None:
            job.ask_to_stop()
            asked = time.monotonic()
        if asked is not None and time.monotonic() - asked > _STOP_GRACE_S:
            break
        if failed is None and (any(worker.returncode for worker in workers) or any(job.root.glob("error-*.json"))):
            failed = time.monotonic()
        if failed is not None and time.monotonic() - failed > _KILL_GRACE_S:
            break  # the others would wait many minutes in a collective for the failed one
        for line in metrics.new():
            progress(line)
        time.sleep(_POLL_S)
    for line in metrics.new():
        progress(line)
    # One that has to be killed has failed too, even if no other did.
    return [-signal.SIGTERM if worker.returncode is None else worker.returncode for worker in workers]


def _end(workers: Iterable[subprocess.Popen[str]]) -> None:
    """Kill the processes and all their descendants that are still running."""
    import psutil

    for worker in workers:
        try:
            parent = psutil.Process(worker.pid)
            family = [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            family = []
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        worker.wait()


def _copy(source: IO[str] | None, target: IO[str], tail: deque[str]) -> None:
    for line in source or ():
        tail.append(line)
        target.write(line)
        target.flush()


def _failure(job: TrainingJob, codes: Sequence[int], tail: deque[str]) -> StageError | InputError:
    """Return the error of the process that failed first, or else one made from the exit codes and the log."""
    end = "end of its log:\n" + "".join(tail).rstrip()
    if -signal.SIGKILL in codes:
        # Errors of the other processes are only a consequence of the kill.
        return StageError(f"a training process was killed (did the node run out of memory?); {end}")
    found = sorted((read_json(file) for file in job.root.glob("error-*.json")), key=lambda error: error["time"])
    if not found:
        code = next(filter(None, codes), None)
        return StageError(f"training ended {f'with exit code {code}' if code else 'without a result'}; {end}")
    first = found[0]
    if first["input"]:
        return InputError(first["message"])
    trace = "\n".join(first["trace"].rstrip().splitlines()[-_TRACE:])
    return StageError(f"training failed on rank {first['rank']}: {first['kind']}: {first['message']}\n{trace}")
