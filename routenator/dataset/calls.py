"""Calls of candidates and examples as columns, without parsing where a row has one call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from routenator.domain.calls import CLOSING, opening, read_calls

if TYPE_CHECKING:
    import polars as pl


def call_parts(frame: pl.DataFrame, names: Sequence[str]) -> pl.Series:
    """The calls of each row: a list of name, arguments as JSON text and an id that is unique in the data set.

    Args:
        frame: the columns ``index``, ``calls``, ``function`` and ``number`` (of calls).
        names: the API's functions.
    """
    import polars as pl

    kind = pl.List(pl.Struct(dict.fromkeys(("name", "arguments", "id"), pl.String)))
    identity = pl.concat_str(pl.lit("call_"), pl.col("index"))
    part = pl.struct(name=pl.col("function"), arguments=single_arguments(names), id=identity)
    single = frame["number"] == 1
    if single.all():
        return frame.select(pl.concat_list(part).cast(kind)).to_series()
    ones = frame.with_row_index("row").filter(single).select("row", parts=pl.concat_list(part).cast(kind))
    # Others are few, so they may be parsed in Python.
    rest = frame.with_row_index("row").filter(~single).select("row", "index", "calls")
    parts = [_parsed(index, text) for index, text in rest.select("index", "calls").iter_rows()]
    others = rest.select("row").with_columns(parts=pl.Series(parts, dtype=kind))
    return pl.concat([ones, others]).sort("row")["parts"]


def _parsed(index: int, text: str) -> list[dict[str, str]]:
    return [
        {
            "name": call.name,
            "arguments": json.dumps(call.arguments, ensure_ascii=False),
            "id": f"call_{index}" if number == 1 else f"call_{index}_{number}",
        }
        for number, call in enumerate(read_calls(text), 1)
    ]


def single_arguments(names: Sequence[str], function: str = "function") -> pl.Expr:
    """The JSON text of the arguments of rows with one call, from the columns ``calls`` and ``function``.

    Args:
        names: the values of ``function``.
        function: column with the name of the call's function.
    """
    import polars as pl

    skipped = pl.col(function).replace_strict(
        {name: len(opening(name)) for name in names}, default=0, return_dtype=pl.Int64
    )
    return pl.col("calls").str.slice(skipped).str.head(-len(CLOSING))
