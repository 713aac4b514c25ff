"""Submits the whole DAG to Slurm at once, so that no driver has to keep running.

A stage with several shards is an array whose task ids are the shard numbers (divided by the shards per task), minus an
offset where the cluster's ``MaxArraySize`` (which caps the id, not the count) requires several arrays. A stage waits
for every array of the stages it needs (``afterok``); task by task (``aftercorr``) would be wrong even for equal numbers
of shards, because a chunk of generate can span several files of sample. Slurm removes jobs that can no longer start
(``kill-on-invalid-dep``).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from jobs.disk import disk_full, is_full
from jobs.entry import STAGE_PACKAGE
from jobs.plan import Run
from jobs.stages import STAGES
from jobs.task import missing_shards
from slurm.submission.answers import ABSENT, LOST
from slurm.submission.client import scancel, scancel_named
from slurm.submission.executor import make_executor
from slurm.submission.options import (
    SubmitError,
    ask_limits,
    cluster_name,
    job_name,
    parse_limits,
    resources,
    shards_per_task,
)
from slurm.submission.queue import QueueView, doubt, look_twice
from slurm.submission.sbatch import Accepted, RefusedError, UncertainError
from slurm.submission.submissions import (
    Submission,
    append_submission,
    compact,
    latest_submissions,
    load_submissions,
    next_attempt,
    submission_lock,
)
from slurm.submission.submit_limits import advice
from slurm.worker.array_task import check_snapshot
from slurm.worker.stage_task import StageTask


@dataclass
class StageJobs:
    """A stage's queued jobs.

    Attributes:
        fresh: ids of jobs submitted by this call.
        old: earlier jobs that are still live: job id -> whether some of its tasks ended without a receipt.
    """

    fresh: list[str] = field(default_factory=list)
    old: dict[str, bool] = field(default_factory=dict)


def blocks(shards: set[int], limit: int, per_task: int = 1) -> dict[int, set[int]]:
    """Split shards into arrays: offset -> shards. Every task id (shard // per_task - offset) is below the limit."""
    found: dict[int, set[int]] = {}
    ordered, start = sorted(shards), 0
    while start < len(ordered):
        offset = ordered[start] // per_task // limit * limit
        end = bisect_left(ordered, (offset + limit) * per_task)
        found[offset] = set(ordered[start:end])
        start = end
    return found


def submit_missing(
    run: Run,
    package: str = STAGE_PACKAGE,
    *,
    presume_lost: bool = False,
    tell: Callable[[str], None] = print,
) -> list[Submission]:
    """Submit every shard that has no receipt and no live task, with all dependencies.

    A task that the queue lacks is looked for twice before its shards are submitted again.

    Waiting jobs of later stages are replaced where they depend on jobs that failed. If sbatch rejects a job, every job
    submitted by this call is cancelled.

    Args:
        package: package of the stage modules; only tests use another one.
        presume_lost: also submit shards that Slurm says nothing about; they are named first.
        tell: prints a line.

    Raises:
        InputError: the run's code snapshot is of another version.
        SubmitError: sbatch rejected a job, or the queue could not be read.
        BusyError: another command is submitting.
    """
    check_snapshot(run)
    with submission_lock(run):
        before = load_submissions(run)
        stages = run.plan.stages
        latest = {stage: latest_submissions(before, stage) for stage in stages}

        def unsettled(view: QueueView) -> bool:
            return any(_is_unsettled(view, latest[stage], missing_shards(run, stage)) for stage in stages)

        queue = look_twice(before, unsettled)
        before = [queue.resolved(item) for item in before]
        latest = {stage: latest_submissions(before, stage) for stage in stages}
        # Receipts after the queue: a task that ends in between has its receipt by now. The other way round it would
        # seem to be neither done nor live, and be submitted again.
        absent = {stage: missing_shards(run, stage) for stage in stages}
        if queue.problem is None:
            lost = [item for stage in stages for item in _lost(queue, latest[stage], absent[stage])]
            queue = replace(queue, problem=doubt(queue, lost))
        if queue.problem:
            # Without the queue, a shard at work and a lost one look the same; submitting might duplicate it.
            unknown = {stage: _unknown(queue, latest[stage], absent[stage]) for stage in stages}
            named = "; ".join(f"{stage} {compact(shards)}" for stage, shards in unknown.items() if shards)
            if not presume_lost:
                raise SubmitError(
                    f"nothing submitted: {queue.problem}"
                    + (f". Unknown: {named}. If you know that they are not at work, `retry --presume-lost` submits "
                       "them all the same" if named else "")
                )  # fmt: skip
            if named:
                tell(f"presumed lost, although Slurm did not say so ({queue.problem}): {named}")
            live = {stage: _live(queue, latest[stage], absent[stage]) for stage in stages if queue.stale}
            if kept := "; ".join(f"{stage} {compact(shards)}" for stage, shards in live.items() if shards):
                tell(f"in the queue by accounting alone ({queue.problem}), so not submitted: {kept}")
        # A plain job has no such limit, and asking takes as long as submitting it.
        limits = (
            ask_limits(cluster_name(run.config))
            if any(absent[stage] and entry.shards > 1 for stage, entry in stages.items())
            else parse_limits("")
        )
        jobs: dict[str, StageJobs] = {}
        made: list[Submission] = []
        sent: list[Accepted] = []
        wanted = 0
        try:
            for stage, missing in absent.items():
                newest = latest[stage]
                queued = _live(queue, newest, missing)
                if any(jobs[need].fresh for need in STAGES[stage].needs if need in jobs):
                    queued -= _cancel_waiting(queue, newest, queued)
                jobs[stage] = StageJobs(old=_old_jobs(newest, missing, queued))
                depends = [jobs[need] for need in STAGES[stage].needs if need in jobs]
                todo = missing - queued
                per_task = shards_per_task(run.config, stage, len(todo), limits.tasks)
                wanted += len({shard // per_task for shard in todo})
                for offset, shards in blocks(todo, limits.array, per_task).items():
                    submission = Submission(
                        kind="slurm",
                        stage=stage,
                        job="",
                        shards=compact(shards),
                        offset=offset,
                        per_task=per_task,
                        attempt=next_attempt(run, before, stage, shards),
                        array=stages[stage].shards > 1,
                        depends=[job for item in depends for job in (*item.fresh, *item.old)],
                        name=job_name(run, stage),
                    )
                    executor = make_executor(run, stage, _dependency(depends), submission.attempt)
                    own = submission.tasks()
                    expression = compact(own) if submission.array else None
                    job = executor.send(_task(run, submission, package), own, expression, sent)
                    submission = replace(submission, job=job.job, name=job.name, cluster=job.cluster)
                    append_submission(run, submission)
                    made.append(submission)
                    jobs[stage].fresh.append(job.job)
        except (RefusedError, OSError) as error:
            undone = _roll_back(sent)
            if is_full(error):
                raise disk_full(error, run.path, 0, run.path) from None
            if isinstance(error, UncertainError):
                # Recorded without an id, so that `status`, `retry` and `cancel` look for it by its name.
                doubtful = replace(submission, name=error.name, cluster=cluster_name(run.config))
                append_submission(run, doubtful)
                scancel_named(doubtful.name, doubtful.cluster)
                others = undone if sent else "nothing else was submitted by this call"
                raise SubmitError(
                    f"whether Slurm took the job of {stage} is unknown: {str(error).strip()}; {others}. "
                    f"Once Slurm answers, `cancel` ends job {error.name} if there is one, and `retry` continues"
                ) from None
            raise SubmitError(
                f"sbatch rejected {stage}: {str(error).strip()}; {undone}"
                + advice(str(error), stage, wanted, cluster_name(run.config))
            ) from None
    return made


def _roll_back(sent: Iterable[Accepted]) -> str:
    """Cancel these jobs; say whether that worked."""
    clusters: dict[str | None, list[str]] = {}
    for job in sent:
        clusters.setdefault(job.cluster, []).append(job.job)
    problems = [scancel(ids, cluster=cluster) for cluster, ids in clusters.items()]
    if problem := "; ".join(filter(None, problems)):
        ids = ", ".join(job for jobs in clusters.values() for job in jobs)
        return f"the jobs submitted by this call ({ids}) could not be cancelled ({problem}); `cancel` them"
    return "all jobs submitted by this call were cancelled" if clusters else "nothing was submitted by this call"


def _task(run: Run, submission: Submission, package: str) -> StageTask:
    cluster = run.config.cluster
    return StageTask(
        run.path,
        submission.stage,
        submission.indices(),
        attempt=submission.attempt,
        limit_s=resources(run.config, submission.stage).minutes * 60,
        lead_s=cluster.signal_delay_s,
        requeue=cluster.requeue,
        package=package,
    )


def _is_unsettled(queue: QueueView, newest: Mapping[int, Submission], missing: set[int]) -> bool:
    """Whether another look may find the task or the receipt of one of these shards."""
    return any(
        (entry := queue.entry(newest[shard], shard)) is not None and entry.state in (ABSENT, "COMPLETED")
        for shard in missing
        if shard in newest and newest[shard].kind == "slurm"
    )


def _lost(queue: QueueView, newest: Mapping[int, Submission], missing: set[int]) -> list[Submission]:
    """Return the submissions of those of these shards whose task is lost."""
    return [
        newest[shard]
        for shard in missing
        if shard in newest
        and newest[shard].kind == "slurm"
        and (entry := queue.entry(newest[shard], shard)) is not None
        and entry.state == LOST
    ]


def _unknown(queue: QueueView, newest: Mapping[int, Submission], missing: set[int]) -> set[int]:
    """Return the submitted ones of these shards that the queue says nothing about."""
    return {
        shard
        for shard in missing
        if shard in newest and newest[shard].kind == "slurm" and queue.entry(newest[shard], shard) is None
    }


def _live(queue: QueueView, newest: Mapping[int, Submission], missing: set[int]) -> set[int]:
    """Return those of these shards whose task is queued or running."""
    return {
        shard
        for shard in missing
        if shard in newest
        and newest[shard].kind == "slurm"
        and (entry := queue.entry(newest[shard], shard)) is not None
        and entry.live
    }


def _cancel_waiting(queue: QueueView, newest: Mapping[int, Submission], live: set[int]) -> set[int]:
    """Cancel those of these tasks that have not started: they depend on jobs that have failed.

    Returns:
        Their shards.
    """
    waiting = {shard for shard in live if (entry := queue.entry(newest[shard], shard)) is not None and entry.waiting}
    targets: dict[str, set[int]] = {}
    for shard in waiting:
        targets.setdefault(newest[shard].job, set()).add(shard // newest[shard].per_task - newest[shard].offset)
    arrays = {newest[shard].job for shard in waiting if newest[shard].array}
    if targets:
        names = [f"{job}_[{compact(tasks)}]" if job in arrays else job for job, tasks in targets.items()]
        # --state=PENDING spares a task that has started since the queue was read. Then two attempts of a shard run at
        # once, which is safe: only one of them can commit.
        cluster = newest[min(waiting)].cluster
        if problem := scancel(names, "--state=PENDING", cluster=cluster):
            raise RefusedError(f"scancel: {problem}")
    return waiting


def _old_jobs(newest: Mapping[int, Submission], missing: set[int], live: set[int]) -> dict[str, bool]:
    """Return jobs with live tasks -> whether another of their tasks is missing and not live."""
    lost = {newest[shard].job for shard in missing - live if shard in newest}
    return {newest[shard].job: newest[shard].job in lost for shard in sorted(live)}


def _dependency(needs: Iterable[StageJobs]) -> str | None:
    """Return Slurm's dependency expression for a job; None if there is nothing to wait for."""
    parts = []
    for jobs in needs:
        parts += [f"afterok:{job}" for job in jobs.fresh]
        # afterok can never hold for a job with a failed task, so wait for its live tasks to end in any way; a stage
        # refuses to start if shards that it needs are missing.
        parts += [f"{'afterany' if lost else 'afterok'}:{job}" for job, lost in jobs.old.items()]
    return ",".join(parts) or None
