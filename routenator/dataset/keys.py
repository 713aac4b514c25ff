"""What makes two queries or two calls the same, as Polars expressions; and the keyed split by group.

``normalised`` is ``routenator.domain.golden.normalise_query`` as a Polars expression, so that it runs in parallel and
streaming. The two agree but for rare letters whose case folding changes their number (German sharp s) and for marks
that some scripts put on letters; a comparison always takes both sides through one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

_WORD = r"[^\W_]+"
HASH_BITS = 64


def word_list(column: str) -> pl.Expr:
    """The lower-case words of a text column, without punctuation."""
    import polars as pl

    return pl.col(column).str.to_lowercase().str.extract_all(_WORD)


def normalised(column: str) -> pl.Expr:
    """Words joined by single spaces: queries equal under it are the same query."""
    import polars as pl

    # What is to be replaced is any run of signs but a single space, so that an ordinary query needs no replacement at
    # all.
    return pl.col(column).str.to_lowercase().str.replace_all(r"[\W_]{2,}|[\W_&&[^ ]]", " ").str.strip_chars(" ")


def bag(column: str) -> pl.Expr:
    """Sorted words: queries equal under it differ in case, punctuation and word order at most."""
    return word_list(column).list.sort().list.join(" ")


def word_count(column: str) -> pl.Expr:
    """Words of a query as a person counts them: runs of signs between spaces."""
    import polars as pl

    return pl.col(column).str.count_matches(r"\S+").cast(pl.Int32)


def split_threshold(share: float, lowest: int, highest: int) -> int:
    """Groups whose hash is below this go to validation.

    A group's split depends on the seed, its own content and the share only, so it stays when other rows come or go. The
    exception is a tiny data set in which one side would be empty: then the nearest group is moved over, if there are
    two groups at all.

    Args:
        share: of the rows (in expectation) that validation gets.
        lowest: the least group hash of the data set; ``highest``: the greatest.
    """
    threshold = round(share * (1 << HASH_BITS))
    if not 0.0 < share < 1.0 or lowest >= highest:
        return threshold if share in (0.0, 1.0) else 0
    return lowest + 1 if lowest >= threshold else min(threshold, highest)
