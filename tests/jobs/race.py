"""A shard committed by several processes at once; imports only what a commit takes, because each of them imports it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.plan import Run
from jobs.task import Task


def write(task: Task, text: str = "data", suffix: str = ".txt") -> Path:
    path = task.output(suffix)
    path.write_text(text)
    return path


def race(run_dir: str, attempt: int, barrier: Any, results: Any) -> None:
    task = Task(Run.load(run_dir), "generate", 0, attempt=attempt)
    path = write(task, f"attempt {attempt} " * 1000)
    barrier.wait(timeout=180)
    results.put((attempt, task.commit({"data": path}, rows=attempt)))
