"""A real Slurm for each test worker, with four nodes, several partitions, fake GPUs and accounting; and a small disk.

Its arrays have at most 101 tasks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from jobs.plan import Run
from slurm.devcluster.cluster import DevCluster, down, missing_packages, up
from slurm.devcluster.releases import Release
from slurm.watching.run_status import RunStatus
from slurm.watching.status import StatusReader
from tests.slurm.conftest import make_run, toys

__all__ = ["make_run", "toys"]

MAX_ARRAY_SIZE = 101
NODES = 4
LIMIT_S = 240
DISK_MIB = 32
# Small enough for several tasks per node; the nodes have 8 cores and 4 GB, whatever the machine has.
SMALL = {
    name: {"cpus": 1, "memory_gib": 0.25, "minutes": 5}
    for name in ("sample", "generate", "merge", "train", "evaluate", "report")
}


def slurm_profile(**changes: Any) -> dict[str, Any]:
    """A cluster section for the test cluster."""
    return {"kind": "slurm", "partition": "main", "signal_delay_s": 30, "stages": SMALL, **changes}


def _disk_folder(root: Path) -> Path:
    return root.with_name(f"{root.name}-disk")


def not_tested(reason: str) -> NoReturn:
    """Skip what needs a Slurm that is not here, visibly; in CI it is there, so fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    warnings.warn(reason, stacklevel=1)
    pytest.skip(reason)


@contextmanager
def running(release: Release | None = None) -> Iterator[DevCluster]:
    """Run a cluster of a version of Slurm, with a small disk beside it; this process's environment refers to it."""
    missing = missing_packages(slurm=release is None)
    if missing:
        not_tested(f"NO REAL SLURM WAS TESTED: apt-get install -y --no-install-recommends {' '.join(missing)}")
    # Not pytest's own folder: its path is too long for a socket.
    root = Path(tempfile.mkdtemp(prefix="slurm-"))
    disk = _disk_folder(root)
    disk.mkdir()
    # Before the cluster starts, because its namespace only sees what is mounted then.
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "none", disk], capture_output=True, check=False
    )
    try:
        with pytest.MonkeyPatch.context() as patch:
            started = up(root, NODES, max_array_size=MAX_ARRAY_SIZE, release=release)
            for name, value in started.environment.items():
                patch.setenv(name, value)
            yield started
    finally:
        down(root)
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", disk], check=True)
        disk.rmdir()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster() -> Iterator[DevCluster]:
    """The cluster, of the system's Slurm; this process's environment refers to it."""
    with running() as started:
        yield started


@pytest.fixture(scope="session")
def other_cluster(cluster: DevCluster) -> Iterator[DevCluster]:
    """A second cluster, `other`, of one node under the first one's slurmdbd; `--clusters=other` reaches it."""
    root = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        yield up(root, 1, name="other", max_array_size=MAX_ARRAY_SIZE, beside=cluster)
    finally:
        down(root)
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def small_disk(cluster: DevCluster) -> Path:
    """A file system of ``DISK_MIB``, to be filled."""
    disk = _disk_folder(Path(cluster.root))
    if not disk.is_mount():
        pytest.skip("only root may mount a small disk")
    return disk


def wait_for(run: Run, condition: Callable[[RunStatus], bool], limit_s: float = LIMIT_S) -> RunStatus:
    """Wait for a status that meets a condition and return it."""
    deadline = time.monotonic() + limit_s
    reader = StatusReader(run)
    while True:
        status = reader.read()
        if condition(status):
            return status
        assert time.monotonic() < deadline, f"waited in vain; {told(status)}"
        time.sleep(0.5)


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait until a condition is true and return its value."""
    deadline = time.monotonic() + LIMIT_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)
    return value


def ended(status: RunStatus) -> bool:
    return status.ended


def told(status: RunStatus) -> str:
    """Summarize a status in a few lines, for a failed assertion."""
    lines = [f"{status.state} {status.problem or ''}"]
    for stage in status.stages:
        lines.append(f"{stage.stage}: {stage.done} done of {stage.shards}, {stage.state}")
        lines += [f"  shard {failure.shard}: {failure.reason}" for failure in stage.failures]
        lines += [f"    {line}" for failure in stage.failures for line in failure.tail[-3:]]
    return "\n".join(lines)
