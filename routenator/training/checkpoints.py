"""Checkpoints that are whole or not there, of any attempt.

    WORK/ATTEMPT/checkpoint-40/            as transformers and DeepSpeed write it
    WORK/ATTEMPT/checkpoint-40/WHOLE       written last, when every process has written its part

An attempt writes into its own folder alone, so two attempts at once cannot mix; a new one goes on from the newest whole checkpoint of all.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from routenator.files import write_atomic

MARK = "WHOLE"
_NAME = re.compile(r"checkpoint-(\d+)")


def steps_of(checkpoint: Path) -> int:
    """Optimiser steps that a checkpoint's name says; -1 if it is none."""
    match = _NAME.fullmatch(checkpoint.name)
    return int(match[1]) if match else -1


def mark_whole(checkpoint: Path) -> None:
    """Say that every process has written its part."""
    write_atomic(checkpoint / MARK, "")


def newest(work_dir: Path) -> Path | None:
    """The whole checkpoint with the most steps, of any attempt."""
    whole = [mark.parent for mark in work_dir.glob(f"*/checkpoint-*/{MARK}") if steps_of(mark.parent) >= 0]
    return max(whole, key=lambda path: (steps_of(path), path.parent.name), default=None)


def remove_older(work_dir: Path, kept: Path) -> None:
    """Free the space of checkpoints with fewer steps than ``kept``. An attempt that still runs never reads its own again."""
    for path in work_dir.glob("*/checkpoint-*"):
        if 0 <= steps_of(path) < steps_of(kept):
            shutil.rmtree(path, ignore_errors=True)
