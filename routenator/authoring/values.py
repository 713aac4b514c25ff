"""Holds the values that a domain's rules write to the schemas of their parameters, before any row is made.

Every text that a slot's grammar takes from a node, an attribute or a word list is tried once in it, not every
combination of them. Only nodes that a walk can reach count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from routenator import grammar
from routenator.domain.domain import Domain
from routenator.domain.functions import ROLE_KEY, Function, check_within
from routenator.domain.graph import Node
from routenator.domain.graphfile import graph_files
from routenator.domain.kinds import ANY_TYPE, BOOLEAN, STRING, json_value, kind_of, refusal, value_name, values_of
from routenator.domain.schema import NO_CATEGORY
from routenator.domain.slots import ENTRY, LEAF, Slot, every
from routenator.errors import InputError
from routenator.sampling.shares import normalise
from routenator.sampling.strata import category_shares
from routenator.sampling.walk import Graph, Walker
from routenator.wording.grammars import node_attribute

_SHOWN = 3  # faults of a slot
_SAYS_NOTHING = {"title", "description", "examples", "default", "deprecated", ROLE_KEY}


class _Text(NamedTuple):
    """A text that a grammar can produce.

    Attributes:
        source: node or word list that it comes from; None for text of the grammar itself.
    """

    text: str
    source: Node | str | None


def check_schemas(domain: Domain) -> Iterator[InputError]:
    """Errors for slots whose schema no value can satisfy, or for which that cannot be decided."""
    for number, (name, function) in enumerate(domain.functions.items()):
        if name not in domain.rules:
            continue
        for slot in every(domain.slots[name]):
            found = refusal(function.parameters, slot.schema, ANY_TYPE)
            if found is not None:
                yield InputError(
                    f"no value can be written for the slot {slot.name} of {name}",
                    file=domain.path / "functions.json",
                    key=f"[{number}].parameters.properties.{slot.name}",
                    found=found.found,
                    expected=found.expected,
                )
        for keyword in ("not", "if"):
            if keyword in function.parameters:
                yield InputError(
                    f"no calls can be written for {name}",
                    file=domain.path / "functions.json",
                    key=f"[{number}].parameters.{keyword}",
                    found=f"a schema with `{keyword}`",
                    expected="a schema that says what an argument is, without `not` and `if`",
                )


def check_values(domain: Domain) -> Iterator[InputError]:
    """Errors for values of slots that violate their schema; needs a domain that passes ``check_schemas``."""
    graph = Graph(domain)
    for name in normalise(domain.statistics.functions):
        function = domain.functions[name]
        leaves = [slot for slot in every(domain.slots[name]) if slot.shape == LEAF]
        doubtful = [slot for slot in leaves if not takes_any_text(function, slot.schema)]
        if doubtful:
            nodes = _reached(domain, graph.walker(name))
            again = _reached_again(domain, graph.walker(name), nodes)
            for slot in doubtful:
                # The items of a list draw steps anew.
                yield from _slot_errors(domain, name, slot, again if ENTRY in slot.name else nodes)


def takes_any_text(function: Function, schema: Any) -> bool:
    """Whether the value of any text satisfies a parameter's schema, as for plain strings and booleans."""
    if schema is True:
        return True
    kind = kind_of(function.parameters, schema)
    return kind in (STRING, BOOLEAN) and set(schema) <= {"type", *_SAYS_NOTHING}


def _slot_errors(domain: Domain, name: str, slot: Slot, nodes: dict[str, list[Node]]) -> Iterator[InputError]:
    function, shown = domain.functions[name], 0
    kind, listed = kind_of(function.parameters, slot.schema), values_of(function.parameters, slot.schema)
    names = None if listed is None else [value_name(value) for value in listed if value is not None]
    sources: dict[str, Node | str | None] = {}
    if slot.rule.said is not None:
        sources = dict.fromkeys((phrase.value for phrase in domain.phrases[name, slot.name]), None)
    else:
        node = domain.values[name, slot.name]
        if _repeats_a_step(node, set(nodes)):
            return  # parts that depend on each other cannot be tried apart; drawn calls are checked too
        for text, source in _texts(node, domain, nodes):
            sources.setdefault(text, source)
    for text, source in sources.items():
        value = json_value(grammar.tidy(text), kind)
        error = check_within(function, slot.schema, value)
        if error is None:
            continue
        file, key = _place(domain, name, slot, source)
        yield InputError(
            f"a value of the slot {slot.name} of {name} violates its schema ({error.kind})",
            file=file,
            key=key,
            found=value,
            expected=None if names else error.message,
            valid=names or None,
        )
        shown += 1
        if shown == _SHOWN:
            return


