"""Finds the training examples that are most like a query, by its words.

Words and pairs of words, the rare ones with more weight (TF-IDF). No model is loaded, and the likeness can be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


def nearest_examples(train: Sequence[Example], queries: Sequence[str], count: int) -> list[list[Near]]:
    """Return the nearest examples of each query, the nearest first; those without a common word are left out.

    Args:
        train: the training examples, in order; ties go to the first.
        queries: the queries, each answered for itself.
        count: most examples of a query.
    """
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not train or not queries:
        return [[] for _ in queries]
    vectors = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\w+")
    try:
        known = vectors.fit_transform([query for query, _ in train])
    except ValueError:  # no example has a word
        return [[] for _ in queries]
    found = []
    for query in queries:
        likeness = (known @ vectors.transform([query]).T).toarray().ravel()
        best = np.argsort(-likeness, kind="stable")[:count].tolist()
        found.append(
            [Near(train[at][0], train[at][1], round(float(likeness[at]), 3)) for at in best if likeness[at] > 0]
        )
    return found
