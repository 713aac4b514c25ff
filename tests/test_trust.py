"""Nobody else's files are trusted: planted runs, stages, receipts, checkpoints, caches and drivers are refused.

A second user is needed where ownership is the point, so these tests run as root (as in CI) or are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.entry import run_task
from jobs.plan import Run
from jobs.task import RECEIPT_SUFFIX, read_receipt
from routenator.models import MARKER, PACKAGED, resolve_model
from routenator.training import checkpoints
from routenator.trust import GROUP_VARIABLE, TrustError, check_own, is_own, make_folder
from slurm import control
from slurm.commands.shared import load_own_run
from slurm.local import processes
from slurm.local.driver import ForeignProcessError
from slurm.preflight.forecast import exposure
from slurm.submission.executor import make_executor
from slurm.watching.runs import RunsReader
from slurm.watching.status import StatusReader
from tests.conftest import ROOT
from tests.slurm.conftest import PACKAGE, make_config, make_run, toys

__all__ = ["make_run", "toys"]  # fixtures
STRANGER = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT CHECKED: only root can make files of a second user")


def give_away(path: Path) -> None:
    """Make a folder and what is in it another user's."""
    for item in (path, *path.rglob("*")):
        os.chown(item, STRANGER, STRANGER, follow_symlinks=False)


@pytest.mark.parametrize(("mode", "own"), [(0o700, True), (0o755, True), (0o775, False), (0o757, False)])
def test_a_folder_that_others_can_write_is_not_believed(tmp_path: Path, mode: int, own: bool) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(mode)
    assert is_own(folder) == own
    if not own:
        with pytest.raises(TrustError, match=rf"mode {mode:04o}[\s\S]*chmod go-w"):
            check_own(folder, "this run")


@as_root
def test_what_another_user_owns_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "run")
    assert is_own(tmp_path / "link")
    os.chown(tmp_path / "link", STRANGER, STRANGER, follow_symlinks=False)
    assert not is_own(tmp_path / "link"), "a planted link to a folder of one's own"
    os.chown(tmp_path / "run", STRANGER, STRANGER)
    with pytest.raises(TrustError, match="owner nobody"):
        check_own(tmp_path / "run", "this run")


