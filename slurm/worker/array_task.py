"""Entry point of a task, called by ``slurm.worker.start``: loads its shards, runs them, resumes later when stopped.

submitit's own entry point (``submitit.core._submit``) loads pickles, which run whatever a stranger puts into them. It
needs one file per task before the array is submitted, and can never checkpoint again if it is killed while writing a
checkpoint. Here one JSON file holds all tasks of an array, a task gets a file of its own only after it was stopped, and
submitit, whose import takes a third of the startup time, is not imported. The local driver starts its tasks the same
way.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import types
from collections.abc import Mapping, Sequence
from pathlib import Path

from jobs.plan import Run
from routenator.errors import InputError
from routenator.files import write_atomic
from slurm.worker.stage_task import LOCAL_VARIABLE, StageTask, job_id

# The controller may be restarting just when a task asks to be requeued.
REQUEUE_TRIES = 5
REQUEUE_PAUSE_S = 5.0
TASKS_SUFFIX = "_tasks.json"


def write_tasks(folder: Path, name: str, task: StageTask, own: Mapping[int, list[int]]) -> None:
    """Save an array's tasks, which differ only in their shards.

    Args:
        folder: the stage's log folder.
        name: file name within it.
        task: any of the tasks.
        own: array task id -> its shards; for a plain job a single entry under any id.
    """
    value = {"task": task.as_dict(), "own": {str(index): shards for index, shards in own.items()}}
    folder.mkdir(parents=True, exist_ok=True)
    # Complete before the job exists, so no task can read half of it. No fsync: if the submitting machine crashes and
    # loses the file, `retry` writes another.
    (folder / name).write_text(json.dumps(value), encoding="utf-8")


def check_snapshot(run: Run) -> None:
    """Check that a task from the run's snapshot of the code can read the task files of this version.

    Raises:
        InputError: the snapshot is of another version.
    """
    file = run.path / "code" / "slurm" / "worker" / "array_task.py"
    if file.is_file() and f'"{TASKS_SUFFIX}"' in file.read_text(encoding="utf-8"):
        return
    raise InputError(
        "this run holds a snapshot of an earlier version of the code, which this version cannot start",
        file=run.path / "code",
        found="tasks of another form",
        expected=f"`retry` with the version that made it, or `run {run.path / 'config.yaml'}`, "
        "which reuses finished stages",
    )


def stopped_path(folder: Path, name: str, job: str | None = None) -> Path:
    """Path of a task's saved state after it was stopped.

    The name includes the array's unique file name, because Slurm may reuse the job id later.

    Args:
        job: the scheduler's id of the task; this process's own by default.
    """
    return folder / f"{name.removesuffix(TASKS_SUFFIX)}_{job or job_id()}_stopped.json"


def read_task(path: Path) -> StageTask:
    """Load a task as it was saved when it was stopped."""
    return StageTask(**json.loads(path.read_text(encoding="utf-8")))


def own_task(folder: Path, name: str) -> StageTask:
    """Load this process's task: as saved when it was last stopped, otherwise as submitted."""
    with contextlib.suppress(FileNotFoundError):
        return read_task(stopped_path(folder, name))
    value = json.loads((folder / name).read_text(encoding="utf-8"))
    index = os.environ.get("SLURM_ARRAY_TASK_ID")
    shards = value["own"][index] if index is not None else next(iter(value["own"].values()))
    return StageTask(**{**value["task"], "indices": shards})


class Stopper:
    """Handler of the warning signal: saves the task's state and requeues it.

    It runs in the main thread, between two bytecodes of the stage, so it only does what is safe there: write a small
    file atomically, call scontrol, and leave by ``sys.exit``, on which the stage's ``finally`` blocks run.

    Args:
        task: the running task.
        folder: the stage's log folder.
        name: the array's file within it.
    """

    def __init__(self, task: StageTask, folder: Path, name: str) -> None:
        self.task = task
        self.folder = folder
        self.name = name

    def __call__(self, number: int, frame: types.FrameType | None) -> None:
        say(f"signal {signal.Signals(number).name}")
        if os.environ.get("SLURM_PROCID", "0") != "0":
            return  # the process on the job's first node requeues the whole job
        if self.task.is_done():
            say("all shards are done")
            return
        again = self.task.stopped()
        if again is None:
            sys.exit(1)
        # Saved before the requeue: the next start may begin on another node before this process is gone.
        write_atomic(stopped_path(self.folder, self.name), json.dumps(again.as_dict()).encode())
        if LOCAL_VARIABLE in os.environ:
            say("stopped; the driver starts it again")
            sys.exit(1)
        if shutil.which("scontrol") is None:
            # Inside a container without Slurm's commands; the batch script outside requeues once this has exited.
            (self.folder / requeue_mark(os.environ["SLURM_JOB_ID"])).touch()
            say("asking the batch script to requeue this task")
            sys.exit(1)
        for _ in range(REQUEUE_TRIES):
            try:
                subprocess.run(["scontrol", "requeue", str(job_id())], timeout=60, check=True)
            except (OSError, subprocess.SubprocessError) as error:
                say(f"requeue failed: {error}")
                time.sleep(REQUEUE_PAUSE_S)
                continue
            say("requeued")
            sys.exit(1)
        # Working until Slurm kills us is worth more than exiting now: chunks and checkpoints are kept either way.
        say("could not be requeued; continuing until Slurm stops it")


def requeue_mark(job: str) -> str:
    """Name of the file in the stage's log folder by which a task asks its batch script to requeue the job.

    Args:
        job: Slurm's plain id of the job or array task, or a shell variable holding it.
    """
    return f"requeue-{job}"


def say(message: str) -> None:
    """Write a line to the task's log."""
    with contextlib.suppress(OSError):  # the disk with the logs may be full
        print(f"routenator: {time.strftime('%Y-%m-%dT%H:%M:%S')} {message}", file=sys.stderr, flush=True)


def main(arguments: list[str], early: Sequence[int] = ()) -> None:
    """Run this process's task.

    Args:
        arguments: LOGS TASKS.
        early: warning signals that arrived before this was called.
    """
    folder, name = Path(arguments[0]), arguments[1]
    task = own_task(folder, name)
    # Slurm sends these two along with its warning when it preempts. By default SIGTERM would kill the process before it
    # could checkpoint; only the warning signal, or a SIGKILL, should stop a task.
    signal.signal(signal.SIGTERM, task.note_end)
    signal.signal(signal.SIGCONT, lambda number, frame: None)
    stopper = Stopper(task, folder, name)
    signal.signal(signal.SIGUSR2, stopper)
    say(f"{task.stage} on {os.environ.get('SLURMD_NODENAME') or socket.gethostname()}, job {job_id()}")
    if early:
        # The signal came while modules were being imported. Slurm sends it once, so handle it now.
        stopper(early[0], None)
    task()
