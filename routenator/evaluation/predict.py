"""Answers to the golden queries by several engines at once: Ray actors over the task's nodes, each with one engine."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from routenator.errors import InputError, RoutenatorError, StageError
from routenator.evaluation.cluster import ray_instance
from routenator.evaluation.engines import EngineSpec, GreedyEngine, merge_adapter, open_engine
from routenator.evaluation.parse import Reply
from routenator.evaluation.verdict import Verdict
from routenator.generation.vllm_engine import on_cpu
from routenator.nodes import ALONE, Nodes
from routenator.training.prompts import Style

Progress = Callable[[int, int], None]

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TRACE = 12  # lines of traceback in an error
# Queries that an actor is given at once: fixed, since an answer must not depend on the number of actors.
AT_ONCE = 32


@dataclass(frozen=True)
class PromptSet:
    """A model to be asked, the base model alone or with the adapter, and what it is asked.

    Attributes:
        style: of the prompts.
        adapted: with the adapter.
        prompts: token ids of each query's prompt.
    """

    style: Style
    adapted: bool
    prompts: Sequence[Sequence[int]] = ()


@dataclass(frozen=True)
class Answers:
    """What a model said to one set of prompts, and how it is judged.

    Attributes:
        texts: in the order of the prompts.
        seconds: from when its first batch was given out to its last answer, loading included; with several actors, the
            end of one side and the beginning of the next run at the same time.
        engine: which engine it was.
        latencies: seconds that each answer took, up to ``AT_ONCE`` being given in one engine at the same time; loading
            excluded.
        replies, verdicts: of each text, once it is judged (``routenator.evaluation.run``).
    """

    texts: list[str]
    seconds: float
    engine: str
    latencies: list[float]
    replies: Sequence[Reply] = ()
    verdicts: Sequence[Verdict] = ()


def ask(
    sides: dict[str, PromptSet],
    spec: EngineSpec,
    workers: int,
    scratch: Path,
    *,
    progress: Progress = lambda done, total: None,
    nodes: Nodes = ALONE,
) -> dict[str, Answers]:
    """Ask all sides all their queries.

    Args:
        sides: by name, asked in this order.
        spec: base model and adapter; an adapter is needed if a side is adapted.
        workers: actors, spread over the nodes, at most one a GPU.
        scratch: a folder that all nodes see, for merged weights.
        progress: called with (queries done, queries of all sides).
        nodes: the task's nodes; this must be the first.

    Raises:
        InputError: the model or adapter is not what it should be.
        StageError: an actor died, or Ray or an engine does not start.
    """

    cpu = on_cpu()
    total = sum(len(side.prompts) for side in sides.values())
    specs = _specs(sides, spec, scratch, merge=cpu and spec.engine == "vllm")
    batches = [
        _Batch(
            name, low, specs[name], side.adapted and specs[name].adapter is not None, side.prompts[low : low + AT_ONCE]
        )
        for name, side in sides.items()
        for low in range(0, len(side.prompts), AT_ONCE)
    ]
    workers = max(1, min(workers, len(batches)))
    texts: dict[str, list[str]] = {name: [""] * len(side.prompts) for name, side in sides.items()}
    latencies: dict[str, list[float]] = {name: [0.0] * len(side.prompts) for name, side in sides.items()}
    given: dict[str, float] = {}
    ended: dict[str, float] = {}
    done, began = 0, time.monotonic()
    with ray_instance(max(workers, len(os.sched_getaffinity(0))), nodes):
        for batch, answers, seconds, start in _answers(batches, workers, gpus=0 if cpu else 1):
            texts[batch.side][batch.low : batch.low + len(answers)] = answers
            latencies[batch.side][batch.low : batch.low + len(answers)] = seconds
            given[batch.side] = min(start, given.get(batch.side, start))
            ended[batch.side] = time.monotonic()
            done += len(answers)
            progress(done, total)
    return {
        name: Answers(
            texts[name], round(ended.get(name, began) - given.get(name, began), 3), specs[name].engine, latencies[name]
        )
        for name in sides
    }


@dataclass(frozen=True)
class _Batch:
    side: str
    low: int
    spec: EngineSpec
    adapted: bool
    prompts: Sequence[Sequence[int]]


class _Actor:
    """One engine in a process of its own; it loads another model when a batch needs it."""

    def __init__(self) -> None:
        self._spec: EngineSpec | None = None
        self._engine: GreedyEngine | None = None

    def answer(
        self, spec: EngineSpec, adapted: bool, prompts: Sequence[Sequence[int]]
    ) -> tuple[list[str], list[float]]:
        """The answers, and the seconds that each took."""
        if self._engine is None or spec != self._spec:
            if self._engine is not None:
                self._engine.close()
            self._engine = open_engine(spec)
            self._spec = spec
        return self._engine.answer(prompts, adapted), self._engine.seconds

    def close(self) -> None:
        """Remove scratch files; Ray ends the process without asking."""
        if self._engine is not None:
            self._engine.close()


def _answers(batches: list[_Batch], workers: int, gpus: int) -> Iterator[tuple[_Batch, list[str], list[float], float]]:
    """Each batch with its answers, the seconds that each took, and when it was given out (monotonic seconds), as they
    come.

    Batches are given out in order; an actor gets its next when it has answered one.
    """
    import ray
    from ray.exceptions import RayActorError, RayError, RayTaskError

    # Spread over the nodes; an actor that dies is an error, not something to be hidden by starting it again.
    remote: Any = ray.remote(_Actor).options(
        num_cpus=1, num_gpus=gpus, scheduling_strategy="SPREAD", max_restarts=0, max_task_retries=0
    )
    have = ray.cluster_resources()
    # An actor that finds no place would wait for ever, and its batches with it.
    actors = [remote.remote() for _ in range(min(workers, int(have.get("GPU" if gpus else "CPU", 0))))]
    if not actors:
        raise StageError(f"Ray found no {'GPU' if gpus else 'CPU'} on the task's nodes")
    waiting = list(reversed(batches))
    asked: dict[Any, tuple[Any, _Batch, float]] = {}

    def give(actor: Any) -> None:
        if waiting:
            batch = waiting.pop()
            asked[actor.answer.remote(batch.spec, batch.adapted, batch.prompts)] = (actor, batch, time.monotonic())

    for actor in actors:
        give(actor)
    while asked:
        (ready,), _ = ray.wait(list(asked), num_returns=1)
        actor, batch, start = asked.pop(ready)
        try:
            answers, seconds = ray.get(ready)
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, RoutenatorError):
                raise cause from None
            trace = "\n".join(_COLOUR.sub("", str(error)).splitlines()[-_TRACE:])
            raise StageError(f"an evaluation worker failed: {type(cause).__name__}: {cause}\n{trace}") from None
        except RayActorError as error:
            raise StageError(f"an evaluation worker died (killed for memory?): {error}") from None
        except RayError as error:
            raise StageError(f"an evaluation worker was lost: {type(error).__name__}: {error}") from None
        yield batch, answers, seconds, start
        give(actor)
    ray.get([actor.close.remote() for actor in actors])


def _specs(sides: dict[str, PromptSet], spec: EngineSpec, scratch: Path, *, merge: bool) -> dict[str, EngineSpec]:
    """What each side loads: one engine for both where it can serve the adapter beside the base model."""
    if any(side.adapted for side in sides.values()) and spec.adapter is None:
        raise InputError("there is no adapter to be asked", key="model", found=spec.base)
    if not merge or spec.adapter is None:
        plain = spec if any(side.adapted for side in sides.values()) else replace(spec, adapter=None)
        return dict.fromkeys(sides, plain)
    specs = {name: replace(spec, adapter=None) for name in sides}
    for name, side in sides.items():
        if side.adapted:
            merged = scratch / "merged"
            if not merged.is_dir():
                merge_adapter(spec.base, spec.adapter, merged)
            specs[name] = replace(spec, base=str(merged), adapter=None)
    return specs
