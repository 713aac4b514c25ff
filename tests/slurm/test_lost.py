"""squeue and sacct read together: which of them decides what, and jobs that a crashed controller forgot."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.plan import Run
from slurm import control
from slurm.submission.queue import Looks, QueueView, another_look, doubt, look_twice, read_queue
from slurm.submission.submissions import Submission, append_submission
from slurm.submission.submit import submit_missing
from tests.slurm.conftest import PACKAGE

SACCT = """\
7_[0-1]|PENDING|0:0|None assigned|1700000000|Unknown|Unknown|0|1||toy.generate.1
8|RUNNING|0:0|n1|1700000000|1700000001|Unknown|9|1||toy.merge.1
"""
ARRAY = Submission("slurm", "generate", "7", "0-1", array=True, name="toy.generate.1")
JOB = Submission("slurm", "merge", "8", "0", name="toy.merge.1")


def clients(folder: Path, squeue: str, code: int = 0) -> None:
    """Fake squeue and sacct with this output."""
    for name, text, ends in (("sacct", SACCT, 0), ("squeue", squeue, code)):
        (folder / f"{name}.txt").write_text(text)
        (folder / name).write_text(f"#!/bin/sh\n/bin/cat {folder}/{name}.txt{' >&2' if ends else ''}\nexit {ends}\n")
        (folder / name).chmod(0o755)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def state(view: QueueView, job: Submission, shard: int = 0) -> str | None:
    entry = view.entry(job, shard)
    return entry.state if entry else None


def test_what_the_controller_does_not_have_is_absent_at_first(folder: Path) -> None:
    clients(folder, "8|RUNNING|None|n1|1700000001|1800000000|0|1|toy.merge.1|\n")
    queue = read_queue([ARRAY, JOB])
    absent, known = queue.entry(ARRAY, 1), queue.entry(JOB)
    assert queue.problem is None
    assert absent is not None and (absent.state, absent.live) == ("ABSENT", False)
    assert known is not None and known.live


def test_it_is_lost_once_two_full_answers_seconds_apart_lack_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fourth answer is none: it neither counts as a look nor undoes those before it."""
    clients(folder, "")
    looks, states = Looks(), []
    for now, squeue in (
        (100.0, ""),
        (104.9, ""),
        (105.0, ""),
        (106.0, "slurm_load_jobs error: Socket timed out"),
        (107.0, ""),
        (108.0, "7_[0-1]|PENDING|None||N/A|N/A|0|1|toy.generate.1|"),
        (114.0, ""),
        (119.0, ""),
    ):
        (folder / "squeue.txt").write_text(squeue)
        view = read_queue([ARRAY])
        with monkeypatch.context() as clock:
            clock.setattr("slurm.submission.queue.time.monotonic", lambda now=now: now)
            states.append(state(another_look(view, looks), ARRAY, 1))
    assert states == ["ABSENT", "ABSENT", "LOST", "PENDING", "LOST", "PENDING", "ABSENT", "LOST"]


def test_all_jobs_are_lost_if_the_controller_knows_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slurm.submission.queue.SECOND_LOOK_S", 0.0)
    clients(folder, "slurm_load_jobs error: Invalid job id specified\n", code=1)
    view = look_twice([ARRAY, JOB], lambda seen: seen.entry(JOB) is not None)
    assert [state(view, ARRAY, 0), state(view, ARRAY, 1), state(view, JOB)] == ["LOST"] * 3


def test_a_controller_that_does_not_answer_forgets_nothing(folder: Path) -> None:
    clients(folder, "slurm_load_jobs error: Unable to contact slurm controller\n", code=1)
    queue = read_queue([ARRAY, JOB])
    assert queue.problem is not None and all(entry.live for entry in queue.entries.values())
    assert queue.entry(replace(JOB, job="9")) is None


def test_an_id_that_is_another_jobs_now_is_not_ours(folder: Path) -> None:
    """The controller crashed, forgot both jobs and reused their ids."""
    foreign = "7_0|RUNNING|None|n1|1700000101|1800000000|0|1|toy.generate.2|\n8|PENDING|Priority||N/A|N/A|0|1|a|b|\n"
    clients(folder, foreign)
    (folder / "sacct.txt").write_text(SACCT + "7_0|RUNNING|0:0|n1|1700000100|1700000101|Unknown|9|1||toy.generate.2\n")
    queue = read_queue([ARRAY, JOB])
    assert {key: entry.state for key, entry in queue.entries.items()} == {
        ("7_0", "toy.generate.1"): "ABSENT",
        ("7_1", "toy.generate.1"): "ABSENT",
        ("8", "toy.merge.1"): "ABSENT",
    }
    assert queue.foreign == {"7", "8"}
    assert set(queue.attempts) == {("8", "toy.merge.1")}


def test_a_job_that_just_ended_is_not_live_although_accounting_lags(folder: Path) -> None:
    clients(
        folder,
        "7_[0-1]|CANCELLED|None||N/A|1700000200|0|1|toy.generate.1|\n"
        "8|FAILED|NonZeroExitCode|n1|1700000001|1700000200|0|1|toy.merge.1|\n",
    )
    states = [entry.state for entry in read_queue([ARRAY, JOB]).entries.values()]
    assert states == ["CANCELLED", "CANCELLED", "FAILED"]


