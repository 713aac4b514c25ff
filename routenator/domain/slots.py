"""The slots of a function as a tree: the parameters that its rule makes, their fields, items and entries.

A field of an object is a slot of its own, named ``address.city``, unless the object has a surface: then the object is
said in one piece, as lists and maps always are. What is said in one piece has its own names within: the pattern of an
item says {size}, not {pizzas[].size}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routenator.domain.functions import Function
from routenator.domain.kinds import SCALARS, parts_of, types_of
from routenator.domain.rules import SlotRule
from routenator.errors import InputError

LEAF, OBJECT, LIST, TUPLE, MAP = "value", "object", "list", "tuple", "map"
_TYPES = {OBJECT: "object", LIST: "array", TUPLE: "array", MAP: "object"}
_COUNTS = ((0, 0.5), (1, 0.3), (2, 0.2))  # without a distribution: the fewest items, one and two more
ENTRY = "[]"  # ends the name of an item or an entry


@dataclass(frozen=True)
class Slot:
    """A parameter, a field, an item or an entry.

    Attributes:
        name: full name within the function: ``pizzas[].size``; statistics and messages use it.
        local: its name in patterns; "" for an item or an entry.
        key: its name in the object that has it; "" for an item.
        shape: LEAF, OBJECT, LIST, TUPLE or MAP.
        schema: of its values.
        required: whether its object must have it.
        parts: fields, elements, the one item, or key and value.
        counts: number of items or entries -> share.
    """

    name: str
    local: str
    key: str
    shape: str
    rule: SlotRule
    schema: Any
    required: bool
    parts: tuple[Slot, ...] = ()
    counts: tuple[tuple[int, float], ...] = ()

    @property
    def whole(self) -> bool:
        """Whether patterns say it in one piece."""
        return self.shape != OBJECT or self.rule.surface is not None

    @property
    def may_be_silent(self) -> bool:
        """Whether some of its values are not said."""
        if self.rule.said is not None:
            return not all(phrases and all(phrase.strip() for phrase in phrases) for phrases in self.rule.said.values())
        return any(count == 0 and share > 0 for count, share in self.counts)


def spoken(slots: Sequence[Slot]) -> Iterator[Slot]:
    """The slots that patterns of the same scope can name."""
    for slot in slots:
        if slot.whole:
            yield slot
        else:
            yield from spoken(slot.parts)


def always_spoken(slots: Sequence[Slot], shares: Mapping[str, float]) -> Iterator[Slot]:
    """The slots of a scope that every call has and says, whatever excludes or needs them.

    Args:
        shares: of optional slots, by full name.
    """
    for slot in slots:
        if slot.required or shares.get(slot.name, 1.0) >= 1.0:
            if not slot.whole:
                yield from always_spoken(slot.parts, shares)
            elif not slot.may_be_silent:
                yield slot


def every(slots: Sequence[Slot]) -> Iterator[Slot]:
    """All slots of a tree; each before its parts."""
    for slot in slots:
        yield slot
        yield from every(slot.parts)


def made_up(slots: Sequence[Slot], present: Collection[str]) -> dict[str, Any]:
    """Arguments of the right shape, for trying what reads them: each single value is "some NAME".

    Args:
        present: names of the slots that the call has, as patterns name them.
    """
    found = {}
    for slot in slots:
        if slot.whole:
            if slot.local in present or (slot.required and slot.may_be_silent):
                found[slot.key] = _made_up_value(slot)
        elif inner := made_up(slot.parts, present):
            found[slot.key] = inner
    return found


def _made_up_value(slot: Slot) -> Any:
    if slot.shape == OBJECT:
        return {part.key: _made_up_value(part) for part in slot.parts}
    if slot.shape in (LIST, TUPLE):
        return [_made_up_value(part) for part in slot.parts]
    if slot.shape == MAP:
        return {"some key": _made_up_value(slot.parts[1])}
    return f"some {slot.name}"


def slots_of(function: Function, rules: Mapping[str, SlotRule], file: Path, where: str) -> tuple[Slot, ...]:
    """Join a function's rules with its schema.

    Args:
        function: the function.
        rules: the rules of its parameters.
        file, where: place of the rules, for messages.

    Raises:
        InputError: a rule for what the schema does not have, or of another shape; a required field without a rule.
    """
    slots = _Builder(function.parameters, file).fields(rules, [function.parameters], "", "", where)
    twice = [name for name, times in Counter(slot.name for slot in every(slots)).items() if times > 1]
    if twice:
        raise InputError(
            "two slots have the same name", file=file, key=where, found=twice[0],
            expected="no parameter that has the name of an object's field",
        )  # fmt: skip
    return slots


class _Builder:
    def __init__(self, root: dict[str, Any], file: Path) -> None:
        self._root, self._file = root, file

    def fields(
        self, rules: Mapping[str, SlotRule], parts: list[dict[str, Any]], name: str, local: str, where: str
    ) -> tuple[Slot, ...]:
        """Slots of an object's fields.

        Args:
            parts: the parts of the object's schema.
            name, local: put before the fields' names.
        """
        known = {field: schema for part in reversed(parts) for field, schema in part.get("properties", {}).items()}
        required = {field for part in parts for field in part.get("required", ())}
        others = next((part["additionalProperties"] for part in parts if "additionalProperties" in part), True)
        what = "a field of this object" if name else "a parameter of the function"
        for field in rules:
            if field not in known and (others is False or not name):
                raise InputError(
                    f"this slot is not {what}", file=self._file, key=f"{where}.{field}", found=field, valid=known
                )
        for field in required:
            if field not in rules:
                raise InputError(
                    f"a required {'field' if name else 'parameter'} has no slot",
                    file=self._file, key=where, found="nothing", expected=field,
                )  # fmt: skip
        made = []
        for field, rule in rules.items():
            for other in (*rule.excludes, *rule.needs):
                if other not in rules:
                    raise InputError(
                        "undeclared slot", file=self._file, key=f"{where}.{field}", found=other, valid=rules
                    )
            made.append(
                self.slot(
                    rule, known.get(field, others), f"{name}{field}", f"{local}{field}", field, field in required,
                    f"{where}.{field}",
                )
            )  # fmt: skip
        return tuple(made)

    def slot(self, rule: SlotRule, schema: Any, name: str, local: str, key: str, required: bool, where: str) -> Slot:
        """One slot, with its parts."""
        shape = shape_of(rule)
        types = types_of(self._root, schema)
        if types - {"null"}:  # `domain check` refuses others
            if shape != LEAF and _TYPES[shape] not in types:
                self._refuse(f"a rule for a {shape}", types, where)
            if shape == LEAF and not types & SCALARS:
                self._refuse("a rule for a single value", types, where)
        parts: tuple[Slot, ...] = ()
        counts: tuple[tuple[int, float], ...] = ()
        if shape == OBJECT:
            assert rule.fields is not None
            wanted = set(rule.fields)
            views = parts_of(self._root, schema, "object", lambda part: wanted <= set(part.get("properties", {})))
            inside = "" if rule.surface is not None else f"{local}."
            parts = self.fields(rule.fields, views, f"{name}.", inside, f"{where}.fields")
        elif shape in (LIST, TUPLE):
            views = parts_of(self._root, schema, "array", lambda part: True)
            given = rule.items if isinstance(rule.items, list) else [rule.items]
            parts = tuple(
                self._item(item, views, name, number if shape == TUPLE else None, where)
                for number, item in enumerate(given)
                if item is not None
            )
            if shape == LIST:
                self._check_unique(rule, parts[0], where)
                counts = self._counts(rule, views, "minItems", "maxItems", where)
        elif shape == MAP:
            views = parts_of(self._root, schema, "object", lambda part: True)
            parts = self._entry(rule, views, name, where)
            counts = self._counts(rule, views, "minProperties", "maxProperties", where)
        return Slot(name, local, key, shape, rule, schema, required, parts, counts)

    def _item(self, rule: SlotRule, views: list[dict[str, Any]], name: str, number: int | None, where: str) -> Slot:
        listed: list[Any] = next((part["prefixItems"] for part in views if "prefixItems" in part), [])
        rest = next((part["items"] for part in views if "items" in part), True)
        schema = rest if number is None or number >= len(listed) else listed[number]
        place, key = (f"{name}{ENTRY}", "items") if number is None else (f"{name}[{number}]", f"items[{number}]")
        if schema is False:
            raise InputError(
                "the schema allows no such item", file=self._file, key=f"{where}.{key}", found="a rule for it",
                expected=f"rules for {len(listed)} items",
            )  # fmt: skip
        item = self.slot(rule, schema, place, "", "", True, f"{where}.{key}")
        self._check_said(item, f"{where}.{key}")
        return item

    def _check_unique(self, rule: SlotRule, item: Slot, where: str) -> None:
        fields = {slot.local for slot in spoken(item.parts) if slot.shape == LEAF}
        if isinstance(rule.unique, str) and rule.unique not in fields:
            raise InputError(
                "`unique` must be true, false or a field of the items that is a single value", file=self._file,
                key=f"{where}.unique", found=rule.unique, valid=fields or ["true", "false"],
            )  # fmt: skip

    def _entry(self, rule: SlotRule, views: list[dict[str, Any]], name: str, where: str) -> tuple[Slot, ...]:
        entries = rule.entries
        assert entries is not None
        names: Any = next((part["propertyNames"] for part in views if "propertyNames" in part), {})
        others = next((part["additionalProperties"] for part in views if "additionalProperties" in part), True)
        if others is False:
            raise InputError(
                "the schema allows no fields other than its own", file=self._file, key=where, found="a rule for a map",
                expected="fields",
            )  # fmt: skip
        keys = {"type": "string", **(names if isinstance(names, dict) else {})}
        made = []
        for part, schema, given in (("key", keys, entries.key), ("value", others, entries.value)):
            place = f"{where}.entries.{part}"
            slot = self.slot(given, schema, f"{name}{ENTRY}.{part}", part, part, True, place)
            self._check_said(slot, place)
            made.append(slot)
        if made[0].shape != LEAF:
            raise InputError(
                "a key is a text", file=self._file, key=f"{where}.entries.key", found=f"a rule for a {made[0].shape}",
                expected="value or said",
            )  # fmt: skip
        return tuple(made)

    def _check_said(self, slot: Slot, where: str) -> None:
        """Refuse an item or entry that a list could not put into words."""
        if not slot.whole:
            raise InputError(
                "an object within a list or map is said in one piece", file=self._file, key=where,
                found="no surface", expected='a pattern over its fields, such as surface: "{size} {colour}"',
            )  # fmt: skip
        if slot.may_be_silent:
            raise InputError(
                "each item of a list or map is said", file=self._file, key=where,
                found="a value without a phrase" if slot.rule.said is not None else "a count of 0",
                expected="at least one phrase for each value" if slot.rule.said is not None else "counts above 0",
            )  # fmt: skip

    def _counts(
        self, rule: SlotRule, views: list[dict[str, Any]], low: str, high: str, where: str
    ) -> tuple[tuple[int, float], ...]:
        least = max((part.get(low, 0) for part in views), default=0)
        most = min((part[high] for part in views if high in part), default=None)
        if rule.count:
            wrong = [n for n, w in rule.count.items() if w > 0 and (n < least or (most is not None and n > most))]
            if wrong:
                allowed = f"{least} or more" if most is None else f"{least} to {most}"
                raise InputError(
                    "the schema does not allow this number of items", file=self._file, key=f"{where}.count",
                    found=wrong[0], expected=allowed,
                )  # fmt: skip
            table = {n: w for n, w in sorted(rule.count.items()) if w > 0}
        else:
            first = max(int(least), 1 if most is None or most > 0 else 0)
            table = {first + more: share for more, share in _COUNTS if most is None or first + more <= most}
            table = table or {first: 1.0}
        total = sum(table.values())
        return tuple((count, weight / total) for count, weight in table.items())

    def _refuse(self, found: str, types: frozenset[str], where: str) -> None:
        named = sorted(types - ({"integer"} if "number" in types else set()))
        hints = {"array": "items", "object": "fields or entries"}
        expected = [f"{name} ({hints.get(name, 'value or said')})" for name in named if name != "null"]
        raise InputError(
            "the rule does not fit the schema", file=self._file, key=where, found=found,
            expected=f"a rule for what the schema allows: {', '.join(expected)}",
        )  # fmt: skip


def shape_of(rule: SlotRule) -> str:
    """The shape of the values that a rule makes."""
    if rule.fields is not None:
        return OBJECT
    if rule.entries is not None:
        return MAP
    if rule.items is not None:
        return TUPLE if isinstance(rule.items, list) else LIST
    return LEAF
