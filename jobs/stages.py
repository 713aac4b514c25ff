"""The stages of a run. A new one is a module ``jobs/NAME.py`` and an entry of ``STAGES``.

Plans, submissions, the local driver and the status derive from the entries what they need to know of a stage. What its
output depends on is said in slurm/planning/fingerprints.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

MIB = 1024**2
GIB = 1024**3
# Bytes a row on disk. Measured on the domain `creative` (5,000 rows, heuristic route): 23 a request, 133 a candidate,
# 55 an example in parquet and 300 a JSON line besides the API; doubled and more, because models' replies and other
# domains' arguments are longer.
REQUEST_BYTES = 60
CANDIDATE_BYTES = 500
EXAMPLE_BYTES = 600
PREDICTION_BYTES = 2000
# An adapter, its optimiser's state and three checkpoints of it; the trained model's size is not known before it is
# loaded.
TRAIN_BYTES = 2 * GIB
SMALL_BYTES = 20 * MIB


class Volume(NamedTuple):
    """What a run will have of everything, by which the size of its stages' output is estimated.

    Attributes:
        requests: rows of the sample stage, and so of the generate stage.
        examples: rows of the data set.
        example_bytes: of an example, in all formats together.
    """

    requests: int
    examples: int
    example_bytes: int


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        needs: the stages whose output it reads, of which all must be done before it starts.
        published: what the run directory shows of a finished stage: name there -> path below the stage's directory.
        is_sharded: whether it is cut into ``NAME.shards`` shards, as the config says; else it has one.
        is_brief: whether a shard lasts seconds, so that a task should work through many.
        takes_nodes: whether a task can use several nodes.
        disk_bytes: about how much it writes, all shards together.
    """

    needs: tuple[str, ...] = ()
    published: Mapping[str, str] = field(default_factory=dict)
    is_sharded: bool = False
    is_brief: bool = False
    takes_nodes: bool = False
    disk_bytes: Callable[[Volume], int] = lambda volume: SMALL_BYTES


_BEFORE_REPORT: dict[str, Stage] = {
    "sample": Stage(is_sharded=True, is_brief=True, disk_bytes=lambda volume: volume.requests * REQUEST_BYTES),
    "generate": Stage(needs=("sample",), is_sharded=True, disk_bytes=lambda volume: volume.requests * CANDIDATE_BYTES),
    "merge": Stage(
        needs=("generate", "sample"),
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
# In the order of a run: a stage stands behind all that it needs. The report reads every other stage.
STAGES: dict[str, Stage] = {
    **_BEFORE_REPORT,
    "report": Stage(needs=tuple(reversed(_BEFORE_REPORT)), published={"report": "report"}),
}


def up_to(last: str) -> tuple[str, ...]:
    """The names of the stages up to and with one."""
    names = tuple(STAGES)
    return names[: names.index(last) + 1]


DATA_STAGES = up_to("merge")  # of runs that end with a data set
