"""Checkpoints that are whole or not there, of any attempt.

    WORK/checkpoint-40-ATTEMPT/     as transformers and DeepSpeed write it, with the metrics up to it

It is written elsewhere and renamed when every process has written its part. Two attempts at once cannot mix; a new one
goes on from the checkpoint with the most steps.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

_NAME = re.compile(r"checkpoint-(\d+)-.+")


def steps_of(checkpoint: Path) -> int:
    """Optimiser steps that a checkpoint's name says; -1 if it is none."""
    match = _NAME.fullmatch(checkpoint.name)
    return int(match[1]) if match else -1


def keep(written: Path, work_dir: Path) -> Path:
    """Move a checkpoint that every process has written to where it counts, and remove those with fewer steps.

    An attempt that runs at the same time does not need the removed ones: it has read its own at its start.

    Args:
        written: ATTEMPT/checkpoint-40.
        work_dir: on the same file system.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    kept = work_dir / f"{written.name}-{written.parent.name}"
    # A node that dies right after the rename must not leave a checkpoint of empty files.
    sync_tree(written)
    written.rename(kept)
    sync_tree(work_dir, deep=False)
    for path in work_dir.iterdir():
        if 0 <= steps_of(path) < steps_of(kept):
            shutil.rmtree(path, ignore_errors=True)
    return kept


def newest(work_dir: Path) -> Path | None:
    """The checkpoint with the most steps."""
    found = [path for path in work_dir.glob("checkpoint-*") if steps_of(path) >= 0]
    return max(found, key=lambda path: (steps_of(path), path.name), default=None)


def sync_tree(folder: Path, deep: bool = True) -> None:
    """Make a folder's names, and if ``deep`` all that lies below it, outlast a power cut."""
    for path in (*(folder.rglob("*") if deep else ()), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
