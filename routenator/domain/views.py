"""The domain as the queries of one language see it: with that language's words, patterns and statistics."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from routenator.domain.domain import Domain
from routenator.domain.graph import Edge, Node
from routenator.domain.languages import Language, days_in, rules_in
from routenator.domain.quantiles import with_lengths
from routenator.domain.rules import FunctionRule
from routenator.domain.schema import Statistics
from routenator.domain.templates import Template
from routenator.domain.valuelists import HUB, Value, list_nodes, with_lists
from routenator.errors import InputError

_SHARED = "is the same in every language"


def view_without(domain: Domain, shares: Mapping[str, float]) -> Domain:
    """The domain for the languages that have no files of their own.

    Args:
        shares: these languages' shares.
    """
    statistics = domain.statistics.model_copy(update={"languages": dict(shares)})
    return dataclasses.replace(domain, statistics=statistics, languages={}, views={})


def view_in(domain: Domain, language: Language) -> Domain:
    """The domain in one of its languages; its grammars are not parsed yet.

    Args:
        domain: with completed statistics.

    Raises:
        InputError / InputErrors: the language's files name something that the domain does not have.
    """
    nodes, edges, rules = _graph(domain, language)
    return dataclasses.replace(
        domain,
        rules=rules,
        nodes=_labelled(nodes, language),
        edges=edges,
        statistics=_statistics(domain, language),
        lexicon={**domain.lexicon, **language.lexicon},
        templates=_templates(domain.templates, language),
        today=days_in(language, domain.today),
        values={},
        surfaces={},
        phrases={},
        languages={},
        views={},
    )


def _graph(domain: Domain, language: Language) -> tuple[dict[str, Node], list[Edge], dict[str, FunctionRule]]:
    """Put the language's value lists in place of those of the same name, and its words into the rules."""
    rules = rules_in(language, domain.rules)
    lists: dict[str, list[Value]] = {domain.nodes[edge.target].type: [] for edge in domain.edges if edge.source == HUB}
    unknown = next((name for name in language.lists if name not in lists), None)
    if unknown is not None:
        raise InputError(
            "no function has a value list of this name", file=language.path / "values" / f"{unknown}.tsv",
            found=unknown, valid=lists,
        )  # fmt: skip
    kept = {name: node for name, node in domain.nodes.items() if node.type not in language.lists}
    edges = [edge for edge in domain.edges if edge.source in kept and edge.target in kept]
    graph = {name: node for name, node in kept.items() if node.type not in {HUB, *lists}}
    rules, more = with_lists(rules, {**lists, **language.lists}, graph)
    known = {(edge.source, edge.target) for edge in edges}
    edges += [edge for edge in more if (edge.source, edge.target) not in known]
    return {**kept, **(list_nodes(language.lists) if language.lists else {})}, edges, rules


def _labelled(nodes: Mapping[str, Node], language: Language) -> dict[str, Node]:
    labelled = dict(nodes)
    for name, own in language.labels.items():
        if name not in nodes:
            raise InputError("no such node", file=language.path / "labels.csv", key="id", found=name, valid=nodes)
        node = nodes[name]
        labelled[name] = dataclasses.replace(
            node,
            label=own.label or node.label,
            aliases=own.aliases if own.label or own.aliases else node.aliases,
            attributes={**node.attributes, **own.attributes},
            original=node.label,
        )
    return labelled


def _statistics(domain: Domain, language: Language) -> Statistics:
    """The common statistics, with the language's tables over them, function by function."""
    own, common, file = language.statistics, domain.statistics, language.path / "statistics.yaml"
    if domain.joint is not None and (own.lengths or own.word_quantiles):
        raise InputError(
            "the joint target already has the lengths of each language", file=file, key="lengths",
            found="lengths beside joint", expected="none",
        )  # fmt: skip
    for function, table in own.slots.items():
        category = domain.functions[function].category if function in domain.functions else None
        if category in table:
            raise InputError(f"the category's share {_SHARED}", file=file, key=f"slots.{function}.{category}")
    merged = {
        "languages": {language.code: common.languages.get(language.code, 0.0)},
        "lengths": {**{f: t for f, t in common.lengths.items() if f not in own.word_quantiles}, **own.lengths},
        "word_quantiles": {**{f: t for f, t in common.word_quantiles.items() if f not in own.lengths},
                           **own.word_quantiles},
        "slots": {**common.slots, **{f: {**common.slots.get(f, {}), **table} for f, table in own.slots.items()}},
        "keyword_position": {**common.keyword_position, **own.keyword_position},
        "noise": common.noise.model_copy(update=own.noise.model_dump(exclude_unset=True)),
    }  # fmt: skip
    return with_lengths(common.model_copy(update=merged), file)


def _templates(common: Mapping[str, Template], language: Language) -> dict[str, Template]:
    """The language's templates, and for functions and routes for which it has none those that name no language."""
    code = language.code
    own = {name: _with_head(t, languages=[code]) for name, t in common.items() if code in (t.languages or ())}
    for name, template in language.templates.items():
        if name in common:
            raise InputError(
                "two templates of a route have the same name", file=template.file, key=template.place("text"),
                found=template.key, expected=f"a name that is not in {common[name].file.name}",
            )  # fmt: skip
        own[name] = template
    served = {(function, t.route) for t in own.values() if t.weight > 0 for function in t.functions}
    for name, template in common.items():
        left = [function for function in template.functions if (function, template.route) not in served]
        if template.languages is None and left:
            own[name] = _with_head(template, functions=left)
    return dict(sorted(own.items()))


def _with_head(template: Template, **changes: list[str]) -> Template:
    return dataclasses.replace(template, head=template.head.model_copy(update=changes))
