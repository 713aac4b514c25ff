"""Reads a run's jobs with one ``squeue`` and one ``sacct`` call, however many there are; cancels with ``scancel``.

The JSON output changes between Slurm versions and ``squeue --json`` ignores its filters; named columns with a separator
are the stable interface (a column without a width is as wide as needed). Ended jobs are read from the controller's
memory too (``--states=all``), for clusters without accounting.

A controller that crashed may assign an id twice, so a job is identified by its id and its name, which is unique to the
run.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from slurm.submission.gres import gpu_count
from slurm.submission.submissions import Submission, expand

TIMEOUT_S = 60
Key = tuple[str, str]  # task id (``12`` or ``12_3``), name of the job
# A task in one of these states will still run.
WAITING_STATES = frozenset(
    {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
)
LIVE_STATES = WAITING_STATES | {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"}
_SQUEUE_FIELDS = ("JobArrayID", "State", "Reason", "NodeList", "StartTime", "EndTime", "RestartCnt", "NumNodes", "Name")
_SACCT_FIELDS = (
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
_T = TypeVar("_T")


@dataclass(frozen=True)
class QueueEntry:
    """Slurm's record of one task.

    Attributes:
        state: long name, e.g. RUNNING; "CANCELLED by 0" becomes CANCELLED.
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
        # A job that can never start is as good as gone; kill-on-invalid-dep removes it in the next scheduling cycle.
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


@dataclass(frozen=True)
class QueueView:
    """Everything known about some jobs.

    Attributes:
        entries: task -> entry.
        accounting: whether sacct answered.
        problem: why the queue could not be read, or None. If set, a missing task proves nothing.
        attempts: task -> its attempts that got nodes, oldest first; empty without accounting.
    """

    entries: dict[Key, QueueEntry]
    accounting: bool
    problem: str | None = None
    attempts: dict[Key, list[Attempt]] = field(default_factory=dict)

    def entry(self, job: Submission, shard: int = 0) -> QueueEntry | None:
        """Return the entry of a shard's task, or of its array if Slurm lists only that (cancelled before starting)."""
        return self.entries.get((job.task_id(shard), job.name)) or self.entries.get((job.job, job.name))


def read_queue(submissions: Iterable[Submission]) -> QueueView:
    """Ask squeue and sacct once for the Slurm jobs among these; skips foreign jobs that have one of their ids."""
    asked = {(item.job, item.name) for item in submissions if item.kind == "slurm"}
    if not asked:
        return QueueView({}, False)
    if shutil.which("squeue") is None:
        return QueueView({}, False, "there is no squeue on this machine")
    ids = ",".join(sorted({job for job, _ in asked}, key=int))
    entries: dict[Key, QueueEntry] = {}
    attempts: dict[Key, list[Attempt]] = {}
    accounting = False
    if shutil.which("sacct") is not None:
        columns = ",".join(_SACCT_FIELDS)
        # --duplicates: every attempt of a requeued job, not only the last.
        code, text = ask(
            [
                "sacct",
                "--noheader",
                "--parsable2",
                "--allocations",
                "--duplicates",
                f"--format={columns}",
                f"--jobs={ids}",
            ]
        )
        accounting = code == 0
        if accounting:
            entries, attempts = parse_sacct(text)
    code, text = ask(["squeue", "--noheader", "--states=all", f"--Format={named(_SQUEUE_FIELDS)}", f"--jobs={ids}"])
    # Once every id has left the controller's memory, squeue calls them invalid; that is an answer, not a failure.
    problem = None if code == 0 or "Invalid job id" in text else f"squeue: {text.strip() or f'exit {code}'}"
    if problem is None:
        live = parse_squeue(text) if code == 0 else {}
        # Accounting lags: it may still show a requeued job as ended, and a job that has just ended as live. The
        # controller is right about who is live; accounting is right about how a task ended.
        entries |= {key: entry for key, entry in live.items() if entry.live or key not in entries or entries[key].live}
        # A controller that crashes forgets the jobs it accepted in its last seconds, while accounting lists them as
        # pending forever. Both were asked in this order (sacct, then squeue): a job that accounting knows was submitted
        # before squeue was asked, so its absence there is real.
        lost = {
            key: replace(entry, state="LOST", reason="the controller forgot it")
            for key, entry in entries.items()
            if entry.live and key not in live
        }
        entries |= lost
    return QueueView(_only(asked, entries), accounting, problem, _only(asked, attempts))


