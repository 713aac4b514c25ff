"""Finds this process's place among a task's nodes. Slurm runs the task once per node; they meet through a file."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.slurm_environment import reading_environment
from routenator.errors import StageError
from routenator.files import read_json
from routenator.nodes import ALONE, Nodes

_WAIT_S = 600.0  # nodes of one job start within minutes of each other
_POLL_S = 0.5
_ASK_S = 20.0


def task_nodes(folder: Path) -> Nodes:
    """Return this node's place; a single node outside Slurm or with one task.

    Node 0 chooses a free port and writes its address to a file. The file's name includes the job's id and restart
    count, so that no start reads the file of an earlier one.

    Args:
        folder: a folder on a file system that all nodes share.

    Raises:
        StageError: node 0 did not write its address in time.
    """
    count = int(os.environ.get("SLURM_NTASKS", "1"))
    index = int(os.environ.get("SLURM_PROCID", "0"))
    if count == 1:
        return ALONE
    job, restarts = os.environ.get("SLURM_JOB_ID", "0"), os.environ.get("SLURM_RESTART_COUNT", "0")
    file = folder / f"meet-{job}-{restarts}.json"
    if index == 0:
        address = own_address()
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.bind(("", 0))
            port = probe.getsockname()[1]
        _write_private(file, {"address": address, "port": port, "secret": secrets.token_hex(32)})
    deadline = time.monotonic() + _WAIT_S
    while not file.is_file():
        if time.monotonic() > deadline:
            raise StageError(
                f"node {index} of {count}: the first node did not write its address within {_WAIT_S:g} s ({file})"
            )
        time.sleep(_POLL_S)
    place = read_json(file)
    return Nodes(count, index, place["address"], place["port"], place["secret"])


def wait_for_end(why: str, is_done: Callable[[], bool] = lambda: False) -> None:
    """Wait for the scheduler to stop this task, since exiting first would count as a failure. Gives up eventually.

    Args:
        why: for the log.
        is_done: whether there is nothing left to wait for.
    """
    print(f"{why}; waiting for the scheduler to stop this task", file=sys.stderr, flush=True)
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline and not is_done():
        time.sleep(_POLL_S)


def own_address() -> str:
    """Return the IP address under which the other nodes of the allocation reach this one.

    A node's name may not resolve (several slurmds on one host), or may resolve to 127.0.1.1 (Debian's /etc/hosts). So
    this tries, in order, the address that Slurm uses for the node, the one that srun used, and the names, and takes the
    first that belongs to this machine and is not a loopback address. If there are only loopback addresses, all nodes
    are on one host and one of those is right.
    """
    node = os.environ.get("SLURMD_NODENAME", "")
    names = [
        _node_address(node),
        os.environ.get("SLURM_LAUNCH_NODE_IPADDR", ""),
        node,
        socket.getfqdn(),
        socket.gethostname(),
    ]
    inner = ""
    for name in filter(None, names):
        for address in _addresses(name):
            # If NodeAddr itself is a loopback address, Slurm's daemons use it too, so the nodes share a host.
            if not ipaddress.ip_address(address.partition("%")[0]).is_loopback or address == names[0]:
                return address
            inner = inner or address
    return inner or "127.0.0.1"


def _node_address(node: str) -> str:
    """Return a node's NodeAddr from scontrol; empty if there is no scontrol (in a container)."""
    if not node or shutil.which("scontrol") is None:
        return ""
    try:
        done = subprocess.run(
            ["scontrol", "show", "node", node],
            capture_output=True,
            text=True,
            timeout=_ASK_S,
            env=reading_environment(),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"\bNodeAddr=(\S+)", done.stdout)
    return found[1] if found else ""


def _addresses(name: str) -> list[str]:
    """Return those addresses of a name that belong to this machine (can be bound here), IPv4 first."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    own = []
    for family, kind, _, _, place in sorted(found, key=lambda item: item[0] != socket.AF_INET):
        try:
            with socket.socket(family, kind) as probe:
                probe.bind((place[0], 0))
        except OSError:
            continue
        own.append(str(place[0]))
    return list(dict.fromkeys(own))


def _write_private(file: Path, value: dict[str, Any]) -> None:
    """Write a file atomically, readable by this user only, because it contains a secret."""
    temporary = file.with_name(f".{file.name}")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        json.dump(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(file)