def test_the_controller_knows_better_what_is_live_and_accounting_how_it_ended(folder: Path) -> None:
    """Job 8 was requeued after its last accounting record, job 9 ended for both, accounting does not know job 10."""
    names = {job: f"toy.merge.{job}" for job in ("8", "9", "10")}
    clients(
        folder,
        f"8|PENDING|BeginTime||N/A|N/A|1|1|{names['8']}|\n"
        f"9|FAILED|NonZeroExitCode|n1|1700000001|1700000200|0|1|{names['9']}|\n"
        f"10|FAILED|NonZeroExitCode|n1|1700000001|1700000200|0|1|{names['10']}|\n",
    )
    (folder / "sacct.txt").write_text(
        f"8|NODE_FAIL|0:0|n1|1700000000|1700000001|1700000100|9|1||{names['8']}\n"
        f"9|FAILED|1:0|n1|1700000000|1700000001|1700000200|9|1||{names['9']}\n"
    )
    jobs = [Submission("slurm", "merge", job, "0", name=name) for job, name in names.items()]
    found = [(entry.state, entry.reason) for entry in map(read_queue(jobs).entry, jobs) if entry is not None]
    assert found == [("PENDING", "BeginTime"), ("FAILED", "exit 1"), ("FAILED", "NonZeroExitCode")]


def test_without_slurm_jobs_nobody_is_asked(folder: Path) -> None:
    clients(folder, "8|RUNNING|None|n1|1700000001|1800000000|0|1|toy.merge.1|\n")
    local = Submission("local", "merge", "8", "0", name="toy.merge.1")
    assert read_queue([]) == read_queue([local]) == QueueView({}, False)


def test_without_squeue_the_queue_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_queue([JOB]) == QueueView({}, False, "there is no squeue on this machine")


@pytest.mark.parametrize("sacct", ["#!/bin/sh\nexit 1\n", None])
def test_without_accounting_the_controller_alone_is_believed(
    sacct: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    clients(tmp_path, "8|RUNNING|None|n1|1700000001|1800000000|0|1|toy.merge.1|\n")
    if sacct is None:
        (tmp_path / "sacct").unlink()
    else:
        (tmp_path / "sacct").write_text(sacct)
    queue = read_queue([JOB])
    assert not queue.accounting and queue.problem is None and queue.attempts == {}
    entry = queue.entry(JOB)
    assert entry is not None and (entry.state, entry.nodes, entry.start) == ("RUNNING", "n1", 1700000001)


@pytest.mark.parametrize(
    ("error", "doubted"),
    [
        ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", True),
        ("slurm_load_jobs error: Socket timed out on send/recv operation", True),
        ("slurm_load_jobs error: Invalid job id specified", False),
    ],
)
def test_a_last_question_that_gets_no_answer_is_a_doubt(error: str, doubted: bool, folder: Path) -> None:
    """An scontrol that timed out counted as one that does not have the job, and the job was submitted again."""
    clients(folder, "")
    (folder / "scontrol").write_text(f"#!/bin/sh\necho '{error}' >&2\nexit 1\n")
    (folder / "scontrol").chmod(0o755)
    assert doubt(read_queue([JOB]), [JOB]) == (f"scontrol: {error}" if doubted else None)


def test_presume_lost_says_what_is_in_the_queue_by_accounting_alone(make_run: Callable[..., Run], folder: Path) -> None:
    """`retry --presume-lost` said that all was in the queue, which could not be read. Stand-ins for Slurm."""
    run = make_run(cluster={"kind": "slurm"})
    lines = []
    for number, (stage, entry) in enumerate(run.plan.stages.items(), 20):
        job = Submission("slurm", stage, str(number), f"0-{entry.shards - 1}", array=True, name=f"toy.{number}")
        append_submission(run, job)
        lines += [f"{number}_{task}|RUNNING|0:0|n1|17|18|Unknown|9|1||{job.name}\n" for task in range(entry.shards)]
    clients(folder, "squeue: error: Unable to contact slurm controller\n", code=1)
    (folder / "sacct.txt").write_text("".join(lines))
    (folder / "scontrol").write_text("#!/bin/sh\necho MaxArraySize = 1001\n")
    (folder / "scontrol").chmod(0o755)
    said: list[str] = []
    assert submit_missing(run, PACKAGE, presume_lost=True, tell=said.append) == []
    assert len(said) == 1
    assert said[0].startswith("in the queue by accounting alone (squeue: Unable to contact slurm controller), so not ")
    assert "sample 0-1; generate 0-2" in said[0]


def test_cancel_names_a_job_whose_submission_was_not_confirmed(make_run: Callable[..., Run], folder: Path) -> None:
    """It was told to end by its name, but `cancel` said "nothing was running". Stand-ins for squeue and scancel."""
    run = make_run(cluster={"kind": "slurm"})
    append_submission(run, Submission("slurm", "sample", "", "0-1", array=True, name="toy.sample.1"))
    clients(folder, "squeue: error: Unable to contact slurm controller\n", code=1)
    (folder / "scancel").write_text(f'#!/bin/sh\necho "$@" >{folder}/asked\n')
    (folder / "scancel").chmod(0o755)
    assert control.cancel(run).unseen == ["toy.sample.1"]
    assert "--name=toy.sample.1" in (folder / "asked").read_text()