def parse_squeue(text: str) -> dict[Key, QueueEntry]:
    """Parse lines of the columns above to task -> entry; pending array tasks come as ``12_[3-7,9%4]``."""
    entries = {}
    for job, state, reason, nodes, start, end, restarts, count, name in rows(text, len(_SQUEUE_FIELDS)):
        entry = QueueEntry(
            state=state,
            reason="" if reason in ("None", "") else reason.strip("()"),
            nodes=nodes,
            start=moment(start),
            end=None if state in LIVE_STATES else moment(end),  # for a live task it is the time limit
            restarts=int(restarts or 0),
            node_count=int(count) if count.isdigit() else 1,
        )
        entries.update(dict.fromkeys(((task, name) for task in task_ids(job)), entry))
    return entries


def parse_sacct(text: str) -> tuple[dict[Key, QueueEntry], dict[Key, list[Attempt]]]:
    """Return task -> entry of its newest record, and task -> attempts that got nodes, oldest first."""
    entries: dict[Key, QueueEntry] = {}
    attempts: dict[Key, list[Attempt]] = {}
    newest: dict[Key, float] = {}
    for job, state, exit_code, nodes, submit, start, end, seconds, count, tres, name in rows(text, len(_SACCT_FIELDS)):
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


def _only(asked: set[Key], found: dict[Key, _T]) -> dict[Key, _T]:
    return {key: value for key, value in found.items() if (key[0].partition("_")[0], key[1]) in asked}


def task_ids(job: str) -> Iterable[str]:
    """Expand a job id: ``12`` -> 12; ``12_3`` -> 12_3; ``12_[0-1,5%2]`` -> 12_0, 12_1, 12_5."""
    if not job.endswith("]"):
        return (job,)
    match = _ARRAY.match(job)
    return [f"{match[1]}_{index}" for index in expand(match[2])] if match else (job,)


def rows(text: str, columns: int) -> Iterable[list[str]]:
    """Split lines at ``|``, and yield those with the given number of columns.

    squeue and sinfo add a separator at the end, which is dropped. A foreign job whose name contains the separator has
    more columns and is skipped.
    """
    for line in text.splitlines():
        fields = line.strip().split("|")
        if len(fields) == columns + 1 and not fields[-1]:
            fields.pop()
        if len(fields) == columns:
            yield fields


def named(fields: Sequence[str]) -> str:
    """Return a ``--Format`` for squeue and sinfo, each column as wide as needed and followed by ``|``."""
    return ",".join(f"{name}:|" for name in fields)


def moment(text: str) -> float | None:
    """Parse a time in seconds since the epoch; None for ``N/A``, ``Unknown``, ``None`` and the like."""
    return float(text) if text.isdigit() and text != "0" else None


def ask(command: list[str]) -> tuple[int, str]:
    """Run a read-only Slurm command.

    Returns:
        Exit code, and stdout on success or stderr on failure.
    """
    # The first keeps squeue from truncating the expression of a large array; the second makes times plain numbers.
    environment = {**os.environ, "SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "%s"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return 1, f"no answer in {TIMEOUT_S} seconds"
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr


def _ending(exit_code: str) -> str:
    code, _, number = exit_code.partition(":")
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


def scancel(jobs: Iterable[str], *options: str) -> str | None:
    """Cancel jobs or tasks. One that is already gone, for example removed by Slurm because it could not start, is fine.

    Returns:
        scancel's errors other than about jobs that are gone, or None.
    """
    try:
        done = subprocess.run(
            ["scancel", *options, *jobs], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {TIMEOUT_S} seconds"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    said = [line for line in lines if "Invalid job id" not in line]
    if done.returncode and not lines:
        return f"exit status {done.returncode}"
    return "\n".join(said) if done.returncode and said else None
