"""Coverage: walk every edge that a complete path can use a number of times, and all other rows by weight.

Some rows of a group (one function and category) are forced through one edge each, in turn. Such a walk has exactly the
distribution of a weighted walk, conditioned on using this edge at this step, completing, and meeting the category: the
nodes above the edge are drawn bottom-up (by forward messages of belief propagation), all others top-down as usual. Each
step uses its own word, as in a free walk.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from routenator.sampling.alias import U64, AliasTable, Ints
from routenator.sampling.walk import Floats, Walker


@dataclass
class _Part:
    """Arrays built up category by category."""

    degree: list[Ints]
    weight: list[Floats]
    value: list[Ints]
    place: list[Ints]
    count: int = 0


class Coverage:
    """Walks of one function through given edges.

    Args:
        walker: the function's walker.
        categories: numbers of the categories to prepare.

    Attributes:
        count: number of usable edges for each of the walker's categories; an edge counts once for every step where it
            can be used. 0 for categories that were not prepared.
    """

    def __init__(self, walker: Walker, categories: Iterable[int]) -> None:
        self.walker = walker
        self.count = np.zeros(len(walker.categories), dtype=np.int64)
        self._first = np.zeros(len(walker.categories), dtype=np.int64)
        # Steps with child steps. They have upper states, pairs of category and node, whether or not they are part of
        # the chain.
        self._inner = sorted({parent for parent in walker.parents if parent is not None})
        parts = {step: _Part([], [], [], []) for step in self._inner}
        edges: list[tuple[Ints, Ints, Ints]] = []
        for category in sorted(set(categories)):
            self._first[category] = sum(len(step) for step, _, _ in edges)
            edges.extend(self._add(category, parts))
            self.count[category] = sum(len(step) for step, _, _ in edges) - self._first[category]
        empty = np.zeros(0, dtype=np.int64)
        self._step, self._parent, self._value = (
            np.concatenate([empty, *(edge[column] for edge in edges)]) for column in range(3)
        )
        self._place = {step: np.concatenate([empty, *part.place]) for step, part in parts.items()}
        self._up = {
            step: AliasTable(
                np.concatenate([[0], np.cumsum(np.concatenate([empty, *part.degree]))]),
                np.concatenate([empty.astype(np.float64), *part.weight]),
                np.concatenate([empty, *part.value]),
            )
            for step, part in parts.items()
            if step > 0
        }

    def draw(self, categories: Ints, edges: Ints, draws: list[U64]) -> list[Ints]:
        """Draw walks through given edges.

        Args:
            categories: category numbers, shape (rows,).
            edges: index among the category's usable edges, from 0 to ``count`` - 1, shape (rows,).
            draws: a 32-bit word for each step, each of shape (rows,).

        Returns:
            Node positions within their types, by step, each of shape (rows,).
        """
        walker = self.walker
        edge = self._first.take(categories) + edges
        steps = self._step.take(edge)
        result = [np.empty(len(edge), dtype=np.int64) for _ in range(walker.steps)]
        for step in np.unique(steps).tolist():
            rows = np.flatnonzero(steps == step)
            own, words = edge.take(rows), [word.take(rows) for word in draws]
            places: list[Ints | None] = [None] * walker.steps
            places[step] = self._value.take(own)
            above, state = walker.parents[step], self._parent.take(own)
            while above is not None:
                places[above] = self._place[above].take(state)
                higher = walker.parents[above]
                if higher is not None:
                    state = self._up[above].draw(state, words[higher])
                above = higher
            known: list[Ints] = []
            for number, given in enumerate(places):
                if given is None:
                    known.append(
                        walker.tables[number].draw(walker.segment(number, categories.take(rows), known), words[number])
                    )
                else:
                    known.append(given)
                result[number][rows] = walker.nodes(number, known[-1])
        return result

    def _add(self, category: int, parts: dict[int, _Part]) -> list[tuple[Ints, Ints, Ints]]:
        """Add one category's upper states and tables.

        Returns:
            Its usable edges, as (step, upper state of the parent, place at the step).
        """
        walker = self.walker
        belief, reach = walker.beliefs(category)
        # For each node of a step: the mass of everything outside the subtree below it.
        outside: list[Floats] = [walker.roots * (belief[0] > 0)]
        alive = {0: np.flatnonzero(outside[0] > 0)}
        usable: list[tuple[Ints, Ints, Ints]] = []
        self._append(category, 0, alive[0], parts)
        for step in range(1, walker.steps):
            parent = walker.parents[step]
            assert parent is not None
            edges = walker.edges(step)
            total = np.bincount(edges.source, edges.weight, len(edges.start) - 1)
            mass: Floats = np.divide(outside[parent], total, out=np.zeros_like(total), where=total > 0)
            for sibling in range(1, walker.steps):
                if sibling != step and walker.parents[sibling] == parent:
                    mass = mass * reach[sibling]
            weight: Floats = mass[edges.source] * edges.weight
            # A node that cannot complete its subtree, or belongs to another category, passes nothing on.
            outside.append(np.bincount(edges.target, weight, len(belief[step])) * np.sign(belief[step]))
            taken = np.flatnonzero((weight > 0) & (belief[step][edges.target] > 0))
            taken = taken[np.lexsort((edges.source[taken], edges.target[taken]))]
            source, target = edges.source[taken], edges.target[taken]
            start = parts[parent].count - len(alive[parent])
            above = start + np.searchsorted(alive[parent], source)
            if step in parts:
                alive[step], degree = np.unique(target, return_counts=True)
                self._append(category, step, alive[step], parts)
                parts[step].degree.append(degree)
                parts[step].weight.append(weight[taken])
                parts[step].value.append(above)
            usable.append((np.full(len(taken), step), above, self._places(category, step, target)))
        return usable

    def _append(self, category: int, step: int, nodes: Ints, parts: dict[int, _Part]) -> None:
        if step in parts:
            parts[step].place.append(self._places(category, step, nodes))
            parts[step].count += len(nodes)

    def _places(self, category: int, step: int, nodes: Ints) -> Ints:
        """States of the nodes at a step of the chain; at any other step, the nodes themselves."""
        if step not in self.walker.chain:
            return nodes
        first, last = self.walker.state_start[step][category : category + 2]
        places: Ints = first + np.searchsorted(self.walker.state_nodes[step][first:last], nodes)
        return places
