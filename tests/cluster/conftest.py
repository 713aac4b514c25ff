"""A real Slurm for the session: three nodes, accounting, arrays of at most four tasks."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.plan import Run
from slurm.devcluster import DevCluster, down, missing_packages, up
from slurm.status import RunStatus, StatusReader
from tests.slurm.conftest import make_run, toys

__all__ = ["make_run", "toys"]

MAX_ARRAY_SIZE = 4
NODES = 3
LIMIT_S = 180
# Small enough for several tasks a node; the nodes have 8 cores and 4 GB, whatever the machine has.
SMALL = {name: {"cpus": 1, "memory_gib": 0.25, "minutes": 5} for name in ("sample", "generate", "merge", "train", "evaluate", "report")}


def slurm_profile(**changes: Any) -> dict[str, Any]:
    """A cluster section for the test cluster."""
    return {"kind": "slurm", "partition": "main", "signal_delay_s": 30, "stages": SMALL, **changes}


@pytest.fixture(scope="session")
def cluster() -> Iterator[DevCluster]:
    """The cluster; the environment of this process points at it."""
    missing = missing_packages()
    if missing:
        reason = f"NO REAL SLURM WAS TESTED: apt-get install -y --no-install-recommends {' '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    # Not pytest's own folder: its name is too long for a socket, and others cannot enter it.
    root = Path(tempfile.mkdtemp(prefix="slurm-"))
    saved = os.environ.get("SLURM_CONF")
    try:
        running = up(root, NODES, max_array_size=MAX_ARRAY_SIZE)
        os.environ["SLURM_CONF"] = str(running.slurm_conf)
        yield running
    finally:
        if saved is None:
            os.environ.pop("SLURM_CONF", None)
        else:
            os.environ["SLURM_CONF"] = saved
        down(root)
        shutil.rmtree(root, ignore_errors=True)


def wait_for(run: Run, condition: Callable[[RunStatus], bool]) -> RunStatus:
    """The first status that meets a condition."""
    deadline = time.monotonic() + LIMIT_S
    reader = StatusReader(run)
    while True:
        status = reader.read()
        if condition(status):
            return status
        assert time.monotonic() < deadline, f"waited in vain; {status}"
        time.sleep(0.5)


def ended(status: RunStatus) -> bool:
    return status.state not in ("running", "unknown")
