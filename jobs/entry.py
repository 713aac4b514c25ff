"""Entry point of a job: runs shards of one stage, records failures, and links finished stages into the run directory.

A failure is written to ``logs/STAGE/shard-00042.failed.json``, so that ``status`` can show the reason on a cluster
without accounting.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import sys
import time
import traceback
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.disk import Reserve, disk_full, is_full, shard_bytes
from jobs.plan import Run
from jobs.stages import STAGES
from jobs.task import FAILURE_SUFFIX, Task, missing_shards, shard_name
from routenator.errors import RoutenatorError, StageError
from routenator.files import read_json, write_json
from routenator.quiet import quiet_libraries

STAGE_PACKAGE = "jobs"
_RECORD_TRIES = 20
_RECORD_PAUSE_S = 0.5


def failure_path(run: Run, stage: str, index: int) -> Path:
    """Return the path of a shard's failure record."""
    return run.log_dir(stage) / f"{shard_name(index)}{FAILURE_SUFFIX}"


def write_failure(
    run: Run, stage: str, index: int, *, kind: str, message: str, attempt: int, job: str | None, trace: str = ""
) -> None:
    """Record why an attempt failed, and how often in a row; the next successful attempt removes the record."""
    before = None
    with contextlib.suppress(ValueError):  # cut off by a full disk
        before = read_failure(run, stage, index)
    same = before is not None and (before["kind"], before["message"]) == (kind, message)
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
        "times": before.get("times", 1) + 1 if before is not None and same else 1,
    }
    write_json(failure_path(run, stage, index), value)


def read_failure(run: Run, stage: str, index: int) -> dict[str, Any] | None:
    """Return the record of a shard's last failure, or None."""
    try:
        value: dict[str, Any] = read_json(failure_path(run, stage, index))
        return value
    except FileNotFoundError:
        return None


def publish_if_done(run: Run, stage: str) -> None:
    """Link a stage's outputs into the run directory once every shard has its receipt."""
    # Stages with many shards publish nothing, so their folder is not listed after each shard.
    if STAGES[stage].published and not missing_shards(run, stage):
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

    A failed shard does not stop the others. On several nodes this runs on each of them; what the other nodes do is up
    to the stage, and only the first node must end with a receipt.

    Args:
        package: package of the stage modules; only tests use another one.

    Raises:
        StageError: a shard failed; the message lists all failures.
    """
    quiet_libraries()
    run = Run.load(run_dir)
    run.check_own()
    module = importlib.import_module(f"{package}.{stage}")
    first_node = int(os.environ.get("SLURM_PROCID", "0")) == 0
    failures: list[str] = []
    with Reserve(
        run.log_dir(stage) / f".reserve-{job or uuid.uuid4().hex}-{os.environ.get('SLURM_PROCID', '0')}"
    ) as reserve:
        for index in indices:
            task = Task(run, stage, index, attempt, job)
            try:
                module.run(task)
                if first_node and not task.is_done():
                    raise StageError(f"{stage} shard {index} ended without a receipt")
            except Exception as error:
                if task.is_done():
                    # Another attempt has won meanwhile and removed this one's files while it was using them.
                    print(
                        f"{stage} shard {index} was done by another attempt ({type(error).__name__}: {error})",
                        file=sys.stderr,
                        flush=True,
                    )
                    task.discard()
                    continue
                # First of all, because on a full disk this makes room for the failure record and the log, which may be
                # on the same disk.
                task.discard()
                told: Exception = error
                trace = "" if isinstance(error, RoutenatorError) else traceback.format_exc()
                if is_full(error):
                    told, trace = disk_full(error, run.stage_dir(stage), shard_bytes(run, stage), run.path), ""
                    reserve.give_back()
                message = str(told) or type(told).__name__
                kind = type(told).__name__
                for _ in range(_RECORD_TRIES):
                    try:
                        write_failure(
                            run, stage, index, kind=kind, message=message, attempt=attempt, job=job, trace=trace
                        )
                        break
                    except OSError:  # space on a full disk comes free gradually as other tasks give up theirs
                        time.sleep(_RECORD_PAUSE_S)
                with contextlib.suppress(OSError):
                    # Last, because `status` shows the end of the log.
                    print(trace or f"{kind}: {message}", file=sys.stderr, flush=True)
                failures.append(f"{stage} shard {index}: {kind}: {message}")
                continue
            failure_path(run, stage, index).unlink(missing_ok=True)
    if failures:
        raise StageError("\n".join(failures))
    if first_node:
        publish_if_done(run, stage)
