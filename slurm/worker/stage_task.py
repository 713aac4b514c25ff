"""What a job runs in an allocation: shards of one stage, which a signal can stop and a later start resumes.

submitit limits how often a job is requeued, and mistakes every preemption of a short job for a time-out. What matters
is progress: a task is requeued as long as it makes some, and given up after ``MAX_STALLS`` time-outs in a row without a
new checkpoint.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from jobs.entry import STAGE_PACKAGE, run_task, write_failure
from jobs.nodes import wait_for_end
from jobs.plan import Run
from jobs.slurm_environment import KEPT
from jobs.task import missing_shards, work_path
from routenator.errors import RoutenatorError
from routenator.files import digest

# Variables of an inherited allocation must not reach a new job or a local task; those that locate the controller must.
_DROPPED = ("SLURM_", "SBATCH_", "SRUN_", "SUBMITIT_")
MAX_STALLS = 3
# Environment: STAGE/SHARD/TOKEN, unique to each task that the local driver starts.
LOCAL_VARIABLE = "ROUTENATOR_LOCAL_TASK"
# Slurm may send the signal up to a minute early; a task stopped in that window counts as stopped by its time limit.
_SIGNAL_SLACK_S = 60.0


def code_environment(run: Run) -> dict[str, str]:
    """Return variables that make a task import the run's snapshot of the code and nothing from the current folder."""
    inherited = os.environ.get("PYTHONPATH", "")
    paths = [str(run.path / "code"), *(part for part in inherited.split(os.pathsep) if part)]
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONSAFEPATH": "1"}


def drop_inherited() -> dict[str, str]:
    """Remove the variables of any enclosing allocation from this process's environment.

    Returns:
        The removed variables.
    """
    saved = {name: value for name, value in os.environ.items() if name.startswith(_DROPPED) and name not in KEPT}
    for name in saved:
        del os.environ[name]
    return saved


def progress_mark(run: Run, stage: str, indices: list[int]) -> str:
    """Hash the shards' receipts and checkpoint files; it changes when a shard commits or writes a checkpoint."""
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
    """Some shards of one stage, as a callable.

    Args:
        run_dir: the run directory.
        stage: the stage.
        indices: shards, run one after the other.
        attempt: number of the first attempt; requeues count up from it.
        limit_s: wall-clock limit, seconds.
        lead_s: seconds between the warning signal and the time limit.
        requeue: whether a stopped task is requeued automatically.
        package: package of the stage modules.
        stalls: how many starts in a row have timed out without a new checkpoint.
        restarts: how often it was stopped to resume.
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
        stalls: int = 0,
        restarts: int = 0,
    ) -> None:
        self.run_dir = str(run_dir)
        self.stage = stage
        self.indices = list(indices)
        self.attempt = attempt
        self.limit_s = limit_s
        self.lead_s = lead_s
        self.requeue = requeue
        self.package = package
        self.stalls = stalls
        self.restarts = restarts
        self._started = 0.0
        self._mark = ""
        self._told_to_end = False

    def as_dict(self) -> dict[str, Any]:
        """Return the arguments that make this task again, as JSON-compatible values."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __call__(self) -> None:
        run = Run.load(self.run_dir)
        self._started = time.time()
        self._mark = progress_mark(run, self.stage, self.indices)
        try:
            run_task(self.run_dir, self.stage, self.indices, self._attempt(), job_id(), self.package)
        except RoutenatorError as error:
            if self._told_to_end:
                # SIGTERM went to every process of the task, so a child's death now is not a failure of the stage. Wait
                # for Slurm to stop and requeue the task instead of reporting one.
                wait_for_end(f"failed after SIGTERM: {error}")
            if len(self.indices) > 1:
                # Later shards may have logged a lot since; repeat the error at the end of the log.
                print(error, file=sys.stderr, flush=True)
            # The error is recorded and logged. Letting it propagate would only end the log with our own frames.
            sys.exit(1)

    def stopped(self) -> StageTask | None:
        """Return the task to resume with, or None if it must not resume. Called in a signal handler.

        The stage's checkpoints are files; nothing in memory is kept.
        """
        if not self.requeue:
            self._give_up("stopped", "stopped by a signal; not requeued because cluster.requeue is off")
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
        return StageTask(**{**self.as_dict(), "stalls": stalls, "restarts": self.restarts + 1})

    def is_done(self) -> bool:
        """Whether all its shards have a receipt, which means that the task is about to exit."""
        run = Run.load(self.run_dir)
        return missing_shards(run, self.stage).isdisjoint(self.indices)

    def note_end(self, number: int, frame: object) -> None:
        """Handle SIGTERM, which Slurm sends before it kills a preempted task, by noting it.

        The reaction (checkpoint and requeue) is left to the warning signal.
        """
        self._told_to_end = True

    def _attempt(self) -> int:
        # Slurm's counter also includes requeues of its own (a dead node); `restarts`, kept in its file, counts only
        # those that we asked for, and is all that local runs have.
        return self.attempt + max(self.restarts, int(os.environ.get("SLURM_RESTART_COUNT", "0")))

    def _give_up(self, kind: str, message: str) -> None:
        run = Run.load(self.run_dir)
        for index in sorted(missing_shards(run, self.stage).intersection(self.indices)):
            write_failure(run, self.stage, index, kind=kind, message=message, attempt=self._attempt(), job=job_id())


def job_id() -> str | None:
    """Return the scheduler's id of this task: ``123_7`` in an array, ``123`` for a job, ``local-PID`` if local."""
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    if job := os.environ.get("SLURM_JOB_ID"):
        return job
    return f"local-{os.getpid()}" if LOCAL_VARIABLE in os.environ else None
