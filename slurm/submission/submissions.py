"""The record of submitted jobs, RUN/submissions.jsonl (append-only, one line per job), and the submission lock."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from jobs.plan import Run
from routenator.errors import InputError, RoutenatorError
from routenator.files import NO_PERMISSION
from routenator.locks import Lock, LockedError
from routenator.trust import user_name

_ATTEMPT = re.compile(r"(\d+)(?:_\d+)*\.attempt-(\d+)\.log$")


def compact(indices: Iterable[int]) -> str:
    """Return the shortest ``--array`` expression for a set of indices: ``{0, 1, 2, 7}`` -> ``0-2,7``."""
    ordered = sorted(set(indices))
    if not ordered:
        return ""
    gaps = [(low, high) for low, high in itertools.pairwise(ordered) if high != low + 1]
    firsts, lasts = [ordered[0], *(high for _, high in gaps)], [*(low for low, _ in gaps), ordered[-1]]
    return ",".join(
        str(first) if first == last else f"{first}-{last}" for first, last in zip(firsts, lasts, strict=True)
    )


def expand(expression: str) -> list[int]:
    """Return the indices of an ``--array`` expression; ignores ``%LIMIT``, understands ``A-B:STEP``.

    Raises:
        ValueError: not an array expression.
    """
    values: set[int] = set()
    body = expression.partition("%")[0].strip()
    for part in filter(None, body.split(",")):
        interval, _, step = part.partition(":")
        low, _, high = interval.partition("-")
        values.update(range(int(low), int(high or low) + 1, int(step or 1)))
    return sorted(values)


class BusyError(RoutenatorError):
    """Another command is submitting tasks of this run right now."""


@dataclass(frozen=True)
class Submission:
    """One submitted job (a Slurm job or array, or one local process).

    Attributes:
        kind: slurm or local.
        job: Slurm's job id, or the process id of the local task's controller.
        name: the Slurm job's name; identifies the job together with the id, which a controller that crashed may assign
            again.
        shards: the shards, as an array expression.
        offset: array task id = shard // per_task - offset; the cluster caps array ids, so a large stage takes several
            arrays.
        per_task: number of neighbouring shards that one task works through.
        attempt: attempt number of its tasks' first start; Slurm's requeues count up from it.
        array: whether it is a Slurm array.
        depends: job ids it waits for.
        time: seconds since the epoch.
        host: where a local process runs.
        started: creation time of a local process (the id alone may since belong to another process).
        cluster: the Slurm cluster, where it is not the default one of the login node.
        user: who submitted it.
    """

    kind: str
    stage: str
    job: str
    shards: str
    offset: int = 0
    per_task: int = 1
    attempt: int = 1
    array: bool = False
    depends: list[str] = field(default_factory=list)
    # Not rounded: a failure just before it must seem older, and what follows it newer.
    time: float = field(default_factory=time.time)
    host: str | None = None
    started: float | None = None
    name: str = ""
    cluster: str | None = None
    user: str = field(default_factory=lambda: user_name(os.geteuid()))

    def indices(self) -> list[int]:
        return expand(self.shards)

    def task_id(self, shard: int) -> str:
        """Return the scheduler's id of one shard's task."""
        return f"{self.job}_{shard // self.per_task - self.offset}" if self.array else self.job

    def tasks(self) -> dict[int, list[int]]:
        """Return array task id -> its shards, in order; a plain job has a single task, 0."""
        shards = self.indices()
        if not self.array:
            return {0: shards}
        if self.per_task == 1:
            return {shard - self.offset: [shard] for shard in shards}
        found: dict[int, list[int]] = {}
        start = 0
        while start < len(shards):
            block = shards[start] // self.per_task
            end = bisect_left(shards, (block + 1) * self.per_task, start)
            found[block - self.offset] = shards[start:end]
            start = end
        return found

    def log(self, folder: Path, shard: int) -> Path | None:
        """Return the log of the shard's newest start; None if none has written one.

        Args:
            folder: RUN/logs/STAGE.
        """
        if self.kind != "slurm":
            log = folder / local_log(self.job)
            return log if log.exists() else None
        found, number, missing = None, self.attempt, 0
        while missing < 3:  # a start that was killed before it began leaves no log
            log = folder / attempt_log(self.task_id(shard), number)
            found, missing = (log, 0) if log.exists() else (found, missing + 1)
            number += 1
        return found

    def script_log(self, folder: Path) -> Path | None:
        """Return what the script and Slurm wrote, one file for all tasks of an array; None if nothing was written.

        Args:
            folder: RUN/logs/STAGE.
        """
        log = folder / f"{self.job}_batch.log"
        return log if log.exists() else None


def local_log(job: str) -> str:
    """Return the file name of a local task's log in RUN/logs/STAGE; ``job`` is its process id."""
    return f"{job}_0_log.out"


