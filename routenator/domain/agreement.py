"""Checks that a domain's files agree: every name that one file refers to must exist in the other."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from routenator.domain.dates import relative_phrases
from routenator.domain.domain import Domain, Phrase
from routenator.domain.forms import form_step
from routenator.domain.functions import Function
from routenator.domain.graphfile import graph_files
from routenator.domain.rules import FunctionRule
from routenator.domain.schema import NO_CATEGORY
from routenator.domain.slots import ENTRY, LEAF, Slot, every, spoken
from routenator.errors import InputError
from routenator.grammar import Node as GrammarNode
from routenator.grammar import parse_or_refuse, references, slot_of


def check_rules(domain: Domain) -> None:
    """Hold domain.yaml to the API, the graph and the word lists; adds the parsed values and phrases to the domain."""
    file = domain.path / "domain.yaml"
    types = {node.type for node in domain.nodes.values()}
    attributes = {name for node in domain.nodes.values() for name in node.attributes}
    for name, rule in domain.rules.items():
        where = f"functions.{name}"
        if name not in domain.functions:
            raise InputError("the API has no such function", file=file, key=where, found=name, valid=domain.functions)
        names: list[str] = []
        for number, step in enumerate(rule.path):
            if step.type not in types:
                raise InputError(
                    "no node has this type", file=file, key=f"{where}.path[{number}].type", found=step.type, valid=types
                )
            if step.from_ is not None and step.from_ not in names:
                raise InputError(
                    "`from` must name an earlier step",
                    file=file, key=f"{where}.path[{number}].from", found=step.from_, valid=names or ["(none)"],
                )  # fmt: skip
            if step.name in names:
                raise InputError(
                    "two steps have the same name", file=file, key=f"{where}.path[{number}].name", found=step.name
                )
            names.append(step.name)
        if rule.root and rule.root.attribute not in attributes | {"id", "label"}:
            raise InputError(
                "no node has this attribute",
                file=file,
                key=f"{where}.root",
                found=rule.root.attribute,
                valid=attributes,
            )
        if rule.category is not None:
            if rule.category.step not in names:
                raise InputError(
                    "no such step", file=file, key=f"{where}.category.step", found=rule.category.step, valid=names
                )
            if rule.category.attribute and rule.category.attribute not in attributes:
                raise InputError(
                    "no node has this attribute",
                    file=file,
                    key=f"{where}.category",
                    found=rule.category.attribute,
                    valid=attributes,
                )
            _check_category_nodes(domain, name, file)
    for name, slots in domain.slots.items():
        known = {step.name for step in domain.rules[name].path} | set(domain.lexicon)
        for slot in every(slots):
            _parse_slot(domain, name, slot, known, attributes)
        _check_roles(domain.functions[name], domain.rules[name], slots, file)


def _check_roles(function: Function, rule: FunctionRule, slots: tuple[Slot, ...], file: Path) -> None:
    """Refuse a category or subprompt that is not a single value, and a category that does not follow from its step."""
    for slot in slots:
        if slot.key not in (function.category, function.subprompt):
            continue
        said = slot.key == function.category and rule.category is not None and slot.rule.said is not None
        if said or slot.shape != LEAF:
            raise InputError(
                "the category follows from its step" if said else "a parameter with a role is a single value",
                file=file, key=f"functions.{function.name}.slots.{slot.name}",
                found="said" if said else f"a rule for a {slot.shape}", expected="value",
            )  # fmt: skip


def _parse_slot(domain: Domain, function: str, slot: Slot, known: set[str], attributes: set[str]) -> None:
    """Parse the grammars of a slot.

    Args:
        known: names of steps and word lists.
        attributes: names of the nodes' attributes.
    """
    file, key, where = domain.path / "domain.yaml", (function, slot.name), f"functions.{function}.slots.{slot.name}"
    rule = slot.rule
    if rule.value is not None:
        domain.values[key] = _slot_grammar(rule.value, file, f"{where}.value", known, attributes)
        domain.surfaces[key] = (
            None if rule.surface is None else _slot_grammar(rule.surface, file, f"{where}.surface", known, attributes)
        )
    elif rule.relative is not None:
        if domain.today is None:
            raise InputError(
                "values relative to today, which the domain does not define", file=file, key=f"{where}.relative",
                found=rule.relative, expected="today: {from: 2025-01-01, to: 2027-12-31} at the top of the file",
            )  # fmt: skip

        def read(text: str, place: str, names: Collection[str]) -> GrammarNode:
            return _slot_grammar(text, file, f"{where}.{place}", {*names}, attributes)

        domain.phrases[key] = tuple(relative_phrases(rule, domain.today, known, read))
    elif rule.said is not None:
        domain.phrases[key] = tuple(
            Phrase(
                value,
                rule.weights.get(value, 0.0 if rule.weights else 1.0) / len(phrases or [""]),
                _slot_grammar(phrase, file, f"{where}.said.{value}", known, attributes) if phrase.strip() else None,
            )
            for value, phrases in rule.said.items()
            for phrase in phrases or [""]
        )
    elif rule.fields is not None and rule.surface is not None:
        inner = known | {part.local for part in spoken(slot.parts)}
        domain.surfaces[key] = _slot_grammar(rule.surface, file, f"{where}.surface", inner, attributes)
    elif rule.entries is not None:
        inner = known | {"key", "value"}
        place = f"{where}.entries.surface"
        domain.surfaces[function, f"{slot.name}{ENTRY}"] = _slot_grammar(
            rule.entries.surface, file, place, inner, attributes
        )


def _check_category_nodes(domain: Domain, function: str, file: Path) -> None:
    """Refuse nodes that stand for a value outside the API's enum: no call could express them."""
    parameter = domain.functions[function].category
    enum = domain.functions[function].names(parameter) if parameter else None
    if enum is None:
        return
    for name, category in [key for key in domain.nodes_by_category if key[0] == function]:
        if category not in enum:
            node = domain.category_nodes(name, category)[0]
            raise InputError(
                "this node stands for a category that the API does not have",
                file=graph_files(domain.path)[0], key=f"node {node.id}", found=category, valid=enum,
            )  # fmt: skip


