"""Labelled queries as other tools' files hold them, before it is decided whether they suit a golden set.

A reader (``routenator/authoring/formats.py``) turns a file into records. Faults of the file itself (not JSON, the
wrong shape) are an ``InputError`` with file and line; a record that is sound but of no use to us carries the reason.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from routenator.domain.functions import Function
from routenator.domain.golden import GoldenCall
from routenator.errors import InputError
from routenator.files import read_text
from routenator.jsontext import BadJsonError, loads, read_value

# Why a record is left out -> what that means, for messages.
REASONS = {
    "no query": "no message of a user, or a blank one",
    "no call": "`calls` in statistics.yaml has no such queries",
    "several calls": "`calls` in statistics.yaml has no such queries",
    "no answer": "the file does not say what the query should call",
    "dialogue": "the call follows several messages; a golden query is one message",
    "not only text": "the message holds an image or a file",
    "unreadable call": "the call is not JSON with a name and arguments",
    "two values": "a slot has two values",
    "no right value": "the answers hold none for a parameter",
    "too many calls": "a golden query has at most 32",
    "too many right values": "more right calls than can be listed",
    "other function": "none of those that --no-call names",
    "unknown function": "the domain has no such function",
    "no rule": "the function has no rule in domain.yaml",
    "schema": "the domain's schema refuses the arguments",
    "duplicate": "the query came before",
}
_LONGEST_LITERAL = 64 * 1024
_SPACES = " \t\r\n"
_SHOWN = 60


class LeftOutError(Exception):
    """A record cannot be used.

    Args:
        reason: one of ``REASONS``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Record:
    """A query of a file, with its calls.

    Attributes:
        place: where it is in the file, e.g. ``line 3``.
        calls: its calls; empty if it is known to be answered without one; None if the file does not say.
        problem: why the record cannot be used: one of ``REASONS``.
        today: the day that the query is meant from, ISO, if the file says.
        language: code of the query's language, if the file says.
        id: the same for a query and its translations, if the file has one.
    """

    place: str
    query: str
    calls: tuple[GoldenCall, ...] | None
    problem: str | None = None
    today: str | None = None
    language: str | None = None
    id: int | str | None = None


@dataclass(frozen=True)
class Source:
    """A file or folder to read, and what a reader may have to know.

    Attributes:
        functions: the domain's API, by which the cells of a table get their types; None: they stay text.
        answers: the second file of formats that have two; None: found beside the first.
        part: the part of a benchmark that comes in parts.
        language: code of all queries' language; None: as the file says, if it does.
    """

    file: Path
    functions: Mapping[str, Function] | None = None
    answers: Path | None = None
    part: str = "validate"
    language: str | None = None

    @cached_property
    def text(self) -> str:
        """The file's text.

        Raises:
            InputError: missing, unreadable, or not UTF-8.
        """
        return read_text(self.file, "a file of queries and calls")


def json_values(text: str, file: Path, expected: str) -> Iterator[tuple[str, Any]]:
    """Yield (``line N``, value) of JSON lines, of a JSON list's items, or of a single JSON value.

    Raises:
        InputError: not JSON, or beyond the bounds.
    """
    at, line = 0, 1

    def skip(position: int) -> int:
        while position < len(text) and text[position] in _SPACES:
            position += 1
        return position

    def wrong(what: str, number: int) -> InputError:
        return InputError("not JSON", file=file, key=f"line {number}", found=what, expected=expected)

    start = skip(0)
    listed = text.startswith("[", start)
    start = skip(start + 1) if listed else start
    while start < len(text) and not (listed and text[start] == "]"):
        line += text.count("\n", at, start)
        at = start
        try:
            value, end = read_value(text, start)
        except BadJsonError as error:
            raise wrong(str(error), error.line or line) from None
        yield f"line {line}", value
        start = skip(end)
        if listed and text.startswith(",", start):
            start = skip(start + 1)
        elif listed and not text.startswith("]", start):
            raise wrong(text[start : start + _SHOWN] or "the end of the file", line + text.count("\n", at, start))
    if listed:
        rest = skip(start + 1)
        if start >= len(text) or rest < len(text):
            raise wrong("a list that does not end" if start >= len(text) else "text after the list", line)


def wrong_shape(source: Source, place: str, value: Any, expected: str) -> InputError:
    """The error for a value that is not of the format."""
    found = ", ".join(map(str, value)) if isinstance(value, dict) else str(value)
    return InputError(
        "not of this format", file=source.file, key=place, found=found[:_SHOWN] or "nothing", expected=expected
    )


def unpacked(value: Any) -> Any:
    """A value that may be given as JSON text, or, as older data have it, as the text of a Python literal.

    Raises:
        LeftOutError: a text that is neither.
    """
    if not isinstance(value, str):
        return value
    try:
        return loads(value)
    except BadJsonError:
        pass
    if len(value) > _LONGEST_LITERAL:
        raise LeftOutError("unreadable call")
    try:
        tree = ast.parse(value.strip(), mode="eval")
        keys = [[ast.dump(key) for key in node.keys if key] for node in ast.walk(tree) if isinstance(node, ast.Dict)]
        if any(len(set(own)) < len(own) for own in keys):
            raise LeftOutError("unreadable call")  # as in JSON, where a key that appears twice is refused
        return loads(json.dumps(ast.literal_eval(tree)))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise LeftOutError("unreadable call") from None


def call_of(value: Any) -> GoldenCall:
    """A call ``{"name": ..., "arguments": {...}}``, with arguments as an object or as text.

    Raises:
        LeftOutError: it is none.
    """
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not value["name"]:
        raise LeftOutError("unreadable call")
    arguments = value.get("arguments")
    arguments = {} if arguments in (None, "") else unpacked(arguments)
    if not isinstance(arguments, dict) or not all(isinstance(name, str) for name in arguments):
        raise LeftOutError("unreadable call")
    return GoldenCall(value["name"], arguments)


def calls_of(value: Any) -> tuple[GoldenCall, ...]:
    """A list of calls or one call, as a value or as text.

    Raises:
        LeftOutError: as ``call_of``.
    """
    value = unpacked(value)
    return tuple(call_of(item) for item in (value if isinstance(value, list) else [value]))
