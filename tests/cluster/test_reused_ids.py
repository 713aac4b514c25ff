"""A controller that crashed reuses the ids of jobs from its last seconds, so a job with our id may not be ours."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.plan import Run
from slurm import control
from slurm.devcluster.cluster import DevCluster
from slurm.submission.options import job_name
from slurm.submission.submissions import append_submission
from slurm.submission.submit import submit_missing
from slurm.watching.status import StatusReader
from tests.cluster.conftest import ended, slurm_profile, told, wait_for
from tests.slurm.conftest import PACKAGE

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def test_a_job_that_was_given_our_id_is_neither_counted_nor_ended(
    cluster: DevCluster, make_run: Callable[..., Run], toys: Path
) -> None:
    run, other = make_run(cluster=slurm_profile()), make_run(cluster=slurm_profile(), seed=5)
    assert run.config.name == other.config.name
    (toys / "sample-0.sleep").write_text("600")
    theirs = submit_missing(other, PACKAGE)
    command = ["sbatch", "--parsable", "--output=/dev/null", "--mem=100M", "--wrap=sleep 600"]
    foreign = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    wait_for(other, lambda seen: seen.stage("sample").running == 1 and seen.stage("sample").done == 1)

    # The record that this run would have of jobs that the controller then forgot.
    for item in theirs:
        job = foreign if item.stage == "merge" else item.job
        append_submission(run, replace(item, job=job, name=job_name(run, item.stage), time=time.time() - 60))
    status = StatusReader(run).read()
    assert (status.state, status.stage("sample").unknown, status.usage.attempts) == ("unknown", 2, 0), told(status)
    status = wait_for(run, ended)
    assert (status.state, status.stage("sample").failed, status.usage.attempts) == ("failed", 2, 0), told(status)
    assert status.stage("sample").failures[0].reason == "LOST (Slurm does not have it, asked twice)"
    assert control.cancel(run).jobs == []

    (toys / "sample-0.sleep").unlink()
    made = submit_missing(run, PACKAGE)
    assert [(item.stage, item.shards) for item in made] == [(item.stage, item.shards) for item in theirs], (
        "nothing counts as live"
    )
    own = {item.job for item in made}
    assert all(set(item.depends) <= own for item in made) and own.isdisjoint(item.job for item in theirs)
    status = wait_for(run, ended)
    assert status.state == "done", told(status)
    status = wait_for(run, lambda seen: seen.usage.attempts >= 9)
    assert (status.usage.attempts, status.usage.wasted_attempts) == (9, 0), (
        "two sample tasks, three of generate, one of each other stage"
    )
    assert wait_for(other, lambda seen: True).stage("sample").running == 1
    queued = subprocess.run(
        ["squeue", "--noheader", "--format=%T", f"--jobs={foreign}"], capture_output=True, text=True, check=True
    )
    assert queued.stdout.strip() == "RUNNING"

    assert set(control.cancel(other).jobs) == {item.job for item in theirs}
    subprocess.run(["scancel", foreign], check=True)
    wait_for(other, ended)
