"""Finds the training examples that are most like a query (``routenator.dataset.likeness``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from routenator.dataset.likeness import Likeness
from routenator.domain.calls import Call
from routenator.evaluation.baselines import Example


@dataclass(frozen=True)
class Near:
    """A training example near a query.

    Attributes:
        query, calls: the example.
        likeness: 0 (no two letters in common) to 1 (the same text).
    """

    query: str
    calls: tuple[Call, ...]
    likeness: float


class Neighbours:
    """Training examples that are searched by likeness to a query.

    Args:
        train: the training examples, in order; ties go to the first.
    """

    def __init__(self, train: Sequence[Example]) -> None:
        self._train = train
        self._known = Likeness([query for query, _ in train])

    def nearest(self, query: str, count: int) -> list[Near]:
        """Return at most ``count`` examples, the nearest first; those with nothing in common are left out."""
        found = next(self._known.nearest([query], count))
        return [Near(*self._train[at], round(likeness, 3)) for at, likeness in found]
