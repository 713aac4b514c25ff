from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.plan import Run
from slurm.submission.submissions import (
    BusyError,
    Submission,
    append_submission,
    attempt_counts,
    latest_submissions,
    load_submissions,
    submission_lock,
)


def test_what_is_written_is_read_and_the_newest_wins(make_run: Callable[..., Run]) -> None:
    run = make_run()
    assert load_submissions(run) == []
    first = Submission("slurm", "generate", "10", "0-3", array=True, depends=["9"])
    second = Submission("slurm", "generate", "12", "5,7", offset=4, array=True)
    third = Submission("slurm", "generate", "14", "2", offset=0, array=True)
    for item in (first, second, third):
        append_submission(run, item)
    assert load_submissions(run) == [first, second, third]
    newest = latest_submissions(load_submissions(run), "generate")
    assert {shard: item.job for shard, item in newest.items()} == {0: "10", 1: "10", 2: "14", 3: "10", 5: "12", 7: "12"}
    assert attempt_counts(load_submissions(run), "generate")[2] == 2
    assert second.task_id(7) == "12_3"
    assert Submission("slurm", "merge", "15", "0").task_id(0) == "15"


def test_a_line_cut_off_by_a_crash_is_left_out(make_run: Callable[..., Run]) -> None:
    run = make_run()
    append_submission(run, Submission("slurm", "merge", "1", "0"))
    with open(run.path / "submissions.jsonl", "a") as handle:
        handle.write('{"kind": "slurm", "sta')
    assert [item.job for item in load_submissions(run)] == ["1"]


def test_only_one_command_submits_at_a_time(make_run: Callable[..., Run]) -> None:
    run = make_run()
    with submission_lock(run), pytest.raises(BusyError), submission_lock(run):
        pass
    with submission_lock(run):
        pass
