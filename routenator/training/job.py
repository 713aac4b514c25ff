"""What the launcher tells its workers in a file, and what it hears from them in others.

    ATTEMPT/job.json         the job (launcher)
    ATTEMPT/STOP             asks to write a checkpoint and end (launcher)
    ATTEMPT/metrics.jsonl    one line a logged step (rank 0)
    ATTEMPT/tensorboard/     TensorBoard's event files, if it is the tracker (rank 0)
    ATTEMPT/result.json      how it ended (rank 0)
    ATTEMPT/error-RANK.json  the exception of a process that failed
    ATTEMPT/checkpoint-N/    a checkpoint that is being written; see checkpoints.py
    ATTEMPT/adapter/         the adapter, when finished

Files and not signals, because they reach every process of every node in the same way and at a moment that all agree on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from routenator.config import TrainConfig
from routenator.files import read_json, write_atomic, write_json

LAUNCHER_VARIABLE = "ROUTENATOR_LAUNCHER"  # environment: process id of this node's launcher


class TrainingJob(BaseModel):
    """One attempt at training an adapter.

    Attributes:
        base: folder or hub id of the base model.
        base_name: as the config names it; goes into the adapter's card.
        train, validation: parquet files with ``query`` and ``call``.
        tools: the API as OpenAI tools.
        seed: of adapter weights, order and dropout.
        folder: this attempt's own folder.
        checkpoints: where whole checkpoints are kept, on the same file system as ``folder``.
        resume: checkpoint to go on from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str
    base_name: str
    domain: str
    train: list[str]
    validation: list[str]
    tools: list[dict[str, Any]]
    config: TrainConfig
    seed: int
    folder: str
    checkpoints: str
    resume: str | None = None

    @property
    def root(self) -> Path:
        return Path(self.folder)

    @property
    def file(self) -> Path:
        return self.root / "job.json"

    @property
    def stop_file(self) -> Path:
        return self.root / "STOP"

    @property
    def metrics_file(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def events(self) -> Path:
        return self.root / "tensorboard"

    @property
    def result_file(self) -> Path:
        return self.root / "result.json"

    @property
    def adapter(self) -> Path:
        return self.root / "adapter"

    def error_file(self, rank: int) -> Path:
        return self.root / f"error-{rank}.json"

    def write(self) -> None:
        write_json(self.file, self.model_dump())

    def ask_to_stop(self) -> None:
        write_atomic(self.stop_file, "")

    @staticmethod
    def read(file: Path) -> TrainingJob:
        return TrainingJob.model_validate(read_json(file))


class TrainingResult(BaseModel):
    """How an attempt ended.

    Attributes:
        finished: all steps done and the adapter written; false: stopped, with a checkpoint.
        step, max_steps: optimiser steps done and planned.
        metrics: loss, eval_loss, eval_token_accuracy, eval_exact, tokens, tokens_per_second, seconds by part ...
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    finished: bool
    step: int
    max_steps: int
    metrics: dict[str, float]
