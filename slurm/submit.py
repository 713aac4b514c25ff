"""The whole DAG as Slurm jobs, submitted at once: no driver stays behind.

A stage with several shards is an array whose task ids are the shards' own numbers, less an offset where the cluster's
``MaxArraySize`` (which caps the id, not the count) asks for several arrays. A stage waits for every array of the stages it needs
(``afterok``); task by task (``aftercorr``) would be wrong even for equally many shards, because generate's chunks cross sample's files.
What can no longer start is removed by Slurm (``kill-on-invalid-dep``).
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from submitit.core.utils import CommandFunction, DelayedSubmission, FailedJobError, JobPaths
from submitit.slurm.slurm import SlurmExecutor

from jobs.entry import STAGE_PACKAGE
from jobs.plan import NEEDS, Plan, Run
from jobs.task import done_shards
from routenator.errors import InputError, RoutenatorError
from slurm import record
from slurm.allocation import drop_inherited
from slurm.options import resources, sbatch_parameters
from slurm.plan import planned_run
from slurm.queue import QueueView, read_queue
from slurm.ranges import compact
from slurm.record import Submission
from slurm.task import StageTask

# A task of ours decides by itself whether another attempt makes sense (slurm.task); submitit's own count shall not.
_UNLIMITED = 1_000_000
# sbatch --test-only refuses these too, although they pass with time.
_PASSING = ("busy", "down", "drained", "reserved", "try again", "Unable to contact")


class SubmitError(RoutenatorError):
    """sbatch refused a job, or the cluster could not be asked."""


class StageExecutor(SlurmExecutor):
    """submitit's executor, for arrays whose task ids we choose."""

    @classmethod
    def affinity(cls) -> int:
        # The text of a script can be made where there is no Slurm.
        return 2

    def script(self, array: str | None) -> str:
        """The sbatch text for these array task ids, or for a plain job."""
        self._set_array(array)
        return str(self._make_submission_file_text(self._submitit_command_str, ""))

    def send(self, tasks: Mapping[int, StageTask], array: str | None, submitted: list[str]) -> str:
        """sbatch one job.

        Args:
            tasks: array task id -> task; of a plain job only one, at any id.
            array: the expression, or None for a plain job.
            submitted: takes the job's id as soon as it is known.

        Returns:
            The job's id.
        """
        self._set_array(array)
        self.folder.mkdir(parents=True, exist_ok=True)
        pickles = {}
        for index, task in tasks.items():
            delayed = DelayedSubmission(task)
            delayed.set_timeout(self.parameters["time"], self.max_num_timeout)
            pickles[index] = self.folder / f".{uuid.uuid4().hex}.pkl"
            delayed.dump(pickles[index])
        try:
            job = str(self._submit_command(self._submitit_command_str).job_id)
        except FailedJobError:
            for pickle in pickles.values():
                pickle.unlink(missing_ok=True)
            raise
        submitted.append(job)
        # A task that starts before its pickle has this name waits for it.
        for index, pickle in pickles.items():
            JobPaths(self.folder, job_id=f"{job}_{index}" if array else job).move_temporary_file(pickle, "submitted_pickle")
        return job

    def _set_array(self, array: str | None) -> None:
        additional = {key: value for key, value in self.parameters.get("additional_parameters", {}).items() if key != "array"}
        self.parameters.pop("map_count", None)
        if array is not None:
            additional["array"] = f"{array}%{self.parameters['array_parallelism']}"
            # Makes submitit name the logs by array and task.
            self.parameters["map_count"] = 1
        self.parameters["additional_parameters"] = additional


@dataclass
class StageJobs:
    """What of a stage is in the queue now.

    Attributes:
        fresh: ids of jobs submitted by this call.
        old: live from before: job id -> whether some of its tasks ended without a receipt.
    """

    fresh: list[str] = field(default_factory=list)
    old: dict[str, bool] = field(default_factory=dict)


