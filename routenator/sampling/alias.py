"""Weighted choices in O(1): alias tables (Walker 1977) for many segments at once, built without a loop over entries.

Weights are rounded to whole units of 2**-32 of a segment's mean, so the table consists of exact integers: a draw is
pure integer arithmetic and gives the same result on every machine. The sweep over light and heavy entries
(Hübschle-Schneider and Sanders, "Parallel weighted random sampling", ESA 2019) becomes a search in two running sums, so
even millions of entries are fast.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
U64 = NDArray[np.uint64]

_BITS = 32
_ONE = 1 << _BITS
_HALF, _LOW = np.uint64(32), np.uint64(_ONE - 1)


class AliasTable:
    """Segments of weighted entries; a 32-bit word draws one entry of a segment.

    Args:
        start: first entry of each segment, shape (segments + 1,). Segments may be empty, but then must not be drawn
            from.
        weight: above 0, shape (entries,).
        value: result of drawing an entry, below 2**31, shape (entries,).

    Attributes:
        start: as given.
        degree: number of entries of each segment, shape (segments,).
    """

    def __init__(self, start: Ints, weight: NDArray[np.float64], value: Ints) -> None:
        self.start = np.asarray(start, dtype=np.int64)
        self.degree = np.diff(self.start).astype(np.uint64)
        threshold, other = _aliases(self.start, np.asarray(weight, dtype=np.float64))
        self._threshold = np.minimum(threshold, _ONE - 1).astype(np.uint32)  # a full entry is its own alias
        own = np.asarray(value, dtype=np.int32)
        self._values = np.stack([own, own[other]], axis=1).reshape(-1)

    def draw(self, segment: Ints, word: U64) -> Ints:
        """Draw one value per row.

        Args:
            segment: segments to draw from, none of them empty, shape (rows,).
            word: uint64 below 2**32, shape (rows,).
        """
        product = word * self.degree.take(segment)
        slot = (product >> _HALF).view(np.int64)
        slot += self.start.take(segment)
        product &= _LOW
        second = product >= self._threshold.take(slot)
        slot += slot
        slot += second
        return self._values.take(slot).astype(np.int64)


def units(start: Ints, weight: NDArray[np.float64]) -> Ints:
    """Weights as integers that add up to 2**32 times the number of entries in each segment, shape (entries,)."""
    degree = np.diff(start)
    segment = np.repeat(np.arange(len(degree)), degree)
    total = np.bincount(segment, weight, minlength=len(degree))
    share = weight / total[segment]
    running = np.concatenate([[0.0], np.cumsum(share)])
    # Round the running share within each segment; its increments are the entries' units. The last entry absorbs the
    # rounding.
    upper = np.rint((running[1:] - running[start[segment]]) * (degree[segment] * float(_ONE))).astype(np.int64)
    upper = np.minimum(upper, degree[segment] << _BITS)
    filled = degree > 0
    upper[start[1:][filled] - 1] = degree[filled] << _BITS
    lower = np.concatenate([[0], upper[:-1]])
    lower[start[:-1][filled]] = 0
    result: Ints = upper - lower
    return result


def _aliases(start: Ints, weight: NDArray[np.float64]) -> tuple[Ints, Ints]:
    """Threshold (of 2**32) below which a slot yields its own entry, and the entry that it yields otherwise."""
    count = len(weight)
    threshold, other = np.full(count, _ONE, dtype=np.int64), np.arange(count)
    if not count:
        return threshold, other
    amount = units(start, weight)
    segment = np.repeat(np.arange(len(start) - 1), np.diff(start))
    light, heavy = np.flatnonzero(amount < _ONE), np.flatnonzero(amount > _ONE)
    if not light.size:
        return threshold, other
    # Within each segment the light entries lack exactly as much as the heavy ones have in excess, so the running sums
    # need not restart.
    lacking, excess = np.cumsum(_ONE - amount[light]), np.cumsum(amount[heavy] - _ONE)
    before = lacking - (_ONE - amount[light])
    threshold[light] = amount[light]
    other[light] = heavy[np.searchsorted(excess, before, side="right")]
    # A heavy entry that runs out of excess before its segment ends is topped up by the next heavy one.
    followed = np.flatnonzero(segment[heavy[1:]] == segment[heavy[:-1]])
    spent = lacking[np.searchsorted(lacking, excess[followed], side="left")]
    threshold[heavy[followed]] = _ONE + excess[followed] - spent
    other[heavy[followed]] = heavy[followed + 1]
    return threshold, np.where(threshold < _ONE, other, np.arange(count))
