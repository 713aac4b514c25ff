"""Compiled: whether a call's arguments certainly satisfy the schema of its function.

Parses the JSON by hand: ``routenator.wording`` wrote it, so its form is known. Objects and lists are followed with a
stack, since numba compiles no recursion that it can cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from routenator.validation.prefilter_schema import (
    ANY_TEXT,
    BOOLEAN,
    DATE,
    FIRST,
    KIND,
    LAST,
    LEAST,
    LIST,
    LISTED,
    MOST,
    NUMBER,
    OBJECT,
    STRING,
    UNIQUE,
)

_OFFSET, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_QUOTE, _COMMA, _COLON, _SPACE, _MINUS, _DOT = 34, 44, 58, 32, 45, 46
_OBJECT, _OBJECT_END, _LIST, _LIST_END = 123, 125, 91, 93
_T, _F, _TEE = 116, 102, 84
_DIGITS = 15  # of a number that is read exactly


@njit(cache=True)
def string_end(text: Any, i: Any, stop: Any) -> Any:
    """Position of the closing quote of the JSON string that starts at ``i``; -1 if it is not plain text."""
    if i >= stop or text[i] != _QUOTE:
        return -1
    for k in range(i + 1, stop):
        if text[k] == _QUOTE:
            return k
        if text[k] < 32 or text[k] == 127 or text[k] == 92:
            return -1
    return -1


@njit(cache=True)
def _hash(text: Any, start: Any, stop: Any) -> Any:
    value = _OFFSET
    for i in range(start, stop):
        value = (value ^ np.uint64(text[i])) * _PRIME
    return value


@njit(cache=True)
def _number_end(shapes: Any, shape: Any, text: Any, i: Any, stop: Any) -> Any:
    """Position after the JSON number (no exponent, within the bounds) that starts at ``i``; -1 if there is none."""
    negative = i < stop and text[i] == _MINUS
    i += negative
    # Up to 15 digits and a power of ten are exact, so their quotient is the nearest number, as Python reads it.
    value, scale, digits, dots = 0.0, 1.0, 0, 0
    while i < stop and (48 <= text[i] <= 57 or text[i] == _DOT):
        if text[i] == _DOT:
            dots += 1
        else:
            digits += 1
            value = 10.0 * value + (np.int64(text[i]) - 48)
            scale = 10.0 * scale if dots else scale
        i += 1
    if digits == 0 or digits > _DIGITS or dots > (shapes.shapes[shape, KIND] == NUMBER):
        return -1
    value = -value / scale if negative else value / scale
    return i if shapes.bounds[shape, 0] <= value <= shapes.bounds[shape, 1] else -1


@njit(cache=True)
def _two_digits(text: Any, i: Any) -> Any:
    """The number of two digits at ``i``; 100 if they are none."""
    tens, ones = np.int64(text[i]) - 48, np.int64(text[i + 1]) - 48
    return 10 * tens + ones if 0 <= tens <= 9 and 0 <= ones <= 9 else 100


@njit(cache=True)
def _is_date(text: Any, start: Any, stop: Any, timed: Any) -> Any:
    """Whether a text is certainly a date, with a time or not; 29 February is left to the checks."""
    if stop - start != (19 if timed else 10) or text[start + 4] != _MINUS or text[start + 7] != _MINUS:
        return False
    month, day = _two_digits(text, start + 5), _two_digits(text, start + 8)
    if _two_digits(text, start) > 99 or _two_digits(text, start + 2) > 99 or _two_digits(text, start) == 0:
        return False
    if not 1 <= month <= 12 or not 1 <= day <= 31:
        return False
    if day > 28 and (month == 2 or (day == 31 and month in (4, 6, 9, 11))):
        return False
    if not timed:
        return True
    if text[start + 10] != _TEE or text[start + 13] != _COLON or text[start + 16] != _COLON:
        return False
    return (
        _two_digits(text, start + 11) < 24 and _two_digits(text, start + 14) < 60 and _two_digits(text, start + 17) < 60
    )


@njit(cache=True)
def _scalar_end(shapes: Any, shape: Any, text: Any, i: Any, stop: Any) -> Any:
    """Position after the value that starts at ``i``; -1 if it does not certainly satisfy its schema."""
    kind = shapes.shapes[shape, KIND]
    if kind == STRING:
        end = string_end(text, i, stop)
        return end + 1 if end >= 0 else -1
    if kind == DATE:
        end = string_end(text, i, stop)
        return end + 1 if end >= 0 and _is_date(text, i + 1, end, shapes.shapes[shape, MOST]) else -1
    if kind == LISTED:
        end = i
        if i < stop and text[i] == _QUOTE:
            end = string_end(text, i, stop) + 1
        else:
            while end < stop and text[end] not in (_COMMA, _OBJECT_END, _LIST_END):
                end += 1
        if end <= i:
            return -1
        value = _hash(text, i, end)
        for k in range(shapes.shapes[shape, FIRST], shapes.shapes[shape, LAST]):
            if shapes.values[k] == value:
                return end
        return -1
    if kind == BOOLEAN:
        if stop - i > 4 and text[i] in (_T, _F):
            return i + 4 if text[i] == _T else i + 5
        return -1
    return _number_end(shapes, shape, text, i, stop)


@njit(cache=True)
def valid(shapes: Any, function: Any, text: Any, start: Any, stop: Any, stack: Any, seen: Any) -> Any:
    """True if the arguments satisfy the function's schema; False if they do not, or the schema is too complex to tell.

    Args:
        shapes: ``routenator.validation.prefilter_schema.Shapes``.
        function: its number.
        text: the JSON object of the arguments is ``text[start:stop]``.
        stack: scratch memory, int64, shape (DEEPEST, 3): the shape of each open object or list, the number of its
            required fields that were met, and of all its fields or items.
        seen: scratch memory, uint64, shape (DEEPEST, MOST_ITEMS): hashes of the items of each open list.
    """
    table = shapes.shapes
    if shapes.roots[function] < 0 or text[start] != _OBJECT:
        return False
    stack[0, 0], stack[0, 1], stack[0, 2] = shapes.roots[function], 0, 0
    depth, i, fresh = 0, start + 1, True
    while i < stop:
        here = stack[depth, 0]
        kind = table[here, KIND]
        if not (fresh and text[i] == (_OBJECT_END if kind == OBJECT else _LIST_END)):
            child = table[here, FIRST]
            if kind == OBJECT:
                end = string_end(text, i, stop)
                if end < 0 or end + 3 >= stop or text[end + 1] != _COLON or text[end + 2] != _SPACE:
                    return False
                key, number = _hash(text, i + 1, end), -1
                for k in range(table[here, FIRST], table[here, LAST]):
                    if shapes.keys[k] == key:
                        number = k
                if number < 0 and not table[here, MOST]:
                    return False
                child = shapes.members[number] if number >= 0 else ANY_TEXT
                stack[depth, 1] += number >= 0 and number < table[here, FIRST] + table[here, LEAST]
                i = end + 3
            stack[depth, 2] += 1
            form = table[child, KIND]
            if form >= LIST:
                if text[i] != (_OBJECT if form == OBJECT else _LIST) or depth + 1 == len(stack):
                    return False
                depth += 1
                stack[depth, 0], stack[depth, 1], stack[depth, 2] = child, 0, 0
                i, fresh = i + 1, True
                continue
            end = _scalar_end(shapes, child, text, i, stop)
            if end < 0:
                return False
            if kind == LIST and table[here, UNIQUE]:
                count = stack[depth, 2] - 1
                if count >= seen.shape[1]:
                    return False
                seen[depth, count] = _hash(text, i, end)
                for k in range(count):
                    if seen[depth, k] == seen[depth, count]:
                        return False
            i = end
        while True:  # after a value: another one, or the end of what holds it
            if i >= stop:
                return False
            if text[i] == _COMMA:
                i, fresh = i + 2, False
                break
            here = stack[depth, 0]
            if table[here, KIND] == OBJECT:
                if text[i] != _OBJECT_END or stack[depth, 1] != table[here, LEAST]:
                    return False
            elif text[i] != _LIST_END or not table[here, LEAST] <= stack[depth, 2] <= table[here, MOST]:
                return False
            i += 1
            if depth == 0:
                return i == stop
            depth -= 1
    return False
