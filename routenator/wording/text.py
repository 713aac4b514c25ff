"""Works on the bytes of a query inside compiled code: tidying, typos, word counts, JSON.

Texts are UTF-8 bytes, with spaces as the only white space. Bytes, because numba's strings are slow and Arrow wants
bytes in the end. While a query is built, marker bytes surround the slots' surfaces: they keep noise out of the slots
and show where the category word is. Markers are control characters, which no piece contains (see ``Compiler._piece``).
"""

from __future__ import annotations

from typing import Any

from numba import njit

from routenator.domain.kinds import BOOLEAN, LITERALS, NULLABLE, NUMBER, STRING
from routenator.wording.tables import ALONE, IN_WORD, TYPED, WIDE_PUNCTUATION

SPACE, OPEN, CLOSE, OPEN_CATEGORY = 32, 1, 2, 3
COMMA, OPENING, CLOSING = 44, 123, 125
_QUOTE, _BACKSLASH = 34, 92
_WIDE = tuple(map(ord, WIDE_PUNCTUATION))
_PLUS, _MINUS, _DOT, _ZERO, _NINE = 43, 45, 46, 48, 57


@njit(cache=True, inline="always")
def is_punctuation(sign: Any) -> Any:
    """True if a byte is one of ``, . ? ! ; :``."""
    return sign in (44, 46, 63, 33, 59, 58)


@njit(cache=True, inline="always")
def copy(source: Any, start: Any, stop: Any, out: Any, at: Any) -> Any:
    """Append ``source[start:stop]``; return the new end. A loop, since a slice would be an array with references."""
    for i in range(start, stop):
        out[at + i - start] = source[i]
    return at + stop - start


@njit(cache=True, inline="always")
def _glue(out: Any, first: Any, token: Any, at: Any) -> Any:
    """Drop the space before a token that is a single punctuation mark; return the new end."""
    if at - token == 1 and token > first and is_punctuation(out[token]):
        out[token - 1] = out[token]
        return at - 1
    return at


