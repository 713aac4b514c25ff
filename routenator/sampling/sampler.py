"""Draws requests: the stratum, walk, record and seed of each index.

Request i is a pure function of (plan seed, i, domain, target): any slice of [0, N) can be drawn alone, on any machine,
in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from routenator.config import RunConfig
from routenator.domain.domain import Domain
from routenator.sampling.forcing import Cover
from routenator.sampling.permutation import Permutation
from routenator.sampling.philox import row_seeds
from routenator.sampling.records import RecordIndex
from routenator.sampling.strata import build_strata
from routenator.sampling.walk import Graph, walk_words
from routenator.schemas import REQUEST_COLUMNS, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa


class Sampler:
    """Draws the requests of one run.

    Args:
        domain: the domain.
        config: the run's config.
        requested: rows of each stratum, if the plan sets its own numbers.
        first: index of the first request; above 0 in a top-up, which continues after the indices of earlier rounds.

    Attributes:
        strata: the target with quotas, see ``build_strata``.
        size: total number of requests.
        coverage: with ``sample.traversal: coverage``, forces rows through edges; otherwise None.
    """

    def __init__(
        self, domain: Domain, config: RunConfig, requested: Sequence[int] | None = None, first: int = 0
    ) -> None:
        self.domain, self.config, self.first = domain, config, first
        self.strata = build_strata(domain, config, requested)
        # A language with files of its own has a graph of its own: other words, and other values in value lists.
        views = domain.every_view
        place = {id(view): number for number, view in enumerate(views)}
        self.graphs = [Graph(view) for view in views]
        self.records = [RecordIndex(view) for view in views]
        rows = np.array([stratum.requested for stratum in self.strata], dtype=np.int64)
        self.size = int(rows.sum())
        self._ends = np.cumsum(rows)
        self._permutation = Permutation(self.size, config.seed)
        # Rows without a call or with several have no walk of their own; the composer draws those of their calls.
        kinds = [(place[id(domain.view(s.language))], s.function) for s in self.strata]
        self._functions = list(dict.fromkeys(kind for kind, s in zip(kinds, self.strata, strict=True) if s.calls == 1))
        walkers = {kind: self.graphs[kind[0]].walker(kind[1]) for kind in self._functions}
        # By stratum: function number (one past the last for those without a walk), and category number
        # for the function's walker and for the records.
        number = {kind: place for place, kind in enumerate(self._functions)}
        both = list(zip(kinds, self.strata, strict=True))
        self._function = np.array([number[kind] if s.calls == 1 else len(number) for kind, s in both], dtype=np.int16)
        self._category = np.array(
            [walkers[kind].require(s.category) if s.calls == 1 else -1 for kind, s in both], dtype=np.int64
        )
        self._block = np.array([self.records[0].number.get(s.category, -1) for s in self.strata], dtype=np.int64)
        self._steps = np.array([*(walkers[kind].steps for kind in self._functions), 0], dtype=np.int32)
        self.coverage = (
            Cover(self.strata, [walkers.get(kind) for kind in kinds], config.sample.coverage)
            if config.sample.traversal == "coverage"
            else None
        )

    def slice(self, shard: int, shards: int) -> tuple[int, int]:
        """First and one-past-last index of a shard; shards are contiguous and differ in size by at most one."""
        return self.size * shard // shards, self.size * (shard + 1) // shards

    def requests(self, start: int, stop: int) -> pa.Table:
        """Requests start..stop-1, counted from 0, ordered by index (``routenator.schemas.REQUEST_COLUMNS``)."""
        import pyarrow as pa

        place = np.arange(start, stop, dtype=np.int64)
        image = self._permutation(place)
        stratum = np.searchsorted(self._ends, image, side="right")
        index = self.first + place
        seeds = row_seeds(self.config.seed, index)
        function = self._function.take(stratum)
        offsets = np.zeros(len(index) + 1, dtype=np.int32)
        np.cumsum(self._steps.take(function), out=offsets[1:])
        values = np.empty(int(offsets[-1]), dtype=np.int32)
        records = np.full(len(index), -1, dtype=np.int32)
        # Group rows by function; numpy sorts 16-bit keys with a radix sort.
        order = np.argsort(function, kind="stable")
        cuts = np.searchsorted(function[order], np.arange(len(self._functions) + 1))
        for number, (view, name) in enumerate(self._functions):
            rows = order[cuts[number] : cuts[number + 1]]
            if not rows.size:
                continue
            walker = self.graphs[view].walker(name)
            draws = walk_words(seeds.take(rows), walker.steps + 1)
            own = stratum.take(rows)
            category = self._category.take(own)
            path = walker.draw(category, draws)
            if self.coverage is not None:
                self.coverage.force(walker, own, image.take(rows), category, draws, path)
            records[rows] = self.records[view].join(
                self._block.take(own), [step.type for step in walker.path], path, draws[-1]
            )
            target = offsets.take(rows)
            for nodes in path:
                values[target] = nodes
                target += 1
        path_column = pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))
        record_column = pa.array(records, mask=records < 0)
        columns = [pa.array(index), pa.array(stratum.astype(np.int32)), pa.array(seeds), path_column, record_column]
        return pa.table(columns, schema=arrow_schema(REQUEST_COLUMNS))
