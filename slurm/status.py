"""Where a run stands: receipts and progress files say what is done, the plan what there is to do, the queue what is alive."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from jobs.entry import failure_path, read_failure
from jobs.plan import Run
from jobs.task import Receipt, done_shards, read_receipt, shard_name
from slurm import processes, record
from slurm.local import read_driver
from slurm.logs import log_path, tail
from slurm.queue import QueueView, read_queue
from slurm.record import Submission

TAIL_LINES = 20
MAX_FAILURES = 20  # shown of one stage; all are counted
# Between sbatch and the controller's first look a job may be in neither list.
_JUST_SUBMITTED_S = 15.0
STATES = ("done", "running", "pending", "failed", "cancelled", "unknown", "missing")


@dataclass
class Failure:
    """Why a shard is not done, and the end of its log."""

    stage: str
    shard: int
    reason: str
    attempt: int | None = None
    job: str | None = None
    host: str | None = None
    log: str | None = None
    tail: list[str] = field(default_factory=list)


@dataclass
class StageStatus:
    """One stage.

    Attributes:
        done, running, pending, failed, cancelled: shards in each state.
        unknown: submitted, not done, and the queue cannot be read.
        missing: not submitted.
        reused: it was done before this run.
        rows: rows of the finished shards and, where they tell, of those at work.
        seconds: task seconds of the finished shards.
        fraction: work done, 0 to 1, with parts of shards.
        rate: units a second of the shards at work now; if there is none, of the finished ones.
        unit: what ``rate`` counts.
        eta_s: seconds to the end at the pace of the tasks at work; None if nothing can be said.
        reasons: why shards wait -> how many.
    """

    stage: str
    dir: str
    shards: int
    done: int = 0
    running: int = 0
    pending: int = 0
    failed: int = 0
    cancelled: int = 0
    unknown: int = 0
    missing: int = 0
    reused: bool = False
    rows: int = 0
    seconds: float = 0.0
    fraction: float = 0.0
    rate: float | None = None
    unit: str = "rows"
    eta_s: float | None = None
    reasons: dict[str, int] = field(default_factory=dict)
    failed_shards: list[int] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def state(self) -> str:
        """One word for all shards."""
        if self.done == self.shards:
            return "done"
        return next((name for name in ("running", "failed", "unknown", "cancelled", "pending") if getattr(self, name)), "missing")


@dataclass
class RunStatus:
    """A run: ``done``, ``running`` (tasks at work or waiting), ``failed``, ``cancelled``, ``unknown`` (the queue cannot be read), or
    ``incomplete`` (nothing is going on)."""

    run: str
    name: str
    kind: str
    state: str
    stages: list[StageStatus]
    accounting: bool | None = None
    problem: str | None = None
    driver: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        value = asdict(self)
        for entry, stage in zip(value["stages"], self.stages, strict=True):
            entry["state"] = stage.state
        return value

    def stage(self, name: str) -> StageStatus:
        return next(stage for stage in self.stages if stage.stage == name)


class StatusReader:
    """Reads a run's status again and again; receipts never change and are read once.

    Args:
        run: the run.
        ask: what says how jobs stand in the queue.
    """

    def __init__(self, run: Run, ask: Callable[[Sequence[str]], QueueView] = read_queue) -> None:
        self.run = run
        self._ask = ask
        self._receipts: dict[tuple[str, int], Receipt] = {}

    def read(self) -> RunStatus:
        """The status now: a listing of each stage's folder, one squeue call and one sacct call."""
        run = self.run
        submissions = record.load(run)
        queue = self._ask([item.job for item in submissions if item.kind == "slurm"])
        driver = read_driver(run)
        stages = [self._stage(stage, submissions, queue, driver) for stage in run.plan.stages]
        kind = run.config.cluster.kind
        return RunStatus(
            run=str(run.path),
            name=run.config.name,
            kind=kind,
            state=_run_state(stages, bool(driver and driver["alive"])),
            stages=stages,
            accounting=queue.accounting if kind == "slurm" else None,
            problem=queue.problem,
            driver=driver,
        )

    def _stage(self, stage: str, submissions: list[Submission], queue: QueueView, driver: dict[str, Any] | None) -> StageStatus:
        run, entry = self.run, self.run.plan.stages[stage]
        directory = run.stage_dir(stage)
        status = StageStatus(stage=stage, dir=str(directory), shards=entry.shards)
        done = done_shards(directory, entry.shards)
        newest = record.latest(submissions, stage)
        failed_files = {path.name for path in run.log_dir(stage).glob("*.failed.json")}
        reasons: Counter[str] = Counter()
        at_work: list[int] = []
        for index in range(entry.shards):
            if index in done:
                status.done += 1
                continue
            state, reason, failure = self._shard(stage, index, newest.get(index), queue, driver, failed_files)
            setattr(status, state, getattr(status, state) + 1)
            if state == "running":
                at_work.append(index)
            elif reason:
                reasons[reason.splitlines()[0]] += 1
            if state == "failed":
                status.failed_shards.append(index)
            if failure is not None and len(status.failures) < MAX_FAILURES:
                status.failures.append(failure)
        status.reused = status.done == entry.shards and not newest
        status.reasons = dict(reasons.most_common())
        self._measure(status, done, at_work)
        return status

    def _shard(
        self,
        stage: str,
        index: int,
        submission: Submission | None,
        queue: QueueView,
        driver: dict[str, Any] | None,
        failed_files: set[str],
    ) -> tuple[str, str, Failure | None]:
        """State, why, and the failure of a shard that is not done."""
        driver_alive = bool(driver and driver["alive"])
        failed = None
        if failure_path(self.run, stage, index).name in failed_files:
            failed = read_failure(self.run, stage, index)
        if submission is None:
            return ("pending", "its turn has not come", None) if driver_alive else ("missing", "not submitted", None)
        if failed is not None and failed["time"] < submission.time:
            failed = None
        if submission.kind == "local":
            return self._local(stage, index, submission, driver_alive, failed)
        task_id = submission.task_id(index)
        found = queue.entry(task_id)
        if found is not None and found.live:
            if found.waiting:
                return "pending", found.reason or found.state.lower(), None
            return "running", "", None
        if failed is None and queue.problem:
            return "unknown", "the queue cannot be read", None
        if failed is None and found is None and time.time() - submission.time < _JUST_SUBMITTED_S:
            return "pending", "just submitted", None
        if failed is None and found is not None and (found.state == "CANCELLED" or found.reason == "DependencyNeverSatisfied"):
            return "cancelled", "cancelled", None
        if failed is not None:
            reason = f"{failed['kind']}: {failed['message']}"
        elif found is None:
            reason = "left the queue without a receipt"
        else:
            reason = " ".join(
                filter(None, [found.state, f"({found.reason})" if found.reason else "", f"on {found.nodes}" if found.nodes else ""])
            )
            if found.state == "COMPLETED":
                reason = "COMPLETED without a receipt"
        return "failed", reason, self._failure(stage, index, submission, reason, failed)

    def _local(
        self, stage: str, index: int, submission: Submission, driver_alive: bool, failed: dict[str, Any] | None
    ) -> tuple[str, str, Failure | None]:
        if failed is not None:
            reason = f"{failed['kind']}: {failed['message']}"
            return "failed", reason, self._failure(stage, index, submission, reason, failed)
        if not driver_alive:
            return "cancelled", "stopped; `retry` goes on from its last chunk", None
        # A driver on another host is judged by its heartbeat, its tasks with it.
        gone = submission.started is None or not processes.is_same(int(submission.job), submission.started)
        if gone and submission.host == socket.gethostname():
            return "pending", "its turn has not come", None
        return "running", "", None

    def _failure(self, stage: str, index: int, submission: Submission, reason: str, failed: dict[str, Any] | None) -> Failure:
        path = log_path(self.run, submission, index)
        return Failure(
            stage=stage,
            shard=index,
            reason=reason,
            attempt=failed["attempt"] if failed else None,
            job=submission.task_id(index),
            host=failed["host"] if failed else None,
            log=str(path) if path.exists() else None,
            tail=tail(path, TAIL_LINES),
        )

    def _measure(self, status: StageStatus, done: set[int], at_work: list[int]) -> None:
        """Rows, rate and time to go, from receipts and progress files."""
        directory = self.run.stage_dir(status.stage)
        parts = 0.0
        shards_a_second = 0.0
        rate = 0.0
        for index in done:
            key = (status.stage, index)
            if key not in self._receipts and (receipt := read_receipt(directory, index)) is not None:
                self._receipts[key] = receipt
            if key in self._receipts:
                status.rows += self._receipts[key].rows
                status.seconds += self._receipts[key].seconds
        for index in at_work:
            try:
                progress = json.loads((directory / f"{shard_name(index)}.progress.json").read_text())
            except (FileNotFoundError, json.JSONDecodeError):
                continue
            share = progress["done"] / max(progress["total"], 1)
            elapsed = max(progress["time"] - progress["started"], 0.1)
            parts += share
            shards_a_second += share / elapsed
            rate += progress["done"] / elapsed
            status.unit = progress["unit"]
            if progress["unit"] == "rows":
                status.rows += int(progress["done"])
        if rate:
            status.rate = rate
        elif status.seconds and status.rows:
            status.rate = status.rows / status.seconds
        status.seconds = round(status.seconds, 3)
        status.fraction = min((len(done) + parts) / status.shards, 1.0)
        left = status.shards - len(done) - parts
        if at_work and left > 0:
            if shards_a_second:
                status.eta_s = left / shards_a_second
            elif done:
                status.eta_s = left * (status.seconds / len(done)) / len(at_work)


def _run_state(stages: list[StageStatus], driver_alive: bool) -> str:
    states = {stage.state for stage in stages}
    if states == {"done"}:
        return "done"
    if driver_alive or any(stage.running for stage in stages):
        return "running"
    if any(stage.unknown for stage in stages):
        return "unknown"
    if any(stage.failed for stage in stages):
        # What waits for a failed shard is removed by the scheduler, but not in the same moment.
        return "failed"
    if any(stage.pending for stage in stages):
        return "running"
    return "cancelled" if any(stage.cancelled for stage in stages) else "incomplete"
