"""Parses the answers of Slurm's commands.

The JSON output changes between Slurm versions and ``squeue --json`` ignores its filters; named columns with a separator
are the stable interface (a column without a width is as wide as needed). A line that is not of this form makes the
whole answer unreadable: it may stand for jobs, and what an answer lacks must be what Slurm does not have.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from routenator.errors import RoutenatorError
from slurm.submission.gres import gpu_count
from slurm.submission.submissions import expand

Key = tuple[str, str]  # task id (``12`` or ``12_3``), name of the job
# A task in one of these states will still run.
WAITING_STATES = frozenset(
    {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
)
LIVE_STATES = WAITING_STATES | {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"}
# Not Slurm's: a task that is missing in an answer, and one that was missing twice, seconds apart.
ABSENT, LOST = "ABSENT", "LOST"
# The job's name is the last column because it may contain the separator.
SQUEUE_FIELDS = ("JobArrayID", "State", "Reason", "NodeList", "StartTime", "EndTime", "RestartCnt", "NumNodes", "Name")
SACCT_FIELDS = (
    "JobID",
    "State",
    "ExitCode",
    "NodeList",
    "Submit",
    "Start",
    "End",
    "ElapsedRaw",
    "NNodes",
    "AllocTRES",
    "JobName",
)
_ARRAY = re.compile(r"(\d+)_\[([^\]]+)\]$")
_ID = re.compile(r"\d+(_(\d+|\[[^\]]+\]))?(\+\d+)?$")
_NO_TIME = frozenset({"N/A", "NONE", "None", "Unknown"})


class UnreadableError(RoutenatorError):
    """An answer of Slurm is not of the form that was asked for."""


@dataclass(frozen=True)
class QueueEntry:
    """Slurm's record of one task.

    Attributes:
        state: long name, e.g. RUNNING; "CANCELLED by 0" becomes CANCELLED. ABSENT and LOST are ours.
        reason: why it waits, or how it ended ("exit 1", "signal 9"), as far as known.
        nodes: where it runs or ran.
        start: when it started or, if it waits, when Slurm expects it to start; seconds since the epoch.
        end: when it ended, or None.
        restarts: how often Slurm requeued it.
        node_count: how many nodes it has or requests.
    """

    state: str
    reason: str = ""
    nodes: str = ""
    start: float | None = None
    end: float | None = None
    restarts: int = 0
    node_count: int = 1

    @property
    def live(self) -> bool:
        # A job that can never start counts as gone; kill-on-invalid-dep removes it in the next scheduling cycle.
        return self.state in LIVE_STATES and self.reason != "DependencyNeverSatisfied"

    @property
    def waiting(self) -> bool:
        return self.state in WAITING_STATES


@dataclass(frozen=True)
class Attempt:
    """One start of a task on its nodes, as accounted; a requeued task has several.

    Attributes:
        submit, start, end: seconds since the epoch; ``end`` is None while it runs.
        seconds: on the nodes so far.
        gpus: total over its nodes; None where the cluster does not account for GPUs (``AccountingStorageTRES``).
    """

    state: str
    submit: float
    start: float | None
    end: float | None
    seconds: int
    nodes: int
    gpus: int | None = None


def parse_squeue(text: str) -> dict[Key, QueueEntry]:
    """Parse lines of the columns above to task -> entry; pending array tasks come as ``12_[3-7,9%4]``.

    Raises:
        UnreadableError: a line is of another form.
    """
    entries = {}
    for job, state, reason, nodes, start, end, restarts, count, name in job_rows(text, len(SQUEUE_FIELDS)):
        if not (start.isdigit() or start in _NO_TIME):  # a reason with a separator in it has shifted the columns
            raise UnreadableError(f"unreadable answer: {'|'.join((job, state, reason, nodes, start))[:200]}")
        entry = QueueEntry(
            state=state,
            reason="" if reason in ("None", "") else reason.strip("()"),
            nodes=nodes,
            start=moment(start),
            end=None if state in LIVE_STATES else moment(end),  # for a live task it is the time limit
            restarts=int(restarts) if restarts.isdigit() else 0,
            node_count=int(count) if count.isdigit() else 1,
        )
        entries.update(dict.fromkeys(((task, name) for task in task_ids(job)), entry))
    return entries


def parse_sacct(text: str) -> tuple[dict[Key, QueueEntry], dict[Key, list[Attempt]]]:
    """Return task -> entry of its newest record, and task -> attempts that got nodes, oldest first.

    Raises:
        UnreadableError: a line is of another form.
    """
    entries: dict[Key, QueueEntry] = {}
    attempts: dict[Key, list[Attempt]] = {}
    newest: dict[Key, float] = {}
    for job, state, exit_code, nodes, submit, start, end, seconds, count, tres, name in job_rows(
        text, len(SACCT_FIELDS)
    ):
        word = state.split()[0] if state else "UNKNOWN"
        submitted, begun = moment(submit) or 0.0, moment(start)
        placed = "" if nodes == "None assigned" else nodes
        entry = QueueEntry(word, _ending(exit_code), placed, begun, moment(end))
        for task in task_ids(job):
            key = (task, name)
            if submitted >= newest.get(key, 0.0):
                newest[key] = submitted
                entries[key] = entry
        if placed and begun is not None:
            attempt = Attempt(word, submitted, begun, moment(end), int(seconds or 0), int(count or 1), gpu_count(tres))
            attempts.setdefault((job, name), []).append(attempt)
    for found in attempts.values():
        if len(found) > 1:
            found.sort(key=lambda item: (item.submit, item.start or 0.0))
    return entries, attempts


def task_ids(job: str) -> Iterable[str]:
    """Expand a job id: ``12`` -> 12; ``12_3`` -> 12_3; ``12_[0-1,5%2]`` -> 12_0, 12_1, 12_5."""
    if not job.endswith("]"):
        return (job,)
    match = _ARRAY.match(job)
    return [f"{match[1]}_{index}" for index in expand(match[2])] if match else (job,)


def job_rows(text: str, columns: int) -> Iterable[list[str]]:
    """Split lines at ``|``; the first column is a job id, the last one its name, which may contain the separator.

    squeue adds a separator at the end, which is dropped.

    Raises:
        UnreadableError: a line is of another form, e.g. an error message.
    """
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped:
            continue
        fields = stripped.split("|", columns - 1)
        if len(fields) != columns or not _ID.match(fields[0]):
            raise UnreadableError(f"unreadable answer: {stripped[:200]}")
        fields[-1] = fields[-1].removesuffix("|")
        yield fields


def rows(text: str, columns: int) -> Iterable[list[str]]:
    """Split lines at ``|``.

    squeue and sinfo add a separator at the end, which is dropped.

    Raises:
        UnreadableError: a line has another number of columns, e.g. an error message.
    """
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped:
            continue
        fields = stripped.split("|")
        if len(fields) == columns + 1 and not fields[-1]:
            fields.pop()
        if len(fields) != columns:
            raise UnreadableError(f"unreadable answer: {stripped[:200]}")
        yield fields


def named(fields: Sequence[str]) -> str:
    """Return a ``--Format`` for squeue and sinfo, each column as wide as needed and followed by ``|``."""
    return ",".join(f"{name}:|" for name in fields)


def moment(text: str) -> float | None:
    """Parse a time in seconds since the epoch; None for ``N/A``, ``Unknown``, ``None`` and the like."""
    return float(text) if text.isdigit() and text != "0" else None


def _ending(exit_code: str) -> str:
    code, _, number = exit_code.partition(":")
    if number == "125":  # Slurm's mark of a task that ran out of memory, which its state says already
        return ""
    if number not in ("", "0"):
        return f"signal {number}"
    if code in ("", "0"):
        return ""
    # A task that a signal killed under srun ends its script with 128 plus the signal's number. Before Slurm 26.05 sacct
    # subtracts the 128, so a small code may be either. Our own codes are 1 and 2.
    if int(code) - 128 in set(signal.Signals):
        return f"exit {code}: {signal.Signals(int(code) - 128).name}"
    if int(code) > 2 and int(code) in set(signal.Signals):
        return f"exit {code}, or {128 + int(code)}: {signal.Signals(int(code)).name}"
    return f"exit {code}"