def make_executor(run: Run, stage: str, dependency: str | None) -> StageExecutor:
    """An executor for one stage of a run."""
    config = run.config
    executor = StageExecutor(run.log_dir(stage), max_num_timeout=_UNLIMITED, python=config.cluster.python)
    setup = [
        *config.cluster.setup,
        # After the user's own lines: the snapshot of the run comes first, whatever they put into the path.
        f"export PYTHONPATH={shlex.quote(str(run.path / 'code'))}${{PYTHONPATH:+:$PYTHONPATH}}",
        "export PYTHONSAFEPATH=1",
    ]
    executor.update_parameters(**sbatch_parameters(config, stage), setup=setup, dependency=dependency)
    return executor


def scripts(run: Run, limit: int) -> dict[str, str]:
    """Stage -> sbatch text of its first job, job ids of what it waits for written as ``$SAMPLE`` and the like."""
    texts = {}
    for stage, entry in run.plan.stages.items():
        needs = [f"afterok:${need.upper()}" for need in NEEDS[stage]]
        array = compact(range(min(entry.shards, limit))) if entry.shards > 1 else None
        texts[stage] = make_executor(run, stage, ",".join(needs) or None).script(array)
    return texts


def array_limit() -> int:
    """How many tasks one array may have: ``MaxArraySize`` (ids stay below it) and ``max_array_tasks`` of the cluster.

    Raises:
        SubmitError: scontrol does not answer.
    """
    try:
        done = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, timeout=60, check=True)
    except subprocess.CalledProcessError as error:
        raise SubmitError(f"scontrol show config: {error.stderr.strip()}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SubmitError(f"scontrol show config: {error}") from None
    return parse_array_limit(done.stdout)


def planned_array_limit() -> int:
    """``array_limit``, or Slurm's default where no Slurm answers: a script can be read anywhere."""
    try:
        return array_limit()
    except SubmitError:
        return parse_array_limit("")


def parse_array_limit(text: str) -> int:
    """The limit in the text of ``scontrol show config``; Slurm's default, 1001, where it is not said."""
    size = re.search(r"^MaxArraySize\s*=\s*(\d+)", text, re.MULTILINE)
    tasks = re.search(r"^SchedulerParameters\s*=.*\bmax_array_tasks=(\d+)", text, re.MULTILINE)
    limits = [int(size[1]) if size else 1001, *([int(tasks[1])] if tasks else [])]
    return max(min(limits), 1)


def blocks(shards: set[int], limit: int) -> dict[int, set[int]]:
    """Offset -> shards of one array, so that every task id (shard - offset) is below the limit."""
    found: dict[int, set[int]] = {}
    for shard in sorted(shards):
        found.setdefault(shard // limit * limit, set()).add(shard)
    return found


def check_cluster(plan: Plan) -> None:
    """Ask the cluster whether it would take each stage's job; submits nothing.

    Raises:
        InputError: there is no sbatch, or it refuses (partition, account, qos, resources no node has).
    """
    if shutil.which("sbatch") is None:
        raise InputError("there is no sbatch on this machine", key="cluster", found="slurm", expected="a login node, or cluster=local")
    run = planned_run(plan)
    asked: set[str] = set()
    for stage in plan.stages:
        text = make_executor(run, stage, None).script(None)
        options = "\n".join(
            line for line in text.splitlines() if line.startswith("#SBATCH") and "-name=" not in line and "put=" not in line
        )
        if options in asked:
            continue
        asked.add(options)
        with clean_environment():
            done = subprocess.run(["sbatch", "--test-only"], input=text, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode and not any(word in done.stderr for word in _PASSING):
            raise InputError(
                f"the cluster would not take the job of {stage}",
                key=f"cluster.stages.{stage}",
                found=" ".join(done.stderr.replace("sbatch:", "").split()),
                expected="resources, partition, account and qos that exist here; see `launch.py plan --scripts`",
            )


@contextlib.contextmanager
def clean_environment() -> Iterator[None]:
    """Without the variables of an allocation that this process may be in; sbatch hands its environment on to the job."""
    saved = drop_inherited()
    try:
        yield
    finally:
        os.environ.update(saved)


def submit_missing(run: Run, package: str = STAGE_PACKAGE) -> list[Submission]:
    """Submit every shard that has no receipt and no live task, with all dependencies.

    Jobs of later stages that still wait for what has failed are replaced. If a job is refused, what this call submitted is cancelled.

    Args:
        package: where the stage modules are; another one only in tests.

    Raises:
        SubmitError: sbatch refused, or the queue could not be read.
        BusyError: another command is submitting.
    """
    with record.submitting(run):
        before = record.load(run)
        queue = read_queue([item.job for item in before if item.kind == "slurm"])
        if queue.problem:
            raise SubmitError(f"nothing submitted: {queue.problem}")
        limit = array_limit()
        jobs: dict[str, StageJobs] = {}
        made: list[Submission] = []
        ids: list[str] = []
        try:
            for stage, entry in run.plan.stages.items():
                missing = set(range(entry.shards)) - done_shards(run.stage_dir(stage), entry.shards)
                newest = record.latest(before, stage)
                live = {shard for shard in missing if _is_live(queue, newest.get(shard), shard)}
                if any(jobs[need].fresh for need in NEEDS[stage]):
                    live -= _cancel_waiting(queue, newest, live)
                jobs[stage] = StageJobs(old=_old_jobs(newest, missing, live))
                counts = record.attempts(before, stage)
                for offset, shards in blocks(missing - live, limit).items():
                    depends = [jobs[need] for need in NEEDS[stage]]
                    executor = make_executor(run, stage, _dependency(depends))
                    array = compact(shard - offset for shard in shards) if entry.shards > 1 else None
                    tasks = {shard - offset: _task(run, stage, shard, counts.get(shard, 0) + 1, package) for shard in shards}
                    with clean_environment():
                        job = executor.send(tasks, array, ids)
                    submission = Submission(
                        kind="slurm",
                        stage=stage,
                        job=job,
                        shards=compact(shards),
                        offset=offset,
                        array=array is not None,
                        depends=[name for item in depends for name in (*item.fresh, *item.old)],
                    )
                    record.append(run, submission)
                    made.append(submission)
                    jobs[stage].fresh.append(job)
        except (FailedJobError, OSError) as error:
            if ids:
                subprocess.run(["scancel", *ids], capture_output=True, timeout=60, check=False)
            raise SubmitError(f"sbatch refused {stage}: {str(error).strip()}; nothing of this call is left in the queue") from None
    return made


def _task(run: Run, stage: str, shard: int, attempt: int, package: str) -> StageTask:
    cluster = run.config.cluster
    return StageTask(
        run.path,
        stage,
        [shard],
        attempt=attempt,
        limit_s=resources(run.config, stage).minutes * 60,
        lead_s=cluster.signal_delay_s,
        requeue=cluster.requeue,
        package=package,
    )


def _is_live(queue: QueueView, submission: Submission | None, shard: int) -> bool:
    if submission is None or submission.kind != "slurm":
        return False
    entry = queue.entry(submission.task_id(shard))
    return entry is not None and entry.live


def _cancel_waiting(queue: QueueView, newest: Mapping[int, Submission], live: set[int]) -> set[int]:
    """Cancel the tasks among these that have not started: they wait for jobs that will not end well.

    Returns:
        Their shards.
    """
    waiting = {shard for shard in live if (entry := queue.entry(newest[shard].task_id(shard))) is not None and entry.waiting}
    targets: dict[str, set[int]] = {}
    for shard in waiting:
        targets.setdefault(newest[shard].job, set()).add(shard - newest[shard].offset)
    arrays = {newest[shard].job for shard in waiting if newest[shard].array}
    if targets:
        names = [f"{job}_[{compact(tasks)}]" if job in arrays else job for job, tasks in targets.items()]
        CommandFunction(["scancel", *names], verbose=False)()
    return waiting


def _old_jobs(newest: Mapping[int, Submission], missing: set[int], live: set[int]) -> dict[str, bool]:
    """Jobs with live tasks -> whether another of their tasks is missing and not live."""
    lost = {newest[shard].job for shard in missing - live if shard in newest}
    return {newest[shard].job: newest[shard].job in lost for shard in sorted(live)}


def _dependency(needs: Iterable[StageJobs]) -> str | None:
    """Slurm's expression of what a job waits for; None if all of it is done."""
    parts = []
    for jobs in needs:
        parts += [f"afterok:{job}" for job in jobs.fresh]
        # A job with a failed task can never be "ok"; its live tasks are waited for, and a stage refuses to start on missing shards.
        parts += [f"{'afterany' if lost else 'afterok'}:{job}" for job, lost in jobs.old.items()]
    return ",".join(parts) or None
