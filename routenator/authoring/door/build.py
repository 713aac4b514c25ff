"""Makes the parts of a domain from an API's chosen tools: rules, value lists and patterns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from routenator.authoring.door.banks import Drawn
from routenator.authoring.door.connectors import Slot
from routenator.authoring.door.patterns import Pattern, boolean_wordings, fields_surface, patterns
from routenator.authoring.door.phrases import Phrase, phrases
from routenator.authoring.door.select import Selection
from routenator.authoring.door.shapes import Shape
from routenator.authoring.door.tools import Api
from routenator.domain.valuelists import HUB

_SHARED_KINDS = {"enum", "boolean", "number", "pattern", "examples"}  # made for one parameter, not for all of a kind


@dataclass
class Parts:
    """A domain before its statistics are measured.

    Attributes:
        lists: value lists by name, each with the sentences of its header.
        local: value lists of other languages: language -> name -> values.
        lists_of: by function and single value (its identity), the value list.
        templates: by function.
        phrases: by function.
    """

    api: Api
    selection: Selection
    lists: dict[str, tuple[list[str], list[Drawn]]] = field(default_factory=dict)
    local: dict[str, dict[str, tuple[Drawn, ...]]] = field(default_factory=dict)
    lists_of: dict[str, dict[int, str]] = field(default_factory=dict)
    templates: dict[str, list[Pattern]] = field(default_factory=dict)
    phrases: dict[str, Phrase] = field(default_factory=dict)


class _Use(NamedTuple):
    """A place that takes values of a list."""

    function: str
    parameter: str
    leaf: Shape
    values: list[Drawn]


def build(api: Api, selection: Selection, before: Mapping[str, str] | None = None) -> Parts:
    """Make rules, value lists and patterns.

    Args:
        before: files of the last run, by name, whose value lists keep their names.
    """
    parts = Parts(api, selection)
    chosen = selection.chosen
    made = phrases([each.tool for each in chosen], [each.function.name for each in chosen])
    _name_lists(parts, before or {})
    for each, phrase in zip(chosen, made, strict=True):
        slots = [
            Slot(parameter, shape.items.kind if shape.items else shape.kind, parameter in each.function.required)
            for parameter, shape in each.shapes.items()
        ]
        parts.phrases[each.function.name] = phrase
        parts.templates[each.function.name] = patterns(phrase, slots)
    return parts


def _name_lists(parts: Parts, before: Mapping[str, str]) -> None:
    """Make the value lists and name them; functions with the same values share one."""
    known: dict[str, list[str]] = {}
    for name, text in sorted(before.items()):
        if name.startswith("values/"):
            known.setdefault(_body(text), []).append(name[7:-4])
    wanted: dict[tuple[str, str, int], list[_Use]] = {}
    for each in parts.selection.chosen:
        parts.lists_of[each.function.name] = {}
        # A list gives one value a row, so a function's second place for the same values needs a list of its own.
        uses: Counter[tuple[str, str]] = Counter()
        for parameter, shape in each.shapes.items():
            for leaf in shape.leaves():
                assert leaf.source is not None
                values = list(leaf.source.values)
                if leaf.kind == "boolean":
                    yes, no = boolean_wordings(leaf.name)
                    values = [("true", *yes), ("false", *no)]
                own = leaf.name if leaf.kind in _SHARED_KINDS else leaf.kind
                use = _Use(each.function.name, parameter, leaf, values)
                content = (own, _body(values_text([], values)))
                wanted.setdefault((*content, uses[content]), []).append(use)
                uses[content] += 1
    names = {key: known[key[1]][key[2]] for key in wanted if key[2] < len(known.get(key[1], []))}
    for key, users in wanted.items():
        base = re.sub(r"\W", "_", key[0])
        base = f"{base}_values" if base in (HUB, "record") else base
        name, number = names.get(key, base), 2
        # File systems may not tell cases apart.
        taken = {each.lower() for each in parts.lists} | {each.lower() for other, each in names.items() if other != key}
        while name.lower() in taken:
            name, number = f"{base}_{number}", number + 1
        source = users[0].leaf.source
        assert source is not None
        places = dict.fromkeys(f"Used by {use.function}.{use.parameter}." for use in users)
        parts.lists[name] = ([f"Values: {source.reason}.", *places], users[0].values)
        for language, own_values in source.local.items():
            parts.local.setdefault(language, {})[name] = own_values
        for use in users:
            parts.lists_of[use.function][id(use.leaf)] = name


def rule(shape: Shape, lists: Mapping[int, str], about: Collection[str] = ()) -> dict[str, Any]:
    """The rule of a slot, as domain.yaml holds it.

    Args:
        lists: name of the value list of each single value, by its identity.
        about: words of what the function acts on.
    """
    if shape.source is not None:
        name = lists[id(shape)]
        return {"value": f"{{{name}.value}}", "surface": f"{{{name}}}"}
    if shape.items is not None:
        return {"items": rule(shape.items, lists, about), "count": shape.count}
    if shape.fields:
        fields = {name: rule(part, lists) for name, (part, _) in shape.fields.items()}
        return {"fields": fields, "surface": fields_surface(shape, about)}
    assert shape.key is not None and shape.value is not None
    entry = {"key": rule(shape.key, lists), "value": rule(shape.value, lists), "surface": "{key} {value}"}
    return {"entries": entry, "count": shape.count}


def optional_fields(shape: Shape, place: str) -> Iterator[str]:
    """The full names of fields that are not always there."""
    if shape.items is not None:
        yield from optional_fields(shape.items, f"{place}[]")
    for name, (part, always) in shape.fields.items():
        if not always:
            yield f"{place}.{name}"
        yield from optional_fields(part, f"{place}.{name}")


def values_text(reasons: list[str], values: list[Drawn]) -> str:
    """A value list as text."""
    seen = dict.fromkeys(reasons)
    lines = [
        "# A value list: one value a line; after tabs, how queries say it (default: the value itself).",
        "# Written by `domain init`. Change, add and remove lines freely.",
        *(f"# {one_line(reason)}" for reason in seen),
    ]
    lines += ["\t".join(each if len(each) > 1 and each[1:] != each[:1] else each[:1]) for each in values]
    return "\n".join(lines) + "\n"


def _body(text: str) -> str:
    """A value list without its comments."""
    return "\n".join(line for line in text.split("\n") if line and not line.startswith("# "))


def one_line(text: str) -> str:
    """The text on a single line."""
    return " ".join(text.split())
