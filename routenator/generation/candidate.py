"""Candidates: requests with the query written for each and the result of the checks.

The only place that makes rows of ``CANDIDATE_COLUMNS``; each route supplies rows of ``WRITTEN_COLUMNS``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from routenator.domain.calls import read_calls
from routenator.domain.domain import Domain
from routenator.schemas import CANDIDATE_COLUMNS, DETAIL_COLUMNS, arrow_schema
from routenator.validation.checks import Candidate

if TYPE_CHECKING:
    import pyarrow as pa

_ANY = (1, 1 << 30)  # words of rows without a call or with several, whose length is ``none``
# The columns that a candidate adds to its request. ``accepted`` follows from ``reason``: no reason means accepted.
WRITTEN_COLUMNS = {
    name: kind for name, kind in CANDIDATE_COLUMNS.items() if name not in DETAIL_COLUMNS and name != "accepted"
}


def candidate_table(details: pa.Table, written: pa.Table) -> pa.Table:
    """Join requests and what was written for them into rows of ``CANDIDATE_COLUMNS``.

    Args:
        details: rows of ``DETAIL_COLUMNS``.
        written: rows of ``WRITTEN_COLUMNS``, in the same order.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = {name: table[name] for table in (details, written) for name in table.column_names}
    columns["accepted"] = pc.is_null(written["reason"])
    schema = arrow_schema(CANDIDATE_COLUMNS)
    return pa.table([columns[name] for name in schema.names], schema=schema)


def to_check(domain: Domain, request: Mapping[str, Any], query: str) -> Candidate:
    """Build the view of a row that the checks read.

    Args:
        domain: the domain.
        request: a row of ``DETAIL_COLUMNS``.
        query: the query written for it.
    """
    return Candidate(
        query=query,
        calls=read_calls(request["calls"]),
        slots=json.loads(request["slots"]),
        category=request["category"],
        bounds=domain.statistics.length_buckets.get(request["length"], _ANY),
        language=request["language"],
        template=request["template"],
        draft=request["draft"],
    )
