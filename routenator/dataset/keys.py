"""What makes two queries or two calls the same, as Polars expressions; and the keyed split by group.

``normalised`` is ``routenator.domain.golden.normalise_query`` as a Polars expression, so that it runs in parallel and streaming. The two
agree but for rare letters whose case folding changes their number (German sharp s) and for marks that some scripts put on letters; a
comparison always takes both sides through one of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

_WORD = r"[^\W_]+"
_HASH_BITS = 64


def word_list(column: str) -> pl.Expr:
    """The lower-case words of a text column, without punctuation."""
    import polars as pl

    return pl.col(column).str.to_lowercase().str.extract_all(_WORD)


def normalised(column: str) -> pl.Expr:
    """Words joined by single spaces: queries equal under it are the same query."""
    return word_list(column).list.join(" ")


def bag(column: str) -> pl.Expr:
    """Sorted words: queries equal under it differ in case, punctuation and word order at most."""
    return word_list(column).list.sort().list.join(" ")


def word_count(column: str) -> pl.Expr:
    """Words of a query as a person counts them: runs of signs between spaces."""
    import polars as pl

    return pl.col(column).str.count_matches(r"\S+").cast(pl.Int32)


def call_text() -> pl.Expr:
    """The call of a candidate as text: equal if and only if function and arguments are equal."""
    import polars as pl

    return pl.concat_str([pl.col("function"), pl.col("arguments")], separator="\n")


def group_text() -> pl.Expr:
    """What a group is made of: the function and the bag of the arguments' words."""
    import polars as pl

    return pl.concat_str([pl.col("function"), bag("arguments")], separator="\n")


def group_hashes(texts: Iterable[str], seed: int) -> list[str]:
    """Keyed 64-bit hashes of groups, as 16 hex digits; the same on every machine and version.

    Args:
        texts: from ``group_text``.
        seed: the plan's seed, non-negative, below 2**63.
    """
    key = seed.to_bytes(8, "big")
    return [hashlib.blake2b(text.encode(), digest_size=8, key=key).hexdigest() for text in texts]


def split_threshold(share: float, lowest: str, highest: str) -> str:
    """Groups whose hash is below this go to validation.

    A group's split depends on the seed, its own content and the share only, so it stays when other rows come or go. The exception is a tiny
    data set in which one side would be empty: then the nearest group is moved over, if there are two groups at all.

    Args:
        share: of the rows (in expectation) that validation gets.
        lowest: the least group hash of the data set; ``highest``: the greatest.
    """
    edge = round(share * (1 << _HASH_BITS))
    threshold = "g" if edge >= 1 << _HASH_BITS else f"{edge:016x}"  # "g" comes after every hex digit
    if not 0.0 < share < 1.0 or lowest == highest:
        return threshold if share in (0.0, 1.0) else "0"
    if lowest >= threshold:
        return f"{int(lowest, 16) + 1:016x}"
    return min(threshold, highest)
