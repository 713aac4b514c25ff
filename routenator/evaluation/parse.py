"""Parses the call in a model's reply.

Tolerant of what surrounds the call (code fences, tags, prose), strict about the call itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from routenator.jsontext import BadJsonError, loads, read_value

_LONGEST = 100_000  # characters of a reply that are read; the time grows with the square of unclosed braces
_ARGUMENTS = ("arguments", "parameters")  # the second is from Llama's own tool format


@dataclass(frozen=True)
class Reply:
    """A parsed reply.

    Attributes:
        name, arguments: the call; None if there is none.
        problem: why there is none: ``empty``, ``no_json`` (no complete JSON object), ``no_call`` (JSON, but no name
            with arguments); None if there is a call.
    """

    name: str | None = None
    arguments: dict[str, Any] | None = None
    problem: str | None = None


def parse_reply(text: str) -> Reply:
    """Find the first call in a reply.

    A call is a JSON object with a string ``name`` and an object ``arguments`` (or ``parameters``), which may also be a
    string of JSON as OpenAI writes it. Wrappers such as ``{"function": {...}}``, lists and tags are skipped. JSON
    beyond the bounds of ``routenator.jsontext`` is none.
    """
    text = text[:_LONGEST]
    if not text.strip():
        return Reply(problem="empty")
    found_json = False
    position = text.find("{")
    while position >= 0:
        try:
            value, _ = read_value(text, position)
        except BadJsonError:
            value = None
        if isinstance(value, dict):
            found_json = True
            call = _call(value)
            if call is not None:
                return Reply(*call)
        # The next brace may be inside this object: it may be a wrapper around the call.
        position = text.find("{", position + 1)
    return Reply(problem="no_call" if found_json else "no_json")


def _call(value: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    name = value.get("name")
    arguments = next((value[key] for key in _ARGUMENTS if key in value), None)
    if isinstance(arguments, str):
        try:
            arguments = loads(arguments)
        except BadJsonError:
            return None
    return (name, arguments) if isinstance(name, str) and isinstance(arguments, dict) else None
