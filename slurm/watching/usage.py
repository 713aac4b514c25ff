"""Computes a stage's cost: node-hours and GPU-hours of all attempts, and of those that committed nothing.

With accounting, every start of a task is a record (``sacct --duplicates``). Without it, time is known only for attempts
that committed (from their receipts) and for running ones (from the queue); the waste is then unknown.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobs.plan import Run
from jobs.task import Receipt
from slurm.submission.answers import Attempt, Key
from slurm.submission.options import resources
from slurm.submission.queue import QueueView
from slurm.submission.submissions import Submission

_HOUR_S = 3600.0


@dataclass
class Usage:
    """Resources used.

    Attributes:
        attempts: how often tasks were started.
        requeued: how often Slurm requeued a task.
        node_hours, gpu_hours: of all attempts, including running ones.
        wasted_attempts: attempts that ended without committing a shard; None if unknown. A later attempt may have
            resumed from their chunks or checkpoints.
        wasted_node_hours, wasted_gpu_hours: of those attempts; None if unknown.
    """

    attempts: int = 0
    requeued: int = 0
    node_hours: float = 0.0
    gpu_hours: float = 0.0
    wasted_attempts: int | None = None
    wasted_node_hours: float | None = None
    wasted_gpu_hours: float | None = None

    def add(self, other: Usage) -> None:
        """Add another usage; the waste is unknown if it is unknown for a part that used anything."""
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
    """Return the usage of one stage.

    Args:
        submissions: all submissions of this stage.
        queue: the queue.
        receipts: shard -> receipt.
    """
    asked = resources(run.config, stage)
    # In the notation of receipts, which tells local processes from Slurm jobs. By ids and attempts, not by times: the
    # clocks of nodes, controller and login node differ.
    first: dict[Key, int] = {}
    committed: dict[str, list[Receipt]] = {}
    for item in submissions:
        for shard in item.indices():
            task = f"local-{item.job}" if item.kind == "local" else item.task_id(shard)
            first[task, item.name] = item.attempt
            receipt = receipts.get(shard)
            # A receipt of an earlier run's task that had this id is never of a shard that was submitted since.
            if receipt is not None and receipt.job == task and receipt.attempt >= item.attempt:
                committed.setdefault(task, []).append(receipt)
    if queue.accounting:
        return _accounted(first, queue.attempts, committed, asked.gpus)
    return _by_receipts(first, queue, committed, asked.nodes, asked.gpus)


def _accounted(
    first: Mapping[Key, int],
    attempts: Mapping[Key, list[Attempt]],
    committed: Mapping[str, list[Receipt]],
    gpus_a_node: int,
) -> Usage:
    usage = Usage(wasted_attempts=0, wasted_node_hours=0.0, wasted_gpu_hours=0.0)
    for task, number in first.items():
        made = attempts.get(task, [])
        # The start that committed; accounting may lack one of those before it.
        useful = {min(receipt.attempt - number, len(made) - 1) for receipt in committed.get(task[0], ())}
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


def _by_receipts(
    tasks: Iterable[Key], queue: QueueView, committed: Mapping[str, list[Receipt]], nodes: int, gpus_a_node: int
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
