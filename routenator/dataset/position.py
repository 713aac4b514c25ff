"""Finds where queries mention their category."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routenator.validation.letters import ALIKE, UNSPACED
from routenator.validation.text import THIRDS

if TYPE_CHECKING:
    import polars as pl

# Words, and letters of scripts without spaces with their marks; as ``routenator.validation.text.words`` finds them.
_WORD = rf"[[{UNSPACED}]&&[^\W_\p{{M}}]]\p{{M}}*|[^\W_{UNSPACED}]+"


def keyword_third(categories: dict[str, str | None]) -> pl.Expr:
    """Where the query mentions the category: the third of its words with the middle of the phrase, or "absent".

    Null for functions without a category parameter, and for calls that lack it.

    Args:
        categories: function -> its category parameter, or None.
    """
    import polars as pl

    surface = pl.lit(None, dtype=pl.String)
    for function, parameter in categories.items():
        if parameter is not None:
            value = pl.col("slots").str.json_path_match(f"$[0]['{parameter}']")
            surface = pl.when(pl.col("function") == function).then(value).otherwise(surface)
    return third_in(pl.col("query"), surface)


def third_in(query: pl.Expr, surface: pl.Expr) -> pl.Expr:
    """first | middle | last | absent: where ``query`` contains ``surface``; null if there is no surface."""
    import polars as pl

    def padded(text: pl.Expr) -> pl.Expr:
        lower = text.str.to_lowercase().str.replace_many(list(ALIKE), list(ALIKE.values()))
        return pl.format(" {} ", lower.str.extract_all(_WORD).list.join(" "))

    text, phrase = padded(query), padded(surface)
    # Split rather than find and slice: Polars' find counts bytes, its slice characters.
    parts = text.str.splitn(phrase, 2).struct
    found = parts.field("field_1").is_not_null()
    # The number of spaces before the phrase is the number of words before it, thanks to the padding.
    before = parts.field("field_0").str.count_matches(" ", literal=True)
    middle = before + (phrase.str.count_matches(" ", literal=True) - 1) / 2
    share = middle / (text.str.count_matches(" ", literal=True) - 1)
    return (
        pl.when(surface.is_null())
        .then(None)
        .when(~found)
        .then(pl.lit("absent"))
        .when(share < 1 / 3)
        .then(pl.lit(THIRDS[0]))
        .when(share < 2 / 3)
        .then(pl.lit(THIRDS[1]))
        .otherwise(pl.lit(THIRDS[2]))
    )
