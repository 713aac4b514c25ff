"""Metadata records joined to paths by a prebuilt index, weighted by relevance: no scan, O(1) a row.

A record is relevant to a path as often as it names one of the path's nodes. Only records of the request's category count, where it has one;
a path that no record touches gets any record of its category.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routenator.domain.load import NO_CATEGORY, Domain

Ints = NDArray[np.int64]


class RecordIndex:
    """(category, node) -> records, as CSR."""

    def __init__(self, domain: Domain) -> None:
        self.ids = list(domain.records)
        categories = sorted({record["category"] for record in domain.records.values()})
        self.category = {name: number for number, name in enumerate(categories)}
        self.nodes = {node: number for number, node in enumerate(domain.nodes)}
        pairs = []
        for number, record in enumerate(domain.records.values()):
            category = self.category[record["category"]]
            for node in dict.fromkeys(record["nodes"]):
                # The first block holds all categories together, for requests without one.
                pairs.append((self.nodes[node], number))
                pairs.append(((category + 1) * len(self.nodes) + self.nodes[node], number))
        pairs.sort()
        keys = np.array([pair[0] for pair in pairs], dtype=np.int64)
        self.start = np.searchsorted(keys, np.arange((len(categories) + 1) * len(self.nodes) + 1)).astype(np.int64)
        self.record = np.array([pair[1] for pair in pairs], dtype=np.int64)
        self.by_category = {
            name: np.array([n for n, r in enumerate(domain.records.values()) if r["category"] == name], dtype=np.int64)
            for name in categories
        }

    def join(self, category: str, paths: Ints, which: NDArray[np.float64], step: NDArray[np.float64]) -> Ints:
        """A record for each path.

        Args:
            category: of all these rows.
            paths: node numbers (``self.nodes``), shape (rows, steps).
            which, step: uniforms in [0, 1), shape (rows,).

        Returns:
            Record numbers (``self.ids``), shape (rows,); -1 where there is none.
        """
        block = self.category.get(category, -1) + 1
        known = block > 0 or category == NO_CATEGORY
        if not self.ids or not known:
            return np.full(len(paths), -1, dtype=np.int64)
        keys = block * len(self.nodes) + paths
        counts = self.start[keys + 1] - self.start[keys]
        sums = counts.cumsum(axis=1)
        target = (step * sums[:, -1]).astype(np.int64)
        column = np.minimum((sums <= target[:, None]).sum(axis=1), paths.shape[1] - 1)
        rows = np.arange(len(paths))
        size = counts[rows, column]
        offset = np.minimum((which * size).astype(np.int64), np.maximum(size - 1, 0))
        place = self.start[keys[rows, column]] + offset
        # A path that no record touches has no place; it takes the fallback below.
        found = self.record[np.minimum(place, len(self.record) - 1)] if len(self.record) else place
        pool = self.by_category[category] if block > 0 else np.arange(len(self.ids))
        fallback = pool[np.minimum((which * len(pool)).astype(np.int64), len(pool) - 1)]
        return np.where(sums[:, -1] > 0, found, fallback)
