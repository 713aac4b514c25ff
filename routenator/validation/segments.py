"""Counts words, also where a script has no spaces between them.

Japanese, Chinese and Thai are segmented by BudouX, a small model of where a word or phrase begins: pure Python, no
dependencies, 126 KB with the models of all three. Its units are words in Thai, and in Japanese and Chinese short
phrases, a word with its particles (今日の / 天気は), which is what a space would separate. Lao, Burmese and Khmer
have no model; there, words are counted by the spaces that a text has.

The compiled loops (``segments_kernel``) count many texts with the same model, as arrays from ``segment_tables``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from routenator.extras import require
from routenator.language import base_code

if TYPE_CHECKING:
    from budoux import Parser

_TRADITIONAL = {"hant", "tw", "hk", "mo"}  # scripts and regions
_LOADERS = {
    "ja": "load_default_japanese_parser",
    "th": "load_default_thai_parser",
    "zh": "load_default_simplified_chinese_parser",
    "zh-hant": "load_default_traditional_chinese_parser",
}
# A model's features: single letters around the place at which a word may begin, then runs of two, then of three.
FEATURES = ("UW1", "UW2", "UW3", "UW4", "UW5", "UW6", "BW1", "BW2", "BW3", "TW1", "TW2", "TW3", "TW4")
SPREAD = 0x9E3779B97F4A7C15  # the high bits of a key times this are its place


class Segments(NamedTuple):
    """The models of some languages as hash tables with open addressing.

    Attributes:
        keys: a feature's number and up to three code points (``packed``), uint64; 0 is free.
        scores: int32, shape as ``keys``.
        spans: for each language, where its table begins, the binary logarithm of its size (0: it needs no model), and
            the sum of all its scores; int64, shape (languages, 3).
    """

    keys: NDArray[np.uint64]
    scores: NDArray[np.int32]
    spans: NDArray[np.int64]


def count_words(text: str, language: str) -> int:
    """Count the words of a text.

    Args:
        text: a query.
        language: its code.

    Raises:
        MissingPackageError: the language is written without spaces and BudouX is not installed.
    """
    parser = segmenter(language)
    parts = text.split()
    return len(parts) if parser is None else sum(len(parser.parse(part)) for part in parts)


def require_segmenter(language: str) -> None:
    """Check that BudouX is installed if a language needs it.

    Raises:
        MissingPackageError: it is not.
    """
    if _model(language) is not None:
        require("languages", f"counting the words of a language without spaces between them ({language})")


@cache
def segmenter(language: str) -> Parser | None:
    """The model of a language that is written without spaces between words; None if it has spaces or no model.

    Raises:
        MissingPackageError: BudouX is needed and not installed.
    """
    model = _model(language)
    if model is None:
        return None
    require_segmenter(language)
    import budoux

    parser: Parser = getattr(budoux, _LOADERS[model])()
    return parser


def _model(language: str) -> str | None:
    """The key of a language's model in ``_LOADERS``."""
    code = base_code(language)
    if code == "zh" and _TRADITIONAL & {*language.replace("_", "-").lower().split("-")}:
        code = "zh-hant"
    return code if code in _LOADERS else None


def segment_tables(languages: Sequence[str]) -> Segments:
    """The models of some languages, in their order."""
    keys, scores, spans, size = [np.zeros(1, np.uint64)], [np.zeros(1, np.int32)], [], 1
    for language in languages:
        parser = segmenter(language)
        if parser is None:
            spans.append((0, 0, 0))
            continue
        some_keys, some_scores, total = _table(language)
        keys.append(some_keys)
        scores.append(some_scores)
        spans.append((size, len(some_keys).bit_length() - 1, total))
        size += len(some_keys)
    return Segments(np.concatenate(keys), np.concatenate(scores), np.array(spans, dtype=np.int64).reshape(-1, 3))


def packed(feature: int, points: Sequence[int]) -> int:
    """The key of a feature: its number from 1 and up to three code points, which are below 2**20."""
    key = feature
    for point in [*points, 0, 0][:3]:
        key = key << 20 | point
    return key


@cache
def _table(language: str) -> tuple[NDArray[np.uint64], NDArray[np.int32], int]:
    """Keys and scores of a language's model, and the sum of its scores."""
    parser = segmenter(language)
    assert parser is not None
    entries = {
        packed(number, [*map(ord, text)]): score
        for number, feature in enumerate(FEATURES, 1)
        for text, score in parser.model.get(feature, {}).items()
    }
    bits = (2 * len(entries)).bit_length()
    keys, scores = np.zeros(1 << bits, dtype=np.uint64), np.zeros(1 << bits, dtype=np.int32)
    for key, score in entries.items():
        place = (key * SPREAD & (1 << 64) - 1) >> (64 - bits)
        while keys[place]:
            place = (place + 1) & (1 << bits) - 1
        keys[place], scores[place] = key, score
    return keys, scores, sum(sum(group.values()) for group in parser.model.values())
