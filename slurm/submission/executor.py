"""Writes a stage's sbatch script and submits it, by submitit's executor with our own array ids and srun line.

One file holds the tasks of an array (``slurm.worker.array_task``). Each start has a log of its own, named after the
attempt's number; output of the script itself and of Slurm goes to one file per job, ``JOB_batch.log``. The text around
the task in the script is made by ``slurm.submission.script``.
"""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.plan import Run
from jobs.stages import STAGES
from routenator.files import nearest_folder
from routenator.trust import GROUP_VARIABLE, group_name
from slurm.submission import script
from slurm.submission.options import job_name, sbatch_parameters, shards_per_task, srun_command
from slurm.submission.sbatch import Accepted, RefusedError, UncertainError, submit
from slurm.submission.submissions import compact
from slurm.submission.user_defaults import sbatch_environment
from slurm.worker.array_task import TASKS_SUFFIX, write_tasks
from slurm.worker.stage_task import StageTask

if TYPE_CHECKING:
    from submitit.slurm.slurm import SlurmExecutor


class StageExecutor:
    """Submits the jobs of one stage: arrays with task ids of our choice and one file for all tasks of an array.

    Args:
        folder: the stage's log folder.
        command: the script's command: srun with its flags, the container if any, the interpreter.
        parameters: parameters of submitit's executor.
        setup: the user's lines before the task.
        exports: our own lines after them.
        attempt: attempt number of its tasks' first start.
    """

    def __init__(
        self,
        folder: Path,
        command: str,
        parameters: Mapping[str, Any],
        setup: Sequence[str] = (),
        exports: Sequence[str] = (),
        attempt: int = 1,
    ) -> None:
        self.folder = folder
        self.command = command
        self.setup = setup
        self.exports = exports
        self.attempt = attempt
        self._executor = _open_executor(folder)
        self._executor.update_parameters(**parameters)
        self.parameters: dict[str, Any] = self._executor.parameters

    def script(self, array: str | None) -> str:
        """Return the sbatch script for these array task ids, or for a plain job, to be read; submits nothing."""
        self._set_array(array)
        return str(self._executor._make_submission_file_text(self._command_line(self._start("TASKS")), ""))

    def send(
        self, task: StageTask, own: Mapping[int, list[int]], array: str | None, submitted: list[Accepted]
    ) -> Accepted:
        """Submit one job, under a name that no other job has.

        Args:
            task: any of its tasks.
            own: array task id -> its shards; for a plain job a single entry under any id.
            array: the array expression, or None for a plain job.
            submitted: list that the job is appended to as soon as it is known.

        Raises:
            RefusedError: Slurm did not take the job.
            UncertainError: nobody said whether it did.
        """
        token = uuid.uuid4().hex[:12]
        tasks_name = f"{token}{TASKS_SUFFIX}"
        write_tasks(self.folder, tasks_name, task, own)
        try:
            return self.send_module(self._start(tasks_name), token, array, submitted)
        except UncertainError:
            raise
        except RefusedError:
            (self.folder / tasks_name).unlink(missing_ok=True)
            raise

    def send_module(self, words: Sequence[str], token: str, array: str | None, submitted: list[Accepted]) -> Accepted:
        """Submit one job that runs a module. Errors as for ``send``.

        Args:
            words: the module and its arguments.
            token: makes the job's name unique.
            array: the array expression, or None for a plain job.
            submitted: list that the job is appended to as soon as it is known.
        """
        self._set_array(array)
        name = f"{self.parameters['job_name']}.{token[:8]}"
        stage_name, self.parameters["job_name"] = self.parameters["job_name"], name
        text = str(self._executor._make_submission_file_text(self._command_line(words), ""))
        self.parameters["job_name"] = stage_name
        file = self.folder / f"{token}_submission.sh"
        file.write_text(text, encoding="utf-8")
        cluster = self.parameters["additional_parameters"].get("clusters")
        try:
            job = submit(file, name, sbatch_environment(text), cluster)
        except UncertainError:
            raise
        except RefusedError:
            file.unlink(missing_ok=True)
            raise
        submitted.append(job)
        file.rename(self.folder / f"{job.job}_submission.sh")
        return job

    def _start(self, tasks_name: str) -> list[str]:
        return ["slurm.worker.start", str(self.folder), tasks_name]

    def _command_line(self, words: Sequence[str]) -> str:
        log = script.srun_log(self.folder, self._is_array)
        line = self.command.replace("LOG", log, 1)
        return f"{line} -u -m {shlex.join(words)} {script.KEEP_CODE}"

    @property
    def _is_array(self) -> bool:
        return "array" in self.parameters.get("additional_parameters", {})

    def _set_array(self, array: str | None) -> None:
        additional = {
            key: value for key, value in self.parameters.get("additional_parameters", {}).items() if key != "array"
        }
        additional["output"] = str(self.folder / ("%A_batch.log" if array is not None else "%j_batch.log"))
        if array is not None:
            additional["array"] = f"{array}%{self.parameters['array_parallelism']}"
        self.parameters["additional_parameters"] = additional
        self.parameters["setup"] = script.before_task(
            self.folder, self.setup, self.exports, self.attempt, array is not None, "requeue" in additional
        )
        self.parameters["teardown"] = script.after_task()


def make_executor(run: Run, stage: str, dependency: str | None, attempt: int = 1) -> StageExecutor:
    """Return an executor for one stage of a run.

    Args:
        dependency: Slurm's dependency expression.
        attempt: attempt number of its tasks' first start.
    """
    config = run.config
    parameters = {
        **sbatch_parameters(config, stage),
        "job_name": job_name(run, stage),
        "dependency": dependency,
        "use_srun": False,
    }
    command = srun_command(config, stage, own_folders(run))
    lines = exports(run, run.path / "code")
    return StageExecutor(run.log_dir(stage), command, parameters, config.cluster.setup, lines, attempt)


def exports(run: Run, code: Path) -> list[str]:
    """Return our own lines before a job's Python.

    Args:
        code: the copy of the code that it runs.
    """
    return [
        # After the user's own lines, so that this copy comes first whatever they add to the path.
        f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}}",
        "export PYTHONSAFEPATH=1",
        *(_lines_of_a_group(run) if run.config.shared_group else []),
    ]


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
