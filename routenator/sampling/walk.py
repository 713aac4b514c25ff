"""Walks over the compiled graph: many at once, each conditioned exactly on its category.

A path is a tree of steps. For each category, the probability that a walk at a node completes its subtree is computed
bottom-up (belief propagation on a tree, exact). Edges are re-weighted by it, so that a walk sampled top-down has the
distribution of an unconstrained weighted walk, conditioned on completing and meeting the category. Only the steps from
the root to the one that decides the category depend on it; these have *states*, pairs of category and node, so that
walks of all categories are drawn together. A step is one draw from alias tables for all rows, with a 32-bit word each:
odds are exact to 2**-32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routenator.domain.domain import Domain
from routenator.domain.graphfile import graph_files
from routenator.domain.rules import Step
from routenator.domain.schema import NO_CATEGORY
from routenator.errors import InputError
from routenator.sampling.alias import U64, AliasTable, Ints
from routenator.sampling.philox import words

STREAM_WALK = 256  # step k takes word k mod 4 of stream STREAM_WALK + k // 4

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Transition:
    """The edges from one node type to another, sorted by source, then target; positions are within the types.

    Attributes:
        start: first edge of each source node (CSR), shape (sources + 1,).
        source, target: shape (edges,).
        weight: as in the edge file, shape (edges,).
    """

    start: Ints
    source: Ints
    target: Ints
    weight: Floats

    def reach(self, belief: Floats) -> Floats:
        """For each source node, the weighted mean of its targets' ``belief``; 0 for nodes without edges."""
        count = len(self.start) - 1
        total = np.bincount(self.source, self.weight, count)
        reached = np.bincount(self.source, self.weight * belief[self.target], count)
        return np.divide(reached, total, out=np.zeros(count), where=total > 0)


class Graph:
    """A domain's graph, compiled for sampling.

    Attributes:
        types: node ids by type, in the domain's order; a node's position is its index in its type's list.
    """

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.types: dict[str, list[str]] = {}
        for node in domain.nodes.values():
            self.types.setdefault(node.type, []).append(node.id)
        self._transitions: dict[tuple[str, str], Transition] = {}
        self._walkers: dict[str, Walker] = {}

    @cached_property
    def _edges(self) -> dict[tuple[str, str], list[tuple[int, int, float]]]:
        nodes = self.domain.nodes
        position = {node: place for ids in self.types.values() for place, node in enumerate(ids)}
        table: dict[tuple[str, str], list[tuple[int, int, float]]] = {}
        for edge in self.domain.edges:
            key = (nodes[edge.source].type, nodes[edge.target].type)
            table.setdefault(key, []).append((position[edge.source], position[edge.target], edge.weight))
        return table

    @property
    def edge_types(self) -> list[tuple[str, str]]:
        """Pairs of types that at least one edge joins."""
        return list(self._edges)

    def transition(self, source: str, target: str) -> Transition:
        """Edges between two types."""
        key = (source, target)
        if key not in self._transitions:
            edges = np.array(self._edges.get(key, []), dtype=np.float64).reshape(-1, 3)
            edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
            rows = edges[:, 0].astype(np.int64)
            start = np.searchsorted(rows, np.arange(len(self.types[source]) + 1)).astype(np.int64)
            self._transitions[key] = Transition(start, rows, edges[:, 1].astype(np.int64), edges[:, 2].copy())
        return self._transitions[key]

    def walker(self, function: str) -> Walker:
        """The walker of one function, compiled on first use."""
        if function not in self._walkers:
            self._walkers[function] = Walker(self, function)
        return self._walkers[function]

    def walks(self, function: str, seeds: Ints, categories: NDArray[Any]) -> Ints:
        """Draw the walk of each seed.

        Args:
            seeds: int64, shape (rows,).
            categories: category that each walk must end in, strings, shape (rows,).

        Returns:
            Node positions within their types, shape (rows, steps).

        Raises:
            InputError: no walk of this function ends in one of the categories.
        """
        walker = self.walker(function)
        names, numbers = np.unique(np.asarray(categories, dtype=str), return_inverse=True)
        codes = np.array([walker.require(str(name)) for name in names], dtype=np.int64)
        return np.stack(walker.draw(codes[numbers], walk_words(seeds, walker.steps)), axis=1)


