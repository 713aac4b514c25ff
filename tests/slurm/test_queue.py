"""squeue and sacct as captured from Slurm 22.05 with SLURM_TIME_FORMAT=%s."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from slurm.submission.answers import (
    Attempt,
    QueueEntry,
    UnreadableError,
    job_rows,
    moment,
    parse_sacct,
    parse_squeue,
    rows,
)
from slurm.submission.client import ask, scancel
from slurm.submission.queue import QueueView
from slurm.submission.submissions import Submission
from slurm.watching.wait_reasons import explained

SQUEUE = """\
12_[2-3,5%2]|PENDING|JobArrayTaskLimit||N/A|N/A|0|1|toy|
12_0|RUNNING|None|n1|1795530268|1795530568|1|1|toy|
12_1|COMPLETING|None|n2|1795530268|1795530291|0|1|toy|
13|PENDING|Dependency||1795530600|N/A|0|2|toy|
14|PENDING|DependencyNeverSatisfied||N/A|N/A|0|1|toy|
15|COMPLETED|None|n1|1795530268|1795530291|0|1|toy|
16|FAILED|NonZeroExitCode|n3|1795530268|1795530291|0|1|toy|
"""
SACCT = """\
12_0|REQUEUED|0:0|n1|1795530200|1795530200|1795530223|23|1|billing=1,cpu=1,mem=100M,node=1|toy
12_0|RUNNING|0:0|n1|1795530268|1795530268|Unknown|24|1|billing=1,cpu=1,gres/gpu=2,mem=100M,node=1|toy
12_[2-3,5%2]|PENDING|0:0|None assigned|1795530200|Unknown|Unknown|0|1||toy
17_1|FAILED|1:0|n1|1795530200|1795530268|1795530291|23|1|billing=1,cpu=1,mem=100M,node=1|toy
17_2|OUT_OF_MEMORY|0:125|n2|1795530200|1795530268|1795530291|23|1|billing=1,cpu=1,mem=100M,node=1|toy
18|CANCELLED by 1000|0:0|None assigned|1795530200|Unknown|1795530291|0|1||toy
19|PENDING|0:0|None assigned|1795530300|Unknown|Unknown|0|1||toy
19|NODE_FAIL|1:0|n2|1795530200|1795530268|1795530291|23|2|billing=1,cpu=1,mem=100M,node=2|toy
20|FAILED|0:9|n2|1795530200|1795530268|1795530291|23|1|billing=1,cpu=1,mem=100M,node=1|toy
"""


def test_squeue_expands_pending_arrays_and_tells_live_from_ended() -> None:
    entries = parse_squeue(SQUEUE)
    assert sorted(task for task, _ in entries) == ["12_0", "12_1", "12_2", "12_3", "12_5", "13", "14", "15", "16"]
    assert (
        entries["12_5", "toy"].waiting
        and entries["12_5", "toy"].reason == "JobArrayTaskLimit"
        and entries["12_5", "toy"].start is None
    )
    running = entries["12_0", "toy"]
    assert running.live and not running.waiting and (running.nodes, running.reason, running.restarts) == ("n1", "", 1)
    assert running.start == 1795530268 and running.end is None, "its end is only its time limit"
    assert entries["12_1", "toy"].live
    assert (entries["13", "toy"].start, entries["13", "toy"].node_count) == (1795530600, 2)
    assert not entries["14", "toy"].live, "it can never start"
    assert not entries["15", "toy"].live and entries["15", "toy"].end == 1795530291 and not entries["16", "toy"].live


def test_sacct_tells_how_tasks_ended() -> None:
    entries, _ = parse_sacct(SACCT)
    assert (entries["17_1", "toy"].state, entries["17_1", "toy"].reason, entries["17_1", "toy"].nodes) == (
        "FAILED",
        "exit 1",
        "n1",
    )
    assert (entries["17_2", "toy"].state, entries["17_2", "toy"].reason) == ("OUT_OF_MEMORY", "")
    assert entries["18", "toy"].state == "CANCELLED" and not entries["18", "toy"].live
    assert entries["19", "toy"].state == "PENDING", "the newest record of a requeued job, whatever the order"
    assert entries["20", "toy"].reason == "signal 9"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("0:0", ""),
        ("1:0", "exit 1"),
        ("2:0", "exit 2"),
        ("3:0", "exit 3, or 131: SIGQUIT"),
        ("12:0", "exit 12, or 140: SIGUSR2"),
        ("100:0", "exit 100"),
        ("137:0", "exit 137: SIGKILL"),  # Slurm 26.05 leaves the 128 in
        ("140:0", "exit 140: SIGUSR2"),
        ("200:0", "exit 200"),
        ("0:9", "signal 9"),
    ],
)
def test_a_signal_under_srun_is_told_from_its_code(code: str, said: str) -> None:
    entries, _ = parse_sacct(SACCT.replace("|0:9|", f"|{code}|"))
    assert entries["20", "toy"].reason == said


def test_sacct_keeps_every_attempt_that_got_nodes() -> None:
    _, attempts = parse_sacct(SACCT)
    assert sorted(task for task, _ in attempts) == ["12_0", "17_1", "17_2", "19", "20"]
    first, second = attempts["12_0", "toy"]
    assert (first.state, first.seconds, first.end, first.gpus) == ("REQUEUED", 23, 1795530223, None)
    assert (second.state, second.end, second.gpus) == ("RUNNING", None, 2)
    assert [item.nodes for item in attempts["19", "toy"]] == [2]


def test_attempts_are_told_oldest_first_whatever_the_order_of_the_lines() -> None:
    again = """\
