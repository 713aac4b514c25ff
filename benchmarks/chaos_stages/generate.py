"""The real stage, slower and mined."""

import jobs.generate
from chaos_stages.common import run_slowly
from jobs.generate import VERSION
from jobs.task import Task

__all__ = ["VERSION", "run"]


def run(task: Task) -> None:
    run_slowly(task, jobs.generate.run)
