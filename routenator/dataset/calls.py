"""Calls of candidates and examples as columns, without parsing where a row has one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from routenator.domain.calls import CLOSING, opening

if TYPE_CHECKING:
    import polars as pl


def single_arguments(names: Sequence[str], function: str = "function") -> pl.Expr:
    """The JSON text of the arguments of rows with one call, from the columns ``calls`` and ``function``.

    Args:
        names: the values of ``function``.
        function: column with the name of the call's function.
    """
    import polars as pl

    skipped = pl.col(function).replace_strict({name: len(opening(name)) for name in names}, return_dtype=pl.Int64)
    return pl.col("calls").str.slice(skipped).str.head(-len(CLOSING))
