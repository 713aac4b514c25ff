"""Writes one byte and its receipt."""

from jobs.task import Task

VERSION = 1


def run(task: Task) -> None:
    if not task.is_done():
        data = task.output(".txt")
        data.write_text("x")
        task.commit({"data": data}, rows=1)