@njit(cache=True, inline="always")
def third_at(words: Any, before: Any, inside: Any) -> Any:
    """The third of a query (0, 1, 2) that contains the middle of the category's words; -1 if they do not occur."""
    return min(2, 3 * (2 * before + inside) // (2 * words)) if before >= 0 and words > 0 else -1


@njit(cache=True)
def tidy(raw: Any, start: Any, stop: Any, bare: Any, out: Any, at: Any) -> Any:
    """Append a text without markers and double spaces, as ``routenator.grammar.tidy`` does.

    Args:
        raw: the text is ``raw[start:stop]``.
        bare: drop punctuation outside the slots, of any script.
        out: receives the tidy text, from ``at`` on.

    Returns:
        New end, number of words, third that contains the middle of the category word (-1 if it does not occur).
    """
    first, token, words = at, -1, 0
    inside, before, spoken = False, -1, -1
    dropped = start  # bytes before this place belong to a character that is dropped
    for i in range(start, stop):
        sign = raw[i]
        if sign in (OPEN, OPEN_CATEGORY):
            inside = True
            if sign == OPEN_CATEGORY and before < 0:
                before = words - (token >= 0)
        elif sign == CLOSE:
            inside = False
            if before >= 0 and spoken < 0:
                spoken = words - before
        elif sign == SPACE:
            if token >= 0:
                end = _glue(out, first, token, at)
                words -= at - end
                at, token = end, -1
        elif bare and not inside and (i < dropped or is_punctuation(sign) or (sign >= 0xC2 and _is_wide(raw, i))):
            if i >= dropped:
                dropped = i + _width(sign)
        else:
            if token < 0:
                if at > first:
                    out[at] = SPACE
                    at += 1
                token = at
                words += 1
            out[at] = sign
            at += 1
    if token >= 0:
        end = _glue(out, first, token, at)
        words -= at - end
        at = end
    return at, words, third_at(words, before, spoken)


@njit(cache=True)
def _is_wide(raw: Any, i: Any) -> Any:
    """True if a punctuation mark of another script begins at ``i``."""
    return _code_point(raw, i, _width(raw[i])) in _WIDE


@njit(cache=True)
def third_by_letters(raw: Any, start: Any, stop: Any, alpha: Any) -> Any:
    """The third of the middle of the category's words, with each letter of a script without spaces as a word.

    ``routenator.validation.text.third_of`` counts the same way. Words, and not bytes, are counted in other scripts.

    Args:
        raw: the text, with markers, is ``raw[start:stop]``.
        alpha: ``Program.alpha``.

    Returns:
        0, 1 or 2; -1 if the category does not occur.
    """
    words, before, spoken, going = 0, -1, -1, False
    i = start
    while i < stop:
        width = _width(raw[i])
        point = _code_point(raw, i, width)
        i += width
        if point == OPEN_CATEGORY and before < 0:
            before = words
        elif point == CLOSE and before >= 0 and spoken < 0:
            spoken = words - before
        bits = alpha[point] if point < alpha.size else IN_WORD
        if bits & ALONE:
            words += 1
            going = False
        elif bits & IN_WORD:
            words += not going
            going = True
        else:
            going = False
    return third_at(words, before, spoken)


@njit(cache=True)
def typo(raw: Any, stop: Any, where: Any, kind: Any, alpha: Any, places: Any) -> Any:
    """Make one typo in a word of at least four letters outside the slots: a swapped, dropped or doubled letter.

    Args:
        raw: the text is ``raw[:stop]``; changed in place, with room for one more character.
        where: 32 random bits that choose the letter.
        kind: 32 random bits: swapped (2 of 5), dropped (3 of 10), doubled (3 of 10).
        alpha: ``Program.alpha``.
        places: int64, with room for as many letters as the text has.

    Returns:
        The new end.
    """
    # A letter qualifies if one letter comes before it and two after, so the scan keeps the starts of the last two.
    found, run, inside = 0, 0, False
    last1, last2 = 0, 0  # starts of the character before this one and of the one before that
    i = 0
    while i < stop:
        sign = raw[i]
        width = 1 if sign < 0x80 else 2 if sign < 0xE0 else 3 if sign < 0xF0 else 4
        point = _code_point(raw, i, width)
        if point in (OPEN, OPEN_CATEGORY):
            inside = True
        if point == CLOSE:
            inside = False
        run = run + 1 if not inside and point < alpha.size and alpha[point] & TYPED else 0
        if run >= 4:
            places[found] = last2
            found += 1
        last2, last1 = last1, i
        i += width
    if found == 0:
        return stop
    here = places[(where * found) >> 32]
    size = _width(raw[here])
    following = here + size
    if kind < 1717986918:  # 2/5 of 2**32
        return _swap(raw, here, size, _width(raw[following]), stop)
    if kind < 3006477107:  # 7/10 of 2**32
        for i in range(following, stop):
            raw[i - size] = raw[i]
        return stop - size
    for i in range(stop - 1, here - 1, -1):
        raw[i + size] = raw[i]
    return stop + size


@njit(cache=True, inline="always")
def _width(sign: Any) -> Any:
    return 1 if sign < 0x80 else 2 if sign < 0xE0 else 3 if sign < 0xF0 else 4


@njit(cache=True, inline="always")
def _code_point(raw: Any, i: Any, width: Any) -> Any:
    if width == 1:
        return int(raw[i])
    point = int(raw[i]) & (0xFF >> (width + 1))
    for k in range(1, width):
        point = point << 6 | int(raw[i + k]) & 0x3F
    return point


@njit(cache=True, inline="always")
def _swap(raw: Any, here: Any, first: Any, second: Any, stop: Any) -> Any:
    """Swap two adjacent characters of ``first`` and ``second`` bytes, by rotating the first past the second."""
    for _ in range(first):
        sign = raw[here]
        for i in range(here, here + first + second - 1):
            raw[i] = raw[i + 1]
        raw[here + first + second - 1] = sign
    return stop


@njit(cache=True)
def quoted(source: Any, start: Any, stop: Any, out: Any, at: Any) -> Any:
    """Append a JSON string; our texts contain no control characters. Return the new end."""
    out[at] = _QUOTE
    at += 1
    for i in range(start, stop):
        if source[i] in (_QUOTE, _BACKSLASH):
            out[at] = _BACKSLASH
            at += 1
        out[at] = source[i]
        at += 1
    out[at] = _QUOTE
    return at + 1


@njit(cache=True)
def typed(source: Any, start: Any, stop: Any, kind: Any, out: Any, at: Any) -> Any:
    """Append a value as its parameter's JSON type; text that is not a number stays a string. Return the new end.

    ``json_value`` in routenator.domain.kinds does the same in Python.
    """
    if kind > BOOLEAN:
        if kind & NULLABLE and _is_word(source, start, stop, "null"):
            return copy(source, start, stop, out, at)
        if kind & LITERALS and (_is_word(source, start, stop, "true") or _is_word(source, start, stop, "false")):
            return copy(source, start, stop, out, at)
        kind = kind & BOOLEAN
    if kind == STRING:
        return quoted(source, start, stop, out, at)
    if kind == BOOLEAN:
        word = "true" if _is_yes(source, start, stop) else "false"
        for i in range(len(word)):
            out[at + i] = ord(word[i])
        return at + len(word)
    first = start + 1 if start < stop and source[start] in (_PLUS, _MINUS) else start
    dots, digits = 0, 0
    for i in range(first, stop):
        if source[i] == _DOT:
            dots += 1
        elif _ZERO <= source[i] <= _NINE:
            digits += 1
        else:
            return quoted(source, start, stop, out, at)
    if digits == 0 or dots > (kind == NUMBER) or source[first] == _DOT or source[stop - 1] == _DOT:
        return quoted(source, start, stop, out, at)
    while first < stop - 1 and source[first] == _ZERO and source[first + 1] != _DOT:
        first += 1
    if source[start] == _MINUS and not (stop - first == 1 and source[first] == _ZERO):
        out[at] = _MINUS
        at += 1
    return copy(source, first, stop, out, at)


@njit(cache=True, inline="always")
def _is_word(source: Any, start: Any, stop: Any, word: Any) -> Any:
    same = stop - start == len(word)
    if same:
        for i in range(len(word)):
            same = same and source[start + i] == ord(word[i])
    return same


@njit(cache=True, inline="always")
def _is_yes(source: Any, start: Any, stop: Any) -> Any:
    for word in ("true", "yes"):
        if stop - start == len(word):
            same = True
            for i in range(len(word)):
                same = same and (source[start + i] | 32) == ord(word[i])
            if same:
                return True
    return False
