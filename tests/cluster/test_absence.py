"""Absence from Slurm's answers proves nothing: real jobs, and a stand-in for a command that cannot be made to fail."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.plan import Run
from slurm import control
from slurm.devcluster.cluster import DevCluster
from slurm.submission.options import SubmitError
from slurm.submission.queue import read_queue
from slurm.submission.submissions import load_submissions
from slurm.submission.submit import submit_missing
from slurm.watching.status import StatusReader
from tests.cluster.conftest import SMALL, ended, slurm_profile, told, until, wait_for
from tests.conftest import launch_here
from tests.slurm.conftest import PACKAGE

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
MakeRun = Callable[..., Run]
HELD = {name: {**SMALL[name], "extra": {"hold": True}} for name in SMALL}


@pytest.fixture
def waiting(cluster: DevCluster, make_run: MakeRun) -> Run:
    """A run whose jobs are all held."""
    run = make_run(cluster=slurm_profile(stages=HELD))
    submit_missing(run, PACKAGE)
    return run


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, lines: str) -> None:
    """Put a stand-in for a command on PATH; ``$REAL`` is the real one."""
    real = shutil.which(name)
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\nREAL={real}\n{lines}\n")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def in_queue(run: Run) -> int:
    """The run's tasks in Slurm's queue."""
    ids = ",".join(item.job for item in load_submissions(run))
    text = subprocess.run(
        ["squeue", "-h", "-r", "-o", "%i", "-j", ids], capture_output=True, text=True, check=True
    ).stdout
    return len(text.split())


@pytest.mark.parametrize(
    "variables",
    [
        {"SQUEUE_PARTITION": "gpu", "SQUEUE_USERS": "nobody", "SQUEUE_STATES": "RUNNING", "SQUEUE_NAMES": "x"},
        {"SLURM_CLUSTERS": "other", "SQUEUE_FORMAT": "%i", "SACCT_FORMAT": "JobID", "SLURM_TIME_FORMAT": "relative"},
        {"SQUEUE_ACCOUNT": "x", "SINFO_PARTITION": "gpu", "SCANCEL_STATE": "RUNNING", "SCANCEL_NAME": "x"},
    ],
)
def test_A1_a_shells_variables_do_not_narrow_what_slurm_is_asked(
    variables: dict[str, str], waiting: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With SQUEUE_PARTITION set, a healthy run read LOST, `retry` doubled it and `cancel` ended nothing."""
    before = in_queue(waiting)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    status = StatusReader(waiting).read()
    assert status.state == "stuck" and status.problem is None, told(status)
    assert sum(stage.pending + stage.stuck for stage in status.stages) == before == 9
    assert submit_missing(waiting, PACKAGE) == []
    assert len(control.cancel(waiting).jobs) == 6
    for name in variables:
        monkeypatch.delenv(name)
    until(lambda: in_queue(waiting) == 0, "the jobs to end")


