"""JSON from elsewhere, with bounds: replies of models, files of a domain, golden sets.

Python's decoder gives up on deep nesting and on numbers of thousands of digits with errors that are not
``JSONDecodeError``; it accepts NaN and infinity, which JSON does not have, and halves of surrogate pairs, which no
UTF-8 file can hold; and of a key that appears twice it silently takes the last. Here all of them are a
``BadJsonError``, so that one value from elsewhere ends nothing but itself.
"""

from __future__ import annotations

import json
import re
from typing import Any

MOST_DEPTH = 64  # objects and lists within each other
MOST_DIGITS = 300  # of an integer; any such number is also a float

_SHOWN, _SHOWN_LETTERS = 6, 60  # keys of an object and letters of a key, for messages
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_LONG_NUMBER = re.compile(rf"\d{{{MOST_DIGITS + 1}}}")
_MAYBE_INFINITE = re.compile(r"NaN|Infinity|\d[eE]\+?\d")  # or a long number


class BadJsonError(ValueError):
    """A text is not JSON, or JSON beyond the bounds.

    Attributes:
        line: 1-based line of the fault, if known.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise BadJsonError(f"a number of {len(digits):,} digits, more than {MOST_DIGITS}")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for place, key in enumerate(keys) if key in keys[:place])
        some = ", ".join(repr(key[:_SHOWN_LETTERS]) for key in list(value)[:_SHOWN])
        raise BadJsonError(f"the key {twice[:_SHOWN_LETTERS]!r} appears twice in an object with the keys {some}")
    return value


_TOO_DEEP = f"nested deeper than {MOST_DEPTH} levels"
_SPACES = " \t\r\n"
_PLAIN = json.JSONDecoder(object_pairs_hook=_object)
_CAREFUL = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer)


def read_value(text: str, at: int = 0) -> tuple[Any, int]:
    """Decode the value that starts at a position.

    Returns:
        The value, and the position after it.

    Raises:
        BadJsonError: no JSON starts here, or it is beyond the bounds.
    """
    value, end = _decode(_CAREFUL, text, at)
    _check(value)
    return value, end


def loads(text: str) -> Any:
    """Decode a text that is one JSON value.

    Raises:
        BadJsonError: it is not JSON, or beyond the bounds.
    """
    # Files may be large, and these searches are much faster than a Python call for each integer and each value.
    decoder = _CAREFUL if len(text) > MOST_DIGITS and _LONG_NUMBER.search(text) else _PLAIN
    value, end = _decode(decoder, text, len(text) - len(text.lstrip(_SPACES)))
    if (
        decoder is _CAREFUL
        or text.count("[") + text.count("{") > MOST_DEPTH
        or (("\\u" in text or not text.isascii()) and _HALF_PAIR.search(text))
        or _MAYBE_INFINITE.search(text)
    ):
        _check(value)
    rest = text[end:].lstrip(_SPACES)
    if rest:
        raise BadJsonError("Extra data", text.count("\n", 0, len(text) - len(rest)) + 1)
    return value


def _decode(decoder: json.JSONDecoder, text: str, at: int) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise BadJsonError(error.msg, error.lineno) from None
    except RecursionError:
        raise BadJsonError(_TOO_DEEP) from None


def _check(value: Any) -> None:
    if _is_deep(value):
        raise BadJsonError(_TOO_DEEP)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise BadJsonError("NaN or an infinite number, which JSON does not have") from None
    if not is_text(text):
        raise BadJsonError("half of a surrogate pair, which is not text")


def is_text(text: str) -> bool:
    """Whether a text can be written as UTF-8: it has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def dump_line(value: Any) -> str:
    """Format a value as one line of JSON; with escapes only if the value would not be UTF-8 text otherwise."""
    line = json.dumps(value, ensure_ascii=False)
    return line if is_text(line) else json.dumps(value)


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MOST_DEPTH + 1):
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
