"""Word-count quantiles, and the length-bucket shares that follow from them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

from routenator.domain.schema import Statistics
from routenator.errors import InputError


def with_lengths(statistics: Statistics, file: Path) -> Statistics:
    """Fill in the length shares of functions that have only word quantiles.

    Raises:
        InputError: quantiles out of order.
    """
    derived = {
        function: shares_from_quantiles(quantiles, statistics.length_buckets)
        for function, quantiles in statistics.word_quantiles.items()
        if function not in statistics.lengths and in_order(function, quantiles, file)
    }
    return statistics.model_copy(update={"lengths": {**statistics.lengths, **derived}}) if derived else statistics


def in_order(function: str, quantiles: Mapping[float, int], file: Path) -> bool:
    """Check that word counts do not fall as the quantile rises; always returns True.

    Raises:
        InputError: they do.
    """
    before: tuple[float, int] | None = None
    for share, words in sorted(quantiles.items()):
        if before is not None and words < before[1]:
            raise InputError(
                "quantiles out of order",
                file=file, key=f"word_quantiles.{function}.{share:g}", found=f"{words} words",
                expected=f"at least {before[1]}, which the quantile {before[0]:g} has",
            )  # fmt: skip
        before = (share, words)
    return True


def shares_from_quantiles(quantiles: Mapping[float, int], buckets: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    """P(length bucket), interpolating the distribution function linearly between the given quantiles.

    Args:
        quantiles: share -> smallest number of words that this share of the queries does not exceed.
        buckets: name -> lowest and highest number of words.
    """
    low, high = min(b[0] for b in buckets.values()), max(b[1] for b in buckets.values())
    # Bucket limits are shifted by half a word: queries with exactly `words` words lie on both sides of the quantile.
    points = [(low - 0.5, 0.0), *((min(max(w, low), high), p) for p, w in sorted(quantiles.items())), (high + 0.5, 1.0)]

    def below(words: float) -> float:
        share = 0.0
        for (x0, p0), (x1, p1) in itertools.pairwise(points):
            if words >= x1:
                share = p1
            elif words > x0:
                share = p0 + (p1 - p0) * (words - x0) / (x1 - x0)
        return share

    return {name: max(0.0, below(last + 0.5) - below(first - 0.5)) for name, (first, last) in buckets.items()}