@as_root
def test_a_planted_run_is_shown_and_neither_resumed_nor_cancelled(make_run: Callable[..., Run]) -> None:
    run = make_run()
    give_away(run.path)
    assert StatusReader(run).read().state == "incomplete"
    assert [entry.dir for entry in RunsReader(run.path.parent).read()] == [run.path.name]
    for command in ("retry", "cancel", "topup"):
        done = subprocess.run(
            [sys.executable, str(ROOT / "launch.py"), command, str(run.path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2 and "would run code as you" in done.stderr, command
    with pytest.raises(TrustError):
        run_task(run.path, "sample", [0], package=PACKAGE)
    with pytest.raises(TrustError):
        make_run()


@as_root
def test_a_planted_receipt_makes_no_shard_done(make_run: Callable[..., Run]) -> None:
    run = make_run()
    store = run.stage_dir("sample")
    (store / f"shard-00000{RECEIPT_SUFFIX}").write_text("{}")
    give_away(store)
    with pytest.raises(TrustError, match="the store of a stage"):
        load_own_run(run.path)


def test_runs_and_stages_are_their_owners_alone(make_run: Callable[..., Run]) -> None:
    umask = os.umask(0o002)
    try:
        run = make_run()
    finally:
        os.umask(umask)
    for folder in (run.path, *(run.stage_dir(stage) for stage in run.plan.stages)):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_checkpoint_that_was_changed_is_not_resumed_from(tmp_path: Path) -> None:
    work = tmp_path / "work"
    for attempt, steps in (("two", 100), ("one", 20)):
        folder = tmp_path / attempt / f"checkpoint-{steps}"
        folder.mkdir(parents=True)
        (folder / "optimizer.pt").write_text(attempt)
        checkpoints.keep(folder, work)
    old, new = work / "checkpoint-20-one", work / "checkpoint-100-two"
    assert checkpoints.newest(work) == new
    (new / "optimizer.pt").write_bytes(b"another pickle")
    assert checkpoints.newest(work) == old
    shutil.copytree(old, work / "checkpoint-999-planted")
    (work / "checkpoint-999-planted" / "added.pt").write_bytes(b"code")
    assert checkpoints.newest(work) == old


@as_root
def test_a_planted_cache_does_not_pass_as_weights(tmp_path: Path) -> None:
    """Its own marker vouches for its files, so it is the owner that counts."""
    name = next(iter(PACKAGED))
    folder = tmp_path / f"{name}-{PACKAGED[name].version}"
    folder.mkdir(mode=0o700)
    (folder / MARKER).write_text(json.dumps({"name": name, "source": {}, "files": {}}))
    assert resolve_model(f"package:{name}", tmp_path) == str(folder)
    give_away(folder)
    with pytest.raises(TrustError, match="prepared weights"):
        resolve_model(f"package:{name}", tmp_path)


def test_cancel_stops_no_process_but_a_driver_of_the_run(make_run: Callable[..., Run]) -> None:
    run = make_run()
    other = subprocess.Popen(["sleep", "600"])
    try:
        record = {"pid": other.pid, "host": os.uname().nodename, "started": processes.started(other.pid)}
        (run.path / "driver.json").write_text(json.dumps({**record, "state": "running", "exit_code": None, "time": 0}))
        with pytest.raises(ForeignProcessError, match="nothing was stopped"):
            control.cancel(run)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_folder_of_runs_that_others_can_write_is_warned_of(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    make_folder(root)
    assert not exposure(make_config(tmp_path))
    root.chmod(0o1777)
    [note] = exposure(make_config(tmp_path))
    assert "all users" in note and "chmod o-w" in note
    [note] = exposure(make_config(tmp_path, shared_group=True))
    assert "trusted, and run, by all" in note


def test_a_job_writes_for_the_group_that_shares_its_run(make_run: Callable[..., Run]) -> None:
    run = make_run(shared_group=True, cluster={"kind": "slurm"})
    text = make_executor(run, "sample", None).script(None)
    assert "\numask 0007\n" in text and f"export {GROUP_VARIABLE}={run.path.group()}\n" in text
    assert "umask" not in make_executor(make_run(seed=1, cluster={"kind": "slurm"}), "sample", None).script(None)


@pytest.fixture
def team() -> Iterator[str]:
    """A group with the users rnalice and rnbob."""
    if os.geteuid() != 0 or shutil.which("useradd") is None:
        pytest.skip("NOT CHECKED: only root can make two users of one group")
    group, users = "rnteam", ("rnalice", "rnbob")
    subprocess.run(["groupadd", group], check=True)
    try:
        for name in users:
            subprocess.run(["useradd", "--no-create-home", "--groups", group, name], check=True)
        yield group
    finally:
        for name in users:
            subprocess.run(["userdel", name], check=False)
        subprocess.run(["groupdel", group], check=False)


SCRIPT = """
import sys
from pathlib import Path
from jobs.plan import Run
from routenator.config import RunConfig
from routenator.errors import RoutenatorError
from slurm import control
from slurm.commands.shared import load_own_run
from slurm.local.driver import start_driver
from slurm.planning.planner import make_plan, materialise
from slurm.watching.status import StatusReader
try:
    {action}
except RoutenatorError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def python_as(user: str, group: str, action: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python as a user of the group. She may read everything (the interpreter may be root's) and write only what is
    her own."""
    command = ["setpriv", f"--reuid={user}", f"--regid={user}", f"--groups={group}"]
    command += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", sys.executable, "-c"]
    # She may not write where this process measures its coverage.
    environment = {
        key: value for key, value in os.environ.items() if key != GROUP_VARIABLE and not key.startswith("COV")
    }
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment["PYTHONPATH"]])
    return subprocess.run(
        [*command, SCRIPT.format(action=action)],
        env=environment | variables,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.mark.slow
def test_two_users_of_a_group_work_on_one_root(team: str, toys: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shutil.chown(shared, "rnalice", team)
    shared.chmod(0o2770)
    config = make_config(tmp_path, root=str(shared), shared_group=True).model_dump(mode="json")
    (toys / "generate-1.fail").touch()
    plan = f"make_plan(RunConfig.model_validate({config!r}), package={PACKAGE!r})"
    made = python_as(
        "rnalice", team, f"sys.exit(start_driver(materialise({plan}), attached=True, package={PACKAGE!r}).wait())"
    )
    assert made.returncode == 1 and "error" not in made.stderr, made.stderr
    [path] = shared.glob("toy-*")
    assert (path.owner(), path.group(), path.stat().st_mode & 0o7777) == ("rnalice", team, 0o2770)

    # Bob looks; acting on it needs his consent to run what anybody of the group wrote.
    look = f"print(StatusReader(Run.load({str(path)!r})).read().state)"
    assert python_as("rnbob", team, look).stdout.strip() == "failed"
    again = f"sys.exit(start_driver(load_own_run(Path({str(path)!r})), attached=True, package={PACKAGE!r}).wait())"
    refused = python_as("rnbob", team, again)
    assert refused.returncode == 2 and f"export {GROUP_VARIABLE}={team}" in refused.stderr, refused.stderr

    (toys / "generate-1.fail").unlink()
    consent = {GROUP_VARIABLE: team}
    done = python_as("rnbob", team, again, **consent)
    assert done.returncode == 0, done.stdout + done.stderr
    store = Run.load(path).stage_dir("generate")
    receipt = read_receipt(store, 1)
    assert receipt is not None and receipt.attempt == 2
    assert (store / f"shard-00001{RECEIPT_SUFFIX}").owner() == "rnbob"
    assert python_as("rnalice", team, look).stdout.strip() == "done"
    assert python_as("rnalice", team, f"Run.load({str(path)!r}).check_own()").returncode == 0
    stopped = python_as("rnbob", team, f"print(control.cancel(Run.load({str(path)!r})))", **consent)
    assert "driver=False" in stopped.stdout, stopped.stderr
