"""Bounds on the JSON schema of a function's parameters, which comes from elsewhere, and its validator.

A schema refers to nothing outside of itself, so checking a call opens no file and no address. Its patterns run in an
engine whose time grows with the text and the pattern, not exponentially. And it stays small with every ``$ref`` written
out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote

from routenator.domain.formats import format_checker
from routenator.errors import InputError
from routenator.jsontext import MOST_DEPTH

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_MOST_SCHEMAS = 10_000  # with every $ref written out
_LONGEST_PATTERN = 1_000
_MOST_PATTERN_COST = 1_000_000
_MOST_SEARCH_COST = 100_000_000  # cost of the pattern times characters: seconds at the very most
_REFUSED = {
    "$dynamicRef": "$ref",
    "$recursiveRef": "$ref",
    "patternProperties": "properties: the parameters of a function have names",
}
_ONE = (
    "items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else", "unevaluatedItems",
    "unevaluatedProperties",
)  # fmt: skip
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED = ("properties", "$defs", "definitions", "dependentSchemas")
_REPEAT = re.compile(r"\{(\d*),?(\d*)\}")


def check_bounds(parameters: dict[str, Any], file: Path, key: str) -> None:
    """Check a valid JSON schema against the bounds.

    Args:
        parameters: the schema.
        file, key: its place, for the message.

    Raises:
        InputError: a reference that leads elsewhere, to nothing or back to itself, a pattern that the engine does not
            support or that costs too much, or too large a schema.
    """
    _Walk(parameters, file).size(parameters, key, 0)


def follow(root: Any, reference: str) -> Any:
    """Return what a reference (``#`` or ``#/...``) within a schema points at.

    Raises:
        LookupError: it points at nothing.
    """
    target = root
    for part in reference.split("/")[1:]:
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(target, list) and name.isdecimal() and int(name) < len(target):
            target = target[int(name)]
        elif isinstance(target, dict) and name in target:
            target = target[name]
        else:
            raise LookupError(reference)
    return target


def check_schema(schema: Any, file: Path, key: str, what: str = "") -> None:
    """Check that a value is a JSON schema.

    Args:
        file, key: its place, for the message.
        what: put before what was found.

    Raises:
        InputError: it is not.
    """
    from jsonschema import Draft202012Validator, FormatChecker
    from jsonschema.exceptions import SchemaError

    try:
        # Without its check of formats, which compiles patterns for Python's engine; `check_bounds` has another one.
        Draft202012Validator.check_schema(schema, format_checker=FormatChecker(formats=()))
    except SchemaError as error:
        raise InputError(
            "invalid JSON schema", file=file, key=key, found=f"{what}{error.message}"[:200], expected="a JSON schema"
        ) from None


class _Walk:
    """Counts the schemas within a schema, following references."""

    def __init__(self, root: dict[str, Any], file: Path) -> None:
        self._root, self._file = root, file
        self._sizes: dict[int, int | None] = {}  # schema -> its size; None while it is being counted

    def size(self, schema: Any, key: str, depth: int) -> int:
        if not isinstance(schema, dict):
            return 1
        if self._sizes.get(id(schema), 0) is None:
            raise InputError(
                "this schema refers to itself", file=self._file, key=key, found="a cycle", expected="a finite schema"
            )
        if depth > MOST_DEPTH:
            raise InputError(
                "this schema is nested too deeply", file=self._file, key=key, expected=f"at most {MOST_DEPTH} levels"
            )
        self._sizes[id(schema)] = None
        total = 1
        for where, inner in self._inner(schema, key, depth):
            total += self.size(inner, where, depth + 1)
            if total > _MOST_SCHEMAS:
                raise InputError(
                    "this schema is too large",
                    file=self._file,
                    key=key,
                    found=f"more than {_MOST_SCHEMAS:,} schemas, with every $ref written out",
                    expected=f"at most {_MOST_SCHEMAS:,}",
                )
        self._sizes[id(schema)] = total
        return total

    def _inner(self, schema: dict[str, Any], key: str, depth: int) -> Iterator[tuple[str, Any]]:
        for name, instead in _REFUSED.items():
            if name in schema:
                raise InputError(
                    "an unsupported keyword in a schema", file=self._file, key=key, found=name, expected=instead
                )
        if depth and "$id" in schema:
            raise InputError(
                "an unsupported keyword in a schema", file=self._file, key=key, found="$id", expected="none within it"
            )
        if "pattern" in schema:
            self._check_pattern(schema["pattern"], f"{key}.pattern")
        if "$ref" in schema:
            yield f"{key}.$ref", self._target(schema["$ref"], f"{key}.$ref")
        for name in _ONE:
            if name in schema:
                yield f"{key}.{name}", schema[name]
        for name in _LISTS:
            yield from ((f"{key}.{name}[{number}]", inner) for number, inner in enumerate(schema.get(name, ())))
        for name in _NAMED:
            yield from ((f"{key}.{name}.{inner}", value) for inner, value in schema.get(name, {}).items())

    def _target(self, reference: str, key: str) -> Any:
        """Return what a reference points at."""
        expected = "a place in this schema, such as #/$defs/NAME; nothing is read from elsewhere"
        if reference != "#" and not reference.startswith("#/"):
            raise InputError(
                "this reference leads out of the schema", file=self._file, key=key, found=reference, expected=expected
            )
        try:
            target = follow(self._root, reference)
        except LookupError:
            raise InputError(
                "this reference leads nowhere", file=self._file, key=key, found=reference, expected=expected
            ) from None
        # Whatever is outside the places for schemas has not been checked as one.
        check_schema(target, self._file, key, f"{reference}: ")
        return target

    def _check_pattern(self, pattern: str, key: str) -> None:
        expected = "a pattern that takes linear time: no look-around, no back references, few and small repetitions"
        try:
            if len(pattern) > _LONGEST_PATTERN or _cost(pattern) > _MOST_PATTERN_COST:
                raise InputError(
                    "this pattern costs too much", file=self._file, key=key, found=pattern[:80], expected=expected
                )
            _engine(pattern)
        except ValueError as error:
            raise InputError(
                "unsupported pattern", file=self._file, key=key, found=f"{pattern[:80]} ({error})", expected=expected
            ) from None


def validator_of(parameters: dict[str, Any]) -> Any:
    """Return a validator that runs patterns in linear time and checks formats."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    return extend(Draft202012Validator, {"pattern": _pattern})(parameters, format_checker=format_checker())


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if not validator.is_type(instance, "string"):
        return
    if _cost(pattern) * len(instance) > _MOST_SEARCH_COST:
        yield ValidationError(f"{instance[:80]!r}... is too long for the pattern {pattern!r}")
    elif not _engine(pattern).validator.isinstance_python(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


@lru_cache(maxsize=1024)
def _engine(pattern: str) -> TypeAdapter[str]:
    """Return what matches a text against a pattern, by Rust's regex engine, which comes with pydantic.

    Raises:
        ValueError: the pattern is invalid or not linear.
    """
    from pydantic import ConfigDict, StringConstraints, TypeAdapter

    try:
        kind = Annotated[str, StringConstraints(strict=True, pattern=pattern)]
        return TypeAdapter(kind, config=ConfigDict(regex_engine="rust-regex"))
    except Exception as error:  # an error of pydantic's core, which is not pydantic's own
        raise ValueError(str(error).strip().splitlines()[-1].removeprefix("error: ").strip()) from None


@lru_cache(maxsize=1024)
def _cost(pattern: str) -> int:
    """Bound of the states of a pattern's automaton: its length times all its repetitions, as if they were nested."""
    cost = len(pattern)
    for low, high in _REPEAT.findall(pattern):
        cost *= max([1, *(min(int(bound[:9]), _MOST_PATTERN_COST) for bound in (low, high) if bound)])
        if cost > _MOST_PATTERN_COST:
            break
    return cost
