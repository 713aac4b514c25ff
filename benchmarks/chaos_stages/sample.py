"""The real stage, slower and mined."""

import jobs.sample
from chaos_stages.common import run_slowly
from jobs.sample import VERSION
from jobs.task import Task

__all__ = ["VERSION", "run"]


def run(task: Task) -> None:
    run_slowly(task, jobs.sample.run)
