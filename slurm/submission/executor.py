"""The text of a stage's sbatch script, and sbatch itself: by submitit's executor, with array ids of our choice and a
srun line of our own.

One file holds the tasks of an array (``slurm.worker.array_task``). The log of each start has the attempt's number in
its name; what the script itself and Slurm say goes to one file a job, ``JOB_batch.log``.
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
from slurm.submission.options import job_name, sbatch_parameters, shards_per_task, srun_command
from slurm.submission.submissions import attempt_log, compact
from slurm.worker.array_task import TASKS_SUFFIX, requeue_mark, write_tasks
from slurm.worker.stage_task import StageTask

if TYPE_CHECKING:
    from submitit.slurm.slurm import SlurmExecutor

ATTEMPT_VARIABLE = "ROUTENATOR_ATTEMPT"
STARTS_LOST = 3  # starts that may come to nothing before the job has failed
# How srun ends when the warning signal killed the interpreter before it ran a line of ours.
_UNHEARD = 128 + signal.SIGUSR2


class RefusedError(RoutenatorError):
    """sbatch or scancel refused a job."""


class StageExecutor:
    """Submits the jobs of one stage: arrays whose task ids we choose, with one file for the tasks of an array.

    Args:
        folder: of the stage's logs.
        command: what the script runs: srun with its flags, the container if there is one, the interpreter.
        parameters: of submitit's executor.
    """

    def __init__(self, folder: Path, command: str, parameters: Mapping[str, Any]) -> None:
        self.folder = folder
        self.command = command
        self._executor = _open_executor(folder)
        self._executor.update_parameters(**parameters)
        self.parameters: dict[str, Any] = self._executor.parameters

    def script(self, array: str | None) -> str:
        """The sbatch text for these array task ids, or for a plain job; made to be read, no job is submitted."""
        self._set_array(array)
        return str(self._executor._make_submission_file_text(self._command_line("TASKS"), ""))

    def send(self, task: StageTask, own: Mapping[int, list[int]], array: str | None, submitted: list[str]) -> str:
        """sbatch one job.

        Args:
            task: any of its tasks.
            own: array task id -> its shards; of a plain job only one, at any id.
            array: the expression, or None for a plain job.
            submitted: takes the job's id as soon as it is known.

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
        """After srun: requeue the job if its task asked for it, or if the task did not start.

        That is when srun could not start it, as when the controller is away, or the warning signal came before the task
        could hear it.
        """
        mark = shlex.quote(str(self.folder / requeue_mark(""))) + '"$SLURM_JOB_ID"'
        task = '"${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"' if self._is_array else '"$SLURM_JOB_ID"'
        start, end = attempt_log("TASK", "ATTEMPT").replace("TASK", task).split("ATTEMPT")
        log = f'{shlex.quote(str(self.folder))}/{start}"${ATTEMPT_VARIABLE}"{end}'
        # Not by its plain id: that of one task, the array's last, is the array's, and would requeue all tasks at work.
        again = f"for pause in 5 10 20 40 80; do scontrol requeue {task} && break; sleep $pause; done"
        lines = ["code=$? again=", f"if rm {mark} 2>/dev/null; then again=1; fi"]
        if "requeue" in self.parameters["additional_parameters"]:
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
    """An executor for one stage of a run.

    Args:
        dependency: Slurm's expression of what the job waits for.
        attempt: number of the first start of its tasks.
    """
    config = run.config
    setup = [
        *config.cluster.setup,
        # After the user's own lines: the snapshot of the run comes first, whatever they put into the path.
        f"export PYTHONPATH={shlex.quote(str(run.path / 'code'))}${{PYTHONPATH:+:$PYTHONPATH}}",
        "export PYTHONSAFEPATH=1",
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


def _open_executor(folder: Path) -> SlurmExecutor:
    from submitit.slurm.slurm import SlurmExecutor

    class AnywhereExecutor(SlurmExecutor):
        """Opens on a machine without Slurm too: the text of a script can be made there."""

        @classmethod
        def affinity(cls) -> int:
            return 2

    return AnywhereExecutor(folder)


def own_folders(run: Run) -> list[str]:
    """Folders that a task reads or writes and that a container must show: root, the run's directory, the cache of
    weights.
    """
    found: list[str] = []
    for folder in (run.config.root, str(run.path), run.config.cache):
        if not any(folder == other or folder.startswith(f"{other}/") for other in found):
            found.append(folder)
    return found


def scripts(run: Run, array: int, tasks: int) -> dict[str, str]:
    """Stage -> sbatch text of its first job, job ids of what it waits for written as ``$SAMPLE`` and the like.

    Args:
        array: tasks that one array may have.
        tasks: that a stage may have.
    """
    texts = {}
    for stage, entry in run.plan.stages.items():
        needs = [f"afterok:${need.upper()}" for need in STAGES[stage].needs if need in run.plan.stages]
        count = -(-entry.shards // shards_per_task(run.config, stage, entry.shards, tasks))
        ids = compact(range(min(count, array))) if entry.shards > 1 else None
        texts[stage] = make_executor(run, stage, ",".join(needs) or None).script(ids)
    return texts
