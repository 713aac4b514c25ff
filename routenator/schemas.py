"""Arrow schemas of what crosses a file between stages. JSON columns are text, so Arrow fills no nulls into them and
mixes no types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

REQUEST_COLUMNS = {
    "index": "int64",  # position in [0, N); the request is a pure function of (plan seed, index, domain)
    "stratum": "int32",  # row of strata.json
    "seed": "int64",  # non-negative, below 2**63: everything random about this row derives from it
    "path": "list<int32>",  # the walk: each node's position within its type, in the order of the function's path
    "record": "int32",  # number of the metadata record in the domain's order, or null
}

DETAIL_COLUMNS = {
    "index": "int64",  # index, stratum and seed as in the request
    "stratum": "int32",
    "function": "string",
    "category": "string",  # canonical value; "none" where the function has no category
    "route": "string",  # one of routenator/routes.py
    "template": "string",  # "<route>/<file stem>"
    "length": "string",  # length bucket's name
    "language": "string",
    "seed": "int64",
    "path": "string",  # JSON {step name: node id}
    "slots": "string",  # JSON {slot: surface as the query must say it}; present slots only, in schema order
    "arguments": "string",  # JSON {parameter: value}: the gold call's arguments
    "draft": "string",  # a heuristic query for the same call (the query itself on the heuristic route)
    "record": "string",  # id of the metadata record, or null
}

CANDIDATE_COLUMNS = {
    **DETAIL_COLUMNS,
    "query": "string",  # the generated query, cleaned
    "raw": "string",  # the model's reply, untouched; null on the heuristic route
    "generator": "string",  # heuristic | the model's name | described+<model>
    "prompt_tokens": "int32",
    "completion_tokens": "int32",
    "accepted": "bool_",
    "reason": "string",  # code of the first check that failed, null if accepted
    "detail": "string",  # what that check saw
}

EXAMPLE_COLUMNS = {
    "index": "int64",
    "query": "string",
    "call": "string",  # JSON {"name": ..., "arguments": {...}}
    "function": "string",
    "category": "string",
    "route": "string",
    "template": "string",
    "length": "string",
    "language": "string",
    "words": "int32",
    "group": "string",  # rows of one group never straddle a split
    "split": "string",  # train | validation
}


def arrow_schema(columns: dict[str, str]) -> pa.Schema:
    """The Arrow schema of one of this module's column tables."""
    import pyarrow as pa

    def of(kind: str) -> pa.DataType:
        return pa.list_(of(kind[5:-1])) if kind.startswith("list<") else getattr(pa, kind)()

    return pa.schema([(name, of(kind)) for name, kind in columns.items()])
