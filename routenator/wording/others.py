"""Writes the words of rows without a call and of rows with several.

A call of several is drawn like one of its own, with a walk, a record and words from a seed that derives from the row's.
Topics and chat are grammars too: of a made-up function without slots, so that the same compiled loop writes them, with
the domain's noise.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import json
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from routenator.domain.calls import Call, calls_text
from routenator.domain.domain import Domain
from routenator.domain.functions import Function
from routenator.domain.graph import Node
from routenator.domain.rules import FunctionRule
from routenator.domain.schema import NO_CALL, NO_CATEGORY, Join
from routenator.sampling.philox import uniforms, words
from routenator.sampling.records import RecordIndex
from routenator.sampling.strata import Stratum, able_templates, draw_categories
from routenator.wording.joining import joined
from routenator.wording.writer import Words, Writer, days_of

# Streams of random decisions; distinct from those of composer.py and of the sampler.
STREAM_PART, STREAM_TEMPLATE, STREAM_JOIN, STREAM_REPLY = 40, 41, 42, 43
_ANY = (1, 1 << 30)
_SHORT = (1, 12)  # words of one of several requests; people keep them short

Ints = NDArray[np.int64]


class OtherRow(NamedTuple):
    """Words of a row; the fields are columns of ``DETAIL_COLUMNS``."""

    draft: str
    slots: str
    calls: str
    reply: str | None


class OtherWriter:
    """Writes rows whose strata have no call or several.

    Args:
        writer: of the domain.
        strata: the strata that the rows refer to by number.
    """

    def __init__(self, writer: Writer, strata: Sequence[Stratum]) -> None:
        self.writer, self.domain, self.strata = writer, writer.domain, strata

    @cached_property
    def records(self) -> RecordIndex:
        return RecordIndex(self.domain)

    @cached_property
    def topics(self) -> Writer:
        """Writes topics and chat."""
        return Writer(_topics_domain(self.domain), self.writer.tries)

    def rows(self, numbers: Ints, seeds: Ints) -> list[OtherRow]:
        """Write rows; a pure function of each row's stratum and seed.

        Args:
            numbers: the rows' strata, shape (rows,).
            seeds: shape (rows,).
        """
        strata = [self.strata[number] for number in numbers.tolist()]
        drawn = self._calls(strata, seeds)
        topics = self._topics(strata, seeds)
        replies = uniforms(seeds, STREAM_REPLY).tolist()
        joins = uniforms(seeds, STREAM_JOIN).tolist()
        rows = []
        for number, stratum in enumerate(strata):
            if not stratum.calls:
                said = self.domain.no_call.replies[stratum.language]
                draft = topics[number] if stratum.hidden is None else drawn[number][0][0]
                rows.append(OtherRow(draft, "[]", "[]", said[int(replies[number] * len(said))]))
                continue
            parts = drawn[number]
            slots = [json.loads(said) for _, said, _ in parts]
            surfaces = [surface for said in slots for surface in said.values()]
            calls = [Call(name, json.loads(text)) for name, (_, _, text) in zip(stratum.functions, parts, strict=True)]
            join = self._join(stratum.language, joins[number])
            query = joined([draft for draft, _, _ in parts], surfaces, join, stratum.language)
            rows.append(OtherRow(query, json.dumps(slots, ensure_ascii=False), calls_text(calls), None))
        return rows

    def _topics(self, strata: Sequence[Stratum], seeds: Ints) -> dict[int, str]:
        """Position of each row of topics or chat -> its query."""
        own = [place for place, stratum in enumerate(strata) if not stratum.calls and stratum.hidden is None]
        if not own:
            return {}
        roots = np.array([self.topics.compiled.root[NO_CALL, strata[place].template] for place in own])
        nothing = np.full(len(own), NO_CATEGORY, dtype=object)
        queries = self.topics.draw(NO_CALL, seeds[own], nothing, roots).query
        return dict(zip(own, queries.to_pylist(), strict=True))

    def _calls(self, strata: Sequence[Stratum], seeds: Ints) -> list[list[tuple[str, str, str]]]:
        """Draft, slots and arguments of each call that the rows' queries ask for; one draw for each function."""
        asked: dict[tuple[str, str, tuple[int, int]], list[tuple[int, int]]] = {}
        found: list[list[tuple[str, str, str]]] = []
        for place, stratum in enumerate(strata):
            functions = stratum.functions if stratum.hidden is None else [stratum.hidden]
            found.append([("", "", "")] * len(functions))
            for part, function in enumerate(functions):
                bounds = _ANY if stratum.hidden is not None else _SHORT
                asked.setdefault((function, stratum.language, bounds), []).append((place, part))
        days = days_of(self.domain, seeds)  # all calls of a row are meant from the same day on
        parts = [_part_seeds(seeds, part) for part in range(max(map(len, found), default=0))]
        for (function, language, bounds), places in asked.items():
            own = np.array([parts[part][place] for place, part in places], dtype=np.int64)
            words = self.call(function, own, language, bounds, days[[place for place, _ in places]])
            columns = (words.query.to_pylist(), words.slots.to_pylist(), words.arguments.to_pylist())
            for (place, part), row in zip(places, zip(*columns, strict=True), strict=True):
                found[place][part] = row
        return found

    def call(
        self, function: str, seeds: Ints, language: str, bounds: tuple[int, int], days: Ints | None = None
    ) -> Words:
        """Draw calls of one function with their queries, by the domain's shares.

        Args:
            function: name.
            seeds: shape (rows,).
            language: of the queries.
            bounds: lowest and highest number of words.
            days: number of each row's day; None: as the seeds say.
        """
        categories = draw_categories(self.domain, function, seeds)
        roots = np.empty(len(seeds), dtype=np.int64)
        for category in np.unique(categories.astype(str)).tolist():
            own = np.flatnonzero(categories == category)
            able = able_templates(self.domain, function, category, language)
            sums = np.cumsum([template.weight for template in able])
            nodes = np.array([self.writer.compiled.root[function, template.name] for template in able])
            picks = np.searchsorted(sums, uniforms(seeds[own], STREAM_TEMPLATE) * sums[-1], side="right")
            roots[own] = nodes[np.minimum(picks, len(nodes) - 1)]
        return self.writer.draw(function, seeds, categories, roots, bounds, records=self.records, days=days)

    def _join(self, language: str, place: float) -> Join:
        """The join at a place in [0, 1) of their summed weights."""
        joins = self.domain.no_call.joins[language]
        sums = list(itertools.accumulate(join.weight for join in joins))
        return joins[min(bisect.bisect_right(sums, place * sums[-1]), len(joins) - 1)]


def _part_seeds(seeds: Ints, part: int) -> Ints:
    """Seeds of the parts of rows, non-negative, below 2**63."""
    low, high, _, _ = words(seeds, STREAM_PART, attempt=part)
    return ((low | (high << np.uint64(32))) >> np.uint64(1)).astype(np.int64)


def _topics_domain(domain: Domain) -> Domain:
    """A domain whose only function is ``none`` and whose templates are the topics."""
    rule = FunctionRule.model_validate({"path": [{"type": "query"}], "slots": {}})
    return dataclasses.replace(
        domain,
        functions={NO_CALL: Function(NO_CALL, "", {"type": "object", "properties": {}})},
        rules={NO_CALL: rule},
        nodes={"query": Node("query", "query", "query")},
        edges=[],
        lexicon=domain.no_call.lexicon,
        templates=domain.no_call.patterns,
        records={},
        joint=None,
        values={},
        surfaces={},
        phrases={},
        today=None,
    )
