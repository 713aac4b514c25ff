"""Finds the training examples that are most like a query, by its words.

Words and pairs of words, the rare ones with more weight (TF-IDF). No model is loaded, and the likeness can be seen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from routenator.domain.calls import Call
from routenator.evaluation.baselines import Example


@dataclass(frozen=True)
class Near:
    """A training example near a query.

    Attributes:
        query, calls: the example.
        likeness: 0 (no word in common) to 1 (the same words).
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
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._train = train
        self._vectors = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\w+")
        self._known: Any = None  # sparse matrix [examples, words]; None without any word
        if train:
            with contextlib.suppress(ValueError):  # no example has a word
                self._known = self._vectors.fit_transform([query for query, _ in train])

    def nearest(self, query: str, count: int) -> list[Near]:
        """Return at most ``count`` examples, the nearest first; those without a common word are left out."""
        import numpy as np

        if self._known is None:
            return []
        likeness = (self._known @ self._vectors.transform([query]).T).toarray().ravel()
        best = np.argsort(-likeness, kind="stable")[:count].tolist()
        return [
            Near(self._train[at][0], self._train[at][1], round(float(likeness[at]), 3))
            for at in best
            if likeness[at] > 0
        ]
