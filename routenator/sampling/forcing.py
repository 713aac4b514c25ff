"""Decides which requests are forced through which edge for coverage, from each request's own position alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routenator.sampling.alias import U64, Ints
from routenator.sampling.coverage import Coverage
from routenator.sampling.strata import Stratum
from routenator.sampling.walk import Walker


@dataclass(frozen=True)
class Group:
    """The requests of one function and category.

    Attributes:
        edges: number of edges that complete paths of this group can use; an edge counts once for every step where it
            can be used.
        rows: number of requests.
        wanted: number of requests needed to walk each edge as often as configured.
    """

    function: str
    category: str
    edges: int
    rows: int
    wanted: int

    @property
    def forced(self) -> int:
        """Number of requests that are forced through an edge."""
        return min(self.wanted, self.rows)

    @property
    def short(self) -> bool:
        """Whether there are too few requests."""
        return self.wanted > self.rows


class Cover:
    """Forces requests through edges, evenly spread over each group's ranks, so that all its strata take part.

    A request's rank is its position within the parts of the permutation's image that belong to its group, so it can be
    computed without any other request.
    """

    def __init__(self, strata: Sequence[Stratum], walkers: Sequence[Walker | None], times: int) -> None:
        members: dict[tuple[Walker, str], list[int]] = {}
        for stratum, own in zip(strata, walkers, strict=True):
            if stratum.calls == 1 and own is not None:
                members.setdefault((own, stratum.category), []).append(stratum.stratum)
        wanted: dict[Walker, list[int]] = {}
        for walker, category in members:
            wanted.setdefault(walker, []).append(walker.require(category))
        self._walks = {walker: Coverage(walker, categories) for walker, categories in wanted.items()}
        self.groups: list[Group] = []
        # By stratum: the offset between image and rank, and the group's size, edges and forced rows.
        self._shift, self._size, self._edges, self._forced = np.zeros((4, len(strata)), dtype=np.int64)
        starts = np.cumsum([0, *(stratum.requested for stratum in strata)])
        for (walker, category), numbers in members.items():
            rows = sum(strata[number].requested for number in numbers)
            edges = int(self._walks[walker].count[walker.require(category)])
            group = Group(walker.function, category, edges, rows, times * edges)
            self.groups.append(group)
            before = 0
            for number in numbers:
                self._shift[number] = starts[number] - before
                before += strata[number].requested
            self._size[numbers], self._edges[numbers], self._forced[numbers] = rows, edges, group.forced

    def force(
        self, walker: Walker, stratum: Ints, image: Ints, category: Ints, draws: list[U64], path: list[Ints]
    ) -> None:
        """Write forced rows' walks into ``path``. All arguments cover one walker's rows, see ``Walker.draw``."""
        chosen, number = spread(image - self._shift.take(stratum), self._size.take(stratum), self._forced.take(stratum))
        rows = np.flatnonzero(chosen)
        edge = number.take(rows) % self._edges.take(stratum.take(rows))
        for nodes, forced in zip(
            path, self._walks[walker].draw(category.take(rows), edge, [w.take(rows) for w in draws]), strict=False
        ):
            nodes[rows] = forced


def spread(rank: Ints, size: Ints, forced: Ints) -> tuple[NDArray[np.bool_], Ints]:
    """Choose ``forced`` of ``size`` ranks, evenly spread, in O(1) per rank.

    Args:
        rank: from 0 to ``size`` less one, shape (rows,).
        size: number of ranks in the row's group, shape (rows,).
        forced: number of ranks to choose, at most ``size``, shape (rows,).

    Returns:
        Whether each rank is chosen, and its index among the chosen ones (or that of the last one before it).
    """
    stride = size // np.maximum(forced, 1)
    # This many intervals are one rank longer than the others. Each interval starts with a chosen rank.
    longer = size - stride * forced
    edge = longer * (stride + 1)
    short = rank >= edge
    length = np.where(short, stride, stride + 1)
    past = np.where(short, rank - edge, rank)
    number = past // np.maximum(length, 1)
    chosen = (past == number * length) & (forced > 0)
    return chosen, np.where(short, longer + number, number)
