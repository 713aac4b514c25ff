"""Slots, gold arguments and heuristic queries (drafts) for many requests of one function at once.

Rejection sampling keeps the joint distribution right: slot presence, slot values and the query are drawn together until the query
falls into the row's length bucket (and, for the first half of the tries, its category word into the wanted third of the query).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routenator.domain.load import NO_CATEGORY, Domain
from routenator.domain.templates import Template
from routenator.grammar import Expansion, Reference, tidy
from routenator.sampling.philox import uniforms
from routenator.sampling.strata import normalise

# Streams of random decisions; a slot's or template's sites are added to its base.
STREAM_LOWERCASE, STREAM_TYPO, STREAM_PUNCTUATION, STREAM_POSITION = 20, 21, 22, 23
STREAM_PRESENCE, STREAM_SLOT, STREAM_TEMPLATE = 1 << 12, 1 << 20, 1 << 28
_SLOT_SPAN = 1 << 16
# Marks around a slot's surface while a query is made: noise stays outside, and the category word's place can be read off.
_OPEN, _OPEN_CATEGORY, _CLOSE = "\x01", "\x03", "\x02"
_THIRDS = ("first", "middle", "last")
_PUNCTUATION = str.maketrans("", "", ",.?!;:")


@dataclass
class Draft:
    """One request's words.

    Attributes:
        slots: surface by slot, present slots only, in the order of domain.yaml.
        arguments: the gold call's arguments, likewise.
        query: the heuristic query.
    """

    slots: dict[str, str]
    arguments: dict[str, Any]
    query: str


class Drafter:
    """Makes the drafts of one function.

    Args:
        domain: the domain.
        function: name of the function.
        tries: draws of a query until it fits.
    """

    def __init__(self, domain: Domain, function: str, tries: int) -> None:
        self.domain, self.name, self.tries = domain, function, tries
        self.function, self.rule = domain.functions[function], domain.rules[function]
        self.steps = {step.name: number for number, step in enumerate(self.rule.path)}
        self.surfaces = {step.name: [domain.nodes[n].surfaces for n in _ids(domain, step.type)] for step in self.rule.path}
        self.nodes = {step.name: [domain.nodes[n] for n in _ids(domain, step.type)] for step in self.rule.path}
        self.lexicon = {
            name: ([item.text for item in items], np.cumsum([item.weight for item in items])) for name, items in domain.lexicon.items()
        }
        positions = normalise(domain.statistics.keyword_position.get(function, {}))  # type: ignore[arg-type]
        self.position_sums = np.cumsum([positions.get(third, 0.0) for third in _THIRDS]) if positions else None

    def make(
        self,
        seeds: NDArray[np.int64],
        paths: NDArray[np.int64],
        categories: NDArray[Any],
        templates: list[Template],
        template_of: NDArray[np.int64],
        bounds: NDArray[np.int64],
        records: list[dict[str, Any] | None],
        *,
        place: bool = True,
    ) -> list[Draft]:
        """Drafts, one a row.

        Args:
            seeds: int64, shape (n,).
            paths: node positions within their types, shape (n, steps).
            categories: strings, shape (n,).
            templates: the heuristic templates in use.
            template_of: which of them each row uses, shape (n,).
            bounds: lowest and highest number of words, shape (n, 2).
            records: the metadata record of each row, or None.
            place: whether the statistics' keyword position is sought.
        """
        drafts: list[Draft | None] = [None] * len(seeds)
        wanted = None
        if place and self.position_sums is not None:
            wanted = np.searchsorted(self.position_sums, uniforms(seeds, STREAM_POSITION) * self.position_sums[-1], side="right")
        pending = np.arange(len(seeds))
        for attempt in range(self.tries):
            batch = _Batch(self, seeds, paths, categories, records, attempt)
            batch.draw_slots(pending)
            texts = np.full(len(seeds), "", dtype=object)
            for number, template in enumerate(templates):
                rows = pending[template_of[pending] == number]
                if rows.size:
                    texts[rows] = batch.expand_template(template, rows)
            failed = []
            for row in pending.tolist():
                # A cheap count first: noise adds no words, and tidying at most joins a sign to its word.
                count = len(texts[row].split())
                if drafts[row] is not None and not bounds[row, 0] <= count <= bounds[row, 1] + 2:
                    failed.append(row)
                    continue
                query, third = batch.finish(texts[row], row)
                fits = bounds[row, 0] <= len(query.split()) <= bounds[row, 1]
                placed = wanted is None or third is None or third == wanted[row] or attempt >= self.tries // 2
                if fits or drafts[row] is None:
                    drafts[row] = batch.draft(row, query)
                if not (fits and placed):
                    failed.append(row)
            pending = np.array(failed, dtype=np.int64)
            if not pending.size:
                break
        return [draft for draft in drafts if draft is not None]


class _Batch:
    """The state of one attempt over many rows."""

    def __init__(
        self,
        drafter: Drafter,
        seeds: NDArray[np.int64],
        paths: NDArray[np.int64],
        categories: NDArray[Any],
        records: list[dict[str, Any] | None],
        attempt: int,
    ) -> None:
        self.drafter, self.seeds, self.paths, self.categories = drafter, seeds, paths, categories
        self.records, self.attempt = records, attempt
        self.present: dict[str, NDArray[np.bool_]] = {}
        self.values: dict[str, NDArray[Any]] = {}
        self.said: dict[str, NDArray[Any]] = {}
        noise = drafter.domain.statistics.noise
        self.lowercase = uniforms(seeds, STREAM_LOWERCASE) < noise.lowercase
        self.typo = uniforms(seeds, STREAM_TYPO) < noise.typo
        self.typo_place, self.typo_kind = (uniforms(seeds, STREAM_TYPO, attempt) for attempt in (1, 2))
        self.bare = uniforms(seeds, STREAM_PUNCTUATION) < noise.no_punctuation

    def draw_slots(self, rows: NDArray[np.int64]) -> None:
        """Presence, values and surfaces of all slots for ``rows``."""
        size = len(self.seeds)
        for number, (slot, rule) in enumerate(self.drafter.rule.slots.items()):
            mask = np.zeros(size, dtype=bool)
            mask[rows] = self._presence(slot, number, rows)
            for other in rule.excludes:
                mask &= ~self.present.get(other, np.zeros(size, dtype=bool))
            for other in rule.needs:
                mask &= self.present.get(other, np.ones(size, dtype=bool))
            self.present[slot] = mask
            used = rows[mask[rows]]
            base = STREAM_SLOT + number * _SLOT_SPAN
            value_grammar = self.drafter.domain.values[self.drafter.name, slot]
            surface_grammar = self.drafter.domain.surfaces[self.drafter.name, slot]
            self.values[slot], self.said[slot] = np.full(size, "", dtype=object), np.full(size, "", dtype=object)
            value = _tidied(self._expansion(base, {}).expand(value_grammar, used))
            if surface_grammar is None:
                # The value is a span of the query, so it is typed as the query is.
                value = np.array([v.lower() if low else v for v, low in zip(value, self.lowercase[used], strict=True)], dtype=object)
                said = value
            else:
                said = _tidied(self._expansion(base + _SLOT_SPAN // 2, {}).expand(surface_grammar, used))
            self.values[slot][used], self.said[slot][used] = value, said

    def _presence(self, slot: str, number: int, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        function = self.drafter.function
        if slot in function.required:
            return np.ones(len(rows), dtype=bool)
        if slot == function.category and self.drafter.rule.category is not None:
            return self.categories[rows] != NO_CATEGORY
        share = self.drafter.domain.statistics.slots.get(function.name, {}).get(slot, 1.0)
        return uniforms(self.seeds[rows], STREAM_PRESENCE + number, self.attempt) < share

    def _expansion(self, base: int, present: dict[str, NDArray[np.bool_]]) -> Expansion:
        def draw(site: int, rows: NDArray[np.int64]) -> NDArray[np.float64]:
            return uniforms(self.seeds[rows], base + site, self.attempt)

        def resolve(reference: Reference, rows: NDArray[np.int64]) -> NDArray[Any]:
            return self._resolve(reference, rows, draw, with_slots=bool(present))

        return Expansion(draw, resolve, present)

    def _resolve(self, reference: Reference, rows: NDArray[np.int64], draw: Any, *, with_slots: bool) -> NDArray[Any]:
        name, _, attribute = reference.name.partition(".")
        drafter = self.drafter
        if with_slots and not attribute and name in self.said:
            opening = _OPEN_CATEGORY if name == drafter.function.category else _OPEN
            return opening + self.said[name][rows] + _CLOSE
        if name == "record":
            return np.array([_field(self.records[row], attribute) for row in rows.tolist()], dtype=object)
        if name in drafter.steps:
            positions = self.paths[rows, drafter.steps[name]].tolist()
            if attribute:
                nodes = drafter.nodes[name]
                return np.array([_attribute(nodes[position], attribute) for position in positions], dtype=object)
            surfaces, draws = drafter.surfaces[name], draw(reference.site, rows).tolist()
            return np.array([surfaces[p][int(u * len(surfaces[p]))] for p, u in zip(positions, draws, strict=True)], dtype=object)
        words, sums = drafter.lexicon[name]
        picks = np.searchsorted(sums, draw(reference.site, rows) * sums[-1], side="right")
        return np.array(words, dtype=object)[np.minimum(picks, len(words) - 1)]

    def expand_template(self, template: Template, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Raw queries (with slot marks) for ``rows``."""
        assert template.grammar is not None
        return self._expansion(STREAM_TEMPLATE, self.present).expand(template.grammar, rows)

    def finish(self, raw: str, row: int) -> tuple[str, int | None]:
        """The query with noise and without marks, and the third in which the category word starts (None if there is none)."""
        text = raw
        if self.lowercase[row]:
            text = text.lower()
        if self.typo[row]:
            text = _with_typo(text, float(self.typo_place[row]), float(self.typo_kind[row]))
        if self.bare[row]:
            text = _outside_slots(text, lambda part: part.translate(_PUNCTUATION).replace("  ", " "))
        third = None
        if _OPEN_CATEGORY in text:
            before, _, after = text.partition(_OPEN_CATEGORY)
            inside, _, rest = after.partition(_CLOSE)
            words = [len(part.split()) for part in (before, inside, rest)]
            middle = words[0] + words[1] / 2
            third = min(2, math.floor(3 * middle / max(1, sum(words))))
        for mark in (_OPEN, _OPEN_CATEGORY, _CLOSE):
            text = text.replace(mark, "")
        return tidy(text), third

    def draft(self, row: int, query: str) -> Draft:
        slots, arguments = {}, {}
        for slot in self.drafter.rule.slots:
            if self.present[slot][row]:
                said = self.said[slot][row]
                slots[slot] = said.lower() if self.lowercase[row] else said
                arguments[slot] = _typed(self.values[slot][row], self.drafter.function.properties[slot])
        return Draft(slots, arguments, query)


