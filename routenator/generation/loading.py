"""Keeps the engine of this process: loaded when first needed, then reused for the shards that follow."""

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
    """The loaded engine and its config; loading takes longer than many batches."""

    config: EngineConfig | None = None
    cache: Path | None = None
    engine: Engine | None = None


_loaded = _Loaded()


def use_engine(config: EngineConfig, cache: Path) -> Engine:
    """Return the engine of a profile; reuse the loaded one if it matches and still works, else replace it.

    So shards that run one after the other in a process load a model once. The old engine is closed first, since two
    models at once would rarely fit into memory.
    """
    held = _loaded.engine
    if held is None or held.lost or (_loaded.config, _loaded.cache) != (config, cache):
        release_engine()
        held = _loaded.engine = open_engine(config, cache)
        _loaded.config, _loaded.cache = config, cache
        atexit.register(release_engine)
    return held


def release_engine() -> None:
    """Close the engine: after a failure, before another stage needs its memory, at exit. Safe to call again."""
    engine, _loaded.engine = _loaded.engine, None
    atexit.unregister(release_engine)
    if engine is not None:
        engine.close()


def open_engine(config: EngineConfig, cache: Path) -> Engine:
    """Load the model of a profile.

    Args:
        config: which model to run, and how.
        cache: folder of prepared weights (routenator/models.py).

    Raises:
        InputError: there is no such model, or a package is missing.
        StageError: the engine did not start; the message includes its own error.
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
            f"the {config.engine} engine of {config.model} failed to start: {type(error).__name__}: {error}"
        ) from error
