"""Experiment trackers: transformers' callbacks, which also get the earlier curve when training resumes."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState
from transformers.integrations import get_reporting_integration_callbacks

from routenator.errors import InputError

_NO_METRICS = ("step", "max_steps", "seconds")  # keys of the metrics file that are not passed to trackers


class Replay(TrainerCallback):
    """Replays to the trackers, at the start, what was logged up to the checkpoint.

    A killed attempt's events are deleted with its folder, so each attempt logs the whole curve from the first step.
    """

    def __init__(self, trackers: list[TrainerCallback], metrics_file: Path) -> None:
        self.trackers = trackers
        self.metrics_file = metrics_file

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        if not state.is_world_process_zero or not self.metrics_file.is_file():
            return
        for text in self.metrics_file.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            then = copy.copy(state)
            then.global_step, then.epoch = line["step"], line["epoch"]
            logs = {key: value for key, value in line.items() if key not in _NO_METRICS}
            for tracker in self.trackers:
                tracker.on_log(args, then, control, logs=logs, model=more.get("model"))


def add_tracker(trainer: Trainer, name: str, events: Path, metrics_file: Path) -> None:
    """Add an experiment tracker to a trainer.

    Args:
        trainer: callbacks that add values to the logs must have been added to it before.
        name: as in transformers' ``report_to``.
        events: folder for TensorBoard's files; other trackers are configured by their own environment variables.
        metrics_file: lines logged up to the checkpoint that training resumes from; may not exist.

    Raises:
        InputError: the tracker is not installed.
    """
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(events)
    try:
        trackers = [kind() for kind in get_reporting_integration_callbacks([name])]
    except (RuntimeError, ImportError) as error:
        raise InputError(f"this tracker is not installed: {error}", key="train.tracker", found=name) from error
    for tracker in [*trackers, Replay(trackers, metrics_file)]:
        trainer.add_callback(tracker)
