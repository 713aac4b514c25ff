"""What a stage of a run cost: node-hours and GPU-hours of all its attempts, and of those that committed nothing.

Where accounting is on, every stay of a task on its nodes is a record (``sacct --duplicates``). Without it only the
attempts that committed tell their time, in their receipts, and those that live, by the queue; what was wasted is then
not known.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs.plan import Run
from jobs.task import TIME_FORMAT, Receipt
from slurm.submission.options import resources
from slurm.submission.queue import Attempt, Key, QueueView
from slurm.submission.submissions import Submission

_HOUR_S = 3600.0


@dataclass
class Usage:
    """Resources used.

    Attributes:
        attempts: how often tasks got their nodes.
        requeued: how often Slurm put a task back into the queue.
        node_hours, gpu_hours: of all attempts, also of those at work now.
        wasted_attempts: attempts that ended and committed no shard; None if it is not known. A later attempt may have
            gone on from their chunks or checkpoints.
        wasted_node_hours, wasted_gpu_hours: of those; None if it is not known.
    """

    attempts: int = 0
    requeued: int = 0
    node_hours: float = 0.0
    gpu_hours: float = 0.0
    wasted_attempts: int | None = None
    wasted_node_hours: float | None = None
    wasted_gpu_hours: float | None = None

    def add(self, other: Usage) -> None:
        """Sum; what is not known of a part that used something is not known of the whole."""
        known = (not self.attempts or self.wasted_attempts is not None) and (
            not other.attempts or other.wasted_attempts is not None
        )
        self.attempts += other.attempts
        self.requeued += other.requeued
        self.node_hours += other.node_hours
        self.gpu_hours += other.gpu_hours
        if known:
            self.wasted_attempts = (self.wasted_attempts or 0) + (other.wasted_attempts or 0)
            self.wasted_node_hours = (self.wasted_node_hours or 0.0) + (other.wasted_node_hours or 0.0)
            self.wasted_gpu_hours = (self.wasted_gpu_hours or 0.0) + (other.wasted_gpu_hours or 0.0)
        else:
            self.wasted_attempts = self.wasted_node_hours = self.wasted_gpu_hours = None


def stage_usage(
    run: Run, stage: str, submissions: Sequence[Submission], queue: QueueView, receipts: Mapping[int, Receipt]
) -> Usage:
    """Of one stage.

    Args:
        submissions: of this stage, all of them.
        queue: what squeue and sacct said.
        receipts: shard -> receipt.
    """
    asked = resources(run.config, stage)
    # As receipts write it: a process of this machine is told from a job.
    tasks = {
        (f"local-{item.job}" if item.kind == "local" else item.task_id(shard), item.name)
        for item in submissions
        for shard in item.indices()
    }
    ids = {task for task, _ in tasks}
    # Ids of jobs start again at some number after years, or when a controller crashes; what is older than the run is
    # another's.
    since = min((item.time for item in submissions), default=0.0) - _HOUR_S
    first = time.strftime(TIME_FORMAT, time.gmtime(since))
    committed: dict[str, list[Receipt]] = {}
    for receipt in receipts.values():
        if receipt.job in ids and receipt.finished >= first:
            committed.setdefault(receipt.job, []).append(receipt)
    if queue.accounting:
        return _accounted(
            tasks, {task: _since(queue.attempts.get(task, []), since) for task in tasks}, committed, asked.gpus
        )
    return _by_receipts(tasks, queue, committed, asked.nodes, asked.gpus)


def _since(attempts: list[Attempt], moment: float) -> list[Attempt]:
    return [item for item in attempts if item.submit >= moment]


def _accounted(
    tasks: set[Key], attempts: Mapping[Key, list[Attempt]], committed: Mapping[str, list[Receipt]], gpus_a_node: int
) -> Usage:
    usage = Usage(wasted_attempts=0, wasted_node_hours=0.0, wasted_gpu_hours=0.0)
    for task in tasks:
        made = attempts[task]
        useful = {_nearest(made, receipt) for receipt in committed.get(task[0], ())} if made else set()
        for position, attempt in enumerate(made):
            hours = attempt.nodes * attempt.seconds / _HOUR_S
            gpu_hours = (
                (attempt.gpus if attempt.gpus is not None else gpus_a_node * attempt.nodes) * attempt.seconds / _HOUR_S
            )
            usage.attempts += 1
            usage.node_hours += hours
            usage.gpu_hours += gpu_hours
            if attempt.end is not None and position not in useful:
                usage.wasted_attempts = (usage.wasted_attempts or 0) + 1
                usage.wasted_node_hours = (usage.wasted_node_hours or 0.0) + hours
                usage.wasted_gpu_hours = (usage.wasted_gpu_hours or 0.0) + gpu_hours
        usage.requeued += max(len(made) - 1, 0)
    return usage


def _nearest(made: list[Attempt], receipt: Receipt) -> int:
    """Which attempt committed: the one in whose time the receipt was made. Clocks of nodes differ, so the nearest."""
    if len(made) == 1:
        return 0
    moment = receipt.moment()

    def distance(position: int) -> float:
        attempt = made[position]
        start = attempt.start or attempt.submit
        return max(start - moment, moment - (attempt.end if attempt.end is not None else moment), 0.0)

    return min(range(len(made)), key=lambda position: (distance(position), -position))


def _by_receipts(
    tasks: set[Key], queue: QueueView, committed: Mapping[str, list[Receipt]], nodes: int, gpus_a_node: int
) -> Usage:
    usage = Usage()
    now = time.time()
    for task in tasks:
        mine = committed.get(task[0], [])
        seconds = sum(receipt.seconds for receipt in mine)
        entry = queue.entries.get(task)
        at_work = entry is not None and entry.live and not entry.waiting
        if mine or at_work:
            usage.attempts += 1
        if entry is not None:
            usage.requeued += entry.restarts
            if at_work and entry.start is not None:
                seconds += max(now - entry.start, 0.0)
        usage.node_hours += nodes * seconds / _HOUR_S
        usage.gpu_hours += nodes * gpus_a_node * seconds / _HOUR_S
    return usage
