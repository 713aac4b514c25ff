"""File systems without flock(2) or hard links, and folders of somebody else.

No file system here refuses flock or links, so stand-ins for ``fcntl.flock`` and ``os.link`` raise what such ones do.
"""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from jobs import scratch
from jobs.plan import Run
from jobs.task import Task, read_receipt, receipt_path
from routenator import locks, models, probe
from routenator.errors import InputError
from routenator.files import write_json
from routenator.probe import lacks
from slurm.commands import runs
from slurm.commands.shared import with_exit_codes
from slurm.preflight import doctor
from slurm.submission.submissions import BusyError, submission_lock
from tests.jobs import world

pytestmark = pytest.mark.slow

FORK = multiprocessing.get_context("fork")  # children inherit the stand-ins


@pytest.fixture(params=[errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK], ids=errno.errorcode.get)
def no_flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, fcntl, "flock", request.param)


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, os, "link", errno.EPERM)
    refuse(monkeypatch, os, "symlink", errno.EPERM)


def refuse(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, code: int) -> None:
    """Put a stand-in for a system call that answers with an error."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(module, name, refused)


def start(work: Callable[..., None], *arguments: Any) -> multiprocessing.process.BaseProcess:
    process = FORK.Process(target=work, args=arguments)
    process.start()
    return process


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def keep(run: Run) -> None:
    """Hold a run's submission lock until killed."""
    with submission_lock(run):
        (run.path / "holding").touch()
        time.sleep(600)


@pytest.fixture
def holder(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Run, int]]:
    """A run whose submission lock another process holds; its id."""
    run = world.make_run(tmp_path)
    process = start(keep, run)
    wait_until((run.path / "holding").exists)
    assert process.pid is not None
    yield run, process.pid
    process.kill()
    process.join()


def test_G1_without_flock_only_one_command_submits_and_a_crash_blocks_nobody(
    no_flock: None, holder: tuple[Run, int], capfd: pytest.CaptureFixture[str]
) -> None:
    """A traceback at `run`, where Lustre is mounted without flock."""
    run, pid = holder
    with pytest.raises(BusyError, match=f"another command is submitting .*process {pid} on"), submission_lock(run):
        pass
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with submission_lock(run):
        assert locks.is_locked(run.path / ".submitting")
    assert f"process {pid} on" in (said := capfd.readouterr().err) and "has died; its lock was removed" in said
    assert not locks.is_locked(run.path / ".submitting")
    assert not list(run.path.glob(".submitting?*")) and not list(run.path.glob("..submitting*"))


