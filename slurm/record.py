"""What was submitted: RUN/submissions.jsonl, one line a job, only ever appended to; and the lock of whoever submits."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from jobs.plan import Run
from routenator.errors import RoutenatorError
from slurm.ranges import expand


class BusyError(RoutenatorError):
    """Another command is submitting tasks of this run at this moment."""


@dataclass(frozen=True)
class Submission:
    """One job (a Slurm job or array, or one local process).

    Attributes:
        kind: slurm or local.
        job: Slurm's job id, or the process id of the local task's controller.
        shards: the shards, as an array expression.
        offset: shard = array task id + offset; an array's ids are capped by the cluster, so a large stage takes several arrays.
        array: whether Slurm knows it as an array.
        depends: job ids it waits for.
        time: seconds since the epoch.
        host: where a local process runs.
        started: creation time of a local process (a process id alone may be used again by another).
    """

    kind: str
    stage: str
    job: str
    shards: str
    offset: int = 0
    array: bool = False
    depends: list[str] = field(default_factory=list)
    time: float = field(default_factory=lambda: round(time.time(), 3))
    host: str | None = None
    started: float | None = None

    def indices(self) -> list[int]:
        return expand(self.shards)

    def task_id(self, shard: int) -> str:
        """The scheduler's id of one shard's task."""
        return f"{self.job}_{shard - self.offset}" if self.array else self.job

    def log_name(self, shard: int) -> str:
        """File name of the shard's log below RUN/logs/STAGE (submitit's naming)."""
        return f"{self.task_id(shard)}_0_log.out"


def append(run: Run, submission: Submission) -> None:
    """Add a line; one write(2), so that a reader never sees half of it."""
    line = json.dumps(asdict(submission), ensure_ascii=False) + "\n"
    handle = os.open(run.path / "submissions.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.write(handle, line.encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def load(run: Run) -> list[Submission]:
    """Every submission, oldest first; a last line cut off by a crash is left out."""
    try:
        lines = (run.path / "submissions.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(json.JSONDecodeError):
            found.append(Submission(**json.loads(line)))
    return found


def latest(submissions: list[Submission], stage: str) -> dict[int, Submission]:
    """Shard -> the newest submission that holds it."""
    return {index: item for item in submissions if item.stage == stage for index in item.indices()}


def attempts(submissions: list[Submission], stage: str) -> dict[int, int]:
    """Shard -> how many times it was submitted."""
    counts: dict[int, int] = {}
    for item in submissions:
        if item.stage == stage:
            for index in item.indices():
                counts[index] = counts.get(index, 0) + 1
    return counts


@contextlib.contextmanager
def submitting(run: Run) -> Iterator[None]:
    """Hold the run's submission lock, so that two commands cannot submit the same shards.

    Raises:
        BusyError: another command holds it.
    """
    with open(run.path / ".submitting", "a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"another command is submitting tasks of {run.path}; try again when it is done") from None
        yield