def _slot_grammar(text: str, file: Path, key: str, known: set[str], attributes: set[str]) -> GrammarNode:
    grammar = parse_or_refuse(text, file, key)
    for reference in references(grammar):
        _check_reference(reference.name, known, attributes, file, lambda: key)
    return grammar


def _check_reference(name: str, known: set[str], attributes: set[str], file: Path, key: Callable[[], str]) -> None:
    base, _, attribute = name.partition(".")
    if name in known:
        return
    if base not in known:
        raise InputError("unknown variable", file=file, key=key(), found=name, valid=known)
    if attribute and base != "record" and attribute not in attributes | {"label", "id", "type"}:
        raise InputError("no node has this attribute", file=file, key=key(), found=name, valid=attributes | {"label"})


def check_templates(domain: Domain) -> None:
    """Refuse templates that name what the API, the statistics or the rules do not have."""
    attributes = {name for node in domain.nodes.values() for name in node.attributes}
    categories = {name for table in domain.statistics.categories.values() for name in table} | {NO_CATEGORY}
    for template in domain.templates.values():
        head, file = template.head, template.file
        for key, names, valid in (
            ("functions", head.functions, domain.rules),
            ("lengths", head.lengths or [], domain.statistics.length_buckets),
            ("categories", head.categories or [], categories),
            ("languages", head.languages or [], domain.statistics.languages),
        ):
            for name in names:
                if name not in valid:
                    raise InputError(
                        f"unknown name in {key}", file=file, key=template.place(key), found=name, valid=valid
                    )
        if template.grammar is not None:
            names = list(dict.fromkeys(reference.name for reference in references(template.grammar)))
            for function in head.functions:
                rule = domain.rules[function]
                named = {slot.local: slot for slot in domain.spoken(function)}
                known = {step.name for step in rule.path} | set(named) | set(domain.lexicon) | {"record"}
                for name in names:
                    slot = slot_of(name, frozenset(named))
                    if slot and slot != name and not form_step(domain, function, named[slot]):
                        raise InputError(
                            f"the slot {slot} of {function} has one form: it does not say a node of the graph, or more",
                            file=file, key=template.place(), found=name, expected=slot,
                        )  # fmt: skip
                    _check_reference(name, known, attributes, file, template.place)


def check_records(domain: Domain) -> None:
    """Refuse records of a category that no node stands for."""
    valid = {category for _, category in domain.nodes_by_category}
    for record in domain.records.values():
        if valid and record["category"] not in valid:
            raise InputError(
                "this record has an unknown category",
                file=domain.path / "metadata.jsonl", key=record["id"], found=record["category"], valid=valid,
            )  # fmt: skip
