"""Follows the log of one shard across its attempts, until the shard has ended: ``logs -f``."""

from __future__ import annotations

import codecs
import os
import time
from collections.abc import Callable
from pathlib import Path

from jobs.plan import Run
from routenator.errors import InputError
from slurm.watching.follow import LOCAL_LOOK_S, SLURM_LOOK_S
from slurm.watching.shard_state import ShardState
from slurm.watching.status import StatusReader
from slurm.watching.wait_reasons import explained

_READ_S = 0.5
_BLOCK = 1 << 16
_ENDED = ("done", "failed", "cancelled", "missing")


def shard_to_follow(run: Run, stage: str | None, shard: int | None) -> tuple[str, int]:
    """Return the stage and shard whose log to follow: the only one that fits, where the user names less.

    Raises:
        InputError: several fit, or none.
    """
    if stage is not None and shard is not None:
        return stage, shard
    if stage is not None and run.plan.stages[stage].shards == 1:
        return stage, 0
    status = StatusReader(run, failures=0, tails=0).read()
    going = [(item.stage, task.shard) for item in status.stages if stage in (None, item.stage) for task in item.tasks]
    if len(going) == 1:
        return going[0]
    shown = ", ".join(f"{name} {number}" for name, number in going[:10]) + (", ..." if len(going) > 10 else "")
    raise InputError(
        "only one log can be followed",
        key="--follow",
        found=f"{len(going)} running shards{f': {shown}' if going else ''}",
        expected="STAGE --shard NUMBER",
    )


def follow_log(
    run: Run, stage: str, shard: int, lines: int, write: Callable[[str], None], note: Callable[[str], None]
) -> int:
    """Print the end of a shard's log and what is added to it, then the logs of its next attempts, until it has ended.

    Args:
        lines: how many lines of what is already there.
        write: gets the log's text.
        note: gets lines about the shard: which attempt, why it waits, how it ended.

    Returns:
        Exit code: 0 the shard is done, 1 it ended otherwise.
    """
    reader = StatusReader(run, failures=0, tails=0)
    every = LOCAL_LOOK_S if run.config.cluster.kind == "local" else SLURM_LOOK_S
    log: _Growing | None = None
    due, said = 0.0, ""
    state = ShardState("unknown")
    while True:
        if time.monotonic() >= due:
            state, due = reader.shard(stage, shard), time.monotonic() + every
        path = reader.log(stage, shard)
        if path is not None and (log is None or log.path != path):
            note(f"==> {path}")
            log = _Growing(path, lines if log is None else None)
        # The state first, then the file: what a task wrote before it ended is printed before that is said.
        while log is not None and (text := log.more()):
            write(text)
        words = describe_shard(stage, shard, state)
        if words != said:
            note(words)
            said = words
        if state.state in _ENDED:
            return 0 if state.state == "done" else 1
        time.sleep(_READ_S)


def describe_shard(stage: str, shard: int, state: ShardState) -> str:
    """Describe the state of a shard in one line: ``generate shard 3 (job 5_3) is pending: waits for free nodes``."""
    job = state.submission.task_id(shard) if state.submission else ""
    reason = explained(state.reason, job) if state.reason else ""
    where = f" on {state.entry.nodes}" if state.state == "running" and state.entry and state.entry.nodes else ""
    told = f"{stage} shard {shard}{f' (job {job})' if job else ''} is {state.state}{where}"
    return f"{told}: {reason}" if reason else told


class _Growing:
    """A file that is being written.

    Args:
        path: the file.
        lines: start with this many last lines; None: at its beginning.
    """

    def __init__(self, path: Path, lines: int | None) -> None:
        self.path = path
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._position = 0 if lines is None else _start_of_last(path, lines)

    def more(self) -> str:
        """Return what was added since the last call, a block at most."""
        with open(self.path, "rb") as handle:
            handle.seek(self._position)
            data = handle.read(_BLOCK)
        self._position += len(data)
        # A progress bar returns to the start of its line; here each of its states gets a line.
        return self._decoder.decode(data).replace("\r\n", "\n").replace("\r", "\n")


def _start_of_last(path: Path, lines: int) -> int:
    """Return the position at which the last lines begin; looks at a block at most."""
    with open(path, "rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        start = max(0, size - _BLOCK)
        handle.seek(start)
        data = handle.read()
    ends = [place for place, byte in enumerate(data[:-1]) if byte == 10]
    return start + (ends[-lines] + 1 if len(ends) >= lines else 0)
