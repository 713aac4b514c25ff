"""Registry of the stages of a run. A new stage is a module ``jobs/NAME.py`` and an entry in ``STAGES``.

Plans, submissions, the local driver and the status take everything they need to know about a stage from its entry.
slurm/planning/fingerprints.py lists what a stage's output depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

from routenator.config import RunConfig

MIB = 1024**2
GIB = 1024**3
# Bytes per row on disk. Measured on the domain `creative` (5,000 rows, heuristic route): 23 per request, 133 per
# candidate, 55 per example in parquet and 300 per JSON line without the API; at least doubled here, because models'
# replies and other domains' arguments are longer.
REQUEST_BYTES = 60
CANDIDATE_BYTES = 500
DECISION_BYTES = 21
EXAMPLE_BYTES = 600
PREDICTION_BYTES = 2000
# An adapter, its optimizer's state and three checkpoints. A guess: the model's size is unknown until it is loaded.
TRAIN_BYTES = 2 * GIB
SMALL_BYTES = 20 * MIB


class Volume(NamedTuple):
    """The amounts from which the size of the stages' outputs is estimated.

    Attributes:
        requests: rows of the sample stage, and so of the generate stage.
        further: rows of the second round, at most.
        examples: rows of the data set.
        example_bytes: bytes per example, all formats together.
    """

    requests: int
    further: int
    examples: int
    example_bytes: int


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        needs: the stages whose output it reads; all of them must be done before it starts.
        published: links in the run directory to a finished stage's outputs: name -> path in the stage's directory.
        shards: its number of shards by the config; None: it has one.
        like: the stage whose resources it takes, except for those that a profile sets for it.
        is_brief: whether a shard takes only seconds, so that a task should work through many.
        takes_nodes: whether a task can use several nodes.
        disk_bytes: estimates the bytes that it writes, all shards together.
    """

    needs: tuple[str, ...] = ()
    published: Mapping[str, str] = field(default_factory=dict)
    shards: Callable[[RunConfig], int] | None = None
    like: str | None = None
    is_brief: bool = False
    takes_nodes: bool = False
    disk_bytes: Callable[[Volume], int] = lambda volume: SMALL_BYTES


_BEFORE_REPORT: dict[str, Stage] = {
    "sample": Stage(
        shards=lambda config: config.sample.shards,
        is_brief=True,
        disk_bytes=lambda volume: volume.requests * REQUEST_BYTES,
    ),
    "generate": Stage(
        needs=("sample",),
        shards=lambda config: config.generate.shards,
        disk_bytes=lambda volume: volume.requests * CANDIDATE_BYTES,
    ),
    "shortfall": Stage(
        needs=("generate", "sample"),
        like="merge",
        disk_bytes=lambda volume: volume.requests * DECISION_BYTES + volume.further * REQUEST_BYTES,
    ),
    "refill": Stage(
        needs=("shortfall", "sample"),
        # So many that a shard has no more requests than one of generate.
        shards=lambda config: max(1, ceil(config.generate.shards * config.generate.refill)),
        like="generate",
        disk_bytes=lambda volume: volume.further * CANDIDATE_BYTES,
    ),
    "merge": Stage(
        needs=("refill", "shortfall", "generate", "sample"),
        published={"dataset": "dataset"},
        disk_bytes=lambda volume: volume.examples * volume.example_bytes,
    ),
    "train": Stage(
        needs=("merge",), published={"adapter": "adapter"}, takes_nodes=True, disk_bytes=lambda volume: TRAIN_BYTES
    ),
    "evaluate": Stage(
        needs=("train", "merge"),
        published={"scores.json": "scores.json", "predictions.jsonl": "predictions.jsonl"},
        takes_nodes=True,
        disk_bytes=lambda volume: PREDICTION_BYTES * 10_000,
    ),
}
# In execution order: a stage comes after all stages it needs. The report reads every other stage of its run.
STAGES: dict[str, Stage] = {
    **_BEFORE_REPORT,
    "report": Stage(needs=tuple(reversed(_BEFORE_REPORT)), published={"report": "report"}),
}


def up_to(last: str) -> tuple[str, ...]:
    """Return the names of the stages up to and including one, and of the report from the data set on."""
    names = tuple(STAGES)
    stages = names[: names.index(last) + 1]
    return stages if "merge" not in stages or "report" in stages else (*stages, "report")


SECOND_ROUND = ("shortfall", "refill")  # asks once more for the strata that are short of their quota
DATA_STAGES = ("sample", "generate", "merge")  # what makes a data set in one round


def planned_stages(config: RunConfig, stages: Iterable[str]) -> tuple[str, ...]:
    """Return these stages without the second round where the config has none."""
    return tuple(stage for stage in stages if config.generate.refill or stage not in SECOND_ROUND)