def _ids(domain: Domain, kind: str) -> list[str]:
    return [node.id for node in domain.nodes.values() if node.type == kind]


def _tidied(values: NDArray[Any]) -> NDArray[Any]:
    return np.array([tidy(value) for value in values], dtype=object)


def _field(record: dict[str, Any] | None, name: str) -> str:
    value = (record or {}).get(name, "")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _attribute(node: Any, name: str) -> str:
    return {"label": node.label, "id": node.id, "type": node.type}.get(name) or node.attributes.get(name, "")


def _typed(text: str, schema: dict[str, Any]) -> Any:
    """The value as its parameter's JSON type."""
    kind = schema.get("type")
    try:
        if kind == "integer":
            return int(text)
        if kind == "number":
            return float(text)
    except ValueError:
        return text
    return text.lower() in ("true", "yes") if kind == "boolean" else text


def _outside_slots(text: str, change: Any) -> str:
    """Apply ``change`` to what is said outside the slots."""
    out, rest = "", text
    while rest:
        places = [place for place in (rest.find(_OPEN), rest.find(_OPEN_CATEGORY)) if place >= 0]
        if not places:
            return out + change(rest)
        start = min(places)
        end = rest.index(_CLOSE, start) + 1
        out += change(rest[:start]) + rest[start:end]
        rest = rest[end:]
    return out


def _with_typo(text: str, where: float, kind: float) -> str:
    """One slip of the finger in one word of four letters or more outside the slots: swapped, dropped or doubled letter."""
    places: list[int] = []
    depth = 0
    for place, sign in enumerate(text):
        if sign in (_OPEN, _OPEN_CATEGORY):
            depth = 1
        elif sign == _CLOSE:
            depth = 0
        elif depth == 0 and 0 < place < len(text) - 2 and text[place - 1 : place + 3].isalpha():
            places.append(place)
    if not places:
        return text
    place = places[int(where * len(places))]
    if kind < 0.4:
        return text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    return text[:place] + text[place + 1 :] if kind < 0.7 else text[:place] + text[place] + text[place:]
