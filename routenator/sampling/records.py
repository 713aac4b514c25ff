"""Joins metadata records to paths through a prebuilt index, weighted by relevance: no scan, O(1) per row.

A record's weight is the number of the path's nodes that it names. If the request has a category, only records of that
category qualify. A path that no record touches gets an arbitrary record of its category.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routenator.domain.domain import Domain
from routenator.domain.schema import NO_CATEGORY
from routenator.sampling.alias import U64, Ints

_HALF = np.uint64(32)


class RecordIndex:
    """(category, node) -> records, as CSR; a record's number is its position in the domain.

    Attributes:
        number: block of each category with records; block 0 holds all categories, for requests without one.
    """

    def __init__(self, domain: Domain) -> None:
        names = sorted({record["category"] for record in domain.records.values()})
        self.number = {NO_CATEGORY: 0} if domain.records else {}
        self.number.update({name: place for place, name in enumerate(names, 1)})
        types: dict[str, list[str]] = {}
        for node in domain.nodes.values():
            types.setdefault(node.type, []).append(node.id)
        # Nodes are numbered type by type, so a position within a type plus the type's first number gives the node.
        self._first = dict(zip(types, np.cumsum([0, *map(len, types.values())]).tolist(), strict=False))
        number = {node: place for place, node in enumerate(node for ids in types.values() for node in ids)}
        self._nodes = len(number)
        blocks = np.array([self.number[record["category"]] for record in domain.records.values()], dtype=np.int64)
        pairs = [
            (number[node], place)
            for place, record in enumerate(domain.records.values())
            for node in dict.fromkeys(record["nodes"])
        ]
        nodes, owners = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        self._start, self._record = _grouped(
            np.concatenate([nodes, blocks[owners] * self._nodes + nodes]),
            np.concatenate([owners, owners]),
            len(self.number) * self._nodes,
        )
        everything = np.arange(len(blocks))
        self._pool_start, self._pool = _grouped(
            np.concatenate([np.zeros_like(blocks), blocks]), np.concatenate([everything, everything]), len(self.number)
        )

    def join(self, blocks: Ints, types: list[str], path: list[Ints], word: U64) -> NDArray[np.int32]:
        """Draw a record for each path.

        Args:
            blocks: category block of each row (``number``), -1 if it has no records, shape (rows,).
            types: node type of each step.
            path: node positions within their types, by step, each of shape (rows,).
            word: 32 bits, shape (rows,); the odds are exact to 2**-32.

        Returns:
            Record numbers, shape (rows,); -1 for rows without a record.
        """
        if not self.number:
            return np.full(len(blocks), -1, dtype=np.int32)
        block = np.maximum(blocks, 0)
        base = block * self._nodes
        starts, sums = [], []
        total = np.zeros(len(blocks), dtype=np.int64)
        for kind, positions in zip(types, path, strict=True):
            key = base + positions
            key += self._first[kind]
            start = self._start.take(key)
            key += 1
            total = total + self._start.take(key)
            total -= start
            starts.append(start)
            sums.append(total)
        # Draw a position in the concatenated record lists of the path's nodes, then find the list that it falls into.
        target = ((word * total.view(np.uint64)) >> _HALF).view(np.int64)
        place = starts[0] + target
        for before, start in zip(sums, starts[1:], strict=False):
            np.copyto(place, start + (target - before), where=target >= before)
        pool = self._pool_start.take(block)
        size = (self._pool_start.take(block + 1) - pool).view(np.uint64)
        fallback = pool + ((word * size) >> _HALF).view(np.int64)
        found = self._pool.take(fallback)
        if len(self._record):
            found = np.where(total > 0, self._record.take(place, mode="clip"), found)
        result: NDArray[np.int32] = np.where(blocks >= 0, found, -1).astype(np.int32)
        return result


def _grouped(key: Ints, value: Ints, groups: int) -> tuple[Ints, Ints]:
    """CSR of values by key, each group in ascending order."""
    order = np.lexsort((value, key))
    start: Ints = np.searchsorted(key[order], np.arange(groups + 1)).astype(np.int64)
    return start, value[order]
