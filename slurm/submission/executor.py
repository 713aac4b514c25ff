"""Writes a stage's sbatch script and submits it, by submitit's executor with our own array ids and srun line.

One file holds the tasks of an array (``slurm.worker.array_task``). Each start has a log of its own, named after the
attempt's number; output of the script itself and of Slurm goes to one file per job, ``JOB_batch.log``.
"""

from __future__ import annotations

import shlex
import signal
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.plan import Run
from jobs.stages import STAGES
from routenator.errors import RoutenatorError
from routenator.files import nearest_folder
from routenator.trust import GROUP_VARIABLE, group_name
from slurm.submission.options import job_name, sbatch_parameters, shards_per_task, srun_command
from slurm.submission.submissions import attempt_log, compact
from slurm.worker.array_task import TASKS_SUFFIX, requeue_mark, write_tasks
from slurm.worker.stage_task import StageTask

if TYPE_CHECKING:
    from submitit.slurm.slurm import SlurmExecutor

ATTEMPT_VARIABLE = "ROUTENATOR_ATTEMPT"
STARTS_LOST = 3  # requeues after a failed start; then the job fails
# srun's exit code when the warning signal killed the interpreter before it ran our first line.
_UNHEARD = 128 + signal.SIGUSR2


class RefusedError(RoutenatorError):
    """sbatch or scancel refused a job."""


class StageExecutor:
    """Submits the jobs of one stage: arrays with task ids of our choice and one file for all tasks of an array.

    Args:
        folder: the stage's log folder.
        command: the script's command: srun with its flags, the container if any, the interpreter.
        parameters: parameters of submitit's executor.
    """

    def __init__(self, folder: Path, command: str, parameters: Mapping[str, Any]) -> None:
        self.folder = folder
        self.command = command
        self._executor = _open_executor(folder)
        self._executor.update_parameters(**parameters)
        self.parameters: dict[str, Any] = self._executor.parameters

    def script(self, array: str | None) -> str:
        """Return the sbatch script for these array task ids, or for a plain job, to be read; submits nothing."""
        self._set_array(array)
        return str(self._executor._make_submission_file_text(self._command_line("TASKS"), ""))

    def send(self, task: StageTask, own: Mapping[int, list[int]], array: str | None, submitted: list[str]) -> str:
        """Submit one job.

        Args:
            task: any of its tasks.
            own: array task id -> its shards; for a plain job a single entry under any id.
            array: the array expression, or None for a plain job.
            submitted: list that the job's id is appended to as soon as it is known.

        Returns:
            The job's id.

        Raises:
            RefusedError: sbatch refused.
        """
        from submitit.core.utils import FailedJobError

        self._set_array(array)
        tasks_name = f"{uuid.uuid4().hex[:12]}{TASKS_SUFFIX}"
        write_tasks(self.folder, tasks_name, task, own)
        try:
            job = str(self._executor._submit_command(self._command_line(tasks_name)).job_id)
        except FailedJobError as error:
            (self.folder / tasks_name).unlink(missing_ok=True)
            raise RefusedError(str(error)) from None
        submitted.append(job)
        return job

    def _command_line(self, tasks_name: str) -> str:
        log = shlex.quote(str(self.folder / attempt_log("%A_%a" if self._is_array else "%j", "ATTEMPT", "%t")))
        start, end = log.rsplit("ATTEMPT", 1)
        line = self.command.replace("LOG", f'{start}"${ATTEMPT_VARIABLE}"{end}', 1)
        return f"{line} -u -m slurm.worker.start {shlex.quote(str(self.folder))} {tasks_name}"

    @property
    def _is_array(self) -> bool:
        return "array" in self.parameters.get("additional_parameters", {})

    def _end_of_script(self) -> list[str]:
        """Lines after srun: requeue the job if its task asked for it, or if the task never started.

        A task never started if srun failed, for example because the controller was down, or if the warning signal
        arrived before Python could handle it.
        """
        # The mark's name ends with the task's plain id, which is unique, unlike ${SLURM_ARRAY_JOB_ID}.
        mark = shlex.quote(str(self.folder / requeue_mark(""))) + '"$SLURM_JOB_ID"'
        task = '"${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"' if self._is_array else '"$SLURM_JOB_ID"'
        start, end = attempt_log("TASK", "ATTEMPT").replace("TASK", task).split("ATTEMPT")
        log = f'{shlex.quote(str(self.folder))}/{start}"${ATTEMPT_VARIABLE}"{end}'
        # ARRAY_TASK, not SLURM_JOB_ID: the last task of an array has the array's own id as its job id, and requeueing
        # that would requeue every running task. The pauses (155 s) outlast a restart of the controller.
        again = f"for pause in 5 10 20 40 80; do scontrol requeue {task} && break; sleep $pause; done"
        # `rm` both tests for the mark and consumes it, so that the next start does not find it.
        lines = ["code=$? again=", f"if rm {mark} 2>/dev/null; then again=1; fi"]
        if "requeue" in self.parameters["additional_parameters"]:
            # A task that started has a log. A failed start is requeued only a few times: its cause may be permanent.
            lost = f"if [ $code = {_UNHEARD} ] || {{ [ $code != 0 ] && [ ! -e {log} ]; }}; then"
            lines.append(f'{lost} [ "${{SLURM_RESTART_COUNT:-0}}" -lt {STARTS_LOST} ] && again=1; fi')
        return [*lines, f'if [ -n "$again" ]; then {again}; fi', "exit $code"]

    def _set_array(self, array: str | None) -> None:
        additional = {
            key: value for key, value in self.parameters.get("additional_parameters", {}).items() if key != "array"
        }
        additional["output"] = str(self.folder / ("%A_batch.log" if array is not None else "%j_batch.log"))
        if array is not None:
            additional["array"] = f"{array}%{self.parameters['array_parallelism']}"
        self.parameters["additional_parameters"] = additional
        self.parameters["teardown"] = self._end_of_script()


