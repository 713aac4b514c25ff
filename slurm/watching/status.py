"""Joins files, plan and queue into a run's status.

Receipts and progress files say what is done, the plan what there is to do, and the queue what is alive.
"""

from __future__ import annotations

import calendar
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from heapq import nlargest
from pathlib import Path
from typing import Any

from jobs.plan import Run
from jobs.task import Receipt
from routenator.report.summary import mean_rate
from slurm.local.driver import read_driver
from slurm.submission.queue import Looks, QueueView, another_look, read_queue
from slurm.submission.submissions import Submission, latest_submissions, load_submissions
from slurm.watching.advice import memory_advice
from slurm.watching.logs import shard_log, tail
from slurm.watching.run_status import Failure, RunStatus, StageStatus, run_state
from slurm.watching.serving import run_servers
from slurm.watching.setup_failure import SetupFailures
from slurm.watching.shard_state import ShardState, is_stuck, shard_state
from slurm.watching.stagefiles import Progress, StageFiles
from slurm.watching.tasks import running_task, waiting
from slurm.watching.usage import Usage, stage_usage

TAIL_LINES = 20
_WINDOW_S = 60.0  # over which the rate of a running shard is averaged
MAX_FAILURES = 20  # shown per stage; all are counted


class StatusReader:
    """Reads a run's status repeatedly; receipts never change and are read once.

    A task that the queue lacks is unknown at the first look, and lost at one that comes some seconds later.

    Args:
        run: the run.
        ask: function that queries the queue.
        failures: maximum failed shards described per stage.
        tails: lines of log shown for each.
    """

    def __init__(
        self,
        run: Run,
        ask: Callable[[Sequence[Submission]], QueueView] = read_queue,
        failures: int = MAX_FAILURES,
        tails: int = TAIL_LINES,
    ) -> None:
        self.run = run
        self._ask = ask
        self._failures = failures
        self._tails = tails
        self._looks = Looks()
        self._files = {stage: StageFiles(run, stage) for stage in run.plan.stages}
        self._setup = {stage: SetupFailures(run, stage) for stage in run.plan.stages}
        self._seen: dict[tuple[str, int, str], deque[Progress]] = {}

    def log(self, stage: str, shard: int) -> Path | None:
        """Return the path of the log of a shard's newest start; None if it has not started."""
        submission = latest_submissions(load_submissions(self.run), stage).get(shard)
        log = shard_log(self.run, stage, shard, submission) if submission else None
        return log.path if log else None

    def shard(self, stage: str, shard: int) -> ShardState:
        """Read the current state of one shard; ``done`` if it has a receipt."""
        submission = latest_submissions(load_submissions(self.run), stage).get(shard)
        queue = another_look(self._ask([submission] if submission else []), self._looks)
        driver = read_driver(self.run) if self.run.config.cluster.kind == "local" else None
        files = self._files[stage]
        files.look()  # after the queue, as in `read`
        if shard in files.done:
            return ShardState("done", submission=submission)
        setup = self._setup[stage]
        setup.begin()
        return setup.explain(shard, shard_state(shard, submission, queue, driver, files.failures.get(shard)))

    def finished(self, stage: str) -> list[Receipt]:
        """Return the newest receipts seen by the last ``read``, newest first, as many as failures are described."""
        receipts = self._files[stage].receipts.values()
        return nlargest(self._failures, receipts, key=lambda item: (item.finished, item.shard))

    def submissions(self) -> list[Submission]:
        """Return all submissions of the run."""
        return load_submissions(self.run)

    def read(self, queue: QueueView | None = None) -> RunStatus:
        """Read the current status: a listing of each stage's folders, one squeue call and one sacct call.

        Args:
            queue: the queue if it was read already (for several runs at once); None: query it.
        """
        run = self.run
        submissions = load_submissions(run)
        # Queue first, then files: a task that ends in between has a receipt by the time we look. The other way round it
        # would have neither a receipt nor a place in the queue, and would be called failed.
        if queue is None:
            queue = self._ask(submissions)
        queue = another_look(queue, self._looks)
        driver = read_driver(run) if run.config.cluster.kind == "local" else None
        stages = [self._stage(stage, submissions, queue, driver) for stage in run.plan.stages]
        kind = run.config.cluster.kind
        total = Usage(wasted_attempts=0, wasted_node_hours=0.0, wasted_gpu_hours=0.0)
        for stage in stages:
            total.add(stage.usage)
        return RunStatus(
            run=str(run.path),
            name=run.config.name,
            kind=kind,
            state=run_state(stages, bool(driver and driver["alive"])),
            stages=stages,
            created=float(calendar.timegm(time.strptime(run.plan.created[:19], "%Y-%m-%dT%H:%M:%S"))),
            accounting=queue.accounting if kind == "slurm" else None,
            problem=queue.problem,
            driver=driver,
            usage=total,
            servers=run_servers(run, submissions, queue),
        )

    def _stage(
        self, stage: str, submissions: list[Submission], queue: QueueView, driver: Mapping[str, Any] | None
    ) -> StageStatus:
        files, setup = self._files[stage], self._setup[stage]
        files.look()
        setup.begin()
        mine = [item for item in submissions if item.stage == stage]
        newest = latest_submissions(mine, stage)
        status = StageStatus(stage=stage, dir=str(files.dir), shards=files.shards, done=len(files.done))
        counts: Counter[str] = Counter()
        waits: dict[tuple[str, str], list[tuple[int, Submission | None]]] = {}
        failures: Counter[str] = Counter()
        at_work: list[int] = []
        for shard in range(files.shards):
            if shard in files.done:
                self._left_behind(shard, newest.get(shard), queue, waits)
                continue
            found = shard_state(shard, newest.get(shard), queue, driver, files.failures.get(shard))
            found = setup.explain(shard, found)
            counts[found.state] += 1
            if found.state in ("running", "ending"):
                status.tasks.append(running_task(shard, found))
                if found.state == "running":
                    at_work.append(shard)
            elif found.state == "failed":
                failures[found.reason.splitlines()[0]] += 1
                status.failed_shards.append(shard)
                if len(status.failures) < self._failures:
                    status.failures.append(self._failure(stage, shard, found))
            else:
                waits.setdefault((found.state, found.reason), []).append((shard, found.submission))
                if found.state == "pending" and found.entry is not None and found.entry.start is not None:
                    status.starts = min(status.starts or found.entry.start, found.entry.start)
        for state, count in counts.items():
            setattr(status, state, count)
        status.reused = status.done == files.shards and not mine
        status.waiting = [
            waiting(state, reason, shards)
            for (state, reason), shards in sorted(waits.items(), key=lambda item: -len(item[1]))
        ]
        for group in status.waiting:
            counted = status.unknown_reasons if group.state == "unknown" else status.reasons
            counted[group.reason] = counted.get(group.reason, 0) + group.count
        status.failure_reasons = dict(failures.most_common())
        status.running_shards = at_work
        status.unreadable = [str(path) for path in files.unreadable]
        status.usage = stage_usage(self.run, stage, mine, queue, files.receipts)
        self._measure(status, files, at_work)
        return status

    @staticmethod
    def _left_behind(
        shard: int,
        submission: Submission | None,
        queue: QueueView,
        waits: dict[tuple[str, str], list[tuple[int, Submission | None]]],
    ) -> None:
        """Note a finished shard whose task was requeued and held after its receipt: later stages wait for that task."""
        entry = queue.entry(submission, shard) if submission is not None else None
        if entry is not None and entry.waiting and not queue.stale and is_stuck(entry):
            waits.setdefault(("stuck", entry.reason), []).append((shard, submission))

    def _failure(self, stage: str, shard: int, found: ShardState) -> Failure:
        assert found.submission is not None
        folder, said, entry = self.run.log_dir(stage), found.failure, found.entry
        # A task that never got as far as writing a log may have left its reason in the output of the script.
        path = found.submission.log(folder, shard) or found.submission.script_log(folder)
        return Failure(
            stage=stage,
            shard=shard,
            reason=found.reason,
            attempt=said["attempt"] if said else None,
            job=found.submission.task_id(shard),
            state=entry.state if entry else None,
            exit_code=(entry.reason or None) if entry else None,
            host=(said and said["host"]) or (entry.nodes or None if entry else None),
            log=str(path) if path else None,
            tail=tail(path, self._tails) if path and self._tails else [],
            advice=memory_advice(self.run.config, stage, found.reason, path),
        )

    def _measure(self, status: StageStatus, files: StageFiles, at_work: list[int]) -> None:
        """Set rows, rates and ETA from receipts and progress files."""
        if files.receipts and not status.reused:
            newest = max(files.receipts.values(), key=lambda item: item.finished)
            status.progressed = newest.moment()
        for receipt in files.receipts.values():
            status.rows += receipt.rows
            status.seconds += receipt.seconds
            status.tokens += receipt.tokens
            if "note" in receipt.metrics:
                status.notes.append(str(receipt.metrics["note"]))
        parts = shards_a_second = rate = tokens = 0.0
        for shard, progress in files.progress(at_work).items():
            status.progressed = max(status.progressed or 0.0, progress.time)
            speed = self._speed((status.stage, shard, "all"), progress)
            rate += speed
            # Rows of drafts are done in no time, and say nothing about how long the rows take that a model writes.
            part = progress.slow or progress
            pace = self._speed((status.stage, shard, "slow"), part) if progress.slow else speed
            parts += part.done / max(part.total, 1)
            shards_a_second += pace / max(part.total, 1)
            if progress.doing:
                status.doing[progress.doing] = status.doing.get(progress.doing, 0) + 1
            tokens += progress.tokens_per_second
            status.unit = progress.unit
            if progress.unit == "rows":
                status.rows += int(progress.done)
        if rate:
            status.rate = rate
        elif status.seconds and status.rows and not at_work:
            status.rate = status.rows / status.seconds
        if tokens:
            status.tokens_per_second = tokens
        elif not at_work:  # as in the report
            metrics = [receipt.metrics for receipt in files.receipts.values()]
            status.tokens_per_second = mean_rate(metrics, "tokens_per_second") or None
        status.seconds = round(status.seconds, 3)
        status.fraction = min((status.done + parts) / status.shards, 1.0)
        left = status.shards - status.done - parts
        if at_work and left > 0:
            if shards_a_second:
                status.eta_s = left / shards_a_second
            elif status.done:
                status.eta_s = left * (status.seconds / status.done) / len(at_work)

    def _speed(self, key: tuple[str, int, str], now: Progress) -> float:
        """Return units per second of one shard over the last minute seen, so that uneven work has a steady rate.

        At the first look it is the mean since the attempt started, which is too high for one that resumed from chunks
        of an earlier attempt.
        """
        seen = self._seen.setdefault(key, deque())
        if seen and seen[0].started != now.started:
            seen.clear()
        if not seen or now.time > seen[-1].time:
            seen.append(now)
        # Keep the newest report from before the window; the window starts with it.
        while len(seen) > 2 and seen[1].time <= now.time - _WINDOW_S:
            seen.popleft()
        first = seen[0]
        if now.time - first.time < 1.0:
            return now.done / max(now.time - now.started, 0.1)
        return max(now.done - first.done, 0.0) / (now.time - first.time)
