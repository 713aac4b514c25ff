"""What the chaos bench relies on: commands that fail and lie when told to, and a count of doubled work."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import chaos_accounting
from benchmarks.chaos_accounting import Start, batch_ends, doubled
from benchmarks.chaos_answers import COMMANDS, KINDS, Answers
from jobs.plan import Run
from slurm.submission.options import job_name
from slurm.submission.submissions import Submission, append_submission
from tests.slurm.conftest import make_run, toys

__all__ = ["make_run", "toys"]


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Stand-ins in front of commands that print their arguments and leave a note."""
    real = tmp_path / "real"
    real.mkdir()
    for name in COMMANDS:
        (real / name).write_text(f'#!/bin/sh\necho "{name} $*"; echo called >> {tmp_path}/notes\n')
        (real / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{real}:/bin:/usr/bin")
    monkeypatch.setattr("benchmarks.chaos_answers.LATE_S", 0)
    made = Answers(tmp_path / "answers")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_command_misbehaves_once(answers: Answers, tmp_path: Path, command: str, kind: str) -> None:
    (answers.folder / f"{command}.1.{kind}.laid").touch()
    assert not answers.lay(command, random.Random(0)), "one at a time"
    done = subprocess.run([command, "a b"], capture_output=True, text=True, check=False)
    called = (tmp_path / "notes").exists()
    failed, silent = kind in ("timeout", "denied"), kind in ("timeout", "quiet", "nothing")
    assert (done.returncode, bool(done.stderr)) == (int(failed), kind in ("timeout", "denied", "quiet"))
    assert bool(done.stdout) == (not silent and not (command == "sbatch" and kind == "denied"))
    assert called == (kind in ("late", "denied") or (command == "sbatch" and kind == "nothing"))
    assert answers.fired() == {f"{command} {KINDS[kind]}": 1}
    done = subprocess.run([command, "a b"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{command} a b\n"


def test_what_was_not_met_is_taken_back(answers: Answers) -> None:
    assert answers.lay("squeue", random.Random(0))
    answers.clear()
    assert subprocess.run(["squeue"], capture_output=True, text=True, check=True).stdout == "squeue \n"
    assert not answers.fired()


def test_a_shard_that_was_submitted_while_at_work_is_counted(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = make_run(generate__shards=5)
    name = job_name(run, "generate")
    for job, shards in (("1", "0-4"), ("2", "1-4")):
        append_submission(run, Submission("slurm", "generate", job, shards, 0, 1, 1, array=True, name=name))
    second = "2026-01-01T00:01:00"

    def start(job: str, state: str, submit: str, begin: str, end: str, name: str = name) -> Start:
        return Start(job, f"9{job[-1]}", state, 9, submit, begin, end, name)

    begin, first = "2026-01-01T00:00:01", "2026-01-01T00:00:00"
    starts = [
        start("1_0", "COMPLETED", first, begin, "2026-01-01T00:09:00"),
        # Ended before the second submission, at work during it, forgotten by a killed controller, and revived by one.
        start("1_1", "FAILED", first, begin, second),
        start("1_2", "FAILED", first, begin, "2026-01-01T00:01:01"),
        start("1_3", "RUNNING", first, begin, "Unknown"),
        start("1_4", "NODE_FAIL", first, begin, "2026-01-01T00:05:00"),
        *(start(f"2_{k}", "COMPLETED", second, "2026-01-01T00:02:00", "2026-01-01T00:03:00") for k in (1, 2, 3, 4)),
        # A job that sbatch said it had not taken, and one of another run.
        start("3_1", "COMPLETED", second, "2026-01-01T00:02:00", "2026-01-01T00:03:00"),
        start("4_1", "COMPLETED", second, "2026-01-01T00:02:00", "2026-01-01T00:03:00", "other.generate.1"),
    ]
    monkeypatch.setattr(chaos_accounting, "read_starts", lambda *_: starts)
    (tmp_path / "n1.log").write_text(
        "[2026-01-01T00:00:00.900] [94.batch] done with job\n[2026-01-01T00:00:59.162] [94.batch] done with job\n"
        "[2026-01-01T00:00:59.162] [92.0] done with job\n[2026-01-01T00:01:02.000] [92.batch] done with job\n"
    )
    assert doubled(run, batch_ends(tmp_path)) == {
        "submitted_at_work": 1,
        "submitted_of_forgotten": 1,
        "submitted_of_revived": 1,
        "jobs_started_unrecorded": 1,
    }
