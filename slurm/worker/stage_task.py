"""What is pickled, and runs in an allocation: some shards of a stage, able to be stopped by a signal and to go on
later.

submitit counts how often a job was requeued, and takes every preemption of a short job for a time-out. What matters is
whether the task gets on: it is requeued as long as it does, and given up after ``MAX_STALLS`` time-outs in a row
without a new checkpoint.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.entry import STAGE_PACKAGE, run_task, write_failure
from jobs.nodes import wait_for_end
from jobs.plan import Run
from jobs.task import missing_shards, work_path
from routenator.errors import InputError, RoutenatorError
from routenator.files import digest

if TYPE_CHECKING:
    # Not needed where a task runs, and a third of what its start would take.
    from submitit.core.utils import DelayedSubmission

# Of an inherited allocation nothing may reach a new job or a local task; how to reach the controller must.
_DROPPED = ("SLURM_", "SBATCH_", "SRUN_", "SUBMITIT_")
_KEPT = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT"})
MAX_STALLS = 3
# Slurm sends its signal up to a minute early; a task stopped in that window was stopped by its time limit.
_SIGNAL_SLACK_S = 60.0


def code_environment(run: Run) -> dict[str, str]:
    """Variables that make a task import the run's own snapshot of the code, and nothing of the folder it was submitted
    from.
    """
    inherited = os.environ.get("PYTHONPATH", "")
    paths = [str(run.path / "code"), *(part for part in inherited.split(os.pathsep) if part)]
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONSAFEPATH": "1"}


def drop_inherited() -> dict[str, str]:
    """Remove the variables of an allocation that this process may be in from its environment.

    Returns:
        What was removed.
    """
    saved = {name: value for name, value in os.environ.items() if name.startswith(_DROPPED) and name not in _KEPT}
    for name in saved:
        del os.environ[name]
    return saved


def check_snapshot(run: Run) -> None:
    """Check that the run's snapshot of the code can be started as this code starts tasks.

    Raises:
        InputError: it was taken of another version.
    """
    file = run.path / "code" / "slurm" / "worker" / "start.py"
    if not file.is_file():
        raise InputError(
            "this run keeps a copy of an earlier version of the code, which this version cannot start",
            file=run.path / "code",
            found=f"no {file.relative_to(run.path / 'code')}",
            expected=f"`retry` by the version that made it, or `run {run.path / 'config.yaml'}`, "
            "which uses finished stages again",
        )


def progress_mark(run: Run, stage: str, indices: list[int]) -> str:
    """A hash that changes when a shard commits or writes a checkpoint: names, sizes and times in its folder."""
    stage_dir = run.stage_dir(stage)
    seen: list[Any] = sorted(set(indices) - missing_shards(run, stage))
    for index in indices:
        for path in sorted(work_path(stage_dir, index).rglob("*")):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            seen.append([str(path), status.st_size, status.st_mtime_ns])
    return digest(seen)


class StageTask:
    """Shards of one stage as a callable that submitit runs.

    Args:
        run_dir: the run.
        stage: its stage.
        indices: shards, run one after the other.
        attempt: number of the first attempt; requeues count on from it.
        limit_s: wall-clock limit, seconds.
        lead_s: seconds between the warning signal and the end.
        requeue: whether a stopped task may go on by itself.
        package: where the stage modules are.
    """

    def __init__(
        self,
        run_dir: str | Path,
        stage: str,
        indices: list[int],
        *,
        attempt: int = 1,
        limit_s: float = 3600.0,
        lead_s: float = 120.0,
        requeue: bool = True,
        package: str = STAGE_PACKAGE,
    ) -> None:
        self.run_dir = str(run_dir)
        self.stage = stage
        self.indices = list(indices)
        self.attempt = attempt
        self.limit_s = limit_s
        self.lead_s = lead_s
        self.requeue = requeue
        self.package = package
        self.stalls = 0
        self.restarts = 0
        self._started = 0.0
        self._mark = ""
        self._told_to_end = False

    def __call__(self) -> None:
        run = Run.load(self.run_dir)
        self._started = time.time()
        self._mark = progress_mark(run, self.stage, self.indices)
        try:
            run_task(self.run_dir, self.stage, self.indices, self._attempt(), job_id(), self.package)
        except RoutenatorError as error:
            if self._told_to_end:
                # The signal went to all processes of the task; what it did to them is no failure. Slurm ends, and
                # requeues, it.
                wait_for_end(f"failed after SIGTERM: {error}")
            if len(self.indices) > 1:
                # Other shards may have said much since.
                print(error, file=sys.stderr, flush=True)
            # It is recorded and in the log; submitit would only add its own frames to the log's end.
            sys.exit(1)

    def checkpoint(self, *args: Any, **kwargs: Any) -> DelayedSubmission | None:
        """Called by submitit's signal handler in local runs: what to run when restarted; None to end here."""
        from submitit.core.utils import DelayedSubmission

        again = self.stopped()
        return None if again is None else DelayedSubmission(again)

    def stopped(self) -> StageTask | None:
        """Called in a signal handler: the task as it is to go on, or None if it is not.

        The stage's own checkpoints are files; nothing of its memory is kept.
        """
        if not self.requeue:
            self._give_up("stopped", "stopped by a signal, and cluster.requeue is off")
            return None
        run = Run.load(self.run_dir)
        timed_out = time.time() - self._started >= self.limit_s - self.lead_s - _SIGNAL_SLACK_S
        stalled = timed_out and progress_mark(run, self.stage, self.indices) == self._mark
        stalls = self.stalls + 1 if stalled else 0
        if stalls >= MAX_STALLS:
            minutes = self.limit_s / 60
            self._give_up(
                "timeout",
                f"no new checkpoint in {stalls} attempts of {minutes:g} minutes; "
                f"raise cluster.stages.{self.stage}.minutes",
            )
            return None
        again = StageTask(
            self.run_dir,
            self.stage,
            self.indices,
            attempt=self.attempt,
            limit_s=self.limit_s,
            lead_s=self.lead_s,
            requeue=self.requeue,
            package=self.package,
        )
        again.stalls = stalls
        again.restarts = self.restarts + 1
        return again

    def is_done(self) -> bool:
        """Whether all its shards have a receipt; then it is about to end."""
        run = Run.load(self.run_dir)
        return missing_shards(run, self.stage).isdisjoint(self.indices)

    def note_end(self, number: int, frame: object) -> None:
        """Handler of SIGTERM, which Slurm sends before it ends a preempted task; what is to be done then is asked by
        another signal.
        """
        self._told_to_end = True

    def _attempt(self) -> int:
        # Slurm counts requeues that it made by itself (a dead node), the pickle those that we asked for; local runs
        # know only the latter.
        return self.attempt + max(self.restarts, int(os.environ.get("SLURM_RESTART_COUNT", "0")))

    def _give_up(self, kind: str, message: str) -> None:
        run = Run.load(self.run_dir)
        for index in sorted(missing_shards(run, self.stage).intersection(self.indices)):
            write_failure(run, self.stage, index, kind=kind, message=message, attempt=self._attempt(), job=job_id())


def job_id() -> str | None:
    """The scheduler's id of this task: ``123_7`` of an array, ``123`` of a job, ``local-PID`` of a local task."""
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    if job := os.environ.get("SLURM_JOB_ID"):
        return job
    local = os.environ.get("SUBMITIT_LOCAL_JOB_ID")
    return f"local-{local}" if local else None
