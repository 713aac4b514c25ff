"""Finds the logs of shards and of their jobs, and reads their last lines."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from jobs.plan import Run
from routenator.errors import InputError
from slurm.submission.submissions import Submission, latest_submissions, load_submissions

_BLOCK = 64 * 1024


@dataclass(frozen=True)
class ShardLog:
    """A log.

    Attributes:
        shard: whose it is; None: what the script and Slurm wrote, for all tasks of an array together.
        job: the id of the task, or of the array.
    """

    stage: str
    shard: int | None
    job: str
    path: Path

    @property
    def title(self) -> str:
        """What it is, for a heading."""
        whose = f"shard {self.shard}, job {self.job}" if self.shard is not None else f"job {self.job}, all its tasks"
        return f"{self.stage} {whose}: {self.path}"


def tail(path: Path, lines: int) -> list[str]:
    """Return the last lines of a file, reading at most 64 KiB; empty if there is no file."""
    try:
        with open(path, "rb") as handle:
            handle.seek(0, os.SEEK_END)
            handle.seek(max(0, handle.tell() - _BLOCK))
            text = handle.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    # A progress bar rewrites its line after a carriage return; show only its last state.
    return [line.rsplit("\r", 1)[-1] for line in text.rstrip().split("\n")][-lines:] if text.strip() else []


def shard_log(run: Run, stage: str, shard: int, submission: Submission) -> ShardLog | None:
    """Return the log of a shard's newest start, or of its script if it is alone in its job; None if there is none."""
    folder = run.log_dir(stage)
    path = submission.log(folder, shard)
    if path is None and not submission.array:
        path = submission.script_log(folder)
    return None if path is None else ShardLog(stage, shard, submission.task_id(shard), path)


def select_logs(run: Run, stage: str | None = None, only: Collection[tuple[str, int]] | None = None) -> list[ShardLog]:
    """Return the newest log of every shard that has one, in the order of the stages.

    If a shard has none, what its array's script and Slurm wrote comes before the logs of the stage, once for all tasks.

    Args:
        stage: only logs of this stage; None: of all stages.
        only: stage and number of the shards to show; None: all.

    Raises:
        InputError: there is no such stage.
    """
    if stage is not None and stage not in run.plan.stages:
        raise InputError("no such stage", key="STAGE", found=stage, valid=run.plan.stages)
    submissions = load_submissions(run)
    found: list[ShardLog] = []
    for name in run.plan.stages if stage is None else (stage,):
        own: list[ShardLog] = []
        shared: dict[Path, ShardLog] = {}
        for shard, submission in sorted(latest_submissions(submissions, name).items()):
            if only is not None and (name, shard) not in only:
                continue
            if (log := shard_log(run, name, shard, submission)) is not None:
                own.append(log)
            elif (path := submission.script_log(run.log_dir(name))) is not None:
                shared[path] = ShardLog(name, None, submission.job, path)
        found += [*shared.values(), *own]
    return found
