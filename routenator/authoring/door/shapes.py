"""Values of parameters with parts: lists, objects and maps of values that ``sources`` finds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from routenator.authoring.door.english import singular, split_name, spoken
from routenator.authoring.door.sources import Source, Sources
from routenator.domain.functions import Function
from routenator.domain.kinds import SCALARS, json_value, refusal, types_of

MOST_DEPTH = 4  # of objects and lists in each other
_MOST_OPTIONAL = 3  # optional fields of an object that queries say
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADS = ("name", "title", "path", "text", "label", "id", "key", "content", "description")
_ENVELOPES = {
    "body",
    "data",
    "payload",
    "object",
    "params",
    "parameters",
    "request",
    "input",
    "item",
    "options",
    "value",
}


@dataclass(frozen=True)
class Shape:
    """The values of a parameter or of a part of one.

    Attributes:
        name: of the parameter, the field, or one item.
        source: of a single value.
        form: how the text of a single value becomes JSON, see ``kind_of``.
        items: of a list.
        fields: of an object: shape, and whether it is always there.
        key, value: of a map.
        count: number of items or entries -> weight.
        silent: optional fields that no query says, with the reason.
    """

    name: str
    source: Source | None = None
    form: int = 0
    items: Shape | None = None
    fields: dict[str, tuple[Shape, bool]] = field(default_factory=dict)
    key: Shape | None = None
    value: Shape | None = None
    count: dict[int, float] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Of its values' source; ``list``, ``object`` or ``map`` for one with parts."""
        if self.source is not None:
            return self.source.kind
        return "list" if self.items is not None else "object" if self.fields else "map"

    def leaves(self) -> Iterator[Shape]:
        """The single values in it."""
        if self.source is not None:
            yield self
        for part in (self.items, *(part for part, _ in self.fields.values()), self.key, self.value):
            if part is not None:
                yield from part.leaves()

    def example(self, every: bool = False) -> Any:
        """A value.

        Args:
            every: with the optional fields.
        """
        if self.source is not None:
            return json_value(self.source.values[0][0], self.form)
        if self.items is not None:
            return [self.items.example(every)] * min(self.count)
        if self.key is not None and self.value is not None:
            return {str(self.key.example()): self.value.example(every)}
        return {name: part.example(every) for name, (part, always) in self.fields.items() if always or every}


class Shapes:
    """Finds shapes; the sources of one function's single values differ from each other.

    Args:
        about: what the function does, in words.
        meanings: by parameter, a name that says more than its own.
    """

    def __init__(self, sources: Sources, about: str, meanings: Mapping[str, str] | None = None) -> None:
        self._sources, self._about, self._meanings = sources, about, meanings or {}
        self._used: Counter[str] = Counter()

    def find(self, name: str, schema: Any, depth: int = 0, about: str = "") -> Shape | str:
        """The shape of a schema without references, or why there is none.

        Args:
            about: what it is a part of; default: what the function does.
        """
        found = refusal({}, schema, frozenset({*SCALARS, "array", "object"}))
        if found is not None:
            return found.found
        types = types_of({}, schema)
        if types & SCALARS:
            return self._single(name, schema, about)
        if depth >= MOST_DEPTH:
            return "parts within parts, too deep to be said"
        return self._list(name, schema, depth) if "array" in types else self._object(name, schema, depth)

    def _single(self, name: str, schema: Any, about: str = "") -> Shape | str:
        function = Function(name, "", {"type": "object", "properties": {name: schema}})
        meaning = "" if about else self._meanings.get(name, "")
        source = self._sources.find(function, name, about or self._about, self._used, meaning)
        if source is None:
            return "no values were found that its schema takes"
        return Shape(name, source, function.kind(name))

    def _list(self, name: str, schema: Any, depth: int) -> Shape | str:
        schema = _branch(schema, "array")
        if schema.get("prefixItems"):
            return "a tuple"
        one = "_".join(split_name(singular(spoken(split_name(name))))) or name
        items = self.find(one, schema.get("items", {"type": "string"}), depth + 1)
        if isinstance(items, str):
            return f"its items: {items}"
        least, most = max(1, int(schema.get("minItems", 1))), int(schema.get("maxItems", 1_000_000))
        if items.source is not None:
            most = min(most, len(items.source.values))
        weights = (0.5, 0.3, 0.2) if items.source is not None else (0.75, 0.25)
        count = {least + more: weight for more, weight in enumerate(weights) if least + more <= most}
        return Shape(name, items=items, count=count) if count else "more items than there are values"

    def _object(self, name: str, schema: Any, depth: int) -> Shape | str:
        schema = _branch(schema, "object")
        properties = schema.get("properties") or {}
        if not properties:
            return self._map(name, schema, depth)
        needed = [each for each in schema.get("required", []) if each in properties]
        fields: dict[str, tuple[Shape, bool]] = {}
        silent: dict[str, str] = {}
        about = "" if name in _ENVELOPES else spoken(split_name(name))
        for each in sorted(properties, key=lambda each: (each not in needed, _head(each))):
            always = each in needed or (not needed and not fields)
            if not always and sum(not kept for _, kept in fields.values()) >= _MOST_OPTIONAL:
                silent[each] = "a query would be too long"
                continue
            part: Shape | str = "a name with other characters"
            if _NAME.fullmatch(each):
                part = self.find(each, properties[each], depth + 1, about)
            if not isinstance(part, str):
                fields[each] = (part, always)
            elif each in needed:
                return f"its {each}: {part}"
            else:
                silent[each] = part
        return Shape(name, fields=fields, silent=silent) if fields else "none of its fields can be said"

    def _map(self, name: str, schema: dict[str, Any], depth: int) -> Shape | str:
        values = schema.get("additionalProperties")
        if not isinstance(values, dict) or not values:
            return "an object of any fields"
        key = self._single("key_name", {"type": "string", "maxLength": 20})
        value = self.find(name, values, depth + 1)
        for part in (key, value):
            if isinstance(part, str):
                return f"its entries: {part}"
        assert isinstance(key, Shape) and isinstance(value, Shape)
        least = max(1, int(schema.get("minProperties", 1)))
        return Shape(name, key=key, value=value, count={least: 0.7, least + 1: 0.3})


def _branch(schema: Any, kind: str) -> dict[str, Any]:
    """The part of a schema that says what its lists or objects are."""
    if isinstance(schema, dict):
        for key in ("anyOf", "oneOf"):
            for part in schema.get(key, ()):
                if isinstance(part, dict) and kind in types_of({}, part):
                    return {**{k: v for k, v in schema.items() if k != key}, **_branch(part, kind)}
        return schema
    return {}


def _head(name: str) -> int:
    """How well a field says by itself what an object is; less is better."""
    last = (split_name(name) or [""])[-1]
    return _HEADS.index(last) if last in _HEADS else len(_HEADS)
