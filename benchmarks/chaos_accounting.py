"""Reads from accounting, and from the nodes' logs, what became of a run's tasks, for ``benchmarks/chaos.py``."""

from __future__ import annotations

import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.plan import Run
from slurm.submission.options import job_name
from slurm.submission.submissions import load_submissions

_FIELDS = "JobID,JobIDRaw,State,ElapsedRaw,Submit,Start,End,JobName"
_BATCH_END = re.compile(r"\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\S*\] \[(\d+)\.batch\] done with job")


@dataclass(frozen=True)
class Start:
    """A start of a task, or a task that never started.

    Attributes:
        job: ``12_3``, or ``12`` for a task of its own.
        raw: the number that Slurm gave the task itself, as nodes log it.
        state: how it ended.
        seconds: on its node.
        submit, start, end: as sacct prints them (they sort as text); ``Unknown`` or ``None`` if it did not.
        name: of the job, unique.
    """

    job: str
    raw: str
    state: str
    seconds: int
    submit: str
    start: str
    end: str
    name: str

    @property
    def started(self) -> bool:
        return self.seconds > 0 or self.state == "COMPLETED"


def read_starts(*options: str) -> list[Start]:
    """Ask sacct for all starts, also those of requeued tasks."""
    command = ["sacct", "--noheader", "--parsable2", "--allocations", "--duplicates", f"--format={_FIELDS}", *options]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = []
    for line in text.splitlines():
        job, raw, state, seconds, submit, start, end, name = line.split("|", 7)
        found.append(Start(job, raw, state.split()[0], int(seconds), submit, start, end, name))
    return found


def batch_ends(logs: Path) -> dict[str, list[str]]:
    """Return when the nodes' daemons saw each task's script end: raw number -> times as sacct prints them.

    Args:
        logs: folder with the logs of the test cluster's nodes.
    """
    ends: defaultdict[str, list[str]] = defaultdict(list)
    for log in sorted(logs.glob("n*.log")):
        for moment, raw in _BATCH_END.findall(log.read_text(encoding="utf-8", errors="replace")):
            ends[raw].append(moment)
    return ends


def attempts(run: Run) -> dict[str, Any]:
    """Summarise the accounting of the run's tasks: starts, end states, requeues, seconds, and seconds lost."""
    starts = [one for one in read_starts("-j", ",".join(item.job for item in load_submissions(run))) if one.started]
    ends = Counter(one.state for one in starts)
    seconds: Counter[str] = Counter()
    for one in starts:
        seconds[one.state] += one.seconds
    return {
        "starts": len(starts),
        "requeues": len(starts) - len({one.job for one in starts}),
        "ends": dict(ends.most_common()),
        "task_seconds": seconds.total(),
        "task_seconds_lost": seconds.total() - seconds["COMPLETED"],
    }


def doubled(run: Run, ends: Mapping[str, list[str]]) -> dict[str, Any]:
    """Count the shards that were submitted while at work, and the jobs that were submitted and not recorded.

    A task is at work from a start to the end of that start. Two kinds are the doing of a killed controller and counted
    apart. A start without an end was running when the controller forgot it, so that Slurm itself called it lost. And a
    controller that reads an old state takes a task for running that had ended, and been reported as ended, before;
    accounting then moves the end to when the error was noticed, but the node's log has the true one.

    Args:
        run: the run.
        ends: of ``batch_ends``.
    """
    submissions = {item.job: item for item in load_submissions(run)}
    names = tuple(job_name(run, stage) for stage in run.plan.stages)
    shards: defaultdict[tuple[str, int], list[tuple[str, Start]]] = defaultdict(list)  # with the job of each start
    unrecorded = set()
    for one in read_starts("--starttime=now-30days"):
        job, _, index = one.job.partition("_")
        if one.name.startswith(names) and job not in submissions:
            unrecorded |= {job} if one.started else set()
        elif one.name.startswith(names) and (index.isdigit() or not index):
            for shard in submissions[job].tasks().get(int(index or 0), []):
                shards[submissions[job].stage, shard].append((job, one))
    at_work = forgotten = revived = 0
    for found in shards.values():
        submitted = {job: min(one.submit for other, one in found if other == job) for job, _ in found}
        for job, one in found:
            if not one.start[:1].isdigit():
                continue
            later = [moment for other, moment in submitted.items() if other != job and moment > one.start]
            if not one.end[:1].isdigit():
                forgotten += bool(later)
            elif any(moment < one.end for moment in later):
                seen = min((moment for moment in ends.get(one.raw, ()) if moment >= one.start), default=one.end)
                at_work += any(moment < seen for moment in later)
                revived += all(moment >= seen for moment in later)
    return {
        "submitted_at_work": at_work,
        "submitted_of_forgotten": forgotten,
        "submitted_of_revived": revived,
        "jobs_started_unrecorded": len(unrecorded),
    }
