"""A task that the kernel kills because it uses more memory than it asked for."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.plan import Run
from routenator.errors import InputError
from slurm.devcluster.cluster import DevCluster, down, up
from slurm.submission.submit import submit_missing
from tests.cluster.conftest import SMALL, ended, slurm_profile, wait_for
from tests.slurm.conftest import PACKAGE

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture
def strict_cluster(cluster: DevCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[DevCluster]:
    """A cluster of one node that limits memory; this process's environment refers to it."""
    root = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        started = up(root, 1, name="strict", beside=cluster, limit_memory=True)
        for name, value in started.environment.items():
            monkeypatch.setenv(name, value)
        yield started
    except InputError as error:  # of the kernel, which no package mends
        reason = f"NO REAL LACK OF MEMORY WAS TESTED: {' '.join(str(error).split())}"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    finally:
        down(root)
        shutil.rmtree(root, ignore_errors=True)


def test_on_call_5_a_task_that_the_kernel_killed_for_its_memory_is_told_what_to_raise(
    strict_cluster: DevCluster, make_run: Callable[..., Run], toys: Path
) -> None:
    """srun ends with code 1 then, as after a Python error, so the job itself is just FAILED."""
    (toys / "sample-1.eat").write_text("400")
    run = make_run(cluster=slurm_profile(stages={**SMALL, "sample": {**SMALL["sample"], "shards_per_task": 1}}))
    submit_missing(run, PACKAGE)
    status = wait_for(run, ended)
    (failure,) = status.stage("sample").failures
    assert failure.shard == 1
    assert failure.advice is not None and "raise cluster.stages.sample.memory_gib (now 0.25)" in failure.advice