class Walker:
    """The walks of one function, for all its categories.

    Attributes:
        steps: number of steps.
        parents: parent of each step, None for the root.
        categories: names; a category's number is its index here.
        mass: P(a weighted walk completes and meets the category), times the roots' weight, by category.
        chain: steps from the root to the one that decides the category; their tables hold states, all others hold
            nodes.
        state_nodes: node of each state, by step of the chain.
        tables: one per step; draws its state or node given that of its parent, or for the root, given the category.
    """

    def __init__(self, graph: Graph, function: str) -> None:
        self.graph, self.function = graph, function
        self.rule = graph.domain.rules[function]
        self.path = self.rule.path
        self.steps = len(self.path)
        self.parents = [parent_of(self.path, number) for number in range(self.steps)]
        self.categories, self._codes = self._category_codes()
        self.number = {name: number for number, name in enumerate(self.categories)}
        self.chain = self._chain()
        self.roots = self._root_weights()
        self.mass = np.zeros(len(self.categories))
        self._free = self._beliefs()
        self._compile()

    def require(self, category: str) -> int:
        """A category's number.

        Raises:
            InputError: no walk of this function ends in it.
        """
        number = self.number.get(category, -1)
        if number < 0 or self.mass[number] <= 0:
            raise InputError(
                "no walk over the graph ends in this category",
                file=graph_files(self.graph.domain.path)[1],
                key=f"path of {self.function}",
                found=category,
                expected="edges along " + " -> ".join(step.name for step in self.path),
            )
        return number

    def draw(self, categories: Ints, draws: list[U64]) -> list[Ints]:
        """Sample walks.

        Args:
            categories: category numbers, shape (rows,).
            draws: a 32-bit word for each step, each of shape (rows,).

        Returns:
            Node positions within their types, by step, each of shape (rows,).
        """
        places: list[Ints] = []
        for step in range(self.steps):
            places.append(self.tables[step].draw(self.segment(step, categories, places), draws[step]))
        return [self.nodes(step, place) for step, place in enumerate(places)]

    def segment(self, step: int, categories: Ints, places: list[Ints]) -> Ints:
        """Segments of a step's table to draw from, given the places (states or nodes) of the earlier steps."""
        parent = self.parents[step]
        if parent is None:
            return categories
        return places[parent] if step in self.chain else self.nodes(parent, places[parent])

    def nodes(self, step: int, places: Ints) -> Ints:
        """Node positions of places at a step."""
        return self.state_nodes[step].take(places) if step in self.chain else places

    def edges(self, step: int) -> Transition:
        """The edges that lead to a step from its parent."""
        parent = self.parents[step]
        assert parent is not None
        return self.graph.transition(self.path[parent].type, self.path[step].type)

    def beliefs(self, category: int) -> tuple[list[Floats], list[Floats]]:
        """Beliefs of every step, for a category.

        Returns:
            By step: P(the walk below completes and meets the category | it is at this node), over the step's nodes; and
            P(it does so through this step | it is at this parent node), over the parent's nodes, empty for the root.
        """
        belief, reach = [list(part) for part in self._free]
        if self.categories[category] == NO_CATEGORY:
            return belief, reach
        lowest = self.chain[-1]
        below = belief[lowest] * (self._codes == category)
        for step in reversed(self.chain):
            belief[step] = below
            parent = self.parents[step]
            if parent is not None:
                reach[step] = self.edges(step).reach(below)
                below = np.prod(
                    [reach[child] for child in range(1, self.steps) if self.parents[child] == parent], axis=0
                )
        return belief, reach

    def _beliefs(self) -> tuple[list[Floats], list[Floats]]:
        belief = [np.ones(len(self.graph.types[step.type])) for step in self.path]
        reach = [np.ones(0)] * self.steps
        for step in reversed(range(1, self.steps)):
            parent = self.parents[step]
            assert parent is not None
            reach[step] = self.edges(step).reach(belief[step])
            belief[parent] = belief[parent] * reach[step]
        return belief, reach

    def _category_codes(self) -> tuple[list[str], Ints]:
        """The categories, and the number of the one that each node of the category step stands for."""
        rule, domain = self.rule.category, self.graph.domain
        if rule is None:
            return [NO_CATEGORY], np.zeros(0, dtype=np.int64)
        kind = next(step.type for step in self.path if step.name == rule.step)
        named = [domain.node_category(self.function, domain.nodes[node]) for node in self.graph.types[kind]]
        categories = list(dict.fromkeys([*named, NO_CATEGORY]))
        number = {name: place for place, name in enumerate(categories)}
        return categories, np.array([number[name] for name in named], dtype=np.int64)

    def _chain(self) -> list[int]:
        step = 0
        if self.rule.category is not None:
            step = next(number for number, item in enumerate(self.path) if item.name == self.rule.category.step)
        chain = [step]
        while (parent := self.parents[chain[-1]]) is not None:
            chain.append(parent)
        return chain[::-1]

    def _root_weights(self) -> Floats:
        """Start weights of the nodes of the first step's type; zero for those that the root rule excludes."""
        nodes = [self.graph.domain.nodes[node] for node in self.graph.types[self.path[0].type]]
        weights = np.array([node.weight for node in nodes], dtype=np.float64)
        if self.rule.root is not None:
            key, wanted = self.rule.root.attribute, self.rule.root.equals
            builtin = {"id": lambda n: n.id, "label": lambda n: n.named}
            read = builtin.get(key, lambda n: n.attributes.get(key, ""))
            weights *= [wanted in read(node).split("|") for node in nodes]
        return weights

    def _compile(self) -> None:
        """Build all tables. States of the chain are numbered category by category."""
        self.tables: list[AliasTable] = [None] * self.steps  # type: ignore[list-item]
        parts: dict[int, list[tuple[Ints, Floats, Ints]]] = {
            step: [] for step in self.chain
        }  # degree, weight, value by category
        states: dict[int, list[Ints]] = {step: [] for step in self.chain}
        counts = dict.fromkeys(self.chain, 0)
        for category in range(len(self.categories)):
            belief, _ = self.beliefs(category)
            root = self.roots * belief[0]
            self.mass[category] = root.sum()
            alive = np.flatnonzero(root > 0)
            parts[0].append((np.array([len(alive)]), root[alive], counts[0] + np.arange(len(alive))))
            states[0].append(alive)
            for parent, step in zip(self.chain, self.chain[1:], strict=False):
                edges, above = self.edges(step), states[parent][-1]
                known = np.zeros(len(edges.start) - 1, dtype=bool)
                known[above] = True
                taken = np.flatnonzero(known[edges.source] & (belief[step][edges.target] > 0) & (edges.weight > 0))
                nodes, place = np.unique(edges.target[taken], return_inverse=True)
                degree = np.bincount(np.searchsorted(above, edges.source[taken]), minlength=len(above))
                parts[step].append(
                    (degree, edges.weight[taken] * belief[step][edges.target[taken]], counts[step] + place)
                )
                states[step].append(nodes)
            for step in self.chain:
                counts[step] += len(states[step][-1])
        self.state_nodes = {step: np.concatenate(nodes) for step, nodes in states.items()}
        self.state_start = {step: np.cumsum([0, *map(len, nodes)]) for step, nodes in states.items()}
        for step in self.chain:
            degree, weight, value = (np.concatenate(part) for part in zip(*parts[step], strict=True))
            self.tables[step] = AliasTable(np.concatenate([[0], np.cumsum(degree)]), weight, value)
        belief, _ = self._free
        for step in set(range(self.steps)) - set(self.chain):
            edges = self.edges(step)
            weight = edges.weight * belief[step][edges.target]
            kept = weight > 0
            start = np.concatenate([[0], np.cumsum(kept)])[edges.start]
            self.tables[step] = AliasTable(start, weight[kept], edges.target[kept])


def walk_words(seeds: Ints, count: int) -> list[U64]:
    """The first ``count`` walk words of each seed, one for each step and any more needed; each of shape (rows,)."""
    calls = [words(seeds, STREAM_WALK + call) for call in range(-(-count // 4))]
    return [word for call in calls for word in call][:count]


def parent_of(path: list[Step], number: int) -> int | None:
    """The parent of a step: the one named by ``from``, else the previous one; None for the root."""
    if number == 0:
        return None
    origin = path[number].from_
    return number - 1 if origin is None else next(i for i, step in enumerate(path) if step.name == origin)
