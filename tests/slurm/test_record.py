from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.plan import Run
from slurm import record
from slurm.record import BusyError, Submission


def test_what_is_written_is_read_and_the_newest_wins(make_run: Callable[..., Run]) -> None:
    run = make_run()
    assert record.load(run) == []
    first = Submission("slurm", "generate", "10", "0-3", array=True, depends=["9"])
    second = Submission("slurm", "generate", "12", "5,7", offset=4, array=True)
    third = Submission("slurm", "generate", "14", "2", offset=0, array=True)
    for item in (first, second, third):
        record.append(run, item)
    assert record.load(run) == [first, second, third]
    newest = record.latest(record.load(run), "generate")
    assert {shard: item.job for shard, item in newest.items()} == {0: "10", 1: "10", 2: "14", 3: "10", 5: "12", 7: "12"}
    assert record.attempts(record.load(run), "generate")[2] == 2
    assert second.task_id(7) == "12_3" and second.log(run.path, 7).name == "12_batch.log"
    assert Submission("slurm", "merge", "15", "0").task_id(0) == "15"


def test_a_line_cut_off_by_a_crash_is_left_out(make_run: Callable[..., Run]) -> None:
    run = make_run()
    record.append(run, Submission("slurm", "merge", "1", "0"))
    with open(run.path / "submissions.jsonl", "a") as handle:
        handle.write('{"kind": "slurm", "sta')
    assert [item.job for item in record.load(run)] == ["1"]


def test_only_one_command_submits_at_a_time(make_run: Callable[..., Run]) -> None:
    run = make_run()
    with record.submitting(run), pytest.raises(BusyError), record.submitting(run):
        pass
    with record.submitting(run):
        pass
