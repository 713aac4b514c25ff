"""Candidates of the heuristic route, whose draft is the query.

Works on whole tables; only rows that the compiled prefilter cannot accept are checked one by one.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from routenator.generation.candidate import WRITTEN_COLUMNS, candidate_table, to_check
from routenator.schemas import arrow_schema
from routenator.validation.checks import CHECKS, Context, first_failure
from routenator.validation.prefilter import COVERED, surely_accepted


def candidates(details: pa.Table, context: Context) -> pa.Table:
    """Turn requests into rows of ``CANDIDATE_COLUMNS``, in the same order.

    Args:
        details: rows of ``DETAIL_COLUMNS``, all of the heuristic route.
        context: passed to the checks.
    """
    count = details.num_rows
    sure = surely_accepted(details, context)
    reasons: list[str | None] = [None] * count
    seen: list[str | None] = [None] * count
    # A check that the prefilter does not cover must see every row.
    every = any(check not in COVERED for check, _ in CHECKS.values())
    doubtful = np.arange(count) if every else np.flatnonzero(~sure)
    for row, request in zip(doubtful.tolist(), details.take(doubtful).to_pylist(), strict=True):
        failure = first_failure(
            to_check(context.domain, request, request["draft"]), context, passed=COVERED if sure[row] else ()
        )
        if failure is not None:
            reasons[row], seen[row] = failure
    nothing = pa.array(np.zeros(count, dtype=np.int32))
    columns = {
        "query": details["draft"],
        "raw": pa.nulls(count, pa.string()),
        "generator": details["route"],
        "prompt_tokens": nothing,
        "completion_tokens": nothing,
        "reason": pa.array(reasons, pa.string()),
        "detail": pa.array(seen, pa.string()),
    }
    schema = arrow_schema(WRITTEN_COLUMNS)
    return candidate_table(details, pa.table([columns[name] for name in schema.names], schema=schema))
