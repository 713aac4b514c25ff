"""A Slurm task, started by ``slurm.worker.start``: it picks its own of the array, runs it, and requeues it when it is
stopped.

submitit's own start (``submitit.core._submit``, which local runs use) needs a file for each task before the array is
submitted, writes another when the task ends, and cannot checkpoint again once it was killed while it wrote a
checkpoint. Here one file holds an array's tasks, a task has a file of its own only after it was stopped, and submitit,
a third of the time of a start, is not imported.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from routenator.files import write_atomic
from slurm.worker.stage_task import StageTask, job_id

# The controller may be restarting at the moment when a task asks to be requeued.
REQUEUE_TRIES = 5
REQUEUE_PAUSE_S = 5.0
TASKS_SUFFIX = "_tasks.pkl"


def write_tasks(folder: Path, name: str, task: StageTask, own: Mapping[int, list[int]]) -> None:
    """Keep an array's tasks, which differ in their shards only.

    Args:
        folder: of the stage's logs.
        name: the file's name there.
        task: any of them.
        own: array task id -> its shards; of a plain job one, at any id.
    """
    kept = (task, dict(own))
    folder.mkdir(parents=True, exist_ok=True)
    # Whole before the job is there; and if the machine that submits loses it in a crash, `retry` makes another.
    (folder / name).write_bytes(pickle.dumps(kept, protocol=pickle.HIGHEST_PROTOCOL))


def stopped_path(folder: Path, name: str) -> Path:
    """Where this job's task is kept after it was stopped. The array's file is in the name, because the id may be
    another's later.
    """
    return folder / f"{name.removesuffix(TASKS_SUFFIX)}_{job_id()}_stopped.pkl"


def own_task(folder: Path, name: str) -> StageTask:
    """This process's task: as it was stopped, if it was, otherwise as it was submitted."""
    try:
        return cast("StageTask", pickle.loads(stopped_path(folder, name).read_bytes()))
    except FileNotFoundError:
        task, own = pickle.loads((folder / name).read_bytes())
    index = os.environ.get("SLURM_ARRAY_TASK_ID")
    task.indices = own[int(index)] if index is not None else next(iter(own.values()))
    return cast("StageTask", task)


class Stopper:
    """The handler of the warning signal.

    Args:
        task: what runs.
        folder: of the stage's logs.
        name: of the array's file there.
    """

    def __init__(self, task: StageTask, folder: Path, name: str) -> None:
        self.task = task
        self.folder = folder
        self.name = name

    def __call__(self, number: int, frame: types.FrameType | None) -> None:
        say(f"signal {signal.Signals(number).name}")
        if os.environ.get("SLURM_PROCID", "0") != "0":
            return  # the first task of the job requeues it as a whole
        if self.task.is_done():
            say("all is done")
            return
        again = self.task.stopped()
        if again is None:
            sys.exit(1)
        write_atomic(stopped_path(self.folder, self.name), pickle.dumps(again, protocol=pickle.HIGHEST_PROTOCOL))
        if shutil.which("scontrol") is None:
            # In a container; the script outside does it when this has ended.
            (self.folder / requeue_mark(os.environ["SLURM_JOB_ID"])).touch()
            say("asks its script to requeue it")
            sys.exit(1)
        for _ in range(REQUEUE_TRIES):
            try:
                subprocess.run(["scontrol", "requeue", str(job_id())], timeout=60, check=True)
            except (OSError, subprocess.SubprocessError) as error:
                say(f"not requeued yet: {error}")
                time.sleep(REQUEUE_PAUSE_S)
                continue
            say("requeued")
            sys.exit(1)
        # Working until the end is worth more than ending now: chunks and checkpoints are kept either way.
        say("could not be requeued; goes on until it is ended")


def requeue_mark(job: str) -> str:
    """Name of the file, below the stage's logs, by which a task asks the script around it to requeue the job.

    Args:
        job: Slurm's plain id of the job or array task, or what stands for it in a script.
    """
    return f"requeue-{job}"


def say(message: str) -> None:
    """A line in the task's log."""
    with contextlib.suppress(OSError):  # the disk of the logs may be full
        print(f"routenator: {time.strftime('%Y-%m-%dT%H:%M:%S')} {message}", file=sys.stderr, flush=True)


def main(arguments: list[str], early: Sequence[int] = ()) -> None:
    """Run this process's task.

    Args:
        arguments: LOGS TASKS.
        early: warning signals that came before this.
    """
    folder, name = Path(arguments[0]), arguments[1]
    task = own_task(folder, name)
    # Slurm sends these two beside its warnings; what ends a task is the warning itself, or a kill.
    signal.signal(signal.SIGTERM, task.note_end)
    signal.signal(signal.SIGCONT, lambda number, frame: None)
    stopper = Stopper(task, folder, name)
    signal.signal(signal.SIGUSR2, stopper)
    say(f"{task.stage} on {os.environ.get('SLURMD_NODENAME', 'an unknown node')}, job {job_id()}")
    if early:
        stopper(early[0], None)
    task()
