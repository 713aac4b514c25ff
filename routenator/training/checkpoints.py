"""Atomic checkpoints, shared by all attempts of a training.

    WORK/checkpoint-40-ATTEMPT/     as transformers and DeepSpeed write it, with the metrics up to that step

A checkpoint is written elsewhere and renamed when every process has written its part. Checkpoints of two concurrent
attempts cannot mix; a new attempt resumes from the checkpoint with the most steps, of those whose files are as they
were written: DeepSpeed and torch unpickle them, so a file that was changed could run code.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from routenator.files import read_json, sha256_file, write_json
from routenator.terminal import put

_NAME = re.compile(r"checkpoint-(\d+)-.+")
_RECORD = "sha256.json"


def steps_of(checkpoint: Path) -> int:
    """Number of optimiser steps in a checkpoint's name; -1 if the name is not a checkpoint's."""
    match = _NAME.fullmatch(checkpoint.name)
    return int(match[1]) if match else -1


def keep(written: Path, work_dir: Path) -> Path:
    """Publish a checkpoint that every process has written, and remove those with fewer steps.

    Another attempt running at the same time does not need the removed ones: it read its own when it started.

    Args:
        written: ATTEMPT/checkpoint-40.
        work_dir: where checkpoints are kept, on the same file system.

    Returns:
        Path of the published checkpoint.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    write_json(written / _RECORD, _hashes(written))
    kept = work_dir / f"{written.name}-{written.parent.name}"
    # Sync before the rename: a node that dies right after it must not leave a checkpoint of empty files.
    sync_tree(written)
    written.rename(kept)
    sync_tree(work_dir, deep=False)
    for path in work_dir.iterdir():
        if 0 <= steps_of(path) < steps_of(kept):
            shutil.rmtree(path, ignore_errors=True)
    return kept


def newest(work_dir: Path) -> Path | None:
    """Find the checkpoint with the most steps whose files have the hashes that were recorded when it was written."""
    found = [path for path in work_dir.glob("checkpoint-*") if steps_of(path) >= 0]
    for path in sorted(found, key=lambda path: (steps_of(path), path.name), reverse=True):
        if _is_whole(path):
            return path
        put(f"{path} is not as it was written, and is not resumed from", err=True)
    return None


def _hashes(checkpoint: Path) -> dict[str, str]:
    """Return relative path -> sha256 of every file of a checkpoint but the record; links are not followed."""
    files = (path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name != _RECORD)
    return {
        path.relative_to(checkpoint).as_posix(): "a link" if path.is_symlink() else sha256_file(path) for path in files
    }


def _is_whole(checkpoint: Path) -> bool:
    try:
        return bool(read_json(checkpoint / _RECORD) == _hashes(checkpoint))
    except (OSError, ValueError):
        return False


def sync_tree(folder: Path, deep: bool = True) -> None:
    """Sync a folder's entries to disk, and with ``deep`` everything below it, so that they survive a power failure."""
    for path in (*(folder.rglob("*") if deep else ()), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
