"""Letters of all scripts: which characters make up words, which are words by themselves, and how letters compare.

Words of most scripts have spaces between them. Chinese, Japanese, Thai, Lao, Burmese and Khmer have none; there each
letter counts as a word of its own, so that phrases and places in a query are found letter by letter.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from routenator.language import base_code

# Scripts without spaces between words, as a class of regular expressions in Python and in Polars.
UNSPACED = (
    r"\u0E00-\u0EFF\u1000-\u109F\u1780-\u17FF\u3005-\u3007\u3040-\u30FF\u31F0-\u31FF\u3400-\u4DBF\u4E00-\u9FFF"
    r"\uA9E0-\uA9FF\uAA60-\uAA7F\uF900-\uFAFF\uFF66-\uFF9F\U00020000-\U0003FFFF"
)
# Kinds of characters. A MARK (a vowel of Thai or Hindi, say) belongs to the letter before it; the compiled filter
# leaves texts with an ODD character to the checks.
OTHER, LETTER, ALONE, MARK, ODD = range(5)
_SPACELESS = frozenset({"ja", "km", "lo", "my", "th", "zh"})
_POINTS = 0x30000  # code points in the tables; no script that people write queries in lies beyond
# What is compared instead of letters in lower case; the first is what Unicode makes of a Turkish capital İ.
_DOTTED = "i\u0307"
ALIKE = {_DOTTED: "i", "ı": "i", "ς": "σ", "’": "'"}
_ALIKE = str.maketrans({sign: by for sign, by in ALIKE.items() if sign != _DOTTED})
# Characters that the checks treat specially: typographic quotes, which must match, the dot of a decomposed İ and
# a letter that regular expressions take for an s.
_SPECIAL = "“”ſ"
_LATIN_MARKS = range(0x300, 0x370)


class Letters(NamedTuple):
    """Tables by code point.

    Attributes:
        kinds: one of the kinds above, uint8.
        folds: the code point that is compared instead, int32.
    """

    kinds: NDArray[np.uint8]
    folds: NDArray[np.int32]


def folded(text: str) -> str:
    """The text as it is compared: in lower case, with one form of the letters whose case depends on the language.

    A Turkish I is an ı in lower case and an English one an i, so i and ı are compared as the same letter; so are the
    two small sigmas of Greek.
    """
    lower = text.lower()
    return lower if text.isascii() else lower.replace(_DOTTED, "i").translate(_ALIKE)


def is_latin(point: int) -> bool:
    """Whether the code point of a letter is of the Latin script."""
    return point <= 0x24F or 0x1E00 <= point <= 0x1EFF


def is_spaceless(language: str) -> bool:
    """Whether a language is written without spaces between words."""
    return base_code(language) in _SPACELESS


def stands_alone(word: str) -> bool:
    """Whether a word is a letter of a script without spaces between words."""
    return re.match(f"[{UNSPACED}]", word) is not None


@cache
def marks() -> str:
    """All combining marks, as a class of regular expressions."""
    points = [point for point in range(sys.maxunicode + 1) if unicodedata.category(chr(point))[0] == "M"]
    starts = [point for point in points if unicodedata.category(chr(point - 1))[0] != "M"]
    ends = [point for point in points if unicodedata.category(chr(point + 1))[0] != "M"]
    return "".join(f"\\U{first:08X}-\\U{last:08X}" for first, last in zip(starts, ends, strict=True))


@cache
def letter_tables(points: int = _POINTS) -> Letters:
    """The tables for code points below ``points``."""
    # Whole lists at a time and spans instead of single characters, because every task makes these tables when it
    # starts.
    signs = [chr(point) for point in range(points)]
    categories = list(map(unicodedata.category, signs))
    kinds, folds = np.zeros(points, dtype=np.uint8), np.arange(points, dtype=np.int32)
    kinds[[category[0] == "M" for category in categories]] = MARK
    letters = np.fromiter(map(str.isalnum, signs), dtype=bool, count=points)
    kinds[letters] = LETTER
    for span in re.finditer(f"[{UNSPACED}]+", "".join(signs)):
        part = slice(*span.span())
        kinds[part][letters[part]] = ALONE
    odd = np.fromiter(map(str.isspace, signs), dtype=bool, count=points)
    odd |= [category in ("Cc", "Cs") for category in categories]
    odd[[point for point in (*map(ord, _SPECIAL), *_LATIN_MARKS) if point < points]] = True
    kinds[odd] = ODD
    for point, (sign, lower) in enumerate(zip(signs, map(str.lower, signs), strict=True)):
        if (lower != sign or sign in ALIKE) and not odd[point]:
            folds[point] = ord(folded(sign))
    return Letters(kinds, folds)
