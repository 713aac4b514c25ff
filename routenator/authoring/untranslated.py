"""What a domain's languages lack, so that English is used instead: labels, word lists, phrases, patterns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from routenator.domain.domain import Domain
from routenator.domain.languages import Language
from routenator.domain.rules import SlotRule, SlotWords
from routenator.domain.valuelists import HUB
from routenator.grammar import Choice, Conditional, Node, Permutation, Reference, Sequence, Text, references
from routenator.routes import ROUTES

_SHOWN = 5
_LETTER = re.compile(r"[^\W\d_]")
_NO_WORDS = SlotWords()


class Lacking(NamedTuple):
    """What a language should have of one kind.

    Attributes:
        kind: what is counted: labels, word lists, and so on.
        total: how many the language's queries use.
        missing: names of those that are English.
    """

    kind: str
    total: int
    missing: list[str]


def language_warnings(domain: Domain) -> Iterator[str]:
    """One sentence for each language that lacks something, and for each that has no share."""
    for code, language in domain.languages.items():
        if not domain.statistics.languages.get(code):
            yield f"languages/{code} is not used: {code} has no share under `languages` in statistics.yaml"
            continue
        parts = [
            f"{len(each.missing)} of {each.total} {each.kind} ({_some(each.missing)})"
            for each in lacking(domain, domain.view(code), language)
            if each.missing
        ]
        if parts:
            yield f"{code}: English is used for {', '.join(parts)}"


def lacking(domain: Domain, view: Domain, language: Language) -> list[Lacking]:
    """What a language lacks, by kind.

    Args:
        domain: in English.
        view: the domain in the language.
        language: its files.
    """
    types, lists = _named(view)
    labels = [node for node in view.nodes.values() if node.type in types and node.type not in language.lists]
    own_lists = {edge.target.partition(":")[0] for edge in view.edges if edge.source == HUB} & types
    plain = [node for node in labels if node.type not in own_lists]
    listed = sorted(own_lists)
    words = sorted(name for name in view.lexicon if name in lists)
    phrases = list(_phrases(domain, language))
    served = {f for t in language.templates.values() if ROUTES[t.route].is_draft and t.weight > 0 for f in t.functions}
    served |= {f for t in domain.templates.values() if language.code in (t.languages or ()) for f in t.functions}
    used = [name for name in domain.rules if domain.statistics.functions.get(name)]
    relabelled = {name for name, label in language.labels.items() if label.label}
    return [
        Lacking("labels", len(plain), [node.id for node in plain if node.id not in relabelled]),
        Lacking(
            "value lists",
            len(listed),
            [
                name
                for name in listed
                if name not in language.lists and not any(each.startswith(f"{name}:") for each in relabelled)
            ],
        ),
        Lacking("word lists", len(words), [name for name in words if name not in language.lexicon]),
        Lacking("phrases of slots", len(phrases), [name for name, own in phrases if not own]),
        Lacking("functions' patterns", len(used), [name for name in used if name not in served]),
    ]


def _named(view: Domain) -> tuple[set[str], set[str]]:
    """Types of the nodes that queries say by a label, and word lists, that the grammars of a language name."""
    types: set[str] = set()
    lists: set[str] = set()
    for function, rule in view.rules.items():
        steps = {step.name: step.type for step in rule.path}
        grammars = [node for (name, _), node in view.values.items() if name == function]
        grammars += [node for (name, _), node in view.surfaces.items() if name == function and node is not None]
        grammars += [
            phrase.surface
            for (name, _), phrases in view.phrases.items()
            for phrase in phrases
            if name == function and phrase.surface is not None
        ]
        grammars += [t.grammar for t in view.templates.values() if t.grammar is not None and function in t.functions]
        for reference in (each for node in grammars for each in references(node)):
            name, _, attribute = reference.name.partition(".")
            if name in steps and attribute in ("", "label"):
                types.add(steps[name])
            elif name in view.lexicon and name not in steps:
                lists.add(name)
    return types, lists


def _phrases(domain: Domain, language: Language) -> Iterator[tuple[str, bool]]:
    """Slots that are said in words of their own, and whether the language has its own."""
    for function, rule in domain.rules.items():
        own: Mapping[str, SlotWords] = language.words.functions.get(function, {})
        for name, slot in rule.slots.items():
            yield from _of(domain, slot, own.get(name, _NO_WORDS), function, name)


def _of(domain: Domain, rule: SlotRule, words: SlotWords, function: str, name: str) -> Iterator[tuple[str, bool]]:
    where = f"{function}.{name}"
    if rule.said is not None:
        spoken = [value for value, phrases in rule.said.items() if phrases]
        yield where, all(value in (words.said or {}) for value in spoken)
    if rule.at is not None:
        yield f"{where}.at", all(value in (words.at or {}) for value in rule.at)
    grammars = {"value": domain.values.get((function, name)), "surface": domain.surfaces.get((function, name))}
    wordy = [key for key, node in grammars.items() if node is not None and _has_words(node)]
    if wordy:
        yield where, all(getattr(words, key) is not None for key in wordy)
    for part, inner in (rule.fields or {}).items():
        yield from _of(domain, inner, (words.fields or {}).get(part, _NO_WORDS), function, f"{name}.{part}")
    if isinstance(rule.items, SlotRule):
        inner_words = words.items if isinstance(words.items, SlotWords) else _NO_WORDS
        yield from _of(domain, rule.items, inner_words, function, f"{name}[]")


def _has_words(node: Node) -> bool:
    """Whether a grammar has words of its own, and not only names of steps and lists."""
    if isinstance(node, Text):
        return _LETTER.search(node.text) is not None
    if isinstance(node, Reference):
        return False
    if isinstance(node, Conditional):
        return _has_words(node.part)
    parts = node.options if isinstance(node, Choice) else node.parts
    assert isinstance(node, Choice | Sequence | Permutation)
    return any(map(_has_words, parts))


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
