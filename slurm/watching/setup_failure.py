"""Finds out that a start ended in the user's setup lines, from the log that its script leaves then."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from slurm.submission.script import SETUP_FAILED
from slurm.submission.submissions import Submission
from slurm.watching.logs import tail
from slurm.watching.shard_state import ShardState

KIND = "SetupError"
# New logs read per refresh: all tasks of an array run the same lines, so the first few say it.
_MOST = 200
# Where bash says that a message is from: the path of the spooled script, and the line.
_ORIGIN = re.compile(r"^\S*slurm_script: line \d+: ")


class SetupFailures:
    """Failures of setup lines in the logs of one stage; a log is read once.

    Args:
        folder: the stage's log folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[Path, dict[str, Any] | None] = {}
        self._left = 0

    def begin(self) -> None:
        """Start a refresh."""
        self._left = _MOST

    def explain(self, shard: int, found: ShardState) -> ShardState:
        """Return the state with the failed setup line as its reason, if the newest start ended in one.

        The task itself could write no failure record, and Slurm only knows the exit code.
        """
        submission = found.submission
        if submission is None or submission.kind != "slurm" or found.failure is not None or _is_live(found):
            return found
        log = submission.log(self.folder, shard)
        if log not in self._known:
            if self._left <= 0 or not log.exists():
                return found
            self._left -= 1
            self._known[log] = _read(log, submission, shard)
        failure = self._known[log]
        if failure is None:
            return found
        return replace(found, state="failed", reason=f"{failure['kind']}: {failure['message']}", failure=failure)


def _is_live(found: ShardState) -> bool:
    return found.entry is not None and found.entry.live


def _read(log: Path, submission: Submission, shard: int) -> dict[str, Any] | None:
    """Return the failure's record, or None if the log does not end with a failed setup line."""
    lines = tail(log, 2)
    if not lines or not lines[-1].startswith(SETUP_FAILED):
        return None
    said = [lines[-1].removeprefix("routenator: ")]
    if len(lines) > 1:
        said.append(_ORIGIN.sub("", lines[0]))
    attempt = re.search(r"\.attempt-(\d+)\.log$", log.name)
    return {
        "kind": KIND,
        "message": "; ".join(said),
        "attempt": int(attempt[1]) if attempt else submission.attempt,
        "job": submission.task_id(shard),
        "host": None,
        "time": log.stat().st_mtime,
    }
