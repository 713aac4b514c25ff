"""The compiled half of prefilter.py.

Each test errs on the strict side: a row that fails here only goes through the checks in Python.

Texts are UTF-8. Bytes below 128 are tested as they are; others are decoded, and ``Letters`` says what their code points
are, so no Unicode database is needed here. A row with a character that the tables call odd is left to the checks.

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
from routenator.validation.letters import ALONE, LETTER, MARK, ODD
from routenator.validation.prefilter_call import string_end, valid
from routenator.validation.prefilter_rules import ENDING, OWN
from routenator.validation.prefilter_schema import DEEPEST, MOST_ITEMS
from routenator.validation.segments_kernel import count_segments

discard_stale(Path(__file__).parent)

_OFFSET, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_APOSTROPHE, _COLON, _SPACE, _OPENING, _CLOSING, _S, _UNDERSCORE = 39, 58, 32, 123, 125, 115, 95
_LONGEST, _VOWELLESS, _MOST = 600, 6, 512
_CONSONANTS, _STANDS_ALONE, _NOT_LATIN = 256, 512, 1024  # facts of a word, added to its size
# Runs of up to _FEW letters, each a word by itself, may be repeated fewer than _OFTEN times: いろいろ
_FEW, _OFTEN = 4, 4
_LANGUAGES = 8
_CLOSING_BYTES = len(CLOSING)


@njit(cache=True)
def _lower(sign: Any) -> Any:
    return sign + 32 if 65 <= sign <= 90 else sign


@njit(cache=True)
def _is_word(sign: Any) -> Any:
    """True for a letter or digit of ASCII."""
    return 48 <= sign <= 57 or 65 <= sign <= 90 or 97 <= sign <= 122


@njit(cache=True)
def _width(sign: Any) -> Any:
    """Bytes of the character that starts with this byte."""
    return 1 if sign < 0x80 else 2 if sign < 0xE0 else 3 if sign < 0xF0 else 4


@njit(cache=True)
def _code_point(text: Any, i: Any) -> Any:
    """The code point of the character at ``i``."""
    width = _width(text[i])
    if width == 1:
        return np.int64(text[i])
    point = np.int64(text[i]) & (0xFF >> (width + 1))
    for k in range(1, width):
        point = point << 6 | np.int64(text[i + k]) & 0x3F
    return point


@njit(cache=True)
def _kind(letters: Any, text: Any, i: Any, stop: Any) -> Any:
    """Kind of the character at ``i``; 0 at the end."""
    if i >= stop:
        return 0
    if text[i] < 0x80:
        return np.int64(LETTER) if _is_word(text[i]) else np.int64(0)
    point = _code_point(text, i)
    return np.int64(letters.kinds[point]) if point < len(letters.kinds) else np.int64(ODD)


@njit(cache=True)
def _after_apostrophe(text: Any, i: Any, stop: Any) -> Any:
    """Position after the apostrophe at ``i``, straight or curved (U+2019); 0 if there is none."""
    if text[i] == _APOSTROPHE:
        return i + 1
    return i + 3 if text[i] == 0xE2 and i + 2 < stop and text[i + 1] == 0x80 and text[i + 2] == 0x99 else 0


@njit(cache=True)
def _is_possessive(letters: Any, text: Any, i: Any, stop: Any) -> Any:
    """True if an s that ends a word is at ``i``, after an apostrophe; an underscore continues a word, as for \\b."""
    if i >= stop or _lower(text[i]) != _S:
        return False
    return _kind(letters, text, i + 1, stop) == 0 and (i + 1 == stop or text[i + 1] != _UNDERSCORE)


@njit(cache=True)
def _hashed(value: Any, point: Any) -> Any:
    """The hash after one more code point, by its UTF-8 bytes."""
    if point < 0x80:
        return (value ^ np.uint64(point)) * _PRIME
    if point < 0x800:
        value = (value ^ np.uint64(0xC0 | point >> 6)) * _PRIME
    else:
        if point < 0x10000:
            value = (value ^ np.uint64(0xE0 | point >> 12)) * _PRIME
        else:
            value = (value ^ np.uint64(0xF0 | point >> 18)) * _PRIME
            value = (value ^ np.uint64(0x80 | point >> 12 & 0x3F)) * _PRIME
        value = (value ^ np.uint64(0x80 | point >> 6 & 0x3F)) * _PRIME
    return (value ^ np.uint64(0x80 | point & 0x3F)) * _PRIME


@njit(cache=True)
def tokens(letters: Any, text: Any, start: Any, stop: Any, out: Any, at: Any) -> Any:
    """Split ``text[start:stop]`` into words exactly as ``routenator.validation.text.words`` does.

    Args:
        letters: ``routenator.validation.letters.Letters``.
        text: bytes.
        out: receives a hash and a size for each word, from row ``at`` on; uint64, shape (words, 2). The size, in
            characters, is capped at 255; added are 256 for a word of consonants only, 512 for a letter that is a word
            alone, 1024 for a word with a letter that is not Latin.

    Returns:
        The new end of ``out``, or -1 if there are too many words or an odd character.
    """
    i = start
    while i < stop:
        if at >= _MOST:
            return -1
        sign = text[i]
        behind = _after_apostrophe(text, i, stop)
        if behind > 0 and _is_possessive(letters, text, behind, stop):
            out[at, 0] = ((_OFFSET ^ np.uint64(_APOSTROPHE)) * _PRIME ^ np.uint64(_S)) * _PRIME
            out[at, 1] = 2
            at += 1
            i = behind + 1
            continue
        if sign < 0x80:
            if not _is_word(sign):
                i += 1
                continue
        else:
            kind = _kind(letters, text, i, stop)
            if kind == ODD:
                return -1
            if kind == ALONE:
                value, size, i = _alone(letters, text, i, stop)
                out[at, 0] = value
                out[at, 1] = size + _STANDS_ALONE + _NOT_LATIN
                at += 1
                continue
            if kind != LETTER:
                i += _width(sign)
                continue
        consonants: Any = True
        latin: Any = True
        value, size = _OFFSET, 0
        while i < stop:
            sign = _lower(text[i])
            if sign < 0x80 and sign != _APOSTROPHE:
                if not _is_word(sign):
                    break
                point = np.int64(sign)
                i += 1
            else:
                behind = _after_apostrophe(text, i, stop)
                if behind > 0:
                    if _is_possessive(letters, text, behind, stop) or _kind(letters, text, behind, stop) != LETTER:
                        break
                    point, i = np.int64(_APOSTROPHE), behind
                else:
                    kind = _kind(letters, text, i, stop)
                    # A mark after an ASCII letter would end a word for \\b, which the checks use too.
                    if kind == ODD or (kind == MARK and text[i - 1] < 0x80):
                        return -1
                    if kind not in (LETTER, MARK):
                        break
                    point = _code_point(text, i)
                    latin = latin and (point <= 0x24F or 0x1E00 <= point <= 0x1EFF)
                    point = np.int64(letters.folds[point])
                    i += _width(text[i])
            vowel = point in (97, 101, 105, 111, 117, 121)
            consonants = consonants and not vowel and 97 <= point <= 122
            value = _hashed(value, point)
            size += 1
        out[at, 0] = value
        out[at, 1] = min(size, 255) + (_CONSONANTS if consonants else 0) + (0 if latin else _NOT_LATIN)
        at += 1
    return at


@njit(cache=True)
def _alone(letters: Any, text: Any, i: Any, stop: Any) -> Any:
    """Hash and size of the letter at ``i`` with its marks, and the position after them."""
    value, size = _OFFSET, 0
    while size == 0 or (_kind(letters, text, i, stop) == MARK and size < 255):
        value = _hashed(value, np.int64(letters.folds[_code_point(text, i)]))
        size += 1
        i += _width(text[i])
    return value, size, i


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
    """True for a text that is not too long and has no character of markup, brackets, quotes or web addresses.

    Covers ``too_long``, ``markup`` and ``quotes``, and the parts of ``boilerplate`` that need a colon.
    """
    if stop == start:
        return False
    count = 0
    for i in range(start, stop):
        sign = text[i]
        count += sign & 0xC0 != 0x80  # bytes that begin a character
        # " ( ) * / : < > [ \ ] _ ` { | } and control characters. Without a colon, "Query:" and "here is a poster:" are
        # impossible.
        if sign < 32 or sign == 127 or sign in (34, 40, 41, 42, 47, 58, 60, 62, 91, 92, 93, 95, 96, 123, 124, 125):
            return False
    return count <= _LONGEST


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
    """True if no run of words is immediately repeated. Stricter than the check, which allows some repetition.

    A few letters that are words alone may be repeated, as the check allows.
    """
    for size in range(1, count // 2 + 1):
        run, alone = 0, True
        for i in range(count - size):
            same = found[i, 0] == found[i + size, 0]
            run = run + 1 if same else 0
            alone = (alone or run == 1) and np.int64(found[i, 1]) & _STANDS_ALONE != 0
            if run >= (size * (_OFTEN - 1) if alone and size <= _FEW else size):
                return False
    return True


@njit(cache=True)
def _no_other_language(rules: Any, language: Any, found: Any, count: Any) -> Any:
    """True if each other language has at most one function word in the text, and every word is a word in Latin letters.

    Stricter than the check, because it looks at the whole text and not only outside the slots.
    """
    if not rules.checked[language]:
        return True
    theirs = np.zeros(_LANGUAGES, dtype=np.int64)
    for i in range(count):
        facts = np.int64(found[i, 1])
        size = facts & 255
        if size > rules.longest[language] or (facts & _CONSONANTS and size >= _VOWELLESS) or facts & _NOT_LATIN:
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
def _said(letters: Any, text: Any, start: Any, stop: Any, found: Any, count: Any) -> Any:
    """True if the words contain each value of a flat JSON object of strings, as consecutive words.

    Args:
        letters: ``routenator.validation.letters.Letters``.
        text: the object is ``text[start:stop]``.
        found: the query's words as ``tokens`` gives them; those of each value are appended to them for the comparison.
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
        last = tokens(letters, text, first + 1, end, found, count)
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
        if double:
            continue
        if rules.segments.spans[language, 1] > 0:
            segments = rules.segments
            spaces = count_segments(segments.keys, segments.scores, segments.spans, language, query, start, stop)
        if not rows[row, 2] <= spaces <= rows[row, 3]:
            continue
        last = tokens(rules.letters, query, start, stop, found, 0)
        if last <= 0 or not _no_habit(rules, found, last) or not _no_repetition(found, last):
            continue
        # ``incomplete`` looks at the last word, if it is outside the slots. Testing the last word in any case is
        # stricter.
        if _marks(rules, language, found[last - 1, 0]) & ENDING or not _no_other_language(rules, language, found, last):
            continue
        if _said(rules.letters, slots, slot_ends[row] + 1, slot_ends[row + 1] - 1, found, last):
            first = call_ends[row] + rows[row, 4]
            end = call_ends[row + 1] - _CLOSING_BYTES
            result[row] = valid(rules.shapes, function, calls, first, end, stack, seen)
    return result
