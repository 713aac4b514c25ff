"""Experiment trackers: transformers' callbacks, told the whole curve also when training goes on from a checkpoint."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState
from transformers.integrations import get_reporting_integration_callbacks

from routenator.errors import InputError

_NO_METRICS = ("step", "max_steps", "seconds")  # of a line of the metrics file


class Replay(TrainerCallback):
    """Tells the trackers at the start what was logged before the checkpoint.

    An attempt's events go with its folder when it is killed, so each attempt's tracker gets the curve from its first
    step.
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
    """Log to a tracker, too.

    Args:
        trainer: what it should log beyond transformers' values must be added by callbacks before this one.
        name: as transformers' ``report_to`` calls it.
        events: where TensorBoard's files go; other trackers are configured by their own environment variables.
        metrics_file: lines logged before the checkpoint that is gone on from; may not be there.

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
