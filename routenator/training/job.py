"""Files by which the launcher and its workers communicate. The writer is in brackets.

    ATTEMPT/job.json         the job (launcher)
    ATTEMPT/STOP             request to write a checkpoint and exit (launcher)
    ATTEMPT/metrics.jsonl    one line per logged step (rank 0)
    ATTEMPT/tensorboard/     TensorBoard's event files, if it is the tracker (rank 0)
    ATTEMPT/result.json      outcome of the attempt (rank 0)
    ATTEMPT/error-RANK.json  exception of a process that failed (that process)
    ATTEMPT/checkpoint-N/    a checkpoint that is being written; see checkpoints.py (all)
    ATTEMPT/adapter/         the finished adapter (rank 0)

Files instead of signals, because they reach all processes on all nodes in the same way, and the processes can agree on
the step at which to stop.
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
        base_name: name of the base model in the config; goes into the adapter's card.
        train, validation: parquet files with ``query`` and ``call``.
        tools: the API as OpenAI tools.
        seed: seed of adapter weights, order and dropout.
        folder: this attempt's own folder.
        checkpoints: folder of complete checkpoints, on the same file system as ``folder``.
        resume: checkpoint to resume from.
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
    """The outcome of an attempt.

    Attributes:
        finished: True if all steps are done and the adapter is written; False if stopped with a checkpoint.
        step, max_steps: optimiser steps done and planned.
        metrics: loss, eval_loss, eval_token_accuracy, eval_exact, tokens, tokens_per_second, seconds by part ...
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    finished: bool
    step: int
    max_steps: int
    metrics: dict[str, float]
