"""Parses the calls in a model's reply.

Tolerant of what surrounds a call (code fences, prose), strict about the call itself, as the parsers of servers are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from routenator.domain.calls import Call
from routenator.jsontext import BadJsonError, loads, read_value

OPEN, CLOSE = "<tool_call>", "</tool_call>"

_LONGEST = 100_000  # characters of a reply that are read; the time grows with the square of unclosed braces
_ARGUMENTS = ("arguments", "parameters")  # the second is from Llama's own tool format
_BLOCK = re.compile(f"{OPEN}(.*?)(?:{CLOSE}|\\Z)", re.DOTALL)


@dataclass(frozen=True)
class Reply:
    """A parsed reply.

    Attributes:
        calls: its calls; empty for a reply in words.
        problem: why it can be neither: ``empty``, or ``bad_block`` (what follows a ``<tool_call>`` is not a call); None
            for calls or words.
    """

    calls: tuple[Call, ...] = ()
    problem: str | None = None


def parse_reply(text: str) -> Reply:
    """Find the calls in a reply.

    A call is a JSON object with a string ``name`` and an object ``arguments`` (or ``parameters``), which may also be a
    string of JSON as OpenAI writes it. Calls are in ``<tool_call>`` blocks, each of which must be a call. In a reply
    without blocks all calls count, wherever they are; wrappers such as ``{"function": {...}}`` and lists are
    skipped. A reply without blocks and without calls is words. JSON beyond the bounds of ``routenator.jsontext`` is not
    a call.
    """
    text = text[:_LONGEST]
    if not text.strip():
        return Reply(problem="empty")
    blocks = _BLOCK.findall(text)
    if blocks:
        calls = [_block(block) for block in blocks]
        good = tuple(call for call in calls if call is not None)
        return Reply(good) if len(good) == len(calls) else Reply(problem="bad_block")
    return Reply(tuple(_bare(text)))


def _block(text: str) -> Call | None:
    try:
        value = loads(text)
    except BadJsonError:
        return None
    return _call(value) if isinstance(value, dict) else None


def _bare(text: str) -> list[Call]:
    calls = []
    position = text.find("{")
    while position >= 0:
        # The next brace may be inside this object: it may be a wrapper around a call.
        after = position + 1
        try:
            value, end = read_value(text, position)
        except BadJsonError:
            value = None
        if isinstance(value, dict) and (call := _call(value)) is not None:
            calls.append(call)
            after = end
        position = text.find("{", after)
    return calls


def _call(value: dict[str, Any]) -> Call | None:
    name = value.get("name")
    arguments = next((value[key] for key in _ARGUMENTS if key in value), None)
    if isinstance(arguments, str):
        try:
            arguments = loads(arguments)
        except BadJsonError:
            return None
    return Call(name, arguments) if isinstance(name, str) and isinstance(arguments, dict) else None
