"""Refill: turns the requests of the second round into candidates, as generate does; ends at once if there are none."""

from __future__ import annotations

from jobs.generate import VERSION, make_candidates
from jobs.task import Task

__all__ = ["VERSION", "run"]


def run(task: Task) -> None:
    """Write the shard's candidates as one parquet file (role ``data``), ordered by index."""
    make_candidates(task, "shortfall")
