"""Which of a task's nodes this is. On several nodes Slurm runs the task once on each; they agree on a meeting place through a file."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from pathlib import Path
from typing import Any

from routenator.errors import StageError
from routenator.files import read_json
from routenator.nodes import ALONE, Nodes

_WAIT_S = 600.0  # nodes of one job start within minutes of each other
_POLL_S = 0.5


def task_nodes(folder: Path) -> Nodes:
    """This node's place; alone outside Slurm or with one task.

    Node 0 chooses a free port and writes where to meet; the file's name holds the job's id and its restarts, so that no start of a job
    reads an older start's file.

    Args:
        folder: on a file system that all nodes share.

    Raises:
        StageError: node 0 did not say where to meet.
    """
    count = int(os.environ.get("SLURM_NTASKS", "1"))
    index = int(os.environ.get("SLURM_PROCID", "0"))
    if count == 1:
        return ALONE
    job, restarts = os.environ.get("SLURM_JOB_ID", "0"), os.environ.get("SLURM_RESTART_COUNT", "0")
    file = folder / f"meet-{job}-{restarts}.json"
    if index == 0:
        with socket.socket() as probe:
            probe.bind(("", 0))
            port = probe.getsockname()[1]
        address = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
        _write_private(file, {"address": address, "port": port, "secret": secrets.token_hex(32)})
    deadline = time.monotonic() + _WAIT_S
    while not file.is_file():
        if time.monotonic() > deadline:
            raise StageError(f"node {index} of {count}: the first node did not say where to meet within {_WAIT_S:g} s ({file})")
        time.sleep(_POLL_S)
    place = read_json(file)
    return Nodes(count, index, place["address"], place["port"], place["secret"])


def _write_private(file: Path, value: dict[str, Any]) -> None:
    """Whole or not at all, and for this user alone."""
    temporary = file.with_name(f".{file.name}")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        json.dump(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(file)
