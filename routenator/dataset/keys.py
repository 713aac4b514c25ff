"""Queries as users' messages and their number of words, by Polars; and the split by group hash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routenator.domain.dates import statement
from routenator.validation.segments import count_words, segmenter

if TYPE_CHECKING:
    import polars as pl

HASH_BITS = 64


def word_counts(frame: pl.DataFrame) -> pl.Series:
    """Numbers of words of a table's queries, by their language."""
    counts = frame.select(words=word_count("query")).to_series()
    spaceless = [language for language in frame["language"].unique() if segmenter(language) is not None]
    rows = frame["language"].is_in(spaceless).arg_true()
    if len(rows):
        pairs = frame[rows].select("query", "language").iter_rows()
        counts = counts.scatter(rows, [count_words(query, language) for query, language in pairs])
    return counts


def word_count(column: str) -> pl.Expr:
    """Number of words in a query as a person would count them: runs of characters between spaces."""
    import polars as pl

    return pl.col(column).str.count_matches(r"\S+").cast(pl.Int32)


def split_threshold(share: float, lowest: int, highest: int) -> int:
    """Return the threshold of the split: groups whose hash is below it go to validation.

    A group's side depends only on the seed, its own content and the share, so it does not change when other rows are
    added or removed. The exception is a tiny data set in which one side would be empty: then the closest group is moved
    over, if there are at least two groups.

    Args:
        share: expected share of the rows that go to validation.
        lowest: the smallest group hash of the data set.
        highest: the largest.
    """
    threshold = round(share * (1 << HASH_BITS))
    if not 0.0 < share < 1.0 or lowest >= highest:
        return threshold if share in (0.0, 1.0) else 0
    return lowest + 1 if lowest >= threshold else min(threshold, highest)


def asked(frame: pl.DataFrame) -> pl.Series:
    """The users' messages: each query after the sentence that states its day, if it has one.

    Args:
        frame: the columns ``query`` and ``today``; files of earlier versions have no ``today``.
    """
    import polars as pl

    if "today" not in frame.columns:
        return frame["query"].alias("asked")
    days = frame["today"]
    if days.null_count() == frame.height:
        return frame["query"].alias("asked")
    sentences = {day: statement(day) for day in days.drop_nulls().unique()}
    stated = pl.col("today").replace_strict(sentences, default="", return_dtype=pl.String)
    return frame.select(asked=pl.concat_str(stated, "query")).to_series()
