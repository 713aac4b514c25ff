"""Words and phrases of a query, compared ignoring case and punctuation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache

from routenator.validation.letters import UNSPACED, folded, marks

THIRDS = ("first", "middle", "last")
_WORD = re.compile(r"'s\b|[^\W_]+(?:'(?!s\b)[^\W_]+)*")  # of an ASCII text


@lru_cache(maxsize=65536)
def words(text: str) -> tuple[str, ...]:
    """Split a text into words as they are compared (``folded``).

    Punctuation splits a word, except for an apostrophe; a possessive "'s" is a separate word. A letter of a script
    without spaces is a word of its own, with its marks.
    """
    return tuple((_WORD if text.isascii() else _any_word()).findall(folded(text)))


@cache
def _any_word() -> re.Pattern[str]:
    """As ``_WORD``, for all scripts. Made on first use, since the class of all marks takes a moment."""
    word, possessive = rf"[^\W_{UNSPACED}](?:[^\W_{UNSPACED}]|[{marks()}])*", rf"s(?![\w{marks()}])"
    return re.compile(rf"'{possessive}|(?=[^\W_])[{UNSPACED}][{marks()}]*|{word}(?:'(?!{possessive}){word})*")


def find_words(wanted: tuple[str, ...], text: Sequence[str]) -> int:
    """Position of consecutive words in ``text``, or -1; an empty sequence is at 0."""
    for start in range(len(text) - len(wanted) + 1):
        if tuple(text[start : start + len(wanted)]) == wanted:
            return start
    return -1


def find_phrase(phrase: str, text: Sequence[str]) -> int:
    """Position of a phrase's words, consecutive, in ``text``, or -1; an empty phrase is at 0."""
    return find_words(words(phrase), text)


def third_of(text: Sequence[str], phrases: Iterable[tuple[str, ...]]) -> str | None:
    """Find the first of several phrases that a query contains; return the third of the query that has its middle.

    ``dataset.position.third_in`` (Polars) and ``wording.text.third_at`` (compiled) do the same for many rows at once.

    Args:
        text: the query's words.
        phrases: words of each phrase; an empty phrase is skipped.

    Returns:
        One of ``THIRDS``; None if the query contains none of the phrases.
    """
    for phrase in phrases:
        before = find_words(phrase, text) if phrase else -1
        if before >= 0:
            # Integer arithmetic, so that rounding cannot decide at the borders between thirds.
            return THIRDS[min(2, 3 * (2 * before + len(phrase)) // (2 * len(text)))]
    return None


def without_phrases(phrases: Iterable[str], text: Sequence[str]) -> list[str]:
    """Replace the first occurrence of each phrase in ``text`` by one "\\0", longest phrases first."""
    rest = list(text)
    for phrase in sorted(phrases, key=lambda p: (-len(words(p)), p)):
        start = find_phrase(phrase, rest)
        size = len(words(phrase))
        if start >= 0 and size:
            # The "\0" keeps the words before and after it from forming a phrase.
            rest[start : start + size] = ["\0"]
    return rest


def spoken_share(phrase: str, text: Sequence[str]) -> float:
    """Share of a phrase's words that ``text`` contains, in any order; 1.0 for a phrase without words."""
    wanted = words(phrase)
    return sum(word in text for word in wanted) / len(wanted) if wanted else 1.0


def grams(text: Sequence[str], size: int) -> set[tuple[str, ...]]:
    """All runs of ``size`` consecutive words."""
    return {tuple(text[start : start + size]) for start in range(len(text) - size + 1)}
