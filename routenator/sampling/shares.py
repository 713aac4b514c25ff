"""Weights to shares, and shares to whole numbers of rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

K = TypeVar("K")


def normalise(weights: Mapping[str, float]) -> dict[str, float]:
    """Convert weights to shares, dropping zeros."""
    total = math.fsum(weights.values())
    return {name: weight / total for name, weight in weights.items() if weight > 0}


def largest_remainder(shares: Sequence[float], total: int) -> list[int]:
    """Integers in proportion to ``shares`` that add up to ``total`` (Hamilton's method); ties go to the earlier one.

    Args:
        shares: non-negative, adding up to about 1.
        total: rows to distribute, 0 or more.
    """
    scale = math.fsum(shares)
    exact = [share / scale * total for share in shares]
    counts = [math.floor(value) for value in exact]
    # Round, so that floating-point noise of the division does not decide the order.
    order = sorted(range(len(shares)), key=lambda i: (-round(exact[i] - counts[i], 9), i))
    for position in order[: total - sum(counts)]:
        counts[position] += 1
    return counts


class Diffusion:
    """Splits totals in proportion to shares over many calls, keeping the sums along several margins on target."""

    def __init__(self) -> None:
        self._owed: dict[Any, float] = {}

    def split(self, shares: Mapping[K, float], total: int, cell: tuple[str, ...] = ()) -> dict[K, int]:
        """Split ``total`` rows: each part is its share rounded down or up.

        Args:
            shares: part -> share, adding up to about 1.
            total: rows to distribute, 0 or more.
            cell: names of this cell; not only each part's overall sum but also its sum with each of these names
                follows its share.
        """
        margins: dict[K, list[tuple[Any, ...]]] = {part: [(part,), *((part, name) for name in cell)] for part in shares}
        scale = math.fsum(shares.values())
        exact = {part: share / scale * total for part, share in shares.items()}
        counts = {part: math.floor(value + 1e-9) for part, value in exact.items()}
        # Round, so that floating-point noise of the sums does not decide the order.
        owed = {
            part: round(exact[part] - counts[part] + sum(self._owed.get(m, 0.0) for m in margins[part]), 9)
            for part in exact
        }
        left = total - sum(counts.values())
        for part in sorted((p for p in exact if exact[p] > 0), key=lambda p: -owed[p])[:left]:
            counts[part] += 1
        for part, count in counts.items():
            for margin in margins[part]:
                self._owed[margin] = self._owed.get(margin, 0.0) + exact[part] - count
        return counts
