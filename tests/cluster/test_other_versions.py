"""The cases in which versions of Slurm may differ, again, on a version other than the system's.

They are the tests of other modules; only their cluster is another one: of 24.11, or of what ``TEST_SLURM`` names.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.plan import Run
from jobs.task import read_receipt
from launch import app
from routenator.errors import RoutenatorError
from slurm.devcluster.cluster import DevCluster
from slurm.devcluster.releases import Release, find_release
from slurm.submission.submit import submit_missing
from tests.cluster.conftest import ended, not_tested, running, slurm_profile, told, until, wait_for
from tests.cluster.test_devcluster import test_its_daemons_listen_on_loopback_only
from tests.cluster.test_misfortune import (
    test_a_dead_node_and_a_killed_controller,
    test_a_python_error_is_not_repeated_and_a_requeue_by_hand_is_an_attempt,
)
from tests.cluster.test_queue import (
    test_a_failed_shard_stops_what_needs_it_and_retry_submits_only_what_is_missing,
    test_a_job_that_slurm_refuses_leaves_nothing_in_the_queue,
    test_cancel_ends_this_runs_jobs_and_no_others,
    test_every_option_of_this_sbatch_is_known,
    test_the_whole_dag_is_submitted_at_once,
)
from tests.conftest import ROOT
from tests.slurm.conftest import PACKAGE

__all__ = [
    "test_a_dead_node_and_a_killed_controller",
    "test_a_failed_shard_stops_what_needs_it_and_retry_submits_only_what_is_missing",
    "test_a_job_that_slurm_refuses_leaves_nothing_in_the_queue",
    "test_a_python_error_is_not_repeated_and_a_requeue_by_hand_is_an_attempt",
    "test_cancel_ends_this_runs_jobs_and_no_others",
    "test_every_option_of_this_sbatch_is_known",
    "test_its_daemons_listen_on_loopback_only",
    "test_the_whole_dag_is_submitted_at_once",
]

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


NAME = os.environ.get("TEST_SLURM", "24.11")
CACHE = Path(os.environ.get("ROUTENATOR_CACHE", ROOT / ".cache"))


@pytest.fixture(scope="module")
def release() -> Release:
    """The other version, fetched once."""
    try:
        found = find_release(NAME, CACHE)
    except RoutenatorError as error:
        not_tested(f"SLURM {NAME} WAS NOT TESTED: {' '.join(str(error).split())}")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def cluster(release: Release) -> Iterator[DevCluster]:
    """A cluster of that version, for this module alone."""
    with running(release) as started:
        yield started


def test_commands_and_daemons_are_of_the_other_version(cluster: DevCluster, release: Release) -> None:
    version = release.version.split("-")[0]
    assert NAME == "sid" or version.startswith(NAME)
    assert subprocess.run(["sbatch", "--version"], capture_output=True, text=True, check=True).stdout.endswith(
        f" {version}\n"
    )
    text = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=True).stdout
    assert f"SLURM_VERSION           = {version}\n" in text


def test_a_preempted_task_goes_on_and_queue_answers(
    cluster: DevCluster, make_run: Callable[..., Run], toys: Path
) -> None:
    profile = slurm_profile(partition="spare", extra={"nodelist": "n1"})
    run = make_run(cluster=profile, sample__shards=1, generate__shards=1)
    (toys / "generate-0.sleep").write_text("60")
    submit_missing(run, PACKAGE)
    chunks = run.stage_dir("generate") / "shard-00000.work"
    until((chunks / "5").exists, "the generate task")
    subprocess.run(
        ["sbatch", "--partition=urgent", "--nodelist=n1", "--exclusive", "--output=/dev/null", "--wrap=sleep 5"],
        check=True,
        capture_output=True,
    )
    # The second attempt may be faster: ten chunks a second.
    wait_for(run, lambda seen: seen.stage("generate").pending == 1)
    (toys / "generate-0.sleep").write_text(str(len(list(chunks.iterdir())) / 10 + 1))
    shown = CliRunner().invoke(app, ["queue"])
    assert shown.exit_code == 0 and "spare" in shown.output, shown.output
    status = wait_for(run, ended)
    assert status.state == "done", told(status)
    receipt = read_receipt(run.stage_dir("generate"), 0)
    assert receipt is not None and receipt.attempt == 2
    assert {path.read_text() for path in chunks.iterdir()} == {"1", "2"}
