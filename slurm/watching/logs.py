"""Finds the log of a shard's newest attempt and reads its last lines."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from jobs.plan import Run
from routenator.errors import InputError
from slurm.submission.submissions import latest_submissions, load_submissions

_BLOCK = 64 * 1024


@dataclass(frozen=True)
class ShardLog:
    """The log of a shard's newest submission."""

    stage: str
    shard: int
    path: Path


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


def shard_logs(run: Run, stage: str | None = None) -> list[ShardLog]:
    """Return the newest log of every shard that has one, in the order of the stages."""
    submissions = load_submissions(run)
    found = []
    for name in run.plan.stages:
        if stage in (None, name):
            for shard, submission in sorted(latest_submissions(submissions, name).items()):
                path = submission.log(run.log_dir(name), shard)
                if path.exists():
                    found.append(ShardLog(name, shard, path))
    return found


def select_logs(run: Run, stage: str | None, only: Collection[tuple[str, int]] | None = None) -> list[ShardLog]:
    """Select the logs to show.

    Args:
        stage: only logs of this stage; None: of all stages.
        only: stage and number of the shards to show; None: all.

    Raises:
        InputError: there is no such stage.
    """
    if stage is not None and stage not in run.plan.stages:
        raise InputError("no such stage", key="STAGE", found=stage, valid=run.plan.stages)
    return [log for log in shard_logs(run, stage) if only is None or (log.stage, log.shard) in only]