def test_G1_a_lock_of_another_host_is_judged_by_its_owners_touch_alone(
    no_flock: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(locks, "STALE_S", 3.0)
    held = tmp_path / "lock.held"
    held.write_text(json.dumps({"place": "login2 pid:[1]", "pid": 1, "started": 1.0, "token": "t"}))
    far = time.time() + 10**6  # the clock of another host says nothing
    os.utime(held, (far, far))

    def beat() -> None:
        while True:
            os.utime(held)
            time.sleep(0.2)

    process = start(beat)
    with pytest.raises(locks.LockedError, match="process 1 on login2 holds"), locks.hold(tmp_path / "lock", wait=False):
        pass
    process.kill()
    process.join()
    with locks.hold(tmp_path / "lock", wait=False):
        pass
    said = capfd.readouterr().err
    assert "checking for 3 s whether it is alive" in said and "has died" in said


def test_G1_a_host_with_flock_honours_the_lock_of_one_without(
    holder: tuple[Run, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "lock"
    with monkeypatch.context() as patch:
        refuse(patch, fcntl, "flock", errno.ENOSYS)
        lock = locks.Lock(path)
        lock.acquire(wait=False)
    with pytest.raises(locks.LockedError), locks.hold(path, wait=False):
        pass
    lock.release()
    with locks.hold(path, wait=False):
        pass


def test_G2_without_flock_merge_has_its_scratch(no_flock: None, tmp_path: Path) -> None:
    """A traceback at merge."""
    run = world.make_run(tmp_path)
    first, second = (scratch.Scratch(Task(run, "merge", 0), None) for _ in range(2))
    here = first.begin()
    dead = here.with_name("attempt-dead")
    dead.mkdir()
    (dead / "lock").touch()
    there = second.begin()
    assert here.is_dir() and there.is_dir() and not dead.exists(), "a living attempt's folder stays, a dead one's goes"
    first.end()
    assert there.is_dir() and not here.exists()
    second.end()
    assert not first.root.exists()


def test_G3_without_flock_one_process_prepares_a_model(
    no_flock: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On such a file system every process prepared the weights at the same time."""

    def prepare(name: str, package: object, folder: Path) -> None:
        (tmp_path / f"prepared-{os.getpid()}").touch()
        time.sleep(1)
        folder.mkdir(mode=0o700)
        write_json(folder / models.MARKER, {"files": {}})

    monkeypatch.setattr(models, "_prepare", prepare)
    made = [start(models.resolve_model, "package:all-minilm-l6-v2", tmp_path / "cache") for _ in range(3)]
    for process in made:
        process.join()
    assert [process.exitcode for process in made] == [0, 0, 0]
    assert len(list(tmp_path.glob("prepared-*"))) == 1


def commit(run: Run, attempt: int, begin: Any = None) -> None:
    task = Task(run, "generate", 0, attempt)
    path = task.output(".txt")
    path.write_text(str(attempt))
    if begin is not None:
        begin.wait()
    if task.commit({"data": path}, rows=attempt):
        (run.path / f"won-{attempt}").touch()


def check_committed(run: Run) -> None:
    """One attempt won, whole."""
    (winner,) = run.path.glob("won-*")
    receipt = read_receipt(run.stage_dir("generate"), 0)
    assert receipt is not None and winner.name == f"won-{receipt.rows}"
    assert receipt.path(run.stage_dir("generate")).read_text() == str(receipt.rows)


def test_G4_without_hard_links_the_first_attempt_to_commit_wins_whole(no_links: None, tmp_path: Path) -> None:
    """PermissionError at commit, after the shard's work."""
    run = world.make_run(tmp_path)
    begin = FORK.Barrier(6)
    attempts = [start(commit, run, number, begin) for number in range(1, 7)]
    for process in attempts:
        process.join()
    assert [process.exitcode for process in attempts] == [0] * 6
    check_committed(run)
    left = {path.name for path in run.stage_dir("generate").iterdir()}
    receipt = read_receipt(run.stage_dir("generate"), 0)
    assert receipt is not None and left == {receipt.files["data"]["name"], receipt_path(Path(), 0).name}


@pytest.mark.parametrize("flock", [True, False])
def test_G4_an_attempt_killed_inside_such_a_commit_does_not_block_the_next(
    flock: bool, no_links: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not flock:
        refuse(monkeypatch, fcntl, "flock", errno.ENOSYS)
    run = world.make_run(tmp_path)
    with monkeypatch.context() as patch:
        # It dies with the lock in its hand, before the receipt has its name.
        patch.setattr(Path, "rename", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        dying = start(commit, run, 1)
        dying.join()
    assert dying.exitcode == -signal.SIGKILL and not receipt_path(run.stage_dir("generate"), 0).exists()
    commit(run, 2)
    check_committed(run)


def test_G4_a_stage_is_done_where_its_outputs_cannot_be_linked(no_links: None, tmp_path: Path) -> None:
    run = world.make_run(tmp_path)
    run.publish("merge")
    assert not list(run.path.glob("*dataset*"))
    run.check_store()


def test_G5_retry_by_a_colleague_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """`retry` as a colleague: a raw ``PermissionError: .submitting``."""
    with tempfile.TemporaryDirectory() as folder:  # others may not enter pytest's
        Path(folder).chmod(0o755)
        run = world.make_run(Path(folder))
        with submission_lock(run):
            pass
        for path in (run.path / ".submitting", run.path):
            path.chmod(0o755 if path.is_dir() and os.geteuid() == 0 else 0o555 if path.is_dir() else 0o444)

        def colleague() -> None:
            if os.geteuid() == 0:
                os.setuid(65534)
            with pytest.raises(InputError) as refused, submission_lock(run):
                pass
            assert "cannot write to this run" in refused.value.message
            assert str(refused.value.found).startswith("Permission denied; the folder belongs to ")
            assert "a run of your own" in str(refused.value.expected)

        process = start(colleague)
        process.join()
        run.path.chmod(0o755)
        assert process.exitcode == 0


def test_G5_a_missing_permission_is_a_sentence_in_every_command(tmp_path: Path) -> None:
    app = typer.Typer()

    @app.command()
    @with_exit_codes
    def fail() -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / "file"))

    result = CliRunner().invoke(app, [])
    assert result.exit_code == 1 and f"error: no permission for {tmp_path / 'file'}" in result.output


def test_G6_doctor_says_what_the_file_system_lacks(
    no_links: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not a word of it from doctor or preflight."""
    refuse(monkeypatch, fcntl, "flock", errno.ENOSYS)
    found = [finding for finding in doctor.examine(tmp_path, tmp_path / "runs") if finding.topic == "files"]
    assert [finding.level for finding in found] == ["note"] * 3
    for finding, sentence in zip(found, (probe.HARD_LINKS, probe.SYMBOLIC_LINKS, probe.LOCKS), strict=True):
        assert finding.text == f"the file system of {tmp_path / 'runs'}: {sentence}"
    assert not list(tmp_path.iterdir()), "the probe leaves nothing"
    refuse(monkeypatch, os, "replace", errno.EPERM)
    (error,) = [finding for finding in doctor.examine(tmp_path, tmp_path / "runs") if finding.topic == "files"]
    assert error.level == "error" and "cannot be written and renamed" in error.text
    with pytest.raises(InputError, match="cannot be written and renamed"):
        lacks(tmp_path, "root")


def test_G6_run_says_so_before_anything_is_submitted(
    no_links: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[str] = []
    monkeypatch.setattr(runs, "materialise", lambda plan: said.append("submitted"))
    monkeypatch.setattr(runs, "go", lambda *_: None)
    app = typer.Typer()
    app.command()(runs.run_command)
    result = CliRunner().invoke(app, ["quickstart", f"root={tmp_path / 'runs'}", "--until", "merge"])
    assert f"note: the file system of {tmp_path / 'runs'}: {probe.HARD_LINKS}" in result.output
    assert said == ["submitted"]
    said.clear()
    refuse(monkeypatch, os, "replace", errno.EPERM)
    result = CliRunner().invoke(app, ["quickstart", f"root={tmp_path / 'runs'}", "--until", "merge"])
    assert result.exit_code == 2 and "cannot be written and renamed" in result.output and said == []
