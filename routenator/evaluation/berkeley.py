"""Decides as the Berkeley leaderboard does whether a value is right, for scores that can be compared with its own.

The rules were inferred from the answers of its syntax tree checker (package bfcl-eval); benchmarks/berkeley.py compares
the two on thousands of calls. In short: strings are compared without case, spaces and some punctuation, both as values
and as direct members of a list or an object; the type must be the schema's or that of the right values; everything else
is compared by Python's ``==``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_IGNORED = str.maketrans("'", '"', " ,./-_*^")
_CLASSES: dict[str, type] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
}


def plain(text: str) -> str:
    """Normalize a string as the leaderboard does before comparing it."""
    return text.translate(_IGNORED).lower()


def refusal(said: Any, right: Sequence[Any], schema: Any, optional: bool) -> str | None:
    """Return what is wrong with an argument: ``type``, ``value``, or None if it is right.

    Args:
        said: the predicted value.
        right: all right values.
        schema: of the parameter.
        optional: whether the parameter may be left out of the call; then an empty text or list says the same.
    """
    expected = _class_of(schema)
    if expected is float and type(said) is int:
        said = float(said)
    given = _class_of_first(right)
    variable = given is not None and given is not expected
    if type(said) is expected:
        inner = _class_of(schema.get("items") if isinstance(schema, dict) else None)
        if isinstance(said, list) and not optional and not any(_items_fit(said, value, inner) for value in right):
            return "type"
    elif type(said) is given:
        variable = True
    else:
        return "type"
    if variable:
        return None if said in right or (optional and said == "") else "value"
    if optional and (said == [] or (isinstance(said, str) and not plain(said))):
        return None
    return None if any(_same(said, value) for value in right) else "value"


def _class_of(schema: Any) -> type:
    """The class of a schema's values; text where the schema says nothing."""
    names = schema.get("type") if isinstance(schema, dict) else None
    listed = names if isinstance(names, list) else [names]
    return next((_CLASSES[name] for name in listed if name in _CLASSES), str)


def _class_of_first(values: Sequence[Any]) -> type | None:
    return next((type(value) for value in values if value != ""), None)


def _items_fit(said: list[Any], right: Any, inner: type) -> bool:
    """Whether the items are of the schema's class or of that of the right items; only lists are held to that."""
    if not isinstance(right, list):
        return True
    given = _class_of_first(right)
    return all(type(item) is inner or type(item) is given for item in said)


def _same(said: Any, right: Any) -> bool:
    if isinstance(said, list) and isinstance(right, list):
        return len(said) == len(right) and all(_same_part(a, b, deep=True) for a, b in zip(said, right, strict=True))
    return _same_part(said, right, deep=True)


def _same_part(said: Any, right: Any, *, deep: bool) -> bool:
    """Compare a part of a value.

    Args:
        deep: whether an object's fields are compared as texts are.
    """
    if isinstance(said, str) and isinstance(right, str):
        return plain(said) == plain(right)
    if deep and isinstance(said, dict) and isinstance(right, dict):
        return said.keys() == right.keys() and all(_same_part(said[key], right[key], deep=False) for key in said)
    return bool(said == right)