12_0|RUNNING|0:0|n1|1795530200|1795530300|Unknown|1|1||toy
12_0|REQUEUED|0:0|n1|1795530200|1795530250|1795530290|40|1||toy
12_0|REQUEUED|0:0|n1|1795530100|1795530200|1795530240|40|1||toy
12_0|REQUEUED|0:0|n1|1795530000|1795530400|1795530440|40|1||toy
"""
    _, attempts = parse_sacct(again)
    assert [item.start for item in attempts["12_0", "toy"]] == [1795530400, 1795530200, 1795530250, 1795530300]


def test_of_records_of_one_submission_the_last_line_is_the_newest() -> None:
    entries, _ = parse_sacct("12|REQUEUED|0:0|n1|17|18|19|1|1||toy\n12|COMPLETED|0:0|n1|17|20|21|1|1||toy\n")
    assert entries["12", "toy"].state == "COMPLETED"


def test_an_attempt_needs_nodes_and_a_start() -> None:
    """A task cancelled while pending has a start equal to its end; one that is being placed has only nodes."""
    entries, attempts = parse_sacct(
        "12|CANCELLED|0:0|None assigned|17|21|21|0|1||toy\n13|PENDING|0:0|n1|17|Unknown|Unknown|0|1||toy\n"
    )
    assert set(entries) == {("12", "toy"), ("13", "toy")} and attempts == {}
    assert entries["12", "toy"].nodes == ""


def test_columns_without_a_value_count_as_none() -> None:
    entries, attempts = parse_sacct("12||0:0|n1|Unknown|18|Unknown||||toy\n")
    assert entries["12", "toy"] == QueueEntry("UNKNOWN", nodes="n1", start=18)
    assert attempts["12", "toy"] == [Attempt("UNKNOWN", 0.0, 18, None, 0, 1)]
    (entry,) = parse_squeue("12|RUNNING|None|n1|18|N/A||N/A|toy|\n").values()
    assert (
        entry
        == QueueEntry("RUNNING", nodes="n1", start=18, restarts=0, node_count=1)
        == replace(QueueEntry("RUNNING"), nodes="n1", start=18)
    )


def test_a_task_cancelled_with_its_array_is_found_by_the_array() -> None:
    view = QueueView(parse_sacct("30|CANCELLED by 0|0:0|None assigned|1795530200|Unknown|Unknown|0|1||toy\n")[0], True)
    array = Submission("slurm", "generate", "30", "0-9", array=True, name="toy")
    entry = view.entry(array, 7)
    assert entry is not None and entry.state == "CANCELLED"
    for other in (replace(array, job="31"), replace(array, name="other")):
        entry = view.entry(other, 7)
        assert entry is not None and entry.state == "ABSENT", "another job with the same id"


def test_a_shard_is_found_by_its_own_task_and_the_first_is_the_default() -> None:
    view = QueueView({("30_0", "toy"): QueueEntry("RUNNING"), ("30_1", "toy"): QueueEntry("PENDING")}, True)
    array = Submission("slurm", "generate", "30", "0-1", array=True, name="toy")
    assert view.entry(array) == view.entry(array, 0) == QueueEntry("RUNNING")
    assert view.entry(array, 1) == QueueEntry("PENDING")


def test_lines_that_are_no_rows_make_an_answer_unreadable() -> None:
    for line in ("slurm_load_jobs error: x\n", "12|RUNNING\n", "a|b|c|d|e|f|g|h|i|j|k|\n"):
        with pytest.raises(UnreadableError, match="unreadable answer"):
            parse_squeue(SQUEUE + line)
        with pytest.raises(UnreadableError, match="unreadable answer"):
            parse_sacct(SACCT + line)
    with pytest.raises(UnreadableError, match="unreadable answer"):
        parse_squeue("12|PENDING|a | b||N/A|N/A|0|1|toy|\n")
    assert parse_squeue("") == parse_squeue("\n") == {}
    assert parse_sacct("") == ({}, {})
    assert list(job_rows("5|a|b|\n6|x|\n", 2)) == [["5", "a|b"], ["6", "x"]]
    assert list(rows("a|\n\n a|b| \n", 2)) == [["a", ""], ["a", "b"]]
    for line in ("a|b|c\n", "a\n"):
        with pytest.raises(UnreadableError, match="unreadable answer"):
            list(rows("a|\n" + line, 2))
    assert [moment(text) for text in ("N/A", "Unknown", "NONE", "", "0", "17")] == [None] * 5 + [17.0]


def test_a_timeout_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slurm.submission.client.TIMEOUT_S", 0.05)
    assert ask(["sleep", "60"]) == (1, "sleep: no answer in 0.05 seconds")
    (tmp_path / "scancel").write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    (tmp_path / "scancel").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert scancel(["37"]) == "no answer in 0.05 seconds"


def test_the_exit_code_selects_stdout_or_stderr() -> None:
    script = """import os, sys
