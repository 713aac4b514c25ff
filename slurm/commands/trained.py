"""Finds the trained model that a command names: a run directory, or an adapter's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from jobs.plan import Run
from routenator.config import EvaluateConfig
from routenator.errors import InputError
from routenator.handoff.trained import TrainedModel, open_trained
from routenator.models import cache_folder
from routenator.training.adapter import is_adapter
from slurm.commands.shared import load_run

Trained = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="A run directory, or the folder of a trained adapter.", show_default=False),
]
Base = Annotated[
    str | None,
    typer.Option("--base", help="Its base model. Default: the one named by the adapter.", show_default=False),
]


@dataclass(frozen=True)
class Found:
    """A trained model, and the run that made it if that is known.

    Attributes:
        run: the run, or None for an adapter's folder.
        model: the model.
        cache: folder of prepared weights.
    """

    run: Run | None
    model: TrainedModel
    cache: Path

    @property
    def settings(self) -> EvaluateConfig:
        """The run's settings for evaluation, or the defaults."""
        return self.run.config.evaluate if self.run is not None else EvaluateConfig()


def find_trained(path: Path, base: str | None, cache: Path) -> Found:
    """Open a trained model.

    Args:
        path: a run directory or an adapter's folder.
        base: the base model, if not the one that the adapter names.
        cache: folder of prepared weights for an adapter's folder; a run names its own.

    Raises:
        InputError: it is neither, or the run has not trained yet.
    """
    if not (path / "plan.json").is_file() and is_adapter(path):
        return Found(None, open_trained(path, cache, base), cache)
    run = load_run(path)
    adapter = run.path / "adapter"
    if not is_adapter(adapter):
        raise InputError(
            "this run has no adapter yet",
            file=path,
            found="no adapter/" if "train" in run.plan.stages else "a run that ends with its data set",
            expected=f"a run that has trained; `status {path}` shows how far it is",
        )
    own = cache_folder(run.config.cache)
    return Found(run, open_trained(adapter, own, base), own)
