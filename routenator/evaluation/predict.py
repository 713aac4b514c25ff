"""Answers the golden queries with several engines in parallel: one per Ray actor, spread over the task's nodes."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from routenator.chat.replies import Reply
from routenator.chat.templates import Style
from routenator.errors import InputError, RoutenatorError, StageError
from routenator.evaluation.cluster import ray_instance
from routenator.evaluation.engines import EngineSpec, Finished, GreedyEngine, merge_adapter, open_engine
from routenator.evaluation.verdict import Verdict
from routenator.generation.vllm_engine import on_cpu
from routenator.nodes import ALONE, Nodes

Progress = Callable[[int, int], None]

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TRACE = 12  # lines of traceback in an error
# Most queries in one batch: far more than an engine decodes together, because the last replies of each batch run almost
# alone. Fixed: the number of workers changes no answer.
_AT_ONCE = 512
_SAYS_S = 1.0  # between two messages of an actor


@dataclass(frozen=True)
class PromptSet:
    """The prompts for a model, which is the base model alone or with the adapter.

    Attributes:
        style: style of the prompts.
        adapted: True to use the adapter.
        guided: True to restrict replies to valid calls of the API, or to none.
        prompts: token ids of each query's prompt.
        guide: the structural tag of a restricted set.
    """

    style: Style
    adapted: bool
    guided: bool = False
    prompts: Sequence[Sequence[int]] = ()
    guide: str | None = None


@dataclass(frozen=True)
class Answers:
    """A model's answers to one set of prompts, with their verdicts.

    Attributes:
        texts: answers in the order of the prompts.
        seconds: from the dispatch of its first batch to its last answer, including the time to load the model. With
            several actors, the end of one set and the start of the next overlap.
        engine: name of the engine.
        latencies: seconds per answer, without loading and waiting, while others are decoded beside it.
        cut_off: answers that reached the most tokens that they may have.
        replies, verdicts: one per text, filled in by ``routenator.evaluation.run``.
    """

    texts: list[str]
    seconds: float
    engine: Literal["vllm", "transformers"]
    latencies: list[float]
    cut_off: int = 0
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
    """Answer all sets of prompts.

    Args:
        sides: the sets by name, in the order in which they are run.
        spec: base model and adapter; an adapter is required if a set is adapted.
        workers: actors, spread over the nodes, at most one per GPU.
        scratch: a folder that all nodes share, for merged weights.
        progress: called with (queries done, total queries).
        nodes: the task's nodes; this must be the first.

    Raises:
        InputError: the model or adapter is invalid.
        StageError: an actor died, or Ray or an engine failed to start.
    """

    cpu = on_cpu()
    total = sum(len(side.prompts) for side in sides.values())
    specs = _specs(sides, spec, scratch, merge=cpu and spec.engine == "vllm")
    batches = [
        _Batch(
            name,
            low,
            specs[name],
            side.adapted and specs[name].adapter is not None,
            side.prompts[low:high],
            side.guide,
        )
        for name, side in sides.items()
        for low, high in _even(len(side.prompts))
    ]
    workers = max(1, min(workers, len(batches)))
    texts: dict[str, list[str]] = {name: [""] * len(side.prompts) for name, side in sides.items()}
    latencies: dict[str, list[float]] = {name: [0.0] * len(side.prompts) for name, side in sides.items()}
    cut_off = dict.fromkeys(sides, 0)
    given: dict[str, float] = {}
    ended: dict[str, float] = {}
    done, began = 0, time.monotonic()
    with ray_instance(max(workers, len(os.sched_getaffinity(0))), nodes):
        for batch, finished, start in _answers(batches, workers, gpus=0 if cpu else 1):
            for one in finished:
                texts[batch.side][batch.low + one.number] = one.text
                latencies[batch.side][batch.low + one.number] = one.seconds
                cut_off[batch.side] += one.cut_off
            given[batch.side] = min(start, given.get(batch.side, start))
            ended[batch.side] = time.monotonic()
            done += len(finished)
            progress(done, total)
    return {
        name: Answers(
            texts[name],
            round(ended.get(name, began) - given.get(name, began), 3),
            specs[name].engine,
            latencies[name],
            cut_off[name],
        )
        for name in sides
    }


def _even(count: int) -> Iterator[tuple[int, int]]:
    """Yield the first and the last place, exclusive, of as few batches as possible, all of about the same size."""
    batches = -(-count // _AT_ONCE)
    for number in range(batches):
        yield count * number // batches, count * (number + 1) // batches


@dataclass(frozen=True)
class _Batch:
    side: str
    low: int
    spec: EngineSpec
    adapted: bool
    prompts: Sequence[Sequence[int]]
    guide: str | None


class _Actor:
    """One engine in its own process; it loads another model when a batch needs one."""

    def __init__(self) -> None:
        self._spec: EngineSpec | None = None
        self._engine: GreedyEngine | None = None

    def answer(
        self, spec: EngineSpec, adapted: bool, prompts: Sequence[Sequence[int]], guide: str | None
    ) -> Iterator[list[Finished]]:
        """Yield answers as they are finished, about once a second: each message to the driver takes the engine time."""
        if self._engine is None or spec != self._spec:
            if self._engine is not None:
                self._engine.close()
            self._engine = open_engine(spec)
            self._spec = spec
        finished: list[Finished] = []
        last = time.monotonic()
        for some in self._engine.stream(prompts, adapted, guide):
            finished += some
            if time.monotonic() - last >= _SAYS_S:
                yield finished
                finished, last = [], time.monotonic()
        if finished:
            yield finished

    def close(self) -> None:
        """Remove scratch files, because Ray later kills the process without notice."""
        if self._engine is not None:
            self._engine.close()


def _answers(batches: list[_Batch], workers: int, gpus: int) -> Iterator[tuple[_Batch, list[Finished], float]]:
    """Run the batches and yield their answers as they are finished.

    Batches are dispatched in order; an actor gets its next batch when it has answered one.

    Yields:
        (batch, some of its answers, time of its dispatch in monotonic seconds).
    """
    import ray
    from ray.exceptions import RayActorError

    # Spread over the nodes, without restarts: an actor that dies is an error that must show.
    remote: Any = ray.remote(_Actor).options(
        num_cpus=1, num_gpus=gpus, scheduling_strategy="SPREAD", max_restarts=0, max_task_retries=0
    )
    have = ray.cluster_resources()
    # An actor without a free slot would wait forever, and its batches with it.
    actors = [remote.remote() for _ in range(min(workers, int(have.get("GPU" if gpus else "CPU", 0))))]
    if not actors:
        raise StageError(f"Ray found no {'GPU' if gpus else 'CPU'} on the task's nodes")
    waiting = list(reversed(batches))
    asked: dict[Any, tuple[Any, _Batch, float]] = {}

    def give(actor: Any) -> None:
        if waiting:
            batch = waiting.pop()
            stream = actor.answer.remote(batch.spec, batch.adapted, batch.prompts, batch.guide)
            asked[stream] = (actor, batch, time.monotonic())

    for actor in actors:
        give(actor)
    while asked:
        (ready,), _ = ray.wait(list(asked), num_returns=1)
        actor, batch, start = asked[ready]
        finished = _next(ready)
        if finished is not None:
            yield batch, finished, start
        else:
            del asked[ready]
            give(actor)
    with contextlib.suppress(RayActorError):  # all answers are here, so one that died since is missed by nobody
        ray.get([actor.close.remote() for actor in actors])


def _next(stream: Any) -> list[Finished] | None:
    """Return a batch's next answers; None after the last."""
    import ray
    from ray.exceptions import RayActorError, RayError, RayTaskError

    try:
        finished: list[Finished] = ray.get(next(stream))
    except StopIteration:
        return None
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
    return finished


def _specs(sides: dict[str, PromptSet], spec: EngineSpec, scratch: Path, *, merge: bool) -> dict[str, EngineSpec]:
    """Decide what to load for each set: one engine for all where it can serve the adapter beside the base model."""
    if any(side.adapted for side in sides.values()) and spec.adapter is None:
        raise InputError("there is no adapter to evaluate", key="model", found=spec.base)
    if not merge or spec.adapter is None:
        plain = spec if any(side.adapted for side in sides.values()) else replace(spec, adapter=None)
        return dict.fromkeys(sides, plain)
    specs = {name: replace(spec, adapter=None) for name in sides}
    for name, side in sides.items():
        if side.adapted:
            merged = scratch / "merged"
            if not merged.is_dir():
                merge_adapter(spec.base, spec.adapter, merged, dtype=spec.dtype)
            specs[name] = replace(spec, base=str(merged), adapter=None)
    return specs
