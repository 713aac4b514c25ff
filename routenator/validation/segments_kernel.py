"""Compiled: counts the words of a text in a script without spaces, as BudouX does.

A word begins at a letter if the scores of the letters around it, alone and in runs of two and three, are more than half
of the sum of all scores. Written by hand for numba because the loops judge many texts a row; a test compares the counts
with those of the library.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from routenator.validation.segments import SPREAD

_SPREAD, _FULL = np.uint64(SPREAD), np.uint64(64)
_SPACE = 32


@njit(cache=True)
def _score(keys: Any, scores: Any, first: Any, bits: Any, feature: Any, a: Any, b: Any, c: Any) -> Any:
    """Score of a feature, 0 if the model does not have it."""
    key = np.uint64(feature) << np.uint64(60) | np.uint64(a) << np.uint64(40)
    key |= np.uint64(b) << np.uint64(20) | np.uint64(c)
    place = np.int64((key * _SPREAD) >> (_FULL - np.uint64(bits)))
    while keys[first + place] != 0:
        if keys[first + place] == key:
            return np.int64(scores[first + place])
        place = (place + 1) & ((1 << bits) - 1)
    return np.int64(0)


@njit(cache=True)
def count_segments(keys: Any, scores: Any, spans: Any, language: Any, text: Any, start: Any, stop: Any) -> Any:
    """Count the words of ``text[start:stop]`` (UTF-8, with spaces as the only white space).

    Args:
        keys, scores, spans: ``routenator.validation.segments.Segments``.
        language: its row in ``spans``, which has a model.
        text, start, stop: the text.
    """
    first, bits, total = spans[language, 0], spans[language, 1], spans[language, 2]
    words = 0
    # The letters around the one that a word may begin at; 0 where there is none.
    none: Any = 0
    c3, c2, c1, here, n1, n2 = none, none, none, none, none, none
    i = start
    while True:
        # Each step takes in one letter; two more steps, with none, follow the last of each part.
        point = none
        if i < stop and text[i] != _SPACE:
            sign = np.int64(text[i])
            width = 1 if sign < 0x80 else 2 if sign < 0xE0 else 3 if sign < 0xF0 else 4
            point = sign if width == 1 else sign & (0xFF >> (width + 1))
            for k in range(1, width):
                point = point << 6 | np.int64(text[i + k]) & 0x3F
            i += width
        c3, c2, c1, here, n1, n2 = c2, c1, here, n1, n2, point
        if here:
            if c1 == 0:
                words += 1
            else:
                score = _score(keys, scores, first, bits, 3, c1, 0, 0)
                score += _score(keys, scores, first, bits, 4, here, 0, 0)
                score += _score(keys, scores, first, bits, 8, c1, here, 0)
                if c2:
                    score += _score(keys, scores, first, bits, 2, c2, 0, 0)
                    score += _score(keys, scores, first, bits, 7, c2, c1, 0)
                    score += _score(keys, scores, first, bits, 11, c2, c1, here)
                if c3:
                    score += _score(keys, scores, first, bits, 1, c3, 0, 0)
                    score += _score(keys, scores, first, bits, 10, c3, c2, c1)
                if n1:
                    score += _score(keys, scores, first, bits, 5, n1, 0, 0)
                    score += _score(keys, scores, first, bits, 9, here, n1, 0)
                    score += _score(keys, scores, first, bits, 12, c1, here, n1)
                if n2:
                    score += _score(keys, scores, first, bits, 6, n2, 0, 0)
                    score += _score(keys, scores, first, bits, 13, here, n1, n2)
                words += 2 * score > total
        if here == 0 and n1 == 0 and n2 == 0:
            c3, c2, c1 = 0, 0, 0
            if i >= stop:
                return words
            if text[i] == _SPACE:
                i += 1
