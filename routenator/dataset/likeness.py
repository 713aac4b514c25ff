"""Finds the texts that are most like a query by their letters: the cosine of TF-IDF of runs of two to four.

Letters instead of embeddings: no model is loaded, and a shared wording shows what training taught. Letters instead of
words: inflections and words written together count as similar, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

_BLOCK = 256  # queries compared at once with all texts


class Likeness:
    """Texts that are searched by their likeness to a query.

    Args:
        texts: the texts, in order; ties go to the first.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        import numpy as np
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, dtype=np.float32)
        self._known: Any = None  # sparse matrix [runs of letters, texts]; None without any
        if texts:
            with contextlib.suppress(ValueError):  # no text has a letter
                self._known = self._vectors.fit_transform(texts).T.tocsr()

    def nearest(self, queries: Sequence[str], count: int) -> Iterator[list[tuple[int, float]]]:
        """Yield for each query at most ``count`` texts, the nearest first: place and likeness, above 0 to 1.

        Texts that have nothing in common with it are left out.
        """
        import numpy as np

        for low in range(0, len(queries), _BLOCK):
            block = queries[low : low + _BLOCK]
            if self._known is None:
                yield from ([] for _ in block)
                continue
            for row in (self._vectors.transform(block) @ self._known).toarray():
                # The first of equals is the one with the smallest place.
                best = [int(row.argmax())] if count == 1 else np.argsort(-row, kind="stable")[:count].tolist()
                yield [(at, float(row[at])) for at in best if row[at] > 0]
