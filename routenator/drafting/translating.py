"""What ``domain draft --translate`` asks a model: a language's labels, words, phrases, values and patterns.

Texts are translated in small batches, one reply for each batch; values that are copied from queries, and patterns, are
proposed anew in the language, from the English ones.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from routenator.authoring.untranslated import lacking
from routenator.domain.domain import Domain
from routenator.domain.graph import Node
from routenator.domain.languages import Language
from routenator.drafting.asks import Ask, asks

TRANSLATED = ("labels", "words", "phrases", "values", "patterns")
_BATCH = 8  # texts in a prompt


def translations(
    domain: Domain, view: Domain, language: Language, kinds: Sequence[str], functions: Sequence[str], seed: int
) -> Iterator[Ask]:
    """All prompts for what a language lacks, in the order of the kinds; each with a seed of its own.

    Args:
        domain: in English.
        view: the domain in the language.
        language: its files.
        kinds: some of ``TRANSLATED``.
        functions: for which to ask.
    """
    draw = random.Random(seed)
    missing = {each.kind: each.missing for each in lacking(domain, view, language)}
    for kind in kinds:
        if kind == "labels":
            named = {node: view.nodes[node].label for node in missing["labels"]}
            coded = (node for node in view.nodes.values() if node.type in missing["value lists"])
            named |= {node.id: node.label for node in coded if not is_copied(view, node.type)}
            made = _texts("labels", "", named, language.code)
        elif kind == "words":
            made = (
                ask
                for name in missing["word lists"]
                for ask in _texts("words", name, {item.text: item.text for item in view.lexicon[name]}, language.code)
            )
        elif kind == "phrases":
            made = _phrases(domain, missing["phrases of slots"], language.code)
        elif kind == "values":
            open_lists = [name for name in missing["value lists"] if is_copied(view, name)]
            made = (ask for ask in asks(domain, ["values"], functions, seed, language.code) if ask.name in open_lists)
        else:
            made = asks(domain, ["patterns"], functions, seed, language.code)
        for ask in made:
            yield replace(ask, seed=draw.getrandbits(31))


def is_copied(domain: Domain, name: str) -> bool:
    """True if the values of a list are said as they are sent, and so are values of one language."""
    nodes: list[Node] = [node for node in domain.nodes.values() if node.type == name]
    return all(node.attributes.get("value") in node.surfaces for node in nodes)


def _texts(kind: str, name: str, texts: dict[str, str], language: str) -> Iterator[Ask]:
    """Prompts to translate texts, each with a key by which the translation is kept."""
    items = list(texts.items())
    for start in range(0, len(items), _BATCH):
        part = items[start : start + _BATCH]
        yield Ask(
            kind, name, _request([text for _, text in part], language), origin=f"from English, for {name or kind}",
            wanted=tuple(key for key, _ in part),
        )  # fmt: skip


def _phrases(domain: Domain, slots: Sequence[str], language: str) -> Iterator[Ask]:
    """Prompts for the phrases of slots that list what they say; only phrases without placeholders are asked for."""
    for place in slots:
        function, _, slot = place.partition(".")
        rule = domain.rules[function].slots.get(slot)
        if rule is None or rule.said is None or rule.relative is not None:
            continue
        plain = {value: phrases[0] for value, phrases in rule.said.items() if phrases and "{" not in phrases[0]}
        yield from _texts("phrases", place, plain, language)


def _request(texts: Sequence[str], language: str) -> str:
    listed = "\n".join(f"{number}. {text}" for number, text in enumerate(texts, 1))
    return (
        f'Translate into the language "{language}", as people say it to an assistant. One translation for each line, '
        f'in the same order, without the numbers:\n{listed}\nAnswer with JSON: {{"proposals": [...]}}'
    )
