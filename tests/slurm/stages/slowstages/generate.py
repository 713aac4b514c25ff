"""Generate with slow chunks. SLOW_CHUNK_S: seconds before each chunk. SLOW_MADE: file that lists the finished chunks.

Blocks of the heuristic route are as small as a model's chunks.
"""

import os
import time
from pathlib import Path

import jobs.generate
from jobs.generate import VERSION
from jobs.task import Task

_write_chunk = jobs.generate.write_chunk


def run(task: Task) -> None:
    def slowly(path: Path, *arguments: object) -> None:
        time.sleep(float(os.environ["SLOW_CHUNK_S"]))
        _write_chunk(path, *arguments)
        with open(os.environ["SLOW_MADE"], "a") as made:
            made.write(f"{path.name}\n")

    jobs.generate.write_chunk = slowly
    jobs.generate.DRAFT_ROWS = task.config.generate.chunk_rows
    jobs.generate.run(task)


__all__ = ["VERSION", "run"]
