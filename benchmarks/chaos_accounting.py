"""Reads from accounting what became of a run's tasks, for ``benchmarks/chaos.py``."""

from __future__ import annotations

import subprocess
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from jobs.plan import Run
from slurm.submission.options import job_name
from slurm.submission.submissions import load_submissions

_FIELDS = "JobID,State,ElapsedRaw,Submit,Start,End,JobName"


@dataclass(frozen=True)
class Start:
    """A start of a task, or a task that never started.

    Attributes:
        job: ``12_3``, or ``12`` for a task of its own.
        state: how it ended.
        seconds: on its node.
        submit, start, end: as sacct prints them (they sort as text); ``Unknown`` or ``None`` if it did not.
        name: of the job, unique.
    """

    job: str
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
        job, state, seconds, submit, start, end, name = line.split("|", 6)
        found.append(Start(job, state.split()[0], int(seconds), submit, start, end, name))
    return found


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


def doubled(run: Run) -> dict[str, Any]:
    """Count the shards that were submitted while at work, and the jobs that were submitted and not recorded.

    A task is at work from a start to the end of that start. One without an end was running when a controller was
    killed that then forgot it, so that Slurm itself called it lost; such shards are counted apart.
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
    at_work = forgotten = 0
    for found in shards.values():
        submitted = {job: min(one.submit for other, one in found if other == job) for job, _ in found}
        for job, one in found:
            if one.start[:1].isdigit():
                later = [moment for other, moment in submitted.items() if other != job and moment > one.start]
                ended = one.end[:1].isdigit()
                at_work += ended and any(moment < one.end for moment in later)
                forgotten += not ended and bool(later)
    return {
        "submitted_at_work": at_work,
        "submitted_of_forgotten": forgotten,
        "jobs_started_unrecorded": len(unrecorded),
    }
