"""Turns the lean rows of the sample stage into rows with words: slots, gold arguments and a heuristic draft.

A row's words are a pure function of (seed, stratum, path, record, domain), so the generate stage can make them when it
needs them, in any batch and any order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from routenator.config import RunConfig
from routenator.domain.dates import iso_days
from routenator.domain.domain import Domain
from routenator.domain.schema import NO_CATEGORY
from routenator.domain.templates import Template
from routenator.routes import ROUTES
from routenator.sampling.philox import row_seeds, uniforms
from routenator.sampling.strata import STREAM_CATEGORY, Stratum, able_templates, category_shares, draw_categories
from routenator.schemas import DETAIL_COLUMNS, arrow_schema
from routenator.wording.others import OtherRow, OtherWriter
from routenator.wording.placement import position_targets
from routenator.wording.writer import ANY_POSITION, Writer, days_of, one_call, one_slots

# Streams of random decisions; distinct from those of the sampler and of kernel.py.
STREAM_DRAFT_TEMPLATE, STREAM_SECOND_TEMPLATE = 10, 11
_BLOCK = 16_384  # rows made at once: keeps memory small and text offsets, which are int32, far below 2**31


Ints = NDArray[np.int64]


class _Drafting(NamedTuple):
    """The heuristic templates that may draft for each stratum.

    Attributes:
        first: index of each stratum's first entry, shape (strata + 1,).
        sums: the stratum's number plus the cumulative share of its entries, shape (entries,).
        entries: node, lowest and highest number of words, two thresholds of the target position; shape (entries, 5).
    """

    first: Ints
    sums: NDArray[np.float64]
    entries: Ints


class Composer:
    """Writes the words of one run's requests.

    Args:
        domain: the domain.
        config: the run's config.
        strata: the strata that the rows refer to by number; not needed for ``examples``.
    """

    def __init__(self, domain: Domain, config: RunConfig, strata: Sequence[Stratum]) -> None:
        self.domain, self.config, self.strata = domain, config, strata
        # A language with files of its own has a composer of its own, which writes the rows of its strata.
        self._parts = [Composer(view, config, strata) for view in domain.every_view] if domain.views else []

    @cached_property
    def writer(self) -> Writer:
        return Writer(self.domain, self.config.sample.tries)

    @cached_property
    def _part(self) -> Ints:
        """Number of the composer in ``_parts`` that writes the rows of each stratum, shape (strata,)."""
        numbers = {id(part.domain): number for number, part in enumerate(self._parts)}
        return np.array([numbers[id(self.domain.view(s.language))] for s in self.strata], dtype=np.int64)

    @cached_property
    def position_targets(self) -> dict[tuple[str, str, str], tuple[int, int]]:
        """(function, heuristic template, length bucket) -> thresholds that draw a row's target keyword position.

        See placement.py.
        """
        return {
            (function, template, bucket): thresholds
            for function in self.domain.rules
            for (template, bucket), thresholds in position_targets(self.domain, self.writer, function).items()
        }

    @cached_property
    def _columns(self) -> dict[str, pa.Array]:
        """String columns of the strata, one entry per stratum."""
        names = ("function", "category", "route", "template", "length", "language")
        return {name: pa.array([getattr(s, name) for s in self.strata], pa.string()) for name in names}

    @cached_property
    def _record_names(self) -> pa.Array:
        """Ids of the metadata records."""
        return pa.array(list(self.domain.records), pa.string())

    @cached_property
    def _cells(self) -> Ints:
        """Number of the function, and 1 if there is a category, by stratum; shape (strata, 2)."""
        number = self.writer.compiled.function
        cells = [(number[s.function], s.category != NO_CATEGORY) if s.calls == 1 else (-1, 0) for s in self.strata]
        return np.array(cells, dtype=np.int64).reshape(-1, 2)

    @cached_property
    def _single(self) -> NDArray[np.bool_]:
        """Whether the rows of each stratum have one call, shape (strata,)."""
        return np.array([stratum.calls == 1 for stratum in self.strata], dtype=np.bool_)

    @cached_property
    def _others(self) -> OtherWriter:
        return OtherWriter(self.writer, self.strata)

    @cached_property
    def _drafting(self) -> _Drafting:
        """The heuristic templates that may draft for each stratum.

        On a route whose draft is the query, the stratum's own template. On others, those that serve the cell or, if
        there are none, those that can express its category.
        """
        tables: dict[tuple[str, ...], list[tuple[float, tuple[int, ...]]]] = {}
        first: list[int] = [0]
        sums: list[float] = []
        entries: list[tuple[int, ...]] = []
        for number, s in enumerate(self.strata):
            if s.calls != 1 or s.language not in self.domain.statistics.languages:
                first.append(first[-1])
                continue
            key = (
                (s.function, s.length, s.template)
                if ROUTES[s.route].is_draft
                else (s.function, s.length, s.category, s.language)
            )
            if key not in tables:
                if ROUTES[s.route].is_draft:
                    serving = [self.domain.templates[s.template]]
                else:
                    able = able_templates(self.domain, s.function, s.category, s.language)
                    serving = [t for t in able if t.serves(s.function, s.category, s.length, s.language)] or able
                running = np.cumsum([t.weight for t in serving])
                tables[key] = list(
                    zip((running / running[-1]).tolist(), [self._entry(s, t) for t in serving], strict=True)
                )
            first.append(first[-1] + len(tables[key]))
            # Adding the stratum's number makes all sums increase, so that one searchsorted serves rows of all strata.
            sums.extend(number + share for share, _ in tables[key])
            entries.extend(entry for _, entry in tables[key])
        return _Drafting(np.array(first), np.array(sums), np.array(entries, dtype=np.int64).reshape(-1, 5))

    def _entry(self, stratum: Stratum, template: Template) -> tuple[int, ...]:
        root = self.writer.compiled.root[stratum.function, template.name]
        target = self.position_targets.get((stratum.function, template.name, stratum.length), ANY_POSITION)
        return (root, *self.domain.statistics.length_buckets[stratum.length], *target)

    def _drafted(self, stratum: Ints, seeds: Ints) -> Ints:
        """Entry of each row's template, drawn by weight where there are several; shape (rows, 5)."""
        first, sums, entries = self._drafting
        chosen = first[stratum]
        several = np.flatnonzero(first[stratum + 1] - chosen > 1)
        if several.size:
            at = stratum[several]
            place = np.searchsorted(sums, at + uniforms(seeds[several], STREAM_DRAFT_TEMPLATE), side="right")
            chosen[several] = np.clip(place, first[at], first[at + 1] - 1)
        return entries[chosen]

    def details(self, requests: pa.Table) -> pa.Table:
        """Add the words to requests: ``REQUEST_COLUMNS`` to ``DETAIL_COLUMNS``, in the same order."""
        schema = arrow_schema(DETAIL_COLUMNS)
        blocks = [self._block(requests.slice(start, _BLOCK)) for start in range(0, requests.num_rows, _BLOCK)]
        return pa.Table.from_batches(blocks, schema=schema)

    def _block(self, requests: pa.Table) -> pa.RecordBatch:
        if self._parts:
            part = self._part[requests["stratum"].to_numpy()]
            rows = {number: np.flatnonzero(part == number) for number in np.unique(part).tolist()}
            made = [self._parts[number]._block(requests.take(own)) for number, own in rows.items()]
            order = np.argsort(np.concatenate(list(rows.values())))
            return pa.Table.from_batches(made).take(order).combine_chunks().to_batches()[0]
        single = self._single[requests["stratum"].to_numpy()]
        if single.all():
            return self._single_block(requests)
        ones, others = np.flatnonzero(single), np.flatnonzero(~single)
        parts = [self._other_block(requests.take(others))]
        if ones.size:
            parts.insert(0, self._single_block(requests.take(ones)))
        order = np.argsort(np.concatenate([ones, others]))
        return pa.Table.from_batches(parts).take(order).combine_chunks().to_batches()[0]

    def _other_block(self, requests: pa.Table) -> pa.RecordBatch:
        """Rows without a call or with several."""
        seeds, stratum = requests["seed"].to_numpy(), requests["stratum"].to_numpy().astype(np.int64)
        rows = self._others.rows(stratum, seeds)
        count = len(rows)
        columns = self._given(requests.combine_chunks())
        columns |= {"path": pa.array(["{}"] * count), "record": pa.nulls(count, pa.string())}
        columns |= {name: pa.array([getattr(row, name) for row in rows], pa.string()) for name in OtherRow._fields}
        return _batch(columns)

    def _single_block(self, requests: pa.Table) -> pa.RecordBatch:
        requests = requests.combine_chunks()
        path = requests["path"].chunk(0)
        starts = path.offsets.to_numpy().astype(np.int64)
        seeds, stratum = requests["seed"].to_numpy(), requests["stratum"].to_numpy().astype(np.int64)
        record = requests["record"].chunk(0)
        cells = self._cells[stratum]
        rows = np.column_stack(
            [cells[:, 0], record.fill_null(-1).to_numpy(), cells[:, 1], self._drafted(stratum, seeds)]
        )
        words = self.writer.write(seeds, rows, starts - starts[0], path.flatten().to_numpy())
        columns = self._given(requests)
        columns |= {"path": words.path, "slots": one_slots(words.slots), "draft": words.query}
        columns["calls"] = one_call(columns["function"], words.arguments)
        columns |= {"record": self._record_names.take(record), "reply": pa.nulls(len(seeds), pa.string())}
        return _batch(columns)

    def _given(self, requests: pa.Table) -> dict[str, pa.Array]:
        """Columns that follow from the requests and their strata; the table has one chunk."""
        stratum = requests["stratum"].chunk(0)
        columns = {name: values.take(stratum) for name, values in self._columns.items()}
        columns["today"] = self._today(requests["seed"].to_numpy())
        return columns | {name: requests[name].chunk(0) for name in ("index", "stratum", "seed")}

    def _today(self, seeds: Ints) -> pa.Array:
        if self.domain.today is None:
            return pa.nulls(len(seeds), pa.string())
        return pa.array(iso_days(self.domain.today), pa.string()).take(pa.array(days_of(self.domain, seeds)))

    def examples(self, seed: int, function: str, language: str, count: int) -> list[dict[str, Any]]:
        """Draw few-shot examples of a function from the graph; ``draft`` and ``query`` are two wordings of one call.

        A pure function of the arguments and the domain.
        """
        if count == 0:
            return []
        for part in self._parts:
            if part.domain is self.domain.view(language):
                return part.examples(seed, function, language, count)
        seeds = row_seeds(seed, np.arange(count) + (STREAM_CATEGORY << 32))
        categories = draw_categories(self.domain, function, seeds)
        roots = np.empty((2, count), dtype=np.int64)
        for category in category_shares(self.domain, function):
            rows = np.flatnonzero(categories == category)
            templates = able_templates(self.domain, function, category, language)
            able = np.array([self.writer.compiled.root[function, template.name] for template in templates])
            # The second template differs from the first, if two can express this category.
            chosen = (uniforms(seeds[rows], STREAM_DRAFT_TEMPLATE) * len(able)).astype(np.int64)
            other = (uniforms(seeds[rows], STREAM_SECOND_TEMPLATE) * (len(able) - 1)).astype(np.int64)
            roots[:, rows] = able[chosen], able[(chosen + 1 + other) % len(able)]
        # Both use the same seeds, so they have the same slots.
        first, second = (self.writer.draw(function, seeds, categories, chosen) for chosen in roots)
        return [
            {"draft": draft, "query": query, "arguments": json.loads(arguments), "slots": json.loads(slots)}
            for draft, query, arguments, slots in zip(
                *(column.to_pylist() for column in (first.query, second.query, second.arguments, second.slots)),
                strict=True,
            )
        ]


def _batch(columns: dict[str, pa.Array]) -> pa.RecordBatch:
    """Rows of ``DETAIL_COLUMNS``."""
    schema = arrow_schema(DETAIL_COLUMNS)
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)
