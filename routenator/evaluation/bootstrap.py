"""Percentile bootstrap intervals, and paired tests of two models on the same queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Statistic = Callable[
    ["np.ndarray"], "np.ndarray"
]  # int64 of shape (resamples, n): rows drawn -> float64 of shape (resamples,)

_CELLS = 4_000_000  # indices held at once
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval; all None where there is nothing to measure."""

    value: float | None
    low: float | None
    high: float | None

    def as_dict(self) -> dict[str, float | None]:
        return {"value": self.value, "low": self.low, "high": self.high}


def interval(statistic: Statistic, n: int, resamples: int, seed: int) -> Estimate:
    """Compute a statistic of all n rows with its percentile bootstrap interval (Efron 1979).

    Rows are drawn with replacement, without stratification.

    Args:
        statistic: a function of drawn rows, vectorised over resamples.
        n: rows; 0 gives an empty estimate.
        resamples: bootstrap samples.
        seed: the same seed and n draw the same rows, so all statistics of one set use the same resamples.
    """
    import numpy as np

    if n == 0:
        return Estimate(None, None, None)
    value = float(statistic(np.arange(n)[None, :])[0])
    generator = np.random.default_rng(seed)
    size = max(1, _CELLS // n)
    parts = []
    for low in range(0, resamples, size):
        parts.append(statistic(generator.integers(0, n, size=(min(size, resamples - low), n))))
    low_end, high_end = np.quantile(np.concatenate(parts), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low_end), float(high_end))


def mean_of(values: np.ndarray) -> Statistic:
    """The mean of ``values``, float of shape (n,), as a statistic."""
    return lambda rows: values[rows].mean(axis=1)


def ratio_of(above: np.ndarray, below: np.ndarray) -> Statistic:
    """sum(above) / sum(below), both float of shape (n,); 0 where the sum below is 0."""
    import numpy as np

    def statistic(rows: np.ndarray) -> np.ndarray:
        top, bottom = above[rows].sum(axis=1), below[rows].sum(axis=1)
        return np.divide(top, bottom, out=np.zeros(len(rows)), where=bottom != 0)

    return statistic


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Exact two-sided p-value of McNemar's test that two models get the same share of the same queries right.

    Args:
        first, second: bool of shape (n,): right or wrong, by query.
    """
    # Not scipy.stats.binomtest: importing scipy.stats takes longer than the rest of a comparison.
    from scipy.special import bdtr

    only_first = int((first & ~second).sum())
    only_second = int((second & ~first).sum())
    if only_first + only_second == 0:
        return 1.0
    # Both tails are the same, and with equal counts they overlap.
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), only_first + only_second, 0.5)))


def paired_difference(first: np.ndarray, second: np.ndarray, resamples: int, seed: int) -> Estimate:
    """Mean of ``second`` minus mean of ``first``, each float of shape (n,); resamples use the same queries for both."""
    return interval(mean_of(second.astype(float) - first.astype(float)), len(first), resamples, seed)
