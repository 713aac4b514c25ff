"""What the chaos bench relies on: commands that fail and lie when told to, and a count of doubled work."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import chaos_accounting
from benchmarks.chaos_accounting import Start, doubled
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
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(generate__shards=4)
    name = job_name(run, "generate")
    for job, shards in (("1", "0-3"), ("2", "1-3")):
        append_submission(run, Submission("slurm", "generate", job, shards, 0, 1, 1, array=True, name=name))
    second = "2026-01-01T00:01:00"
    starts = [
        Start("1_0", "COMPLETED", 9, "2026-01-01T00:00:00", "2026-01-01T00:00:01", "2026-01-01T00:09:00", name),
        # Ended before the second submission, at work during it, and forgotten by a killed controller.
        Start("1_1", "FAILED", 9, "2026-01-01T00:00:00", "2026-01-01T00:00:01", second, name),
        Start("1_2", "FAILED", 9, "2026-01-01T00:00:00", "2026-01-01T00:00:01", "2026-01-01T00:01:01", name),
        Start("1_3", "RUNNING", 9, "2026-01-01T00:00:00", "2026-01-01T00:00:01", "Unknown", name),
        *(
            Start(f"2_{k}", "COMPLETED", 9, second, "2026-01-01T00:02:00", "2026-01-01T00:03:00", name)
            for k in (1, 2, 3)
        ),
        # A job that sbatch said it had not taken, and one of another run.
        Start("3_1", "COMPLETED", 9, second, "2026-01-01T00:02:00", "2026-01-01T00:03:00", name),
        Start("4_1", "COMPLETED", 9, second, "2026-01-01T00:02:00", "2026-01-01T00:03:00", "other.generate.1"),
    ]
    monkeypatch.setattr(chaos_accounting, "read_starts", lambda *_: starts)
    assert doubled(run) == {"submitted_at_work": 1, "submitted_of_forgotten": 1, "jobs_started_unrecorded": 1}