print(os.environ["SLURM_TIME_FORMAT"])
print("no", file=sys.stderr)
sys.exit(int(sys.argv[1]))"""
    assert ask([sys.executable, "-c", script, "0"]) == (0, "%s\n")
    assert ask([sys.executable, "-c", script, "3"]) == (3, f"{sys.executable}: no")


@pytest.mark.parametrize("said", ["squeue: error: no controller", "squeue: no controller", "no controller"])
def test_a_command_is_named_once(said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue's problem read `squeue: squeue: error: ...`."""
    (tmp_path / "squeue").write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask(["squeue"]) == (1, "squeue: no controller")


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Priority", "jobs with higher priority are ahead (Priority)"),
        (
            "ReqNodeNotAvail, UnavailableNodes:n1",
            "nodes it needs are down, drained or reserved (ReqNodeNotAvail: UnavailableNodes:n1)",
        ),
        ("QOSMaxGRESPerUser", "the limit of its QOS is reached: GPUs (QOSMaxGRESPerUser)"),
        ("AssocGrpCpuLimit", "the limit of its account is reached: cores (AssocGrpCpuLimit)"),
        ("AssocMaxJobsLimit", "the limit of its account is reached: jobs (AssocMaxJobsLimit)"),
        ("waiting its turn", "waiting its turn"),
        ("SomethingNew", "SomethingNew"),
    ],
)
def test_reasons_are_explained(reason: str, words: str) -> None:
    assert explained(reason) == words


@pytest.mark.parametrize(
    ("code", "said", "problem"),
    [
        (0, "", None),
        (3, "", "exit status 3"),
        (1, "scancel: error: Kill job error on job id 37: Invalid job id specified", None),
        (
            1,
            "scancel: error: Kill job error on job id 37: Invalid job id specified\nscancel: error: no controller",
            "no controller",
        ),
    ],
)
def test_a_job_that_is_gone_needs_no_cancelling(
    code: int, said: str, problem: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "scancel"
    fake.write_text(f"#!/bin/sh\necho \"$@\" >{tmp_path}/asked\necho '{said}' >&2\nexit {code}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert scancel(["37", "38_[1-2]"], "--state=PENDING") == problem
    assert (tmp_path / "asked").read_text() == "--state=PENDING 37 38_[1-2]\n"
