"""Finds out that a start ended in the user's setup lines, from the file that its script leaves in that case."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.plan import Run
from slurm.submission.script import SETUP_FAILED, SETUP_SUFFIX
from slurm.submission.submissions import Submission
from slurm.watching.logs import tail
from slurm.watching.shard_state import ShardState

KIND = "SetupError"
# New files read per refresh: all tasks of an array run the same lines, so the first few say it.
_MOST = 200
_NAME = re.compile(rf"(.+)_0\.attempt-(\d+)\.log{re.escape(SETUP_SUFFIX)}$")
# Where bash says that a message is from: the path of the spooled script, and the line.
_ORIGIN = re.compile(r"^\S*slurm_script: line \d+: ")
_CODE = re.compile(r"exit code (\d+)")


class SetupFailures:
    """Failures of setup lines in one stage; a refresh costs one listing of its logs, and nothing without such lines.

    Args:
        run: the run.
        stage: the stage.
    """

    def __init__(self, run: Run, stage: str) -> None:
        self.folder = run.log_dir(stage)
        self._has_lines = run.config.cluster.kind == "slurm" and bool(run.config.cluster.setup)
        self._attempts: dict[str, int] = {}
        self._known: dict[Path, dict[str, Any] | None] = {}
        self._left = 0

    def begin(self) -> None:
        """Start a refresh."""
        self._left = _MOST
        self._attempts = {}
        if not self._has_lines or not self.folder.is_dir():
            return
        for entry in os.scandir(self.folder):
            if entry.name.endswith(SETUP_SUFFIX) and (found := _NAME.match(entry.name)):
                self._attempts[found[1]] = max(int(found[2]), self._attempts.get(found[1], 0))

    def explain(self, shard: int, found: ShardState) -> ShardState:
        """Return the state with the failed setup line as its reason, if the newest start ended in one.

        The task itself could write no failure record, and Slurm only knows the exit code.
        """
        submission = found.submission
        if submission is None or found.state not in ("failed", "unknown") or found.failure is not None:
            return found
        attempt = self._attempts.get(submission.task_id(shard))
        if attempt is None or attempt < submission.attempt:
            return found
        log = self.folder / f"{submission.task_id(shard)}_0.attempt-{attempt}.log"
        if log not in self._known:
            if self._left <= 0:
                return found
            self._left -= 1
            self._known[log] = _read(log, submission, shard, attempt)
        failure = self._known[log]
        if failure is None or log != submission.log(self.folder, shard):
            return found
        entry = found.entry
        if entry is not None and (code := _CODE.search(failure["message"])):
            # Accounting cannot tell exit code 3 from 131, a signal; the script knows it.
            entry = replace(entry, reason=f"exit {code[1]}")
        reason = f"{failure['kind']}: {failure['message']}"
        return replace(found, state="failed", reason=reason, entry=entry, failure=failure)


def _read(log: Path, submission: Submission, shard: int, attempt: int) -> dict[str, Any] | None:
    """Return the failure's record, or None if the log does not end with a failed setup line."""
    lines = tail(log, 2)
    if not lines or not lines[-1].startswith(SETUP_FAILED):
        return None
    said = [lines[-1].removeprefix("routenator: ")]
    if len(lines) > 1:
        said.append(_ORIGIN.sub("", lines[0]))
    return {
        "kind": KIND,
        "message": "; ".join(said),
        "attempt": attempt,
        "job": submission.task_id(shard),
        "host": None,
        "time": log.stat().st_mtime,
    }