@pytest.mark.parametrize("stream", [1, 2])
def test_A2_an_error_with_exit_code_0_is_no_answer(
    stream: int, waiting: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """squeue printed an error, exited 0, and everything was called lost."""
    error = f'echo "slurm_load_jobs error: Socket timed out on send/recv operation" >&{stream}'
    stand_in(tmp_path / "bin", monkeypatch, "squeue", error)
    status = StatusReader(waiting).read()
    assert status.problem is not None and "Socket timed out" in status.problem
    assert status.state == "unknown" and not any(stage.failed for stage in status.stages), told(status)
    with pytest.raises(SubmitError, match=r"nothing submitted: squeue: .*Socket timed out"):
        submit_missing(waiting, PACKAGE)
    said = launch_here("retry", str(waiting.path))
    assert said.returncode == 1 and "nothing submitted" in said.stderr
    cancelled = control.cancel(waiting)
    assert len(cancelled.jobs) + len(cancelled.unseen) == len(load_submissions(waiting)) == 6


def test_A3_a_colleague_who_may_not_see_the_jobs_is_told_so(
    waiting: Run, cluster: DevCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With PrivateData=jobs a colleague saw everything as lost."""
    if os.geteuid() != 0:
        pytest.skip("only root can become a second user")
    colleague = pwd.getpwnam("nobody")
    conf = cluster.slurm_conf
    munge, saved = Path(cluster.root) / "munge" / "s", conf.read_text()
    stages = [waiting.stage_dir(stage) for stage in waiting.plan.stages]
    for folder in (waiting.path, *stages, *waiting.path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            folder.chmod(folder.stat().st_mode | stat.S_IROTH | stat.S_IXOTH)
    code = (
        "import _strptime, os, sys\n"  # what cannot be loaded later, if the interpreter is root's
        "from pathlib import Path\n"
        "from slurm.watching.status import StatusReader\n"
        "from jobs.plan import Run\n"
        f"run = Run.load(Path({str(waiting.path)!r}))\n"
        f"os.setgroups([]); os.setgid({colleague.pw_gid}); os.setuid({colleague.pw_uid})\n"
        "status = StatusReader(run).read()\n"
        "print(status.state, sum(stage.unknown for stage in status.stages), status.problem)\n"
    )

    def look() -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    # The test cluster is its owner's alone; a real one lets every user read its config and reach its munge.
    owned = {
        place: place.stat().st_mode for place in (Path(cluster.root), conf.parent, conf, *munge.parents[:1], munge)
    }
    try:
        for place, mode in owned.items():
            place.chmod(mode | 0o055 if place.is_dir() else mode | 0o066)
        assert look().startswith("stuck 0 None"), "without PrivateData"
        conf.write_text(saved + "PrivateData=jobs\n")
        subprocess.run(["scontrol", "reconfigure"], check=True)
        assert StatusReader(waiting).read().state == "stuck"
        said = look()
        assert said.startswith("unknown 9 you may not see these jobs") and "root" in said
    finally:
        conf.write_text(saved)
        subprocess.run(["scontrol", "reconfigure"], check=True)
        for place, mode in owned.items():
            place.chmod(mode)
        control.cancel(waiting)


def test_A5_lines_of_unexpected_width_are_an_unreadable_answer(
    waiting: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site's wrapper of squeue that drops or adds columns made every job LOST."""
    stand_in(tmp_path / "bin", monkeypatch, "squeue", '"$REAL" "$@" | cut -d"|" -f1-4')
    status = StatusReader(waiting).read()
    assert status.state == "unknown" and "unreadable answer" in str(status.problem), told(status)
    with pytest.raises(SubmitError, match="unreadable answer"):
        submit_missing(waiting, PACKAGE)


def test_A6_cancel_ends_what_slurm_did_not_list(waiting: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cancel` skipped jobs called LOST, which kept running. Also where accounting is off and squeue says nothing."""
    real = os.environ["PATH"]
    stand_in(tmp_path / "bin", monkeypatch, "squeue", "exit 0")
    stand_in(tmp_path / "bin", monkeypatch, "sacct", "exit 1")
    assert StatusReader(waiting).read().state == "unknown"
    said = launch_here("cancel", str(waiting.path))
    assert said.returncode == 0 and "stopped" not in said.stdout, "nobody said that they ended"
    assert "Slurm does not list these jobs, but was told to end them too: " in said.stdout
    assert said.stdout.count(",") == 6, "six jobs, and one comma of the sentence"
    monkeypatch.setenv("PATH", real)
    until(lambda: in_queue(waiting) == 0, "the jobs to end")
    assert wait_for(waiting, ended).state == "cancelled"


def test_what_is_lost_is_submitted_again_after_the_second_look(
    waiting: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A controller's answer that lacks a job once is waited out; `--presume-lost` names what it submits."""
    looks = tmp_path / "looks"
    counted = f'echo >>{looks}; [ "$(wc -l <{looks})" = 1 ] && exit 0; exec "$REAL" "$@"'
    stand_in(tmp_path / "bin", monkeypatch, "squeue", counted)
    assert submit_missing(waiting, PACKAGE) == [] and looks.read_text() == "\n\n"

    stand_in(tmp_path / "bin", monkeypatch, "squeue", "echo 'slurm_load_jobs error: Socket timed out' >&2; exit 1")
    stand_in(tmp_path / "bin", monkeypatch, "sacct", "exit 1")
    said: list[str] = []
    made = submit_missing(waiting, PACKAGE, presume_lost=True, tell=said.append)
    assert len(made) == 6 and len(said) == 1
    assert "presumed lost" in said[0] and "sample 0-1; generate 0-2; merge 0; train 0" in said[0]
    for name in ("squeue", "sacct"):
        (tmp_path / "bin" / name).unlink()
    assert in_queue(waiting) == 18 and len(control.cancel(waiting).jobs) == 12


@pytest.mark.parametrize("accounting", ['exec "$REAL" "$@"', "exit 1", "echo sacct: error: no slurmdbd >&2; exit 1"])
def test_A2_an_empty_answer_twice_is_not_believed_while_another_command_has_the_jobs(
    accounting: str, waiting: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A squeue that prints nothing and exits 0, twice, made `retry` submit the whole run a second time."""
    real = os.environ["PATH"]
    stand_in(tmp_path / "bin", monkeypatch, "squeue", "exit 0")
    stand_in(tmp_path / "bin", monkeypatch, "sacct", accounting)
    with pytest.raises(SubmitError, match=r"(scontrol does|sacct: )[\s\S]*--presume-lost"):
        submit_missing(waiting, PACKAGE)
    monkeypatch.setenv("PATH", real)
    assert in_queue(waiting) == 9
    control.cancel(waiting)


def test_B6_twenty_thousand_job_ids_are_asked_for_in_several_calls(
    waiting: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one argument they were refused by the kernel: `Argument list too long`."""
    first = load_submissions(waiting)[0]
    calls = tmp_path / "calls"
    for name in ("squeue", "sacct", "scancel"):
        stand_in(tmp_path / "bin", monkeypatch, name, f'echo {name} >>{calls}; exec "$REAL" "$@"')
    far = [replace(first, job=str(5_000_000 + number), name=f"x{number}") for number in range(20_000)]
    view = read_queue([first, *far])
    entry = view.entry(first)
    assert view.problem is None and entry is not None and entry.waiting
    assert sorted(calls.read_text().split()) == ["sacct"] * 3 + ["squeue"] * 3
