"""A private Ray instance for this task, on one node or on all nodes of an allocation.

It never connects to another instance and never stops one (``ray stop`` would end every Ray on the node). Its files are
in a folder of its own with a short name: Ray's sockets are there, and a socket's path may have at most 107 characters.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from routenator.errors import StageError
from routenator.nodes import ALONE, Nodes
from routenator.place import ROOT

_STORE_BYTES = 100_000_000  # prompts and answers are small; Ray's default would take a third of the memory
_START_S = 120.0
_STOP_S = 15.0
_SHORT = 40  # a temporary folder with a longer path leaves no room for the sockets' names
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # By default actors give way to everything else on the node (15), also to another user's jobs; they are our work.
    "RAY_worker_niceness": "0",
}


@contextmanager
def ray_instance(cpus: int, nodes: Nodes = ALONE) -> Iterator[None]:
    """Start Ray on all of the task's nodes, connect to it, and stop it after the block.

    Args:
        cpus: CPUs of this node that Ray may use.
        nodes: the task's nodes; this must be the first.

    Raises:
        StageError: Ray does not start, or a node does not join; the message includes Ray's own.
    """
    _environment(nodes)
    import ray

    folder = _short_folder()
    head: subprocess.Popen[bytes] | None = None
    try:
        with _importable(), _handlers_kept():
            if nodes.count == 1:
                ray.init(
                    address="local",
                    num_cpus=cpus,
                    include_dashboard=False,
                    object_store_memory=_STORE_BYTES,
                    _temp_dir=str(folder),
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            else:
                head = _start(
                    [
                        "--head",
                        f"--node-ip-address={nodes.address}",
                        f"--port={nodes.port}",
                        "--include-dashboard=false",
                    ],
                    cpus,
                    folder,
                )
                _connect(head, nodes, folder)
        yield
    except (OSError, RuntimeError, ValueError, ConnectionError) as error:
        raise StageError(f"Ray failed: {type(error).__name__}: {error}") from error
    finally:
        ray.shutdown()
        if head is not None:
            _end(head)
        shutil.rmtree(folder, ignore_errors=True)


def join(cpus: int, nodes: Nodes, over: Callable[[], bool]) -> None:
    """Join this node to the first node's Ray until ``over()`` is true or that Ray has stopped.

    Raises:
        StageError: the first node's Ray cannot be reached.
    """
    folder = _short_folder()
    _environment(nodes)
    try:
        with _importable():
            deadline = time.monotonic() + _START_S
            while True:
                worker = _start([f"--address={nodes.address}:{nodes.port}"], cpus, folder)
                started = time.monotonic()
                while worker.poll() is None and not over():
                    time.sleep(1.0)
                _end(worker)
                if over() or time.monotonic() - started > _START_S:
                    return
                # A worker that ended early probably found no head yet: the first node may start later than this one.
                if time.monotonic() > deadline:
                    raise StageError(
                        f"node {nodes.index}: no Ray at {nodes.address}:{nodes.port} within {_START_S:g} s\n"
                        f"{_log(folder)}"
                    )
                time.sleep(2.0)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _environment(nodes: Nodes) -> None:
    """Set Ray's environment variables; to be called before Ray is imported.

    Ray runs any code that a client sends, so it gets a token that only this task knows. Ray reads the token once per
    process, so a second instance in this process uses the same one.
    """
    os.environ.update(_QUIET, RAY_AUTH_MODE="token")
    if nodes.secret:
        os.environ["RAY_AUTH_TOKEN"] = nodes.secret
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.pop("RAY_ADDRESS", None)


def _start(arguments: list[str], cpus: int, folder: Path) -> subprocess.Popen[bytes]:
    """Run ``ray start --block``, whose child processes end with it."""
    line = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        *arguments,
        f"--num-cpus={cpus}",
        "--block",
        "--disable-usage-stats",
    ]
    line += [f"--object-store-memory={_STORE_BYTES}"]
    if "--head" in arguments:
        line += [f"--temp-dir={folder}"]
    with open(folder / "start.log", "ab") as log:
        return subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def _connect(head: subprocess.Popen[bytes], nodes: Nodes, folder: Path) -> None:
    """Connect to the head that was just started, and wait for the other nodes."""
    import ray

    deadline = time.monotonic() + _START_S
    while True:
        if head.poll() is not None:
            raise StageError(f"Ray's head ended with exit code {head.returncode}\n{_log(folder)}")
        try:
            socket.create_connection((nodes.address, nodes.port), timeout=5.0).close()
            break
        except OSError:
            if time.monotonic() > deadline:
                raise StageError(
                    f"Ray's head does not answer at {nodes.address}:{nodes.port}\n{_log(folder)}"
                ) from None
            time.sleep(0.5)
    ray.init(address=f"{nodes.address}:{nodes.port}", log_to_driver=False, logging_level=logging.ERROR)
    while (alive := sum(node["Alive"] for node in ray.nodes())) < nodes.count:
        if time.monotonic() > deadline:
            raise StageError(f"{alive} of {nodes.count} nodes joined Ray within {_START_S:g} s")
        time.sleep(1.0)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # it leads its own session, so this hits nothing else
            process.wait()


def _short_folder() -> Path:
    root = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="rn-", dir=root if len(root) < _SHORT else "/tmp"))


def _log(folder: Path) -> str:
    file = folder / "start.log"
    return "\n".join(file.read_text(errors="replace").splitlines()[-20:]) if file.is_file() else ""


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Restore the SIGTERM handler after the block: Ray replaces it and does not put it back."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _importable() -> Iterator[None]:
    """Put this checkout first in PYTHONPATH, so that Ray's processes import the same code as this one."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(
        dict.fromkeys([str(ROOT), *filter(None, (before or "").split(os.pathsep))])
    )
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
