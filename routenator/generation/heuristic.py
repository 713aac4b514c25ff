"""Candidates of the heuristic route: the draft is the query. Whole tables at once; what is not surely accepted is
judged row by row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from routenator.schemas import CANDIDATE_COLUMNS, arrow_schema
from routenator.validation.checks import Candidate, Context, first_failure
from routenator.validation.prefilter import surely_accepted

if TYPE_CHECKING:
    import pyarrow as pa

    from routenator.domain.domain import Domain

GENERATOR = "heuristic"


def to_check(domain: Domain, request: Mapping[str, Any], query: str) -> Candidate:
    """What the checks look at.

    Args:
        domain: the domain.
        request: a row of ``DETAIL_COLUMNS``.
        query: the query made for it.
    """
    return Candidate(
        query=query,
        function=request["function"],
        arguments=json.loads(request["arguments"]),
        slots=json.loads(request["slots"]),
        category=request["category"],
        bounds=domain.statistics.length_buckets[request["length"]],
        language=request["language"],
        template=request["template"],
        draft=request["draft"],
    )


def candidates(details: pa.Table, context: Context) -> pa.Table:
    """Rows of ``CANDIDATE_COLUMNS`` in the same order.

    Args:
        details: rows of ``DETAIL_COLUMNS``, all of the heuristic route.
        context: for the checks.
    """
    import numpy as np
    import pyarrow as pa

    count = details.num_rows
    accepted = surely_accepted(details, context)
    reasons: list[str | None] = [None] * count
    seen: list[str | None] = [None] * count
    doubtful = np.flatnonzero(~accepted)
    for row, request in zip(doubtful.tolist(), details.take(doubtful).to_pylist(), strict=True):
        verdict = first_failure(to_check(context.domain, request, request["draft"]), context)
        if verdict is None:
            accepted[row] = True
        else:
            reasons[row], seen[row] = verdict
    nothing = pa.array(np.zeros(count, dtype=np.int32))
    columns = {
        **{name: details[name] for name in details.column_names},
        "query": details["draft"],
        "raw": pa.nulls(count, pa.string()),
        "generator": pa.repeat(pa.scalar(GENERATOR), count),
        "prompt_tokens": nothing,
        "completion_tokens": nothing,
        "accepted": pa.array(accepted),
        "reason": pa.array(reasons, pa.string()),
        "detail": pa.array(seen, pa.string()),
    }
    schema = arrow_schema(CANDIDATE_COLUMNS)
    return pa.table([columns[name] for name in schema.names], schema=schema)
