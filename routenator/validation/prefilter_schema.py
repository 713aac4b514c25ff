"""Tables for the compiled half of the prefilter: the schemas of a domain's functions as rows of numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from routenator.domain.functions import ROLE_KEY, Function
from routenator.domain.kinds import type_of, types_of
from routenator.domain.toolschema import follow

# Columns of shapes:
#   KIND: one of the kinds below
#   FIRST, LAST: of an object, its fields in ``keys`` and ``members``, the required ones first; of listed values, their
#       place in ``values``; of a list, FIRST is the shape of its items
#   LEAST: how many fields are required, or the least number of items
#   MOST: 1 if other fields are allowed, or the greatest number of items; of a date, 1 if a time follows
#   UNIQUE: 1 if items must differ
KIND, FIRST, LAST, LEAST, MOST, UNIQUE, COLUMNS = range(7)
STRING, INTEGER, NUMBER, BOOLEAN, LISTED, DATE, LIST, OBJECT = range(8)
ANY_TEXT = 0  # shape of any text
DEEPEST, MOST_ITEMS = 16, 64  # what the compiled half can follow; it leaves the rest to the checks

_SAYS_NOTHING = {"description", "title", "examples", "default", ROLE_KEY}
_TYPES = {"string": STRING, "integer": INTEGER, "number": NUMBER, "boolean": BOOLEAN}
_DATES = {"date": 0, "date-time": 1}  # formats whose texts the compiled half reads
_BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
_MASK, _PRIME, _OFFSET = (1 << 64) - 1, 0x100000001B3, 0xCBF29CE484222325


class Shapes(NamedTuple):
    """The schemas of the functions' arguments.

    Attributes:
        shapes: shape (schemas, COLUMNS).
        bounds: lowest and highest number, shape (schemas, 2).
        keys, members: hashes of objects' fields, and the shape of each.
        values: hashes of listed values as JSON.
        roots: shape of each function's arguments, -1 if its schema has conditions that these tables cannot hold.
    """

    shapes: NDArray[np.int64]
    bounds: NDArray[np.float64]
    keys: NDArray[np.uint64]
    members: NDArray[np.int64]
    values: NDArray[np.uint64]
    roots: NDArray[np.int64]


def hashed(text: str) -> int:
    """64-bit FNV-1a hash of a text's UTF-8 bytes, as the compiled half computes it."""
    value = _OFFSET
    for byte in text.encode():
        value = (value ^ byte) * _PRIME & _MASK
    return value


def make_shapes(functions: Iterable[Function]) -> Shapes:
    """Build the tables; a row refers to its function by position."""
    made = _Maker()
    roots = []
    for function in functions:
        root = made.shape(function.parameters, function.parameters, 0)
        roots.append(-1 if root is None else root)
    return Shapes(
        shapes=np.array(made.shapes, dtype=np.int64),
        bounds=np.array(made.bounds, dtype=np.float64),
        keys=np.array(made.keys or [0], dtype=np.uint64),
        members=np.array(made.members or [0], dtype=np.int64),
        values=np.array(made.values or [0], dtype=np.uint64),
        roots=np.array(roots, dtype=np.int64),
    )


class _Maker:
    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.bounds: list[tuple[float, float]] = []
        self.keys: list[int] = []
        self.members: list[int] = []
        self.values: list[int] = []
        self._add(STRING)

    def shape(self, root: Any, schema: Any, depth: int) -> int | None:
        """The shape of a schema, or None if it has other conditions.

        Args:
            root: the schema that references start from.
            depth: of the schema within it.
        """
        if not isinstance(schema, dict) or depth >= DEEPEST:
            return None
        given = set(schema) - _SAYS_NOTHING - ({"$defs", "definitions"} if schema is root else set())
        if given == {"$ref"}:
            return self.shape(root, follow(root, schema["$ref"]), depth + 1)
        if "enum" in given and given <= {"type", "enum"}:
            return self._listed(root, schema)
        kind = schema.get("type")
        if kind == "object" and given <= {"type", "properties", "required", "additionalProperties"}:
            return self._object(root, schema, depth)
        if kind == "array" and given <= {"type", "items", "minItems", "maxItems", "uniqueItems"}:
            return self._list(root, schema, depth)
        if not isinstance(kind, str) or kind not in _TYPES:
            return None
        if kind == "string" and given == {"type", "format"} and schema["format"] in _DATES:
            return self._add(DATE, most=_DATES[schema["format"]])
        if given == {"type"}:
            return self._add(_TYPES[kind])
        return (
            self._number(_TYPES[kind], schema)
            if kind in ("integer", "number") and given <= {"type", *_BOUNDS}
            else None
        )

    def _listed(self, root: Any, schema: dict[str, Any]) -> int | None:
        types = types_of(root, schema)
        values = [value for value in schema["enum"] if type_of(value) in types]
        if not all(value is None or isinstance(value, str | int) for value in values):
            return None
        first = len(self.values)
        self.values.extend(hashed(json.dumps(value, ensure_ascii=False)) for value in values)
        return self._add(LISTED, first, len(self.values))

    def _number(self, kind: int, schema: dict[str, Any]) -> int:
        low = max(schema.get("minimum", -math.inf), math.nextafter(schema.get("exclusiveMinimum", -math.inf), math.inf))
        high = min(schema.get("maximum", math.inf), math.nextafter(schema.get("exclusiveMaximum", math.inf), -math.inf))
        return self._add(kind, low=low, high=high)

    def _list(self, root: Any, schema: dict[str, Any], depth: int) -> int | None:
        item = self.shape(root, schema.get("items"), depth + 1)
        unique = bool(schema.get("uniqueItems", False))
        if item is None or (unique and self.shapes[item][KIND] not in (STRING, INTEGER, LISTED, DATE)):
            return None
        most = int(schema.get("maxItems", MOST_ITEMS))
        return self._add(LIST, item, 0, int(schema.get("minItems", 0)), min(most, MOST_ITEMS), int(unique))

    def _object(self, root: Any, schema: dict[str, Any], depth: int) -> int | None:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        more = schema.get("additionalProperties", True)
        names = sorted(properties, key=lambda name: name not in required)
        inner = [self.shape(root, properties[name], depth + 1) for name in names]
        if not isinstance(more, bool) or not set(required) <= set(properties):
            return None
        members = [number for number in inner if number is not None]
        if len(members) < len(inner):
            return None
        first = len(self.keys)
        self.keys.extend(map(hashed, names))
        self.members.extend(members)
        return self._add(OBJECT, first, len(self.keys), len(set(required)), int(more))

    def _add(
        self, kind: int, first: int = 0, last: int = 0, least: int = 0, most: int = 0, unique: int = 0,
        low: float = -math.inf, high: float = math.inf,
    ) -> int:  # fmt: skip
        self.shapes.append((kind, first, last, least, most, unique))
        self.bounds.append((low, high))
        return len(self.shapes) - 1
