"""Reads a run's jobs with one ``squeue`` and one ``sacct`` call, however many there are.

Absence proves nothing. A task that an answer lacks is ABSENT; it is LOST only if a second full answer, seconds later,
lacks it too. An answer that is late, unreadable or hides other users' jobs does not count, and says nothing about any
task.

Ended jobs are read from the controller's memory too (``--states=all``), for clusters without accounting. A controller
that crashed may assign an id twice, so a job is identified by its id and its name, which is unique.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from routenator.trust import user_name
from slurm.submission.answers import (
    ABSENT,
    LIVE_STATES,
    LOST,
    SACCT_FIELDS,
    SQUEUE_FIELDS,
    Attempt,
    Key,
    QueueEntry,
    UnreadableError,
    job_rows,
    named,
    parse_sacct,
    parse_squeue,
)
from slurm.submission.client import ask, cut, no_answer, of_cluster
from slurm.submission.submissions import Submission

# What has just been submitted or requeued may be missing in one answer, so that a second one must lack it too.
SECOND_LOOK_S = 5.0
_OFF = "there is no accounting"
HIDDEN = "you may not see these jobs"
_T = TypeVar("_T")


class Looks:
    """Remembers for how long something has been true at every look, by this machine's own clock."""

    def __init__(self) -> None:
        self._now = 0.0
        self._before: dict[Hashable, float] = {}
        self._since: dict[Hashable, float] = {}

    def begin(self) -> None:
        """Begin another look; whatever is not asked about during it starts afresh."""
        self._now = time.monotonic()
        self._before, self._since = self._since, {}

    def seconds(self, what: Hashable) -> float:
        """Return for how long this has been true at every look, up to the current one."""
        first = self._since.setdefault(what, self._before.get(what, self._now))
        return self._now - first


@dataclass(frozen=True)
class QueueView:
    """Everything known about some jobs.

    Attributes:
        entries: task -> entry.
        accounting: whether sacct answered.
        accounting_problem: why sacct gave no full answer where accounting is not simply off, or None.
        problem: why the queue could not be read in full, or None. If set, a missing task proves nothing.
        attempts: task -> its attempts that got nodes, oldest first; empty without accounting.
        stale: whether live tasks are live by accounting alone, which lags behind the controller.
        foreign: ids that the controller has assigned to other jobs since.
        unnamed: ids of jobs whose submission was not confirmed, by their names.
        looks: earlier looks, by which an absent task becomes a lost one.
    """

    entries: dict[Key, QueueEntry]
    accounting: bool
    problem: str | None = None
    attempts: dict[Key, list[Attempt]] = field(default_factory=dict)
    stale: bool = False
    foreign: frozenset[str] = frozenset()
    unnamed: dict[str, str] = field(default_factory=dict)
    looks: Looks = field(default_factory=Looks, compare=False)
    accounting_problem: str | None = None

    def entry(self, job: Submission, shard: int = 0) -> QueueEntry | None:
        """Return the entry of a shard's task, or of its array if Slurm lists only that (cancelled before starting).

        Returns:
            An entry; ABSENT or LOST for a task that the queue lacks; None if it is unknown because of ``problem``.
        """
        job = self.resolved(job)
        task = job.task_id(shard)
        found = self.entries.get((task, job.name)) or self.entries.get((job.job, job.name))
        if found is not None and found.state != ABSENT:
            return found
        if self.problem is not None:
            return None
        if self.looks.seconds((task, job.name)) < SECOND_LOOK_S:
            return found or QueueEntry(ABSENT)
        return replace(found or QueueEntry(ABSENT), state=LOST, reason="Slurm does not have it, asked twice")

    def resolved(self, job: Submission) -> Submission:
        """Return the submission with the id that Slurm gave it, if that was not known when it was recorded."""
        return job if job.job else replace(job, job=self.unnamed.get(job.name, ""))


def another_look(view: QueueView, looks: Looks) -> QueueView:
    """Return a view that knows the earlier looks; one with a problem does not count as a look."""
    if view.problem is None:
        looks.begin()
    return replace(view, looks=looks)


