"""The only callers of ``squeue`` and ``sacct``: one call each a refresh, with named columns, whatever the number of jobs.

Their JSON changes shape between Slurm versions and ``squeue --json`` ignores its filters; columns with a separator are the steady
interface. Ended jobs are taken from the controller's memory too (``--states=all``), which serves clusters without accounting.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from slurm.ranges import expand

TIMEOUT_S = 60
# In these states a task still has a place in the queue.
WAITING_STATES = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"})
LIVE_STATES = WAITING_STATES | {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"}
_SQUEUE_FORMAT = "%i|%T|%r|%N"
_SACCT_FIELDS = "JobID,State,ExitCode,NodeList"
_ARRAY = re.compile(r"(\d+)_\[([^\]]+)\]$")


@dataclass(frozen=True)
class QueueEntry:
    """What Slurm says of one task.

    Attributes:
        state: long name, e.g. RUNNING; "CANCELLED by 0" is CANCELLED.
        reason: why it waits, or how it ended ("exit 1", "signal 9"), as far as known.
        nodes: where it runs or ran.
    """

    state: str
    reason: str = ""
    nodes: str = ""

    @property
    def live(self) -> bool:
        # A job that can never start is as good as gone; kill-on-invalid-dep removes it at the controller's next look.
        return self.state in LIVE_STATES and self.reason != "DependencyNeverSatisfied"

    @property
    def waiting(self) -> bool:
        return self.state in WAITING_STATES


@dataclass(frozen=True)
class QueueView:
    """Everything known of some jobs.

    Attributes:
        entries: task id (``12`` or ``12_3``) -> entry.
        accounting: whether sacct answered.
        problem: why the queue could not be read, or None. Then nothing may be concluded from a task's absence.
    """

    entries: dict[str, QueueEntry]
    accounting: bool
    problem: str | None = None

    def entry(self, task_id: str) -> QueueEntry | None:
        """The entry of a task; the one of its whole array where Slurm says it only of that (cancelled before it started)."""
        return self.entries.get(task_id) or self.entries.get(task_id.partition("_")[0])


def read_queue(jobs: Sequence[str]) -> QueueView:
    """Ask squeue and sacct once for these jobs (ids of jobs or whole arrays)."""
    if not jobs:
        return QueueView({}, False)
    if shutil.which("squeue") is None:
        return QueueView({}, False, "there is no squeue on this machine")
    ids = ",".join(dict.fromkeys(jobs))
    entries: dict[str, QueueEntry] = {}
    accounting = False
    if shutil.which("sacct") is not None:
        code, text = _ask(["sacct", "--noheader", "--parsable2", "--allocations", f"--format={_SACCT_FIELDS}", f"--jobs={ids}"])
        accounting = code == 0
        if accounting:
            entries |= parse_sacct(text)
    code, text = _ask(["squeue", "--noheader", "--states=all", f"--format={_SQUEUE_FORMAT}", f"--jobs={ids}"])
    # When every id has left the controller's memory squeue says that they are invalid; that is an answer.
    problem = None if code == 0 or "Invalid job id" in text else f"squeue: {text.strip() or f'exit {code}'}"
    if code == 0:
        live = parse_squeue(text)
        # Of a requeued job accounting may still tell the former end; the controller knows better, but not how a task ended.
        entries |= {key: entry for key, entry in live.items() if entry.live or key not in entries}
    return QueueView(entries, accounting, problem)


def parse_squeue(text: str) -> dict[str, QueueEntry]:
    """Task id -> entry, from lines of ``%i|%T|%r|%N``; pending array tasks come as ``12_[3-7,9%4]``."""
    entries = {}
    for line in text.splitlines():
        fields = line.strip().split("|")
        if len(fields) == 4:
            job, state, reason, nodes = fields
            entry = QueueEntry(state, "" if reason in ("None", "") else reason.strip("()"), nodes)
            entries.update(dict.fromkeys(task_ids(job), entry))
    return entries


def parse_sacct(text: str) -> dict[str, QueueEntry]:
    """Task id -> entry, from lines of ``JobID|State|ExitCode|NodeList``; a requeued job's newest line wins."""
    entries = {}
    for line in text.splitlines():
        fields = line.strip().split("|")
        if len(fields) == 4:
            job, state, exit_code, nodes = fields
            entry = QueueEntry(state.split()[0] if state else "UNKNOWN", _ending(exit_code), "" if nodes == "None assigned" else nodes)
            entries.update(dict.fromkeys(task_ids(job), entry))
    return entries


def task_ids(job: str) -> Iterable[str]:
    """``12`` -> 12; ``12_3`` -> 12_3; ``12_[0-1,5%2]`` -> 12_0, 12_1, 12_5."""
    match = _ARRAY.match(job)
    return [f"{match[1]}_{index}" for index in expand(match[2])] if match else [job]


def _ending(exit_code: str) -> str:
    code, _, number = exit_code.partition(":")
    if number not in ("", "0"):
        return f"signal {number}"
    return f"exit {code}" if code not in ("", "0") else ""


def _ask(command: list[str]) -> tuple[int, str]:
    # Without this the expression of a large array is cut off.
    environment = {**os.environ, "SLURM_BITSTR_LEN": "0"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return 1, f"no answer in {TIMEOUT_S} seconds"
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr
