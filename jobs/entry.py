"""What a job calls: run shards of one stage, say honestly how it ended, and show finished stages in the run directory.

A failure is left as ``logs/STAGE/shard-00042.failed.json``, so that ``status`` can name the reason on a cluster without accounting.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.plan import PUBLISHED, Run
from jobs.task import Task, done_shards, shard_name
from routenator.errors import RoutenatorError, StageError
from routenator.files import read_json, write_json

STAGE_PACKAGE = "jobs"


def failure_path(run: Run, stage: str, index: int) -> Path:
    """Where a shard's last failure is written."""
    return run.log_dir(stage) / f"{shard_name(index)}.failed.json"


def write_failure(run: Run, stage: str, index: int, *, kind: str, message: str, attempt: int, job: str | None, trace: str = "") -> None:
    """Record why an attempt failed; the next attempt that succeeds removes it."""
    value = {
        "stage": stage,
        "shard": index,
        "kind": kind,
        "message": message,
        "attempt": attempt,
        "job": job,
        "host": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        "time": time.time(),
        "trace": trace,
    }
    write_json(failure_path(run, stage, index), value)


def read_failure(run: Run, stage: str, index: int) -> dict[str, Any] | None:
    """The last failure of a shard, or None."""
    try:
        value: dict[str, Any] = read_json(failure_path(run, stage, index))
        return value
    except FileNotFoundError:
        return None


def publish_if_done(run: Run, stage: str) -> None:
    """Link a stage's outputs into the run directory once every shard has its receipt."""
    shards = run.plan.stages[stage].shards
    # The stages with many shards publish nothing, and need not list their folder after each of them.
    if PUBLISHED[stage] and len(done_shards(run.stage_dir(stage), shards)) == shards:
        run.publish(stage)


def run_task(
    run_dir: str | Path,
    stage: str,
    indices: Sequence[int],
    attempt: int = 1,
    job: str | None = None,
    package: str = STAGE_PACKAGE,
) -> None:
    """Run these shards of a stage, one after the other.

    A shard that fails does not keep the others from being tried. On several nodes this runs on each of them; what a node that is not
    the first does is the stage's business, and only the first must see the receipt.

    Args:
        package: where the stage modules are; another one only in tests.

    Raises:
        StageError: a shard failed; all failures are named.
    """
    run = Run.load(run_dir)
    module = importlib.import_module(f"{package}.{stage}")
    first_node = int(os.environ.get("SLURM_PROCID", "0")) == 0
    failures: list[str] = []
    for index in indices:
        task = Task(run, stage, index, attempt, job)
        try:
            module.run(task)
            if first_node and not task.is_done():
                raise StageError(f"{stage} shard {index} ended without a receipt")
        except Exception as error:
            message = str(error) or type(error).__name__
            kind = type(error).__name__
            trace = "" if isinstance(error, RoutenatorError) else traceback.format_exc()
            # The end of the log is what people are shown.
            print(trace or f"{kind}: {message}", file=sys.stderr, flush=True)
            write_failure(run, stage, index, kind=kind, message=message, attempt=attempt, job=job, trace=trace)
            failures.append(f"{stage} shard {index}: {kind}: {message}")
            continue
        failure_path(run, stage, index).unlink(missing_ok=True)
    if failures:
        raise StageError("\n".join(failures))
    if first_node:
        publish_if_done(run, stage)
