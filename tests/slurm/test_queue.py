"""squeue and sacct as captured from Slurm 22.05."""

from __future__ import annotations

from slurm.queue import QueueView, parse_sacct, parse_squeue

SQUEUE = """\
12_[2-3,5%2]|PENDING|JobArrayTaskLimit|
12_0|RUNNING|None|n1
12_1|COMPLETING|None|n2
13|PENDING|Dependency|
14|PENDING|DependencyNeverSatisfied|
15|COMPLETED|None|n1
16|FAILED|NonZeroExitCode|n3
"""
SACCT = """\
12_0|RUNNING|0:0|n1
12_[2-3,5%2]|PENDING|0:0|None assigned
17_1|FAILED|1:0|n1
17_2|OUT_OF_MEMORY|0:125|n2
18|CANCELLED by 1000|0:0|None assigned
19|NODE_FAIL|1:0|n2
19|PENDING|0:0|None assigned
20|FAILED|0:9|n2
"""


def test_squeue_expands_pending_arrays_and_tells_live_from_ended() -> None:
    entries = parse_squeue(SQUEUE)
    assert sorted(entries) == ["12_0", "12_1", "12_2", "12_3", "12_5", "13", "14", "15", "16"]
    assert entries["12_5"].waiting and entries["12_5"].reason == "JobArrayTaskLimit"
    assert entries["12_0"].live and not entries["12_0"].waiting and entries["12_0"].nodes == "n1" and entries["12_0"].reason == ""
    assert entries["12_1"].live
    assert not entries["14"].live, "it can never start"
    assert not entries["15"].live and not entries["16"].live


def test_sacct_tells_how_tasks_ended() -> None:
    entries = parse_sacct(SACCT)
    assert (entries["17_1"].state, entries["17_1"].reason, entries["17_1"].nodes) == ("FAILED", "exit 1", "n1")
    assert (entries["17_2"].state, entries["17_2"].reason) == ("OUT_OF_MEMORY", "signal 125")
    assert entries["18"].state == "CANCELLED" and not entries["18"].live
    assert entries["19"].state == "PENDING", "the newest line of a requeued job"
    assert entries["20"].reason == "signal 9"


def test_a_task_cancelled_with_its_array_is_found_by_the_array() -> None:
    view = QueueView(parse_sacct("30|CANCELLED by 0|0:0|None assigned\n"), True)
    entry = view.entry("30_7")
    assert entry is not None and entry.state == "CANCELLED"
    assert view.entry("31_7") is None


def test_lines_that_are_no_rows_are_left_out() -> None:
    assert parse_squeue("slurm_load_jobs error: x\n\n") == {}
    assert parse_sacct("") == {}
