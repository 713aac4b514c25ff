"""A Slurm task's entry point: loading its part of an array, and saving it when it is stopped."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.entry import read_failure, run_task
from jobs.plan import Run
from jobs.task import Task
from routenator.errors import InputError
from slurm.worker.array_task import (
    TASKS_SUFFIX,
    Stopper,
    check_snapshot,
    own_task,
    requeue_mark,
    stopped_path,
    write_tasks,
)
from slurm.worker.stage_task import StageTask, code_environment
from tests.slurm.conftest import PACKAGE


@pytest.fixture
def run(make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run, in the environment of the task 40_3."""
    for name in ("SLURM_PROCID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "43")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "40")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    return make_run(generate__shards=8)


def scontrol(folder: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> Path:
    """Put a program of that name first in the path; it exits with this code. Return the file with its arguments."""
    folder.mkdir()
    said = folder / "said"
    (folder / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {said}\nexit {code}\n')
    (folder / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return said


def test_a_task_takes_its_own_of_the_array(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = StageTask(run.path, "generate", [], attempt=2, package=PACKAGE)
    write_tasks(tmp_path, "tasks.json", task, {index: [2 * index, 2 * index + 1] for index in range(4)})
    assert vars(own_task(tmp_path, "tasks.json")) == {**vars(task), "indices": [6, 7]}
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name)
    write_tasks(tmp_path, "one.json", task, {0: [5]})
    assert own_task(tmp_path, "one.json").indices == [5]


def test_a_stopped_task_is_kept_and_requeued(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = scontrol(tmp_path / "bin", monkeypatch, 0)
    logs = run.log_dir("generate")
    logs.mkdir(parents=True)
    write_tasks(logs, "abc_tasks.json", StageTask(run.path, "generate", [3], package=PACKAGE), {3: [3]})
    with pytest.raises(SystemExit) as end:
        Stopper(own_task(logs, "abc_tasks.json"), logs, "abc_tasks.json")(signal.SIGUSR2, None)
    assert end.value.code == 1 and said.read_text() == "requeue 40_3\n"
    assert stopped_path(logs, "abc_tasks.json").name == "abc_40_3_stopped.json"
    again = own_task(logs, "abc_tasks.json")
    assert (again.indices, again.restarts) == ([3], 1)
    write_tasks(logs, "def_tasks.json", StageTask(run.path, "generate", [5], package=PACKAGE), {3: [5]})
    assert own_task(logs, "def_tasks.json").indices == [5], (
        "another array with the same id, reused after a controller crash"
    )


def test_without_scontrol_the_batch_script_is_asked_to_requeue(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = run.log_dir("generate")
    logs.mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit):
        Stopper(StageTask(run.path, "generate", [3], package=PACKAGE), logs, "tasks.json")(signal.SIGUSR2, None)
    assert (logs / requeue_mark("43")).exists()


def reader_of(pipe: Path, process: subprocess.Popen[str]) -> int:
    """Open a named pipe for writing once the process has opened it for reading."""
    while True:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            assert error.errno == errno.ENXIO and process.poll() is None
            time.sleep(0.02)


def test_a_run_whose_code_reads_other_task_files_is_refused(run: Run) -> None:
    """A run keeps its code; a task of an earlier version would not understand the files of this one."""
    check_snapshot(run)
    file = run.path / "code" / "slurm" / "worker" / "array_task.py"
    text = file.read_text().replace(TASKS_SUFFIX, "_tasks.pkl")
    file.unlink()  # other runs have it too
    file.write_text(text)
    with pytest.raises(InputError, match="a snapshot of an earlier version"):
        check_snapshot(run)


def test_a_signal_during_startup_is_handled(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes before the task is loaded: its file is a pipe, filled only after the signal was sent."""
    said = scontrol(tmp_path / "bin", monkeypatch, 0)
    logs = run.log_dir("generate")
    logs.mkdir(parents=True)
    write_tasks(logs, "whole.json", StageTask(run.path, "generate", [3], package=PACKAGE), {3: [3]})
    os.mkfifo(logs / "abc_tasks.json")
    command = [sys.executable, "-m", "slurm.worker.start", str(logs), "abc_tasks.json"]
    process = subprocess.Popen(command, env=os.environ | code_environment(run), stderr=subprocess.PIPE, text=True)
    with os.fdopen(reader_of(logs / "abc_tasks.json", process), "wb") as pipe:
        process.send_signal(signal.SIGUSR2)
        pipe.write((logs / "whole.json").read_bytes())
    _, text = process.communicate(timeout=180)
    assert process.returncode == 1 and "signal SIGUSR2" in text, text
    assert said.read_text() == "requeue 40_3\n"
    assert stopped_path(logs, "abc_tasks.json").exists() and not Task(run, "generate", 3).is_done()


def test_a_task_that_cannot_be_requeued_works_on(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = scontrol(tmp_path / "bin", monkeypatch, 1)
    monkeypatch.setattr("slurm.worker.array_task.REQUEUE_PAUSE_S", 0.0)
    logs = run.log_dir("generate")
    logs.mkdir(parents=True)
    Stopper(StageTask(run.path, "generate", [3], package=PACKAGE), logs, "tasks.json")(signal.SIGUSR2, None)
    assert set(said.read_text().splitlines()) == {"requeue 40_3"}


def test_a_task_whose_shards_are_done_is_not_requeued(run: Run, tmp_path: Path) -> None:
    task = StageTask(run.path, "sample", [1], package=PACKAGE)
    assert not task.is_done()
    run_task(run.path, "sample", [1], package=PACKAGE)
    Stopper(task, tmp_path, "tasks.json")(signal.SIGUSR2, None)  # and ends by itself
    assert not list(tmp_path.glob("*_stopped.json"))


def test_only_the_first_task_of_a_job_requeues_it(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "1")
    Stopper(StageTask(run.path, "train", [0], package=PACKAGE), tmp_path, "tasks.json")(signal.SIGUSR2, None)
    assert not stopped_path(tmp_path, "tasks.json").exists()


def test_a_task_that_must_not_resume_records_why(run: Run, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        Stopper(StageTask(run.path, "generate", [3], requeue=False, package=PACKAGE), tmp_path, "tasks.json")(
            signal.SIGUSR2, None
        )
    failure = read_failure(run, "generate", 3)
    assert failure is not None and "cluster.requeue is off" in failure["message"]
    assert not stopped_path(tmp_path, "tasks.json").exists()


def test_it_runs_the_stage_and_imports_no_submitit(run: Run, toys: Path) -> None:
    logs = run.log_dir("sample")
    logs.mkdir(parents=True)
    write_tasks(logs, "tasks.json", StageTask(run.path, "sample", [1], attempt=2, package=PACKAGE), {3: [1]})
    code = (
        f"import sys, slurm.worker.array_task; slurm.worker.array_task.main([{str(logs)!r}, 'tasks.json']); "
        "assert 'submitit' not in sys.modules"
    )
    environment = os.environ | code_environment(run)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"sample on {socket.gethostname()}, job 40_3" in done.stderr
    assert Task(run, "sample", 1).is_done()
