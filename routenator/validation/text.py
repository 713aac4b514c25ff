"""Words and phrases of a query, compared without case and punctuation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

THIRDS = ("first", "middle", "last")
_WORD = re.compile(r"'s\b|[^\W_]+(?:'(?!s\b)[^\W_]+)*")


@lru_cache(maxsize=65536)
def words(text: str) -> tuple[str, ...]:
    """Lower-case words; a sign inside a word divides it, an apostrophe does not, but a possessive "'s" is a word of its
    own.
    """
    return tuple(_WORD.findall(text.lower().replace("’", "'")))


def find_words(wanted: tuple[str, ...], text: Sequence[str]) -> int:
    """Position of some words in a row in ``text``, or -1; no words are at 0."""
    for start in range(len(text) - len(wanted) + 1):
        if tuple(text[start : start + len(wanted)]) == wanted:
            return start
    return -1


def find_phrase(phrase: str, text: Sequence[str]) -> int:
    """Position of a phrase's words in a row in ``text``, or -1; an empty phrase is at 0."""
    return find_words(words(phrase), text)


def third_of(text: Sequence[str], phrases: Iterable[tuple[str, ...]]) -> str | None:
    """The third of a query in which the middle of a phrase lies: that of the first phrase that the query says.

    The same for many rows at once: ``dataset.position.third_in`` (Polars), ``wording.text.third_at`` (compiled).

    Args:
        text: the query's words.
        phrases: words of each phrase; one without words is passed over.

    Returns:
        One of ``THIRDS``; None if the query says no phrase.
    """
    for phrase in phrases:
        before = find_words(phrase, text) if phrase else -1
        if before >= 0:
            # In whole numbers, so that no rounding decides at the borders.
            return THIRDS[min(2, 3 * (2 * before + len(phrase)) // (2 * len(text)))]
    return None


def without_phrases(phrases: Iterable[str], text: Sequence[str]) -> list[str]:
    """``text`` without the first occurrence of each phrase, longest phrases first."""
    rest = list(text)
    for phrase in sorted(phrases, key=lambda p: (-len(words(p)), p)):
        start = find_phrase(phrase, rest)
        size = len(words(phrase))
        if start >= 0 and size:
            # A mark stays, so that what stood before and after does not become a phrase.
            rest[start : start + size] = ["\0"]
    return rest


def spoken_share(phrase: str, text: Sequence[str]) -> float:
    """Which share of a phrase's words ``text`` says, in any order; 1.0 for a phrase without words."""
    wanted = words(phrase)
    return sum(word in text for word in wanted) / len(wanted) if wanted else 1.0


def grams(text: Sequence[str], size: int) -> set[tuple[str, ...]]:
    """All runs of ``size`` words."""
    return {tuple(text[start : start + size]) for start in range(len(text) - size + 1)}