def _place(domain: Domain, name: str, slot: Slot, source: Node | str | None) -> tuple[Path, str]:
    where = f"functions.{name}.slots.{slot.name}.{'value' if slot.rule.said is None else 'said'}"
    if isinstance(source, Node):
        return graph_files(domain.path)[0], f"node {source.id}, by {where}"
    if source is not None:
        return domain.path / "lexicon.yaml", f"{source}, by {where}"
    return domain.path / "domain.yaml", where


def _reached(domain: Domain, walker: Walker) -> dict[str, list[Node]]:
    """Nodes that walks of a function can visit, by the name of the step."""
    wanted = [walker.number[name] for name, share in category_shares(domain, walker.function).items() if share > 0]
    found: dict[str, list[Node]] = {}
    places: list[Any] = []
    belief, _ = walker.beliefs(walker.number[NO_CATEGORY])
    for step, item in enumerate(walker.path):
        parent = walker.parents[step]
        if step in walker.chain:
            start = walker.state_start[step]
            states = [walker.state_nodes[step][start[c] : start[c + 1]] for c in wanted]
            places.append(np.unique(np.concatenate(states)))
        else:
            assert parent is not None
            edges = walker.edges(step)
            usable = np.isin(edges.source, places[parent]) & (edges.weight * belief[step][edges.target] > 0)
            places.append(np.unique(edges.target[usable]))
        ids = walker.graph.types[item.type]
        found[item.name] = [domain.nodes[ids[place]] for place in places[-1]]
    return found


def _reached_again(domain: Domain, walker: Walker, reached: dict[str, list[Node]]) -> dict[str, list[Node]]:
    """Nodes that a step can be at when it is drawn anew for an item of a list: at least those of a walk."""
    found: dict[str, list[Node]] = {}
    for step, item in enumerate(walker.path):
        parent, ids = walker.parents[step], walker.graph.types[item.type]
        if parent is None:
            places = np.flatnonzero(walker.roots > 0)
        else:
            known = {node.id for node in found[walker.path[parent].name]}
            from_ = [node in known for node in walker.graph.types[walker.path[parent].type]]
            edges = walker.edges(step)
            places = np.unique(edges.target[np.array(from_)[edges.source] & (edges.weight > 0)])
        drawn = {ids[place]: domain.nodes[ids[place]] for place in places}
        found[item.name] = list({**{node.id: node for node in reached[item.name]}, **drawn}.values())
    return found


def _repeats_a_step(node: grammar.Node, steps: set[str]) -> bool:
    """Whether some text of a grammar names a step twice."""
    if isinstance(node, grammar.Choice):
        return any(_repeats_a_step(option, steps) for option in node.options)
    if isinstance(node, grammar.Conditional):
        return _repeats_a_step(node.part, steps)
    if not isinstance(node, grammar.Sequence | grammar.Permutation):
        return False
    named = [{r.name.partition(".")[0] for r in grammar.references(part)} & steps for part in node.parts]
    return sum(map(len, named)) > len(set().union(*named)) or any(_repeats_a_step(part, steps) for part in node.parts)


def _texts(node: grammar.Node, domain: Domain, nodes: dict[str, list[Node]]) -> list[_Text]:
    """Texts of a grammar, with each of its variables' values in at least one of them."""
    if isinstance(node, grammar.Text):
        return [_Text(node.text, None)]
    if isinstance(node, grammar.Reference):
        return _named_texts(node.name, domain, nodes)
    if isinstance(node, grammar.Conditional):
        return _texts(node.part, domain, nodes)
    if isinstance(node, grammar.Choice):
        return [text for option in node.options for text in _texts(option, domain, nodes)]
    return _joined([_texts(part, domain, nodes) for part in node.parts], isinstance(node, grammar.Permutation))


def _named_texts(name: str, domain: Domain, nodes: dict[str, list[Node]]) -> list[_Text]:
    base, _, attribute = name.partition(".")
    if base not in nodes:
        return [_Text(item.text, name) for item in domain.lexicon[name]]
    if attribute:
        return [_Text(node_attribute(node, attribute), node) for node in nodes[base]]
    return [_Text(surface, node) for node in nodes[base] for surface in node.surfaces]


def _joined(parts: Sequence[list[_Text]], spaced: bool) -> list[_Text]:
    count = max((len(part) for part in parts), default=0)
    if not all(parts):
        return []
    rows = [[part[number % len(part)] for part in parts] for number in range(count)]
    return [
        _Text(
            (" " if spaced else "").join(each.text for each in row),
            next((each.source for each in row if each.source is not None), None),
        )
        for row in rows
    ]