def make_executor(run: Run, stage: str, dependency: str | None, attempt: int = 1) -> StageExecutor:
    """Return an executor for one stage of a run.

    Args:
        dependency: Slurm's dependency expression.
        attempt: attempt number of its tasks' first start.
    """
    config = run.config
    setup = [
        *config.cluster.setup,
        # After the user's own lines, so that the run's snapshot comes first whatever they add to the path.
        f"export PYTHONPATH={shlex.quote(str(run.path / 'code'))}${{PYTHONPATH:+:$PYTHONPATH}}",
        "export PYTHONSAFEPATH=1",
        *(_lines_of_a_group(run) if config.shared_group else []),
        f"export {ATTEMPT_VARIABLE}=$(({attempt} + ${{SLURM_RESTART_COUNT:-0}}))",
    ]
    parameters = {
        **sbatch_parameters(config, stage),
        "job_name": job_name(run, stage),
        "setup": setup,
        "dependency": dependency,
        "use_srun": False,
    }
    return StageExecutor(run.log_dir(stage), srun_command(config, stage, own_folders(run)), parameters)


def _lines_of_a_group(run: Run) -> list[str]:
    """Lines by which a task writes for the group that shares its run, and trusts it as the user who submits does."""
    group = group_name(nearest_folder(run.path).stat().st_gid)
    return ["umask 0007", f"export {GROUP_VARIABLE}={shlex.quote(group)}"]


def _open_executor(folder: Path) -> SlurmExecutor:
    from submitit.slurm.slurm import SlurmExecutor

    class AnywhereExecutor(SlurmExecutor):
        """Also works on a machine without Slurm, so that scripts can be previewed there."""

        @classmethod
        def affinity(cls) -> int:
            return 2

    return AnywhereExecutor(folder)


def own_folders(run: Run) -> list[str]:
    """Return the folders that a container must mount: root, the run directory and the cache of weights."""
    found: list[str] = []
    for folder in (run.config.root, str(run.path), run.config.cache):
        if not any(folder == other or folder.startswith(f"{other}/") for other in found):
            found.append(folder)
    return found


def scripts(run: Run, array: int, tasks: int) -> dict[str, str]:
    """Return stage -> sbatch script of its first job, with placeholders such as ``$SAMPLE`` for the jobs it waits for.

    Args:
        array: maximum tasks of one array.
        tasks: maximum tasks of a stage.
    """
    texts = {}
    for stage, entry in run.plan.stages.items():
        needs = [f"afterok:${need.upper()}" for need in STAGES[stage].needs if need in run.plan.stages]
        count = -(-entry.shards // shards_per_task(run.config, stage, entry.shards, tasks))
        ids = compact(range(min(count, array))) if entry.shards > 1 else None
        texts[stage] = make_executor(run, stage, ",".join(needs) or None).script(ids)
    return texts
