"""Commits stages whose attempts do not write identical bytes: a folder per attempt, and links to the winner's.

STAGE/train-1f3c9a7e/adapter/ ...       written by attempt 1f3c9a7e
STAGE/adapter -> train-1f3c9a7e/adapter
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.task import Task, read_receipt


def attempt_folder(task: Task) -> Path:
    """Create and return the attempt's own output folder."""
    folder = task.dir / f"{task.stage}-{task.token}"
    folder.mkdir(parents=True)
    return folder


def commit_folder(task: Task, folder: Path, shown: Sequence[str], rows: int, metrics: dict[str, Any]) -> bool:
    """Commit the shard with the files of ``folder`` and link its entries ``shown`` in the stage's directory.

    Returns:
        True if this attempt won; otherwise its folder is removed.
    """
    for name in shown:  # before the commit, so that a stage that is done always has its links
        _link(task.dir / name, f"{folder.name}/{name}", task.token)
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    won = task.commit(files, rows, metrics)
    if not won:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        # Remove what other attempts left. One that is still running has lost, and notices when its folder is gone.
        for other in task.dir.glob(f"{task.stage}-*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
    receipt = read_receipt(task.dir, task.index)
    if receipt is not None:  # the loser may have linked last; point the links to the winner in any case
        winner = next(iter(receipt.files.values()))["name"].split("/", 1)[0]
        for name in shown:
            _link(task.dir / name, f"{winner}/{name}", task.token)
    return won


def _link(link: Path, target: str, token: str) -> None:
    temporary = link.with_name(f".{link.name}.{token}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    os.replace(temporary, link)
