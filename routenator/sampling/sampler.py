"""Requests: which index belongs to which stratum, its walk, record, slots and draft.

Request i is a pure function of (plan seed, i, domain, target): any slice of [0, N) can be made alone, on any machine, in any order.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routenator.config import RunConfig
from routenator.domain.load import Domain
from routenator.domain.templates import Template
from routenator.sampling.drafts import Drafter
from routenator.sampling.permutation import Permutation
from routenator.sampling.philox import row_seeds, uniforms
from routenator.sampling.records import RecordIndex
from routenator.sampling.strata import build_strata, category_shares, heuristic_templates
from routenator.sampling.walk import Graph

STREAM_DRAFT_TEMPLATE, STREAM_RECORD, STREAM_RECORD_STEP, STREAM_EXAMPLE, STREAM_WALK = 10, 11, 12, 13, 256
_NO_BOUNDS = (1, 1 << 30)


class Sampler:
    """Makes requests of one run.

    Args:
        domain: the domain.
        config: the run's config.

    Attributes:
        strata: the target with quotas, see ``build_strata``.
        size: number of requests in all.
    """

    def __init__(self, domain: Domain, config: RunConfig) -> None:
        self.domain, self.config = domain, config
        self.strata = build_strata(domain, config)
        self.graph = Graph(domain)
        self.records = RecordIndex(domain)
        self.ends = np.cumsum([stratum.requested for stratum in self.strata])
        self.size = int(self.ends[-1])
        self.permutation = Permutation(self.size, config.seed)
        self.drafters = {name: Drafter(domain, name, config.sample.tries) for name in domain.rules}
        self.node_number = {node: number for number, node in enumerate(domain.nodes)}

    def slice(self, shard: int, shards: int) -> tuple[int, int]:
        """First and last-plus-one index of a shard: contiguous, sizes differ by at most one."""
        return self.size * shard // shards, self.size * (shard + 1) // shards

    def requests(self, start: int, stop: int) -> dict[str, list[Any]]:
        """Requests start..stop-1 as columns of ``routenator.schemas.REQUEST_COLUMNS``, ordered by index."""
        index = np.arange(start, stop, dtype=np.int64)
        stratum = np.searchsorted(self.ends, self.permutation(index), side="right")
        seeds = row_seeds(self.config.seed, index)
        rows: list[dict[str, Any] | None] = [None] * len(index)
        function_of = np.array([s.function for s in self.strata], dtype=object)[stratum] if len(index) else np.array([], dtype=object)
        for function in dict.fromkeys(function_of.tolist()):
            where = np.flatnonzero(function_of == function)
            for row, made in zip(where.tolist(), self._of_function(function, seeds[where], stratum[where]), strict=True):
                rows[row] = {"index": start + row, "seed": int(seeds[row]), **made}
        names = rows[0].keys() if rows and rows[0] else ()
        return {name: [row[name] for row in rows if row is not None] for name in names}

    def _of_function(self, function: str, seeds: NDArray[np.int64], stratum: NDArray[np.int64]) -> list[dict[str, Any]]:
        strata = [self.strata[number] for number in stratum.tolist()]
        categories = np.array([s.category for s in strata], dtype=object)
        paths = self._walks(function, seeds, categories)
        records = self._join(function, seeds, categories, paths)
        templates, template_of = self._draft_templates(function, seeds, strata)
        buckets = self.domain.statistics.length_buckets
        bounds = np.array([buckets[s.length] for s in strata], dtype=np.int64)
        record_rows = [self.domain.records[self.records.ids[r]] if r >= 0 else None for r in records.tolist()]
        drafts = self.drafters[function].make(seeds, paths, categories, templates, template_of, bounds, record_rows)
        steps = self.domain.rules[function].path
        ids = [self.graph.types[step.type] for step in steps]
        return [
            {
                "stratum": s.stratum,
                "function": function,
                "category": s.category,
                "route": s.route,
                "template": s.template,
                "length": s.length,
                "language": s.language,
                "path": _json({step.name: ids[k][position] for k, (step, position) in enumerate(zip(steps, path, strict=True))}),
                "slots": _json(draft.slots),
                "arguments": _json(draft.arguments),
                "draft": draft.query,
                "record": None if record is None else record["id"],
            }
            for s, path, draft, record in zip(strata, paths.tolist(), drafts, record_rows, strict=True)
        ]

    def _walks(self, function: str, seeds: NDArray[np.int64], categories: NDArray[Any]) -> NDArray[np.int64]:
        count = len(self.domain.rules[function].path)
        draws = np.stack([uniforms(seeds, STREAM_WALK + number) for number in range(count)], axis=1)
        paths = np.empty(draws.shape, dtype=np.int64)
        for category in dict.fromkeys(categories.tolist()):
            mask = categories == category
            paths[mask] = self.graph.walk(function, category, draws[mask])
        return paths

    def _join(self, function: str, seeds: NDArray[np.int64], categories: NDArray[Any], paths: NDArray[np.int64]) -> NDArray[np.int64]:
        steps = self.domain.rules[function].path
        columns = [np.array([self.node_number[node] for node in self.graph.types[step.type]]) for step in steps]
        numbers = np.stack([column[paths[:, k]] for k, column in enumerate(columns)], axis=1)
        which, step = uniforms(seeds, STREAM_RECORD), uniforms(seeds, STREAM_RECORD_STEP)
        records = np.full(len(seeds), -1, dtype=np.int64)
        for category in dict.fromkeys(categories.tolist()):
            mask = categories == category
            records[mask] = self.records.join(category, numbers[mask], which[mask], step[mask])
        return records

    def _draft_templates(self, function: str, seeds: NDArray[np.int64], strata: list[Any]) -> tuple[list[Template], NDArray[np.int64]]:
        """The heuristic template of each row: its stratum's own, or for LLM routes one drawn among those that serve the cell."""
        templates = [t for t in self.domain.templates.values() if t.route == "heuristic" and function in t.functions and t.weight > 0]
        number_of = {template.name: number for number, template in enumerate(templates)}
        draws = uniforms(seeds, STREAM_DRAFT_TEMPLATE)
        chosen = np.empty(len(strata), dtype=np.int64)
        tables: dict[tuple[str, str, str], tuple[list[int], Any]] = {}
        for row, s in enumerate(strata):
            if s.route == "heuristic":
                chosen[row] = number_of[s.template]
                continue
            cell = (s.category, s.length, s.language)
            if cell not in tables:
                serving = [n for n, t in enumerate(templates) if t.serves(function, *cell)] or [
                    n for n, t in enumerate(templates) if t.languages is None or s.language in t.languages
                ]
                tables[cell] = (serving, np.cumsum([templates[n].weight for n in serving]))
            serving, sums = tables[cell]
            chosen[row] = serving[min(int(np.searchsorted(sums, draws[row] * sums[-1], side="right")), len(serving) - 1)]
        return templates, chosen

    def examples(self, seed: int, function: str, language: str, count: int) -> list[dict[str, Any]]:
        """Few-shot examples of a function, drawn from the graph: ``draft`` and ``query`` say one call in two ways.

        A pure function of its arguments and the domain.
        """
        if count == 0:
            return []
        seeds = row_seeds(seed, np.arange(count) + (STREAM_EXAMPLE << 32))
        shares = category_shares(self.domain, function)
        sums = np.cumsum(list(shares.values()))
        picks = np.minimum(np.searchsorted(sums, uniforms(seeds, STREAM_EXAMPLE) * sums[-1], side="right"), len(sums) - 1)
        categories = np.array([list(shares)[pick] for pick in picks], dtype=object)
        paths = self._walks(function, seeds, categories)
        templates = heuristic_templates(self.domain, function, language)
        bounds = np.tile(np.array(_NO_BOUNDS, dtype=np.int64), (count, 1))
        nothing: list[dict[str, Any] | None] = [None] * count
        made = []
        for stream in (STREAM_DRAFT_TEMPLATE, STREAM_RECORD):
            # The seeds are the same for both, so the slots are too; only the template differs.
            template_of = (uniforms(seeds, stream) * len(templates)).astype(np.int64)
            made.append(self.drafters[function].make(seeds, paths, categories, templates, template_of, bounds, nothing, place=False))
        return [
            {"draft": first.query, "query": second.query, "arguments": second.arguments, "slots": second.slots}
            for first, second in zip(*made, strict=True)
        ]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