def read_queue(submissions: Iterable[Submission]) -> QueueView:
    """Ask squeue and sacct once for the Slurm jobs among these; skips foreign jobs that have one of their ids."""
    by_cluster: dict[str | None, list[Submission]] = {}
    for item in submissions:
        if item.kind == "slurm":
            by_cluster.setdefault(item.cluster, []).append(item)
    if not by_cluster:
        return QueueView({}, False)
    if shutil.which("squeue") is None:
        return QueueView({}, False, "there is no squeue on this machine")
    views = [_read_cluster(cluster, jobs) for cluster, jobs in by_cluster.items()]
    if len(views) == 1:
        return views[0]
    return QueueView(
        {key: entry for view in views for key, entry in view.entries.items()},
        all(view.accounting for view in views),
        "; ".join(view.problem for view in views if view.problem) or None,
        {key: found for view in views for key, found in view.attempts.items()},
        any(view.stale for view in views),
        frozenset().union(*(view.foreign for view in views)),
        {name: job for view in views for name, job in view.unnamed.items()},
        accounting_problem="; ".join(view.accounting_problem for view in views if view.accounting_problem) or None,
    )


def _read_cluster(cluster: str | None, jobs: Sequence[Submission]) -> QueueView:
    unnamed: dict[str, str] = {}
    if names := [item.name for item in jobs if not item.job]:
        try:
            unnamed = jobs_named(names, cluster)
        except UnreadableError as error:
            return QueueView({}, False, str(error), stale=True)
        jobs = [replace(item, job=item.job or unnamed.get(item.name, "")) for item in jobs]
    asked = {(item.job, item.name) for item in jobs if item.job}
    ids = sorted({job for job, _ in asked}, key=int)
    entries, attempts, missing = _accounted(ids, cluster)
    live, problem = _queued(ids, cluster)
    if problem is None:
        # Accounting lags: it may still show a requeued job as ended, and a job that has just ended as live. The
        # controller is right about who is live; accounting is right about how a task ended.
        entries |= {key: entry for key, entry in live.items() if entry.live or key not in entries or entries[key].live}
        # A controller that crashes forgets the jobs it accepted in its last seconds, while accounting lists them as
        # pending forever.
        entries |= {
            key: replace(entry, state=ABSENT, reason="")
            for key, entry in entries.items()
            if entry.live and key not in live
        }
    entries = _only(asked, entries)
    stale = problem is not None
    foreign = {key[0].partition("_")[0] for key in live} - {key[0].partition("_")[0] for key in _only(asked, live)}
    if problem is None:
        problem = _hidden(jobs, entries, _only(asked, live), cluster)
    return QueueView(
        entries,
        missing is None,
        problem,
        _only(asked, attempts),
        stale,
        frozenset(foreign),
        unnamed,
        accounting_problem=None if missing == _OFF else missing,
    )


def _accounted(
    ids: Sequence[str], cluster: str | None
) -> tuple[dict[Key, QueueEntry], dict[Key, list[Attempt]], str | None]:
    """Ask sacct.

    Returns:
        Entries, attempts, and why it gave no full answer (then there are none of the others); ``_OFF`` where there is
        no accounting.
    """
    if shutil.which("sacct") is None:
        return {}, {}, _OFF
    entries: dict[Key, QueueEntry] = {}
    attempts: dict[Key, list[Attempt]] = {}
    # --duplicates: every attempt of a requeued job, not only the last.
    command = ["sacct", "--noheader", "--parsable2", "--allocations", "--duplicates", *of_cluster(cluster)]
    command += ["--allusers", f"--format={','.join(SACCT_FIELDS)}"]
    for part in cut(ids):
        code, text = ask([*command, f"--jobs={','.join(part)}"])
        if code:
            return {}, {}, _OFF if "storage is disabled" in text else text
        try:
            some, more = parse_sacct(text)
        except UnreadableError as error:
            return {}, {}, f"sacct: {error}"
        entries |= some
        attempts |= more
    return entries, attempts, None


def _queued(ids: Sequence[str], cluster: str | None) -> tuple[dict[Key, QueueEntry], str | None]:
    """Ask squeue.

    Returns:
        What it has, and why it gave no full answer.
    """
    found: dict[Key, QueueEntry] = {}
    command = ["squeue", "--noheader", "--states=all", *of_cluster(cluster), f"--Format={named(SQUEUE_FIELDS)}"]
    for part in cut(ids):
        code, text = ask([*command, f"--jobs={','.join(part)}"])
        # Once every id has left the controller's memory, squeue calls them invalid; that is an answer, not a failure.
        if code and "Invalid job id" in text:
            continue
        if code:
            return found, text
        try:
            found |= parse_squeue(text)
        except UnreadableError as error:
            return found, f"squeue: {error}"
    return found, None


