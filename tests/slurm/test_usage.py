"""Hours used and wasted, from sacct's records and receipts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from jobs.plan import Run
from jobs.task import Receipt
from slurm.submission.answers import Attempt, QueueEntry
from slurm.submission.queue import QueueView
from slurm.submission.submissions import Submission
from slurm.watching.usage import Usage, stage_usage

T0 = 1_800_000_000.0
ARRAY = Submission("slurm", "generate", "5", "0-2", array=True, time=T0, name="toy")


def receipt(job: str, number: int = 1, seconds: float = 60.0) -> Receipt:
    """A receipt of a task's attempt; its time, by another clock, does not matter."""
    return Receipt("generate", 0, 10, seconds, "n1", number, job, "1999-01-01T00:00:00Z", {}, {})


def attempt(state: str, start: float, seconds: int | None, nodes: int = 1, gpus: int | None = None) -> Attempt:
    end = None if seconds is None else T0 + start + seconds
    return Attempt(state, T0 + start, T0 + start, end, 36 if seconds is None else seconds, nodes, gpus)


@pytest.fixture
def run(make_run: Callable[..., Run]) -> Run:
    stages = {"generate": {"gpus": 2}}
    return make_run(cluster={"kind": "slurm", "stages": stages})


def test_attempts_that_committed_nothing_are_wasted(run: Run) -> None:
    queue = QueueView(
        {},
        accounting=True,
        attempts={
            ("5_0", "toy"): [
                attempt("PREEMPTED", 0, 3600),
                attempt("COMPLETED", 4000, 1800),
            ],  # the second one committed
            ("5_1", "toy"): [attempt("FAILED", 0, 360, gpus=4)],
            ("5_2", "toy"): [attempt("RUNNING", 0, None)],  # still running, so nothing is wasted yet
            ("9_0", "toy"): [attempt("COMPLETED", 0, 99999)],  # not of this stage
            ("5_1", "other"): [
                attempt("FAILED", 0, 99999)
            ],  # another job with the same id, reused after a controller crash
        },
    )
    usage = stage_usage(run, "generate", [ARRAY], queue, {0: receipt("5_0", 2)})
    assert (usage.attempts, usage.requeued, usage.wasted_attempts) == (4, 1, 2)
    assert usage.node_hours == pytest.approx(1.0 + 0.5 + 0.1 + 0.01)
    assert usage.gpu_hours == pytest.approx(2.0 + 1.0 + 0.4 + 0.02), (
        "without GPUs in accounting, those that the profile requests"
    )
    assert usage.wasted_node_hours == pytest.approx(1.1) and usage.wasted_gpu_hours == pytest.approx(2.4)


def test_a_task_of_several_shards_wastes_no_attempt_that_committed_one(run: Run) -> None:
    submission = Submission("slurm", "generate", "5", "0-2", per_task=3, array=True, time=T0, name="toy")
    queue = QueueView(
        {}, True, attempts={("5_0", "toy"): [attempt("NODE_FAIL", 0, 100), attempt("COMPLETED", 200, 50)]}
    )
    receipts = {0: receipt("5_0", 1), 1: receipt("5_0", 2), 2: receipt("5_0", 2)}
    usage = stage_usage(run, "generate", [submission], queue, receipts)
    assert (usage.attempts, usage.requeued, usage.wasted_attempts) == (2, 1, 0)


def test_records_of_an_earlier_job_of_the_same_id_are_not_ours(run: Run) -> None:
    attempts = {("5_0", "old"): [attempt("COMPLETED", -1e7, 3600)], ("5_0", "toy"): [attempt("COMPLETED", 0, 36)]}
    usage = stage_usage(run, "generate", [ARRAY], QueueView({}, True, attempts=attempts), {0: receipt("5_0")})
    assert (usage.attempts, usage.wasted_attempts) == (1, 0) and usage.node_hours == pytest.approx(0.01)
    without = stage_usage(run, "generate", [ARRAY], QueueView({}, False), {0: receipt("5_0"), 7: receipt("5_1")})
    assert without.attempts == 1, "a shard that existed before"


def test_the_start_that_committed_is_found_by_its_number(run: Run) -> None:
    """Also after a retry, and where accounting lacks a start."""
    again = replace(ARRAY, attempt=4)
    queue = QueueView(
        {}, True, attempts={("5_0", "toy"): [attempt("NODE_FAIL", 0, 100), attempt("COMPLETED", 200, 50)]}
    )
    for number, wasted in ((4, 50), (5, 100), (6, 100)):
        usage = stage_usage(run, "generate", [again], queue, {0: receipt("5_0", number)})
        assert usage.wasted_node_hours == pytest.approx(wasted / 3600), number


def test_without_accounting_what_was_wasted_is_not_known(run: Run) -> None:
    now = time.time()
    queue = QueueView({("5_1", "toy"): QueueEntry("RUNNING", start=now - 360, restarts=2)}, accounting=False)
    usage = stage_usage(run, "generate", [ARRAY], queue, {0: receipt("5_0", seconds=3600)})
    assert (usage.attempts, usage.requeued, usage.wasted_attempts) == (2, 2, None)
    assert usage.node_hours == pytest.approx(1.1, abs=0.01) and usage.gpu_hours == pytest.approx(2.2, abs=0.02)


def test_a_local_run_tells_what_its_finished_tasks_used(make_run: Callable[..., Run]) -> None:
    submissions = [Submission("local", "generate", job, str(shard)) for shard, job in enumerate(("41", "42"))]
    receipts = {0: receipt("local-41", seconds=1800), 1: receipt("local-7", seconds=99999)}
    usage = stage_usage(make_run(), "generate", submissions, QueueView({}, False), receipts)
    assert (usage.attempts, usage.node_hours, usage.gpu_hours) == (1, 0.5, 0.0)


def test_what_is_unknown_of_a_part_is_unknown_of_the_sum() -> None:
    total = Usage(wasted_attempts=0, wasted_node_hours=0.0, wasted_gpu_hours=0.0)
    total.add(Usage())  # a stage that has used nothing
    assert total.wasted_attempts == 0
    total.add(Usage(attempts=2, node_hours=1.0, wasted_attempts=1, wasted_node_hours=0.5, wasted_gpu_hours=0.0))
    assert (total.attempts, total.wasted_attempts, total.wasted_node_hours) == (2, 1, 0.5)
    total.add(Usage(attempts=1, node_hours=1.0))
    assert total.node_hours == 2.0 and total.wasted_node_hours is None
