"""A real stage with a pause after each of its steps, killed where a mine lies.

A mine is a file ``$CHAOS_MINES/STAGE-SHARD.POINT``; a task that comes to the point renames it to ``....fired`` and
kills itself (SIGKILL), so that each goes off once. Points: ``chunk`` (a checkpoint is written and not yet in place),
``data`` (the shard's data is written, not yet on disk), ``receipt`` (the receipt is written and not yet in place),
``after`` (the receipt is in place, and nothing after that is done).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.task import Task, work_path

POINTS = ("chunk", "data", "receipt", "after")
MINES = "CHAOS_MINES"
PAUSE = "CHAOS_PAUSE_S"


def run_slowly(task: Task, stage: Callable[[Task], None]) -> None:
    """Run a stage; the variables ``CHAOS_MINES`` (a folder) and ``CHAOS_PAUSE_S`` (seconds after each step) come with
    the job.
    """
    pause, mines = float(os.environ[PAUSE]), Path(os.environ[MINES])

    def explode(point: str) -> None:
        mine = mines / f"{task.stage}-{task.index}.{point}"
        try:
            mine.rename(mine.with_suffix(f".{point}.fired"))
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def progress(done: int, total: int, *args: Any, **more: Any) -> None:
        told(done, total, *args, **more)
        time.sleep(pause)

    def replace(source: Any, target: Any) -> None:
        if work in Path(target).parents:
            explode("chunk")
        replaced(source, target)

    def link(source: Any, target: Any) -> None:
        explode("receipt")
        linked(source, target)
        explode("after")

    def commit(*args: Any, **more: Any) -> bool:
        explode("data")
        return committed(*args, **more)

    work = work_path(task.dir, task.index)
    told, replaced, linked, committed = task.progress, os.replace, os.link, task.commit
    task.progress, task.commit = progress, commit  # type: ignore[method-assign]
    os.replace, os.link = replace, link  # type: ignore[assignment]
    try:
        stage(task)
    finally:
        os.replace, os.link = replaced, linked
