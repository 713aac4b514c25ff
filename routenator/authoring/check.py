"""Finds errors in a domain before anything runs.

An error is anything that would later fail or give wrong data: a category with a share that no walk reaches, a template
that can omit a present slot or uses an unknown variable, a cell that no template serves, a value that its
schema refuses.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from routenator.authoring.values import check_schemas, check_values
from routenator.domain.domain import Domain
from routenator.domain.loader import in_language, load_domain
from routenator.domain.schema import NO_CATEGORY
from routenator.domain.slots import ENTRY, MAP, OBJECT, Slot, every, spoken
from routenator.domain.templates import Template
from routenator.errors import InputError, InputErrors
from routenator.generation.prompts import check_template
from routenator.grammar import said, skeleton
from routenator.sampling.feasible import check_walks

T = TypeVar("T")
_SHOWN = 20
_ALL_COMBINATIONS = 8  # with up to this many optional slots, every combination is tried
_RANDOM_COMBINATIONS = 128


def check_domain(path: str | Path) -> Domain:
    """Load a domain, and refuse it if anything in it would later fail or give wrong data.

    Raises:
        InputError / InputErrors: with file, key, found, expected, nearest valid name.
    """
    domain = load_domain(path)
    errors: list[InputError] = list(check_schemas(domain))
    for check in (check_walks, _check_patterns, check_coverage, _check_prompts):
        errors.extend(in_every_language(domain, check))
    if not errors:
        errors.extend(in_every_language(domain, check_values))  # needs valid schemas and walks
    if errors:
        raise errors[0] if len(errors) == 1 else InputErrors(errors[:_SHOWN])
    return domain


def in_every_language(domain: Domain, check: Callable[[Domain], Iterable[T]]) -> Iterator[T]:
    """What a check finds in each of the domain's languages; an error names the language and its file."""
    names = {id(view): code for code, view in domain.views.items() if code in domain.languages}
    for view in domain.every_view:
        code = names.get(id(view))
        for found in check(view):
            if code is not None and isinstance(found, InputError):
                in_language(found, domain, code)
            yield found


def presence_combinations(domain: Domain, function: str) -> list[frozenset[str]]:
    """Sets of slots that a query can say together. If there are too many: singles, pairs and a fixed random sample."""
    return _combinations(domain.slots[function], domain.statistics.slots.get(function, {}))


def _combinations(slots: Sequence[Slot], shares: Mapping[str, float]) -> list[frozenset[str]]:
    """Sets of names that a pattern over some slots can say together.

    Args:
        slots: slots of one object, with all their parts.
        shares: of optional slots, by full name.
    """
    every_one = [slot for slot in _named(slots) if slot.required or shares.get(slot.name, 1.0) > 0]
    optional = [slot.name for slot in every_one if not slot.required]
    silent = [f"{slot.name} (silent)" for slot in every_one if slot.whole and slot.may_be_silent]
    choices = [*optional, *silent]

    def allowed(wanted: set[str]) -> frozenset[str]:
        said: set[str] = set()

        def visit(parts: Sequence[Slot]) -> None:
            present: set[str] = set()
            for slot in parts:
                rule = slot.rule
                there = slot.required or slot.name in wanted
                if there and not present & set(rule.excludes) and set(rule.needs) <= present:
                    present.add(slot.key)
                    if not slot.whole:
                        visit(slot.parts)
                    elif f"{slot.name} (silent)" not in wanted:
                        said.add(slot.local)

        visit(slots)
        return frozenset(said)

    if len(choices) <= _ALL_COMBINATIONS:
        wanted = [set(c) for size in range(len(choices) + 1) for c in itertools.combinations(choices, size)]
    else:
        draw = random.Random(0)
        wanted = [set(), set(choices), set(optional)]
        wanted += [set(c) for size in (1, 2) for c in itertools.combinations(choices, size)]
        wanted += [{slot for slot in choices if draw.random() < 0.5} for _ in range(_RANDOM_COMBINATIONS)]
    return sorted({allowed(choice) for choice in wanted}, key=sorted)


def _named(slots: Sequence[Slot]) -> Iterator[Slot]:
    """Slots of a scope, and objects whose fields are slots of their own."""
    for slot in slots:
        yield slot
        if not slot.whole:
            yield from _named(slot.parts)


def _check_patterns(domain: Domain) -> Iterator[InputError]:
    """Check that the pattern of an object or entry that is said in one piece says every field that is there."""
    for function, slots in domain.slots.items():
        shares = domain.statistics.slots.get(function, {})
        for slot in every(slots):
            place = {OBJECT: slot.name, MAP: f"{slot.name}{ENTRY}"}.get(slot.shape)
            pattern = domain.surfaces.get((function, place)) if place and slot.whole else None
            if pattern is None:
                continue
            names = frozenset(part.local for part in spoken(slot.parts))
            for present in _combinations(slot.parts, shares):
                missing = present - said(pattern, names, present)
                if missing:
                    yield InputError(
                        f"a pattern of {function} can omit a field",
                        file=domain.path / "domain.yaml",
                        key=f"functions.{function}.slots.{place}.surface",
                        found=f"fields {', '.join(sorted(present))}: {', '.join(sorted(missing))} can be missing",
                        expected="each present field in every alternative, or inside ( ) or < >",
                    )
                    break


def check_coverage(domain: Domain) -> Iterator[InputError]:
    """Check that every draw of a heuristic template mentions every present slot."""
    for template in domain.templates.values():
        if template.grammar is None:
            continue
        fine: set[tuple[frozenset[str], frozenset[str]]] = set()  # functions of a family have the same slots
        for function in template.functions:
            slots = frozenset(slot.local for slot in domain.spoken(function))
            grammar = skeleton(template.grammar, slots)
            for present in presence_combinations(domain, function):
                if (slots, present) in fine or not _can_meet(domain, template, function, present):
                    continue
                missing = present - said(grammar, slots, present)
                if missing:
                    yield InputError(
                        f"a draw of this template for {function} can omit a slot",
                        file=template.file,
                        key=template.place(),
                        found=f"slots {', '.join(sorted(present))}: {', '.join(sorted(missing))} can be missing",
                        expected="each present slot in every alternative, or inside ( ) or < >",
                    )
                    break
                fine.add((slots, present))


def _can_meet(domain: Domain, template: Template, function: str, present: frozenset[str]) -> bool:
    """Whether calls of the template's categories can have exactly these slots.

    An optional category slot is absent exactly when the category is ``none``.
    """
    category = domain.functions[function].category
    if (
        template.categories is None
        or category not in domain.rules[function].slots
        or domain.rules[function].category is None
    ):
        return True
    return set(template.categories) != {NO_CATEGORY} if category in present else NO_CATEGORY in template.categories


def _check_prompts(domain: Domain) -> Iterator[InputError]:
    for template in domain.templates.values():
        if template.grammar is None:
            try:
                check_template(domain, template)
            except InputError as error:
                yield error
