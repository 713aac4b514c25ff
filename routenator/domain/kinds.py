"""The JSON values that a parameter's schema allows: their types, a list of them if there is one, and how a text becomes
one of them.

Whoever writes values needs to know this before any value exists. Whether a value satisfies the whole schema is decided
by the validator alone (``toolschema``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from routenator.domain.toolschema import follow

ANY_TYPE = frozenset({"string", "integer", "number", "boolean", "null", "array", "object"})
SCALARS = frozenset({"string", "integer", "number", "boolean"})
# How the text of a value becomes JSON: one of the first four, plus the two bits. As in routenator.wording.text.
STRING, INTEGER, NUMBER, BOOLEAN = range(4)
LITERALS = 4  # the texts "true" and "false" are booleans
NULLABLE = 8  # the text "null" is null
_NUMBER = re.compile(r"([+-]?)([0-9]+(?:\.[0-9]+)?)")


class Refusal(NamedTuple):
    """Why no value can be written for a schema.

    Attributes:
        found, expected: for the message.
    """

    found: str
    expected: str


def types_of(root: Any, schema: Any) -> frozenset[str]:
    """The JSON types that a schema's values may have. Every integer is a number, so ``number`` implies ``integer``.

    Args:
        root: the schema that references start from.
        schema: a schema within it.
    """
    if not isinstance(schema, dict):
        return ANY_TYPE if schema is True else frozenset()
    allowed = ANY_TYPE
    if "$ref" in schema:
        allowed &= types_of(root, follow(root, schema["$ref"]))
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        allowed &= frozenset(names) | (frozenset({"integer"}) if "number" in names else frozenset())
    values = _own_values(schema)
    if values is not None:
        allowed &= frozenset(type_of(value) for value in values)
    for part in schema.get("allOf", ()):
        allowed &= types_of(root, part)
    for name in ("anyOf", "oneOf"):
        if name in schema:
            allowed &= frozenset().union(*(types_of(root, part) for part in schema[name]))
    return allowed


def values_of(root: Any, schema: Any) -> list[Any] | None:
    """All values that a schema allows, if it lists them by ``enum`` or ``const``; None if it does not.

    Args:
        root: the schema that references start from.
        schema: a schema within it.
    """
    if not isinstance(schema, dict):
        return None
    lists = [_own_values(schema)]
    if "$ref" in schema:
        lists.append(values_of(root, follow(root, schema["$ref"])))
    lists.extend(values_of(root, part) for part in schema.get("allOf", ()))
    for name in ("anyOf", "oneOf"):
        parts = [_branch_values(root, part) for part in schema.get(name, ())]
        if parts and all(part is not None for part in parts):
            lists.append([value for part in parts for value in part or ()])
    given = [values for values in lists if values is not None]
    if not given:
        return None
    types = types_of(root, schema)
    texts = [{json.dumps(value) for value in values} for values in given[1:]]
    kept = [v for v in given[0] if type_of(v) in types and all(json.dumps(v) in others for others in texts)]
    return list({json.dumps(value): value for value in kept}.values())


def kind_of(root: Any, schema: Any) -> int:
    """How the text of a value is written as JSON for this schema: STRING to BOOLEAN, plus LITERALS and NULLABLE.

    A text that is not a number stays a string. Where both are allowed, a text that reads as a number is one if the
    schema lists its values or gives alternatives, and a string otherwise.
    """
    types = types_of(root, schema)
    if types == ANY_TYPE:
        return STRING
    nullable = NULLABLE if "null" in types else 0
    scalars = types & SCALARS
    if "string" in scalars and values_of(root, schema) is None and not _has_alternatives(root, schema):
        return STRING | nullable
    if scalars == {"boolean"}:
        return BOOLEAN | nullable
    numeric = NUMBER if "number" in scalars else INTEGER if "integer" in scalars else STRING
    return numeric | (LITERALS if "boolean" in scalars else 0) | nullable


def json_value(text: str, kind: int) -> Any:
    """The value that the compiled loop writes for a text; see ``typed`` in routenator.wording.text."""
    if kind & NULLABLE and text == "null":
        return None
    if kind & LITERALS and text in ("true", "false"):
        return text == "true"
    base = kind & BOOLEAN
    if base == STRING:
        return text
    if base == BOOLEAN:
        return text.lower() in ("true", "yes")
    match = _NUMBER.fullmatch(text)
    if match is None or (base == INTEGER and "." in text):
        return text
    sign, digits = match.groups()
    value = float(digits) if "." in digits else int(digits)
    return -value if sign == "-" else value


def value_name(value: Any) -> str:
    """The name of a listed value, as graphs and statistics write it: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def type_of(value: Any) -> str:
    """The JSON type of a value."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "null" if value is None else "array" if isinstance(value, list) else "object"


def refusal(root: Any, schema: Any, wanted: frozenset[str] = SCALARS) -> Refusal | None:
    """Why no value can be written for a schema, or None if one can.

    Args:
        root: the schema that references start from.
        schema: a schema within it.
        wanted: types, one of which will do.
    """
    for keyword in ("not", "if"):
        if any(keyword in part for part in _parts(root, schema)):
            return Refusal(f"a schema with `{keyword}`", "a schema that says what a value is, without `not` and `if`")
    types = types_of(root, schema)
    if not types:
        return Refusal("a schema that no value satisfies", "a schema that some value satisfies")
    if types == {"null"} or not types & wanted:
        return Refusal(f"values of type {' or '.join(sorted(types))}", f"{' or '.join(sorted(wanted - {'null'}))}")
    return None


def _own_values(schema: dict[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return list(schema["enum"]) if "enum" in schema else None


def _branch_values(root: Any, schema: Any) -> list[Any] | None:
    """Values of an alternative; ``{"type": "null"}`` lists the only one that it has."""
    return [None] if types_of(root, schema) == {"null"} else values_of(root, schema)


def _parts(root: Any, schema: Any) -> Iterator[dict[str, Any]]:
    """A schema and those that hold for the same value."""
    if isinstance(schema, dict):
        yield schema
        if "$ref" in schema:
            yield from _parts(root, follow(root, schema["$ref"]))
        for name in ("allOf", "anyOf", "oneOf"):
            for part in schema.get(name, ()):
                yield from _parts(root, part)


def parts_of(root: Any, schema: Any, kind: str, fits: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The parts of a schema that say what its objects or lists are.

    Args:
        root: the schema that references start from.
        schema: a schema within it.
        kind: ``object`` or ``array``.
        fits: which alternative of several to take; without one that fits, the first that allows the kind.
    """
    if not isinstance(schema, dict):
        return []
    found = [schema]
    if "$ref" in schema:
        found += parts_of(root, follow(root, schema["$ref"]), kind, fits)
    for part in schema.get("allOf", ()):
        found += parts_of(root, part, kind, fits)
    for name in ("anyOf", "oneOf"):
        able = [parts_of(root, part, kind, fits) for part in schema.get(name, ()) if kind in types_of(root, part)]
        found += next((parts for parts in able if any(map(fits, parts))), able[0] if able else [])
    return found


def _has_alternatives(root: Any, schema: Any) -> bool:
    return any(name in part for part in _parts(root, schema) for name in ("anyOf", "oneOf"))
