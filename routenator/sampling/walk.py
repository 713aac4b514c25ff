"""Walks over the compiled graph: many at once, conditioned exactly on the category that each must end in.

A path is a tree of steps. For a category, the probability that a node can complete its part of the tree is computed bottom-up (belief
propagation on a tree, exact); edges are re-weighted by it, so that a walk sampled top-down has the distribution of an unconstrained
weighted walk given that it completes and meets the category. Edges are arrays (CSR with running sums of weights), a step is one
``searchsorted`` for all rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routenator.domain.load import NO_CATEGORY, Domain
from routenator.domain.schema import Step
from routenator.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Transition:
    """The edges from one type to another as CSR over the source's node positions.

    Attributes:
        start: first edge of each source node, shape (sources + 1,).
        target: position of each edge's target node within its type, shape (edges,).
        weight: as in edges.csv, shape (edges,).
    """

    start: Ints
    target: Ints
    weight: Floats


@dataclass(frozen=True)
class _Sampler:
    """Re-weighted sampling tables of one (function, category)."""

    root: Floats  # running sum over root nodes
    steps: list[tuple[Ints, Ints, Floats] | None]  # (start, target, running sum with a leading 0) by step


class Graph:
    """A domain's graph, compiled for sampling."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.types: dict[str, list[str]] = {}
        for node in domain.nodes.values():
            self.types.setdefault(node.type, []).append(node.id)
        self.position = {node: i for nodes in self.types.values() for i, node in enumerate(nodes)}
        self._transitions: dict[tuple[str, str], Transition] = {}
        self._samplers: dict[tuple[str, str], _Sampler] = {}
        self._by_types: dict[tuple[str, str], list[tuple[int, int, float]]] = {}
        for edge in domain.edges:
            key = (domain.nodes[edge.source].type, domain.nodes[edge.target].type)
            self._by_types.setdefault(key, []).append((self.position[edge.source], self.position[edge.target], edge.weight))

    def transition(self, source: str, target: str) -> Transition:
        """Edges between two types, sorted by source, then target."""
        key = (source, target)
        if key not in self._transitions:
            edges = sorted(self._by_types.get(key, []))
            rows = np.array([edge[0] for edge in edges], dtype=np.int64)
            self._transitions[key] = Transition(
                start=np.searchsorted(rows, np.arange(len(self.types[source]) + 1)).astype(np.int64),
                target=np.array([edge[1] for edge in edges], dtype=np.int64),
                weight=np.array([edge[2] for edge in edges], dtype=np.float64),
            )
        return self._transitions[key]

    def completion(self, function: str, category: str | None) -> list[Floats]:
        """For each step, P(the walk below completes and meets the category | it is at this node), over the type's nodes."""
        rule = self.domain.rules[function]
        beliefs = [np.ones(len(self.types[step.type])) for step in rule.path]
        for number in reversed(range(len(rule.path))):
            step = rule.path[number]
            if category is not None and rule.category is not None and step.name == rule.category.step:
                nodes = self.types[step.type]
                beliefs[number] *= [self.domain.node_category(function, self.domain.nodes[node]) == category for node in nodes]
            parent = parent_of(rule.path, number)
            if parent is None:
                continue
            edges = self.transition(rule.path[parent].type, step.type)
            totals = _segment_sums(edges.weight, edges.start)
            reached = _segment_sums(edges.weight * beliefs[number][edges.target], edges.start)
            beliefs[parent] *= np.divide(reached, totals, out=np.zeros_like(reached), where=totals > 0)
        return beliefs

    def root_weights(self, function: str) -> Floats:
        """Start weights of the nodes of the first step's type; zero for those that the root rule shuts out."""
        rule = self.domain.rules[function]
        nodes = [self.domain.nodes[node] for node in self.types[rule.path[0].type]]
        weights = np.array([node.weight for node in nodes], dtype=np.float64)
        if rule.root is not None:
            key, wanted = rule.root.attribute, rule.root.equals
            builtin = {"id": lambda n: n.id, "label": lambda n: n.label}
            read = builtin.get(key, lambda n: n.attributes.get(key, ""))
            weights *= [wanted in read(node).split("|") for node in nodes]
        return weights

    def _sampler(self, function: str, category: str) -> _Sampler:
        key = (function, category)
        if key not in self._samplers:
            rule = self.domain.rules[function]
            constrained = None if rule.category is None or category == NO_CATEGORY else category
            beliefs = self.completion(function, constrained)
            root = self.root_weights(function) * beliefs[0]
            if root.sum() <= 0:
                raise InputError(
                    "no walk over the graph ends in this category",
                    file=self.domain.path / "edges.csv",
                    key=f"path of {function}",
                    found=category,
                    expected="edges along " + " -> ".join(step.name for step in rule.path),
                )
            steps: list[tuple[Ints, Ints, Floats] | None] = [None]
            for number in range(1, len(rule.path)):
                parent = parent_of(rule.path, number)
                assert parent is not None
                edges = self.transition(rule.path[parent].type, rule.path[number].type)
                sums = np.concatenate([[0.0], np.cumsum(edges.weight * beliefs[number][edges.target])])
                steps.append((edges.start, edges.target, sums))
            self._samplers[key] = _Sampler(np.cumsum(root), steps)
        return self._samplers[key]

    def walk(self, function: str, category: str, uniforms: Floats) -> Ints:
        """Sample walks.

        Args:
            uniforms: numbers in [0, 1), shape (rows, steps).

        Returns:
            Node positions within their types, shape (rows, steps).

        Raises:
            InputError: no walk of this function ends in this category.
        """
        rule = self.domain.rules[function]
        sampler = self._sampler(function, category)
        result = np.empty(uniforms.shape, dtype=np.int64)
        total = sampler.root[-1]
        at_root = np.minimum(uniforms[:, 0] * total, np.nextafter(total, -np.inf))
        result[:, 0] = np.searchsorted(sampler.root, at_root, side="right")
        for number in range(1, len(rule.path)):
            table = sampler.steps[number]
            parent = parent_of(rule.path, number)
            assert table is not None and parent is not None
            start, target, sums = table
            at = result[:, parent]
            low, high = start[at], start[at + 1]
            value = sums[low] + uniforms[:, number] * (sums[high] - sums[low])
            # The product may round up to the segment's end, where an edge of no weight could lie.
            value = np.minimum(value, np.nextafter(sums[high], -np.inf))
            result[:, number] = target[np.searchsorted(sums, value, side="right") - 1]
        return result


def parent_of(path: list[Step], number: int) -> int | None:
    """Which step a step goes on from: its ``from``, else the one before; None for the root."""
    if number == 0:
        return None
    origin = path[number].from_
    return number - 1 if origin is None else next(i for i, step in enumerate(path) if step.name == origin)


def _segment_sums(values: Floats, start: Ints) -> Floats:
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return sums[start[1:]] - sums[start[:-1]]