def _hidden(
    jobs: Sequence[Submission], entries: dict[Key, QueueEntry], live: dict[Key, QueueEntry], cluster: str | None
) -> str | None:
    """Say so if jobs that an answer lacks are another user's and this cluster hides those."""
    seen = {key[0].partition("_")[0] for key in live}
    over = {key[0].partition("_")[0] for key, entry in entries.items() if entry.state != ABSENT}
    absent = {key[0].partition("_")[0] for key, entry in entries.items() if entry.state == ABSENT}
    me = user_name(os.geteuid())
    owners = {
        item.user
        for item in jobs
        if item.user != me and item.job not in seen and (item.job in absent or item.job not in over)
    }
    if not owners or os.getuid() == 0:
        return None
    try:
        private = _private_data(os.environ.get("SLURM_CONF"), cluster)
    except UnreadableError as error:
        return str(error)
    if "jobs" not in private:
        return None
    return (
        f"{HIDDEN}: this cluster shows a job only to the user who submitted it "
        f"({', '.join(sorted(owners))}; PrivateData=jobs)"
    )


def jobs_named(names: Sequence[str], cluster: str | None = None) -> dict[str, str]:
    """Return name -> id of this user's jobs of these names that the controller has.

    Raises:
        UnreadableError: the queue could not be read.
    """
    command = ["squeue", "--noheader", "--states=all", *of_cluster(cluster), f"--user={user_name(os.geteuid())}"]
    command.append(f"--Format={named(('JobArrayID', 'State', 'Name'))}")
    found: dict[str, str] = {}
    for part in cut(names):
        code, text = ask([*command, f"--name={','.join(part)}"])
        if code:
            raise UnreadableError(text)
        found |= {name: re.split(r"[_+]", job)[0] for job, _, name in job_rows(text, 3)}
    return found


@functools.cache
def _private_data(conf: str | None, cluster: str | None) -> frozenset[str]:
    """Return what this cluster hides from other users; asked once per process. ``conf`` identifies the cluster.

    Raises:
        UnreadableError: scontrol gave no answer.
    """
    code, text = ask(["scontrol", *of_cluster(cluster), "show", "config"])
    found = re.search(r"^PrivateData\s*=\s*(\S+)", text, re.MULTILINE)
    if code or found is None:
        raise UnreadableError(f"Slurm did not say whether other users' jobs are hidden: {text.strip()[:200]}")
    return frozenset(found[1].split(","))


def _only(asked: set[Key], found: dict[Key, _T]) -> dict[Key, _T]:
    return {key: value for key, value in found.items() if (key[0].partition("_")[0], key[1]) in asked}


def look_twice(submissions: Sequence[Submission], absent: Callable[[QueueView], bool]) -> QueueView:
    """Read the queue, and again some seconds later if anything of interest was absent.

    Args:
        absent: whether a view lacks anything of interest.
    """
    looks = Looks()
    view = another_look(read_queue(submissions), looks)
    if view.problem is None and absent(view):
        time.sleep(SECOND_LOOK_S)
        view = another_look(read_queue(submissions), looks)
    return view


def doubt(view: QueueView, given_up: Iterable[Submission]) -> str | None:
    """Ask once more, in another way, before the shards of jobs that squeue lacks are submitted again.

    Args:
        given_up: submissions with a task that is LOST.

    Returns:
        Why they may be at work nevertheless, or None.
    """
    listed = {key[0].partition("_")[0] for key, entry in view.entries.items() if entry.live}
    unlisted = sorted({(item.job, item.name, item.cluster) for item in given_up if item.job not in listed}, key=str)
    if unlisted and view.accounting_problem is not None:
        return view.accounting_problem
    for job, name, cluster in unlisted:
        code, text = ask(["scontrol", *of_cluster(cluster), "--oneliner", "show", "job", job])
        if code and no_answer(text):
            return text
        for line in text.splitlines():
            state = re.search(r"\bJobState=(\S+)", line)
            if f"JobName={name} " in line and state is not None and state[1] in LIVE_STATES:
                return f"squeue does not list job {job}, but scontrol does"
    return None
