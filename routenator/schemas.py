"""Arrow schemas of the files passed between stages.

JSON columns are stored as text, so that Arrow neither adds nulls to objects nor merges their types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

AND = " + "  # between the functions of a row with several calls

REQUEST_COLUMNS = {
    "index": "int64",  # position in [0, N); the request is a pure function of (plan seed, index, domain)
    "stratum": "int32",  # row of strata.json
    "seed": "int64",  # non-negative, below 2**63: everything random about this row derives from it
    "path": "list<int32>",  # the walk: each node's position within its type, in the order of the function's path
    "record": "int32",  # position of the metadata record in the domain, or null
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
    "slots": "string",  # JSON [{slot: its wording in the query}, ...], one object a call; present slots only
    "calls": "string",  # JSON [{"name": ..., "arguments": {...}}, ...]: the gold calls, see routenator/domain/calls.py
    "reply": "string",  # what the assistant says in a row without a call; null otherwise
    "today": "string",  # the day that the prompt states, ISO; null where the domain has none
    "draft": "string",  # a heuristic query for the same call (on the heuristic route, the query itself)
    "record": "string",  # id of the metadata record, or null
}

CANDIDATE_COLUMNS = {
    **DETAIL_COLUMNS,
    "query": "string",  # the generated query, cleaned
    "raw": "string",  # the model's reply, unchanged; null on the heuristic route
    "generator": "string",  # heuristic | the model's name | described+<model>
    "prompt_tokens": "int32",
    "completion_tokens": "int32",
    "accepted": "bool_",
    "reason": "string",  # code of the first failed check, null if accepted
    "detail": "string",  # what that check found
}

EXAMPLE_COLUMNS = {
    "index": "int64",
    "query": "string",
    "calls": "string",  # JSON [{"name": ..., "arguments": {...}}, ...]; [] for no call
    "reply": "string",  # what the assistant says in a row without a call; null otherwise
    "hidden": "list<string>",  # functions that the prompt of this row must not show; null otherwise
    "today": "string",  # the day that the prompt states, ISO; null where the domain has none
    "function": "string",
    "category": "string",
    "route": "string",
    "template": "string",
    "length": "string",
    "language": "string",
    "words": "int32",
    "group": "string",  # rows of a group are always in the same split
    "split": "string",  # train | validation
}


NEWER_COLUMNS = ("today",)  # files of earlier versions lack these; they count as null


def arrow_schema(columns: dict[str, str]) -> pa.Schema:
    """Return the Arrow schema for one of this module's column tables."""
    import pyarrow as pa

    def of(kind: str) -> pa.DataType:
        return pa.list_(of(kind[5:-1])) if kind.startswith("list<") else getattr(pa, kind)()

    return pa.schema([(name, of(kind)) for name, kind in columns.items()])
