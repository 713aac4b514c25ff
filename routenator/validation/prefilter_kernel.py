"""The compiled half of prefilter.py.

Each test errs on the strict side: a row that fails here only goes through the checks in Python. So a row with any
non-ASCII byte is left to them, and bytes can be treated as characters throughout.

Written by hand for numba because the checks in Python take far longer than writing the drafts. Words are compared by
64-bit FNV-1a hashes, which need no strings; the tables in ``Rules`` hold the same hashes. Hashes are uint64 throughout,
since numba turns arithmetic on a signed and an unsigned integer into float64. The words of a row go to one array
(``found``), which is allocated once and reused for every row.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from routenator.compiled import discard_stale
from routenator.domain.calls import CLOSING
from routenator.validation.prefilter_call import string_end, valid
from routenator.validation.prefilter_rules import ENDING, OWN
from routenator.validation.prefilter_schema import DEEPEST, MOST_ITEMS

discard_stale(Path(__file__).parent)

_OFFSET, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_APOSTROPHE, _COLON, _SPACE, _OPENING, _CLOSING, _S = 39, 58, 32, 123, 125, 115
_LONGEST, _LONGEST_WORD, _VOWELLESS, _MOST = 600, 24, 6, 512
_LANGUAGES = 8
_CLOSING_BYTES = len(CLOSING)


@njit(cache=True)
def _lower(sign: Any) -> Any:
    return sign + 32 if 65 <= sign <= 90 else sign


@njit(cache=True)
def _is_word(sign: Any) -> Any:
    """True for a letter or digit."""
    return 48 <= sign <= 57 or 65 <= sign <= 90 or 97 <= sign <= 122


@njit(cache=True)
def tokens(text: Any, start: Any, stop: Any, out: Any, at: Any) -> Any:
    """Split ``text[start:stop]`` (ASCII) into words exactly as ``routenator.validation.text.words`` does.

    Args:
        text: bytes.
        out: receives a hash and a size for each word, from row ``at`` on; uint64, shape (words, 2). The size is capped
            at 255; 256 is added for a word of consonants only.

    Returns:
        The new end of ``out``, or -1 if there are too many words.
    """
    i = start
    while i < stop:
        sign = text[i]
        if at >= _MOST:
            return -1
        # A possessive 's is a separate word, unless an underscore (95) follows, which \b in the regex does not end at.
        possessive = sign == _APOSTROPHE and i + 1 < stop and _lower(text[i + 1]) == _S
        possessive = possessive and (i + 2 == stop or not (_is_word(text[i + 2]) or text[i + 2] == 95))
        if possessive:
            out[at, 0] = ((_OFFSET ^ np.uint64(_APOSTROPHE)) * _PRIME ^ np.uint64(_S)) * _PRIME
            out[at, 1] = 2
            at += 1
            i += 2
            continue
        if not _is_word(sign):
            i += 1
            continue
        value, size, consonants = _OFFSET, 0, True
        while i < stop:
            sign = _lower(text[i])
            if sign == _APOSTROPHE:
                if i + 1 == stop or not _is_word(text[i + 1]):
                    break
                if _lower(text[i + 1]) == _S and (i + 2 == stop or not (_is_word(text[i + 2]) or text[i + 2] == 95)):
                    break
            elif not _is_word(sign):
                break
            vowel = sign in (97, 101, 105, 111, 117, 121)
            consonants = consonants and not vowel and 97 <= sign <= 122
            value = (value ^ np.uint64(sign)) * _PRIME
            size += 1
            i += 1
        out[at, 0] = value
        out[at, 1] = min(size, 255) + (256 if consonants else 0)
        at += 1
    return at


@njit(cache=True)
def _marks(rules: Any, language: Any, value: Any) -> Any:
    """Look up a word by binary search: bits of the other languages that have it, and the marks OWN and ENDING."""
    low, high = rules.spans[language, 0], rules.spans[language, 1]
    end = high
    while low < high:
        middle = (low + high) >> 1
        if rules.words[middle] < value:
            low = middle + 1
        else:
            high = middle
    return rules.marks[low] if low < end and rules.words[low] == value else 0


@njit(cache=True)
def _plain(text: Any, start: Any, stop: Any) -> Any:
    """True for ASCII that is not too long and has none of the characters of markup, brackets, quotes and web addresses.

    Covers ``too_long``, ``markup`` and ``quotes``, and the parts of ``boilerplate`` that need a colon.
    """
    if stop - start > _LONGEST or stop == start:
        return False
    for i in range(start, stop):
        sign = text[i]
        # " ( ) * / : < > [ \ ] _ ` { | } and control characters. Without a colon, "Query:" and "here is a poster:" are
        # impossible.
        if sign < 32 or sign > 126 or sign in (34, 40, 41, 42, 47, 58, 60, 62, 91, 92, 93, 95, 96, 123, 124, 125):
            return False
    return True


@njit(cache=True)
def _no_habit(rules: Any, found: Any, count: Any) -> Any:
    """True if no stock phrase of a chat model can begin the text: none of its first words, nor "I'm sorry" and such."""
    openings = rules.openings
    for k in range(5):
        if found[0, 0] == openings[k]:
            return False
    if count > 1 and (found[0, 0] == openings[5] or found[0, 0] == openings[6]):
        for k in range(7, len(openings)):
            if found[1, 0] == openings[k]:
                return False
    return True


@njit(cache=True)
def _no_repetition(found: Any, count: Any) -> Any:
    """True if no run of words is immediately repeated. Stricter than the check, which allows some repetition."""
    for size in range(1, count // 2 + 1):
        run = 0
        for i in range(count - size):
            run = run + 1 if found[i, 0] == found[i + size, 0] else 0
            if run >= size:
                return False
    return True


@njit(cache=True)
def _no_other_language(rules: Any, language: Any, found: Any, count: Any) -> Any:
    """True if each other language has at most one function word in the text, and no word is a non-word.

    Stricter than the check, because it looks at the whole text and not only outside the slots.
    """
    if not rules.checked[language]:
        return True
    theirs = np.zeros(_LANGUAGES, dtype=np.int64)
    for i in range(count):
        size = np.int64(found[i, 1])
        if size & 255 > _LONGEST_WORD or (size >= 256 and size & 255 >= _VOWELLESS):
            return False
        marks = _marks(rules, language, found[i, 0])
        if marks and not marks & OWN:
            for k in range(_LANGUAGES):
                if marks >> k & 1:
                    theirs[k] += 1
                    if theirs[k] > 1:
                        return False
    return True


@njit(cache=True)
def _said(text: Any, start: Any, stop: Any, found: Any, count: Any) -> Any:
    """True if the words contain each value of a flat JSON object of strings, as consecutive words.

    Args:
        text: the object is ``text[start:stop]``.
        found: the query's words as ``tokens`` gives them; those of each value are put behind them for the comparison.
        count: number of the query's words.
    """
    i = start + 1
    if text[start] != _OPENING:
        return False
    while stop - start > 2:
        end = string_end(text, i, stop)
        if end < 0 or text[end + 1] != _COLON or text[end + 2] != _SPACE:
            return False
        first = end + 3
        end = string_end(text, first, stop)
        if end < 0:
            return False
        last = tokens(text, first + 1, end, found, count)
        if last < 0:
            return False
        size, there = last - count, last == count
        for place in range(count - size + 1):
            same = True
            for k in range(size):
                same = same and found[place + k, 0] == found[count + k, 0]
            there = there or same
        if not there:
            return False
        if text[end + 1] == _CLOSING:
            break
        i = end + 3
    return True


@njit(cache=True, nogil=True)
def sure_rows(
    rules: Any, rows: Any, query: Any, query_ends: Any, slots: Any, slot_ends: Any, calls: Any, call_ends: Any
) -> Any:
    """Find the rows that certainly pass all covered checks.

    Args:
        rules: ``routenator.validation.prefilter_rules.Rules``.
        rows: function, language, lowest and highest number of words, where the arguments begin in the text of the
            call; shape (n, 5).
        query, slots, calls: bytes of the queries, of the JSON lists with the slots of one call and of the texts of one
            call (routenator/domain/calls.py), each with offsets of shape (n + 1,).

    Returns:
        Mask of shape (n,).
    """
    count = len(rows)
    result = np.zeros(count, dtype=np.bool_)
    found = np.zeros((_MOST + 1, 2), dtype=np.uint64)
    stack, seen = np.zeros((DEEPEST, 3), dtype=np.int64), np.zeros((DEEPEST, MOST_ITEMS), dtype=np.uint64)
    for row in range(count):
        function, language = rows[row, 0], rows[row, 1]
        start, stop = query_ends[row], query_ends[row + 1]
        if function < 0 or not _plain(query, start, stop):
            continue
        # With single spaces only, their number gives the number of words.
        spaces, double = 1, query[stop - 1] == _SPACE
        for i in range(start, stop):
            double = double or (query[i] == _SPACE and (i == start or query[i - 1] == _SPACE))
            spaces += query[i] == _SPACE
        if double or not rows[row, 2] <= spaces <= rows[row, 3]:
            continue
        last = tokens(query, start, stop, found, 0)
        if last <= 0 or not _no_habit(rules, found, last) or not _no_repetition(found, last):
            continue
        # ``incomplete`` looks at the last word, if it is outside the slots. Testing the last word in any case is
        # stricter.
        if _marks(rules, language, found[last - 1, 0]) & ENDING or not _no_other_language(rules, language, found, last):
            continue
        if _said(slots, slot_ends[row] + 1, slot_ends[row + 1] - 1, found, last):
            first = call_ends[row] + rows[row, 4]
            end = call_ends[row + 1] - _CLOSING_BYTES
            result[row] = valid(rules.shapes, function, calls, first, end, stack, seen)
    return result
