"""Runs one fold of a ceiling: trains on the other folds' real queries and scores on this one's.

Started by ``python -m slurm.experiments.fold FOLDER``:

    FOLDER/job.json          the instructions
    FOLDER/train.parquet     the other folds' queries and calls
    FOLDER/work/             checkpoints, during training
    FOLDER/adapter/          the adapter, during scoring
    FOLDER/predictions.jsonl, done.json   the results; done.json is written last
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import uuid
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from routenator.config import RunConfig
from routenator.domain.calls import Call, calls_text
from routenator.domain.golden import GoldenExample, load_golden
from routenator.domain.loader import load_domain
from routenator.evaluation.folds import stratified_folds
from routenator.evaluation.predict import PromptSet
from routenator.evaluation.run import ask_and_judge, write_predictions
from routenator.files import read_json, write_json
from routenator.models import cache_folder, resolve_model
from routenator.training import checkpoints
from routenator.training.job import TrainingJob
from routenator.training.launch import launch
from slurm.experiments.child import child

DONE = "done.json"
WORDS = "Sorry, I cannot do that."  # golden queries that want no call have no reply of their own


class FoldJob(BaseModel):
    """The instructions for a fold.

    Attributes:
        config: config of a run, of which the trainee, training and evaluation settings apply.
        domain: folder of the domain.
        golden: the labelled file.
        folds, fold, seed: determine which queries are held out; the seed is also that of training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: RunConfig
    domain: str
    golden: str
    folds: int
    fold: int
    seed: int


def split(job: FoldJob) -> tuple[list[GoldenExample], list[GoldenExample]]:
    """Return the queries to train on and those held out, in the file's order."""
    examples = load_golden(Path(job.golden), load_domain(job.domain).functions)
    fold = stratified_folds(
        [one.query for one in examples], [" + ".join(one.labels) for one in examples], job.folds, job.seed
    )
    held_out = [one for one, number in zip(examples, fold, strict=True) if number == job.fold]
    return [one for one, number in zip(examples, fold, strict=True) if number != job.fold], held_out


def work(folder: Path) -> None:
    """Run the fold of FOLDER/job.json; resumes from the last checkpoint.

    Raises:
        StageError: training or an engine failed.
        InputError: an example is too long.
    """
    job = FoldJob.model_validate(read_json(folder / "job.json"))
    config, began = job.config, time.time()
    train, held_out = split(job)
    functions = load_domain(job.domain).functions
    base = resolve_model(config.model.trainee, cache_folder(config.cache))
    if not (folder / "training.json").is_file():
        _train(folder, job, train, [function.tool() for function in functions.values()], base)
    scratch = folder / f".scratch-{uuid.uuid4().hex[:8]}"
    scratch.mkdir()
    try:
        answers = ask_and_judge(
            {"after": PromptSet(config.train.prompt, adapted=True)},
            held_out,
            functions,
            base=base,
            adapter=folder / "adapter",
            config=config.evaluate,
            scratch=scratch,
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    write_predictions(folder / "predictions.jsonl", held_out, answers)
    training = read_json(folder / "training.json")
    write_json(
        folder / DONE,
        {
            "train": len(train),
            "held_out": len(held_out),
            "training": training,
            "seconds": round(time.time() - began, 3),
        },
    )
    shutil.rmtree(folder / "adapter", ignore_errors=True)


def _train(folder: Path, job: FoldJob, train: list[GoldenExample], tools: list[dict[str, object]], base: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "query": one.query,
            "calls": calls_text(Call(call.name, call.arguments) for call in one.calls),
            "reply": None if one.calls else WORDS,
            "hidden": list(one.hidden) or None,
            "today": one.today,
        }
        for one in train
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "train.parquet")
    kept = folder / "work"
    kept.mkdir(exist_ok=True)
    for left in folder.glob("attempt-*"):  # left by killed attempts
        shutil.rmtree(left, ignore_errors=True)
    resume = checkpoints.newest(kept)
    attempt = TrainingJob(
        base=base,
        base_name=job.config.model.trainee,
        domain=job.domain,
        train=[str(folder / "train.parquet")],
        validation=[],
        tools=tools,
        config=job.config.train,
        seed=job.seed,
        folder=str(folder / f"attempt-{os.getpid()}"),
        checkpoints=str(kept),
        resume=str(resume) if resume else None,
    )
    result = launch(attempt, out=sys.stdout)
    shutil.rmtree(folder / "adapter", ignore_errors=True)
    shutil.move(attempt.adapter, folder / "adapter")
    write_json(folder / "training.json", {**result.metrics, "steps": result.step})
    for left_over in (attempt.root, kept):
        shutil.rmtree(left_over, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(child(work))
