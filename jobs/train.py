"""Train: trains an adapter on the merged data set, on one or several nodes, and resumes from earlier checkpoints."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from jobs.nodes import task_nodes, wait_for_end
from jobs.outputs import attempt_folder, commit_folder
from jobs.task import Task, verify_file
from routenator.domain.loader import load_domain
from routenator.errors import StageError
from routenator.models import cache_folder, resolve_model
from routenator.training import checkpoints
from routenator.training.job import TrainingJob, TrainingResult
from routenator.training.launch import FirstNodeLeftError, StoppedError, launch

VERSION = 3


def run(task: Task) -> None:
    """Write ``adapter/``, ``training.jsonl`` (a line per logged step) and, if that is the tracker, ``tensorboard/``.

    With several nodes, each runs its own processes and the first one commits.

    Raises:
        InputError: an example is too long, or the model has no such layer.
        StageError: a training process failed, or was stopped by a signal.
    """
    if task.is_done():
        return
    try:
        _train(task)
    except (OSError, StageError):
        # Another attempt may have won and removed the work folder while we used it; then there is nothing left to do.
        if not task.is_done():
            raise


def _train(task: Task) -> None:
    config = task.config
    nodes = task_nodes(task.work_dir)
    files = data_files(task)
    # All nodes of one start share the attempt's folder, so its name must come from the scheduler, not this process.
    attempt = (
        f"{os.environ['SLURM_JOB_ID']}-{os.environ.get('SLURM_RESTART_COUNT', '0')}" if nodes.count > 1 else task.token
    )
    resume = checkpoints.newest(task.work_dir)
    job = TrainingJob(
        base=resolve_model(config.model.trainee, cache_folder(config.cache)),
        base_name=config.model.trainee,
        domain=config.domain,
        train=[str(path) for path in files["train"]],
        validation=[str(path) for path in files["validation"]],
        tools=load_domain(task.run.domain_dir).tools(),
        config=config.train,
        seed=config.seed,
        folder=str(task.dir / f"attempt-{attempt}"),
        checkpoints=str(task.work_dir),
        resume=str(resume) if resume else None,
    )

    def progress(line: dict[str, Any]) -> None:
        if "loss" in line:
            task.progress(
                line["step"], line["max_steps"], "steps", loss=line["loss"], tokens_per_second=line["tokens_per_second"]
            )

    if nodes.index == 0:
        task.progress(0, 1, "steps", doing="loading the model")
    try:
        result = launch(job, progress, nodes, out=sys.stdout)
        if nodes.index == 0:
            _commit(task, job, result, resume)
    except StoppedError as stop:
        if "SLURM_JOB_ID" in os.environ:
            # We are still here, so the handler has not requeued the job and exited: either it could not, or this is not
            # the first node. Exiting now would count as a failure, and would make srun kill the first node's task while
            # it requeues. So wait for Slurm to stop this task.
            wait_for_end(str(stop), task.is_done)
        raise
    except FirstNodeLeftError as left:
        # The first node was stopped, failed or has committed; it alone requeues the job or records why it failed. It
        # does not leave its folder to the others: it may have been warned before it made one, it cannot wait for a node
        # that has not come yet, and processes that found the folder would wait half an hour for those of a node that
        # has gone.
        wait_for_end(str(left), task.is_done)
        raise
    finally:
        if nodes.index == 0:
            job.file.unlink(missing_ok=True)  # before all else, because by it the other nodes tell that this one left
            shutil.rmtree(job.root, ignore_errors=True)


def _commit(task: Task, job: TrainingJob, result: TrainingResult, resume: Path | None) -> None:
    folder = attempt_folder(task)
    shutil.move(job.adapter, folder / "adapter")
    shutil.move(job.metrics_file, folder / "training.jsonl")
    names = ["adapter", "training.jsonl"]
    if job.events.is_dir():
        shutil.move(job.events, folder / job.events.name)
        names.append(job.events.name)
    metrics = {**result.metrics, "steps": result.step, "resumed_from": checkpoints.steps_of(resume) if resume else 0}
    commit_folder(task, folder, names, rows=int(result.metrics["examples"]), metrics=metrics)
    shutil.rmtree(task.work_dir, ignore_errors=True)
    for left in task.dir.glob("attempt-*"):  # left by killed attempts
        shutil.rmtree(left, ignore_errors=True)


def data_files(task: Task) -> dict[str, list[Path]]:
    """Return the merged data set's parquet files by split, verified against the receipt.

    Raises:
        StageError: there is no training data.
        CorruptShardError: a file differs from its receipt.
    """
    import pyarrow.parquet as pq

    splits: dict[str, list[Path]] = {"train": [], "validation": []}
    for receipt, directory in task.input_receipts("merge"):
        for role in sorted(receipt.files):
            name = Path(receipt.files[role]["name"]).name
            for split, paths in splits.items():
                if name.startswith(split) and name.endswith(".parquet"):
                    path = receipt.path(directory, role)
                    verify_file(path, receipt, role)
                    if pq.read_metadata(path).num_rows:  # empty if the set is small or has no validation share
                        paths.append(path)
    if not splits["train"]:
        raise StageError("the merge stage produced no training data")
    return splits
