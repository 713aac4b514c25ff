"""How many bytes a stage will write: for the check before a run, and for what a task says when a disk is full."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.plan import Run
from routenator.config import RunConfig

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
REPORT_BYTES = 20 * 1024**2


def estimate_bytes(config: RunConfig, tools_bytes: int, requested: Sequence[int] | None = None) -> dict[str, int]:
    """Bytes that each stage will write, roughly: rows times measured bytes a row.

    A request becomes a parquet row, then a candidate (its columns again, query and raw reply). Of the candidates
    ``dataset.size`` become examples: parquet, and one JSON line in each format, which repeats the API; the format for
    Parquet holds it once.

    Args:
        tools_bytes: bytes of the API as JSON.
        requested: rows of each stratum, where the plan has its own numbers.
    """
    size = config.dataset.size
    routes = config.generate.routes
    factors = config.generate.oversample
    used = (
        [factors.get(route, 1.0) for route, share in routes.items() if share > 0] if routes else list(factors.values())
    )
    requests = int(size * max(used, default=1.0)) if requested is None else sum(requested)
    formats = config.merge.formats
    example = EXAMPLE_BYTES * (1 + len(formats)) + tools_bytes * sum(name != "openai_parquet" for name in formats)
    return {
        "sample": requests * REQUEST_BYTES,
        "generate": requests * CANDIDATE_BYTES,
        "merge": size * example,
        "train": TRAIN_BYTES,
        "evaluate": PREDICTION_BYTES * 10_000,
        "report": REPORT_BYTES,
    }


def shard_bytes(run: Run, stage: str) -> int:
    """Bytes that one shard of a stage will write: its part of the stage's."""
    tools = (run.domain_dir / "functions.json").stat().st_size
    return round(estimate_bytes(run.config, tools, run.plan.requested)[stage] / run.plan.stages[stage].shards)
