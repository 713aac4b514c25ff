"""The engine that this process holds: loaded when a profile first needs it, kept for the shards that follow."""

from __future__ import annotations

import atexit
from dataclasses import dataclass
from pathlib import Path

from routenator.config import EngineConfig
from routenator.errors import RoutenatorError, StageError
from routenator.extras import require_engine
from routenator.generation.engine import Engine
from routenator.generation.transformers_engine import TransformersEngine
from routenator.generation.vllm_engine import VllmEngine
from routenator.models import resolve_model


@dataclass
class _Loaded:
    """The engine that this process holds; loading one costs more than many batches."""

    config: EngineConfig | None = None
    cache: Path | None = None
    engine: Engine | None = None


_loaded = _Loaded()


def use_engine(config: EngineConfig, cache: Path) -> Engine:
    """The engine of a profile: the one that this process holds, if it is the same and not lost; else that one goes
    and this one is loaded.

    Shards that run one after the other in a process so load a model once. Two models at once would rarely fit.
    """
    held = _loaded.engine
    if held is None or held.lost or (_loaded.config, _loaded.cache) != (config, cache):
        release_engine()
        held = _loaded.engine = open_engine(config, cache)
        _loaded.config, _loaded.cache = config, cache
        atexit.register(release_engine)
    return held


def release_engine() -> None:
    """Let this process's engine go: after a failure, before another stage needs the memory, at exit. Safe to repeat."""
    engine, _loaded.engine = _loaded.engine, None
    atexit.unregister(release_engine)
    if engine is not None:
        engine.close()


def open_engine(config: EngineConfig, cache: Path) -> Engine:
    """Load the model of a profile.

    Args:
        config: which model and how to run it.
        cache: folder of prepared weights (routenator/models.py).

    Raises:
        InputError: there is no such model, or a package is missing.
        StageError: the engine does not start; its own error is in the message.
    """
    require_engine(config.engine, guided=config.guided)
    model = resolve_model(config.model, cache)
    name = config.model.rstrip("/").rsplit("/", 1)[-1].removeprefix("package:")
    try:
        if config.engine == "vllm":
            return VllmEngine(name, model, config)
        return TransformersEngine(name, model, config)
    except RoutenatorError:
        raise
    except Exception as error:
        raise StageError(
            f"the {config.engine} engine of {config.model} does not start: {type(error).__name__}: {error}"
        ) from error
