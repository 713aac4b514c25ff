"""The status of a run and of its stages: what ``status`` prints, and ``--json`` and the exporter give to others."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from slurm.watching.serving import RunServer
from slurm.watching.tasks import RunningTask, Waiting
from slurm.watching.usage import Usage
from slurm.watching.wait_reasons import may_start

STATES = ("done", "running", "ending", "pending", "stuck", "failed", "cancelled", "unknown", "missing")
RUN_STATES = ("done", "running", "ending", "stuck", "failed", "cancelled", "unknown", "incomplete")
# A run in one of these may still change by itself; one that is stuck only after a person has done something.
_GOING_ON = ("running", "ending", "unknown", "stuck")


@dataclass
class Failure:
    """Why a shard is not done, and the end of its log.

    Attributes:
        exit_code: from accounting: ``exit 1``, ``signal 9``; None if unknown.
        host: the node.
        advice: which setting to raise, if the task lacked memory.
    """

    stage: str
    shard: int
    reason: str
    attempt: int | None = None
    job: str | None = None
    state: str | None = None
    exit_code: str | None = None
    host: str | None = None
    log: str | None = None
    tail: list[str] = field(default_factory=list)
    advice: str | None = None


@dataclass
class StageStatus:
    """One stage.

    Attributes:
        done, running, pending, failed, cancelled: shards in each state.
        ending: their tasks have ended or were cancelled, and their nodes are being freed.
        stuck: they start only after a person has done something: they are held, or their partition is down.
        unknown: submitted, not done, and neither Slurm nor a file says what became of them.
        missing: not submitted.
        reused: it was done before this run.
        rows: rows of the finished shards, plus those that running shards report.
        seconds: task seconds of the finished shards.
        tokens: tokens that a model generated in the finished shards.
        fraction: fraction of the work done, 0 to 1, including partial shards.
        rate: units per second of all running shards; if none is running, the mean of one task of the finished ones.
        unit: what ``rate`` counts.
        tokens_per_second: tokens per second of all running shards; if none is running, the mean of one task of the
            finished ones while its model worked; None if the stage uses no model.
        eta_s: seconds to completion at the current rate; None if it cannot be estimated.
        starts: when Slurm expects the first pending shard to start, seconds since the epoch; None if unknown.
        progressed: when a shard last reported progress or was finished in this run, seconds since the epoch; None if
            none has.
        reasons: why shards wait (Slurm's reason code or our text) -> number of shards.
        unknown_reasons: why nothing is known about shards -> number of shards.
        waiting: all of these with the state, the shards and the ids of their tasks; also finished shards whose task is
            held, because later stages wait for the task.
        tasks: the running and ending shards, with their tasks and nodes.
        doing: what running shards do before their next unit (load a model) -> number of shards.
        failure_reasons: first line of why shards failed -> number of shards.
        failures: the first failures, with the ends of their logs.
        notes: what finished shards say about their result, in one line each.
        unreadable: receipts that cannot be read: their shards count as done, their rows do not count.
        usage: resources used.
    """

    stage: str
    dir: str
    shards: int
    done: int = 0
    running: int = 0
    ending: int = 0
    pending: int = 0
    stuck: int = 0
    failed: int = 0
    cancelled: int = 0
    unknown: int = 0
    missing: int = 0
    reused: bool = False
    rows: int = 0
    seconds: float = 0.0
    tokens: int = 0
    fraction: float = 0.0
    rate: float | None = None
    unit: str = "rows"
    tokens_per_second: float | None = None
    eta_s: float | None = None
    starts: float | None = None
    progressed: float | None = None
    reasons: dict[str, int] = field(default_factory=dict)
    unknown_reasons: dict[str, int] = field(default_factory=dict)
    waiting: list[Waiting] = field(default_factory=list)
    tasks: list[RunningTask] = field(default_factory=list)
    doing: dict[str, int] = field(default_factory=dict)
    failure_reasons: dict[str, int] = field(default_factory=dict)
    running_shards: list[int] = field(default_factory=list)
    failed_shards: list[int] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)

    @property
    def state(self) -> str:
        """The state of the stage as a whole."""
        if self.done == self.shards:
            return "done"
        return next(
            (
                name
                for name in ("running", "ending", "failed", "unknown", "cancelled", "pending", "stuck")
                if getattr(self, name)
            ),
            "missing",
        )

    @property
    def may_start(self) -> bool:
        """Whether a shard waits for something other than an earlier stage or a person."""
        return any(group.state == "pending" and may_start(group.reason) for group in self.waiting)


@dataclass
class RunStatus:
    """The status of a run.

    Attributes:
        state: ``done``, ``running`` (tasks running or pending), ``ending`` (no task is left but those whose nodes are
            being freed), ``stuck`` (nothing can start until a person has done something), ``failed``, ``cancelled``,
            ``unknown`` (Slurm did not say), or ``incomplete`` (nothing is running).
        created: when the plan was made, seconds since the epoch.
        servers: jobs of this run that serve its model (``serve``).
        time: when it was read, seconds since the epoch.
    """

    run: str
    name: str
    kind: str
    state: str
    stages: list[StageStatus]
    created: float = 0.0
    accounting: bool | None = None
    problem: str | None = None
    driver: dict[str, Any] | None = None
    usage: Usage = field(default_factory=Usage)
    servers: list[RunServer] = field(default_factory=list)
    time: float = field(default_factory=time.time)

    @property
    def ended(self) -> bool:
        """Whether nothing of it is in the queue any more, or all that is left depends on a shard that failed."""
        return self.state not in _GOING_ON

    @property
    def progressed(self) -> float | None:
        """When any shard of this run last made progress, seconds since the epoch."""
        return max((stage.progressed for stage in self.stages if stage.progressed is not None), default=None)

    def as_dict(self) -> dict[str, Any]:
        """Return the status as JSON-compatible values."""
        value = asdict(self) | {"progressed": self.progressed}
        for entry, stage in zip(value["stages"], self.stages, strict=True):
            entry["state"] = stage.state
        return value

    def stage(self, name: str) -> StageStatus:
        return next(stage for stage in self.stages if stage.stage == name)


def run_state(stages: list[StageStatus], driver_alive: bool) -> str:
    """Return the state of a run with these stages."""
    states = {stage.state for stage in stages}
    if states == {"done"}:
        return "done"
    if driver_alive or any(stage.running or stage.may_start for stage in stages):
        return "running"
    if any(stage.unknown for stage in stages):
        return "unknown"
    if any(stage.ending for stage in stages):
        return "running" if any(stage.pending or stage.stuck for stage in stages) else "ending"
    # What still waits depends on an earlier stage, in which nothing moves.
    if any(stage.failed for stage in stages):
        # Slurm removes the jobs that depend on a failed shard, but not immediately; do not call that running.
        return "failed"
    if any(group.state == "stuck" for stage in stages for group in stage.waiting):
        return "stuck"
    if any(stage.pending for stage in stages):
        return "running"
    return "cancelled" if any(stage.cancelled for stage in stages) else "incomplete"