def attempt_log(task: str, attempt: int | str, node: str = "0") -> str:
    """Return the file name of a task's log in RUN/logs/STAGE.

    Args:
        task: the scheduler's id, or its placeholders.
        attempt: attempt number.
        node: index of the node within the task.
    """
    return f"{task}_{node}.attempt-{attempt}.log"


def append_submission(run: Run, submission: Submission) -> None:
    """Append a line, by a single write(2) so that readers never see half of it, and fsync.

    If it were lost in a crash, ``retry`` would not know of the job and submit its shards a second time.
    """
    line = json.dumps(asdict(submission), ensure_ascii=False) + "\n"
    handle = os.open(run.path / "submissions.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.write(handle, line.encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def load_submissions(run: Run) -> list[Submission]:
    """Return every submission, oldest first; skips a last line that a crash cut off."""
    path = run.path / "submissions.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    owner = user_name(path.stat().st_uid)  # for records of a version that did not name the user
    for line in lines:
        with contextlib.suppress(json.JSONDecodeError):
            found.append(Submission(**{"user": owner, **json.loads(line)}))
    return found


def latest_submissions(submissions: list[Submission], stage: str) -> dict[int, Submission]:
    """Return shard -> the newest submission that includes it."""
    return {index: item for item in submissions if item.stage == stage for index in item.indices()}


def attempt_counts(submissions: list[Submission], stage: str) -> dict[int, int]:
    """Return shard -> attempt number of its newest submission's first start."""
    counts: dict[int, int] = {}
    for item in submissions:
        if item.stage == stage:
            for index in item.indices():
                counts[index] = max(counts.get(index, 0) + 1, item.attempt)
    return counts


def next_attempt(run: Run, submissions: list[Submission], stage: str, shards: set[int]) -> int:
    """Return an attempt number that no start of these shards has had.

    It is one more than the largest in the record and in the names of logs: requeues raise the number without a line in
    the record.
    """
    before = [item for item in submissions if item.stage == stage and not shards.isdisjoint(item.indices())]
    jobs = {item.job for item in before}
    last = max((item.attempt for item in before), default=0)
    if jobs and run.log_dir(stage).is_dir():
        for entry in os.scandir(run.log_dir(stage)):
            found = _ATTEMPT.match(entry.name)
            if found and found[1] in jobs:
                last = max(last, int(found[2]))
    return last + 1


@contextlib.contextmanager
def submission_lock(run: Run) -> Iterator[None]:
    """Hold the run's submission lock, so that two commands cannot submit the same shards.

    Raises:
        BusyError: another command holds it.
        InputError: this user may not write to the run.
    """
    lock = Lock(run.path / ".submitting")
    try:
        lock.acquire(wait=False)
    except LockedError as error:
        raise BusyError(
            f"another command is submitting tasks of {run.path}; try again once it is done ({error})"
        ) from None
    except OSError as error:
        if error.errno not in NO_PERMISSION:
            raise
        raise not_yours(run, error) from None
    try:
        yield
    finally:
        lock.release()


def not_yours(run: Run, error: OSError) -> InputError:
    """Return the message for a user who may not write to a run."""
    owner = user_name(run.path.stat().st_uid)
    return InputError(
        "you cannot write to this run, so you can submit nothing of it",
        file=run.path,
        found=f"{error.strerror or error}; the folder belongs to {owner}",
        expected=f"the command to be run by {owner}, or a run of your own: "
        f"`run {run.path / 'config.yaml'} root=YOUR_FOLDER`",
    )
