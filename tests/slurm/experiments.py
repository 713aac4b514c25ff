"""A small experiment for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.conftest import TINY


def world(folder: Path, model: str | None = None, **changes: Any) -> Path:
    """An experiment of two arms on the tiny domain, and its base; the file."""
    engine = {"model": model or "package:smollm2-135m-instruct"}
    base = {
        "name": "tiny",
        "domain": str(TINY),
        "root": str(folder / "runs"),
        "cluster": "local",
        "dataset": {"size": 60, "validation_share": 0},
        "generate": {"routes": {"heuristic": 1}, "refill": 0},
        "checks": {"length": False},
        "model": {"generator": engine, "trainee": engine["model"], "embedder": "package:all-minilm-l6-v2"},
        "train": {"prompt": "compact", "method": "lora", "deepspeed": False, "max_steps": 2, "batch_size": 2},
        "evaluate": {"engine": "transformers", "before": False, "baselines": False, "max_new_tokens": 8},
    }
    experiment = {
        "name": "try",
        "question": "Does it work?",
        "base": str(folder / "base.yaml"),
        "seeds": [1],
        "reference": "plain",
        "arms": {"plain": {}, "more": {"title": "more steps", "set": {"train.max_steps": 3}}},
        **changes,
    }
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    (folder / "try.yaml").write_text(yaml.safe_dump(experiment, sort_keys=False))
    return folder / "try.yaml"
