"""Calls of the API as data. A row has a list of calls: none, one or several.

The text form is JSON, ``[{"name": ..., "arguments": {...}}, ...]``, with exactly these spaces, and ``[]`` for none. So
where a row is known to have one call, its arguments are found by position, without parsing: they follow ``opening`` of
the function's name, and ``CLOSING`` follows them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

CLOSING = "}]"


class Call(NamedTuple):
    """A call of one function."""

    name: str
    arguments: dict[str, Any]


def opening(name: str) -> str:
    """The text of a single call up to its arguments."""
    return f'[{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": '


def calls_text(calls: Iterable[Call]) -> str:
    """Return the JSON text of calls."""
    return json.dumps([call._asdict() for call in calls], ensure_ascii=False)


def read_calls(text: str) -> list[Call]:
    """Read the JSON text of calls, as ``calls_text`` writes it."""
    return [Call(**call) for call in json.loads(text)]
