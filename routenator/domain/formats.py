"""Checks of a schema's ``format``: date, date-time, time, email, uri, uuid. Other formats are not checked.

By RFC 3339, except that an offset from UTC may be missing, and the seconds of a time too: APIs that say ``date-time``
often mean local time.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from functools import cache
from typing import Any

_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_OFFSET = r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?"
_HOUR = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_SECOND = r":(?:[0-5][0-9]|60)(?:\.[0-9]+)?"  # 60 is a leap second
_PATTERNS = {
    "date": _DATE,
    "date-time": f"{_DATE}[Tt ]{_HOUR}{_SECOND}{_OFFSET}",
    "time": f"{_HOUR}(?:{_SECOND})?{_OFFSET}",
    "email": r"[^\s@.\"(),:;<>\[\]\\]+(?:\.[^\s@.\"(),:;<>\[\]\\]+)*@[^\s@.]+(?:\.[^\s@.]+)*",
    "uri": r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+",
    "uuid": r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
}


@cache
def format_checker() -> Any:
    """The checker that validators take; texts only, as other types have no format."""
    from jsonschema import FormatChecker

    checker = FormatChecker(formats=())
    for name in _PATTERNS:
        checker.checks(name)(_check_of(name))
    return checker


def _check_of(name: str) -> Callable[[object], bool]:
    pattern = re.compile(_PATTERNS[name])

    def fits(value: object) -> bool:
        if not isinstance(value, str):
            return True
        return pattern.fullmatch(value) is not None and (not name.startswith("date") or _is_day(value[:10]))

    return fits


def _is_day(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True
