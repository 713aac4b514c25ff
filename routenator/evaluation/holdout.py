"""A synthetic hold-out for domains without a golden set: rows of the validation split, which no training step sees.

Its queries come from the same patterns as the training data, so its scores say that training worked and no more. Every
place that shows them calls them synthetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from routenator.domain.calls import read_calls
from routenator.domain.functions import Function
from routenator.domain.golden import GoldenCall, GoldenExample
from routenator.errors import StageError

SYNTHETIC = "synthetic hold-out"
_MOST = 1000


def held_out(files: Sequence[Path], functions: Mapping[str, Function]) -> list[GoldenExample]:
    """The first rows of a validation split as examples with their calls.

    Args:
        files: the split's Parquet files.

    Raises:
        StageError: the split has no rows.
    """
    import polars as pl

    frame = None
    if files:
        rows = pl.scan_parquet(list(files), glob=False).head(_MOST)
        known = rows.collect_schema().names()
        lacking = [name for name in ("today", "language") if name not in known]  # of an earlier version
        rows = rows.with_columns(**{name: pl.lit(None, dtype=pl.String) for name in lacking})
        frame = rows.select("query", "calls", "hidden", "today", "language").collect()
    examples = []
    for query, text, hidden, today, language in [] if frame is None else frame.iter_rows():
        calls = read_calls(text)
        if all(name in functions for name in (*(call.name for call in calls), *(hidden or ()))):
            golden = tuple(GoldenCall(call.name, call.arguments) for call in calls)
            examples.append(GoldenExample(query, golden, today, tuple(hidden or ()), language))
    if not examples:
        raise StageError(
            "there is no golden set, and the data set has no validation split to score on: set dataset.validation_share"
        )
    return examples
