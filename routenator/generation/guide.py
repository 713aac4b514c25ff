"""Grammars that hold a small model to the words that a query must say.

The gold call is known before the query is written. So the reply can be held to texts that say each slot's surface exactly once, joined by
*gaps*: what stands between two given slots (or before the first, after the last) in heuristic queries for the same function. The model
decides the order and which gap goes where, by what reads best to it after the prompt; it can neither drop a value nor run into
gibberish. A vocabulary of single words in the place of whole gaps was tried first: it reads much worse (docs/method.md).

Grammars are GBNF text as xgrammar reads it (vLLM: ``structured_outputs.grammar``).
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from routenator.generation.seeds import STREAM_GAPS, STREAM_ORDER, pick, shuffled
from routenator.validation.text import words

START, END = "^", "$"  # stand for the query's ends in a pair of slots
_ALL_ORDERS = 3  # up to this many slots the model may choose among all orders; beyond, among a few keyed ones
_KEYED_ORDERS = 12
_OPTIONS = 24  # gaps offered at one place; a keyed choice, so that not every query opens alike
_EXTRA = 3  # words that a gap may hold beyond the draft's

Pair = tuple[str, str]


@dataclass(frozen=True)
class Gaps:
    """What stands between two slots, or between a slot and an end, with its spaces and signs.

    Attributes:
        by_pair: (slot before, slot after) -> texts.
    """

    by_pair: Mapping[Pair, Sequence[str]]


def collect_gaps(texts: Iterable[tuple[str, Mapping[str, str]]]) -> Gaps:
    """Gaps of many queries, each given with its slots' surfaces.

    A gap with a word that only one query has is left out: it may be a typing error.
    """
    found: dict[Pair, set[str]] = defaultdict(set)
    counts: Counter[str] = Counter()
    for text, slots in texts:
        gaps = split_at_slots(text, slots)
        if gaps is None:
            continue
        counts.update({word for _, gap in gaps for word in words(gap)})
        for pair, gap in gaps:
            found[pair].add(gap)
    return Gaps({pair: sorted(gap for gap in gaps if all(counts[word] > 1 for word in words(gap))) for pair, gaps in found.items()})


def split_at_slots(text: str, slots: Mapping[str, str]) -> list[tuple[Pair, str]] | None:
    """A query's gaps in order, or None if it does not say every surface."""
    places: list[tuple[int, int, str]] = []
    for name, surface in sorted(slots.items(), key=lambda item: -len(item[1])):
        start = text.find(surface)
        while start >= 0 and any(start < end and begin < start + len(surface) for begin, end, _ in places):
            start = text.find(surface, start + 1)
        if start < 0:
            return None
        places.append((start, start + len(surface), name))
    result, at, before = [], 0, START
    for begin, end, name in sorted(places):
        result.append(((before, name), text[at:begin]))
        at, before = end, name
    return [*result, ((before, END), text[at:])]


def build_grammar(slots: Mapping[str, str], draft: str, bounds: tuple[int, int], gaps: Gaps, seed: int, json_key: str | None = None) -> str:
    """The grammar of the replies to one request.

    Args:
        slots: surface by slot; each is said once.
        draft: a query for the same call; the reply's gaps are about as long as its gaps, and it is what can be said where
            ``gaps`` has nothing that fits.
        bounds: lowest and highest number of words of the query.
        gaps: of queries for the same function.
        seed: the row's seed; it decides which gaps are offered.
        json_key: if given, the reply is a JSON object with the query under this key; else the query alone.
    """
    own = split_at_slots(draft, slots)
    if own is None:
        # Cannot be said in the draft's way; any order with single spaces will do.
        names = list(slots)
        own = [((before, after), " ") for before, after in itertools.pairwise([START, *names, END])]
        own[0], own[-1] = (own[0][0], ""), (own[-1][0], "")
    lows, highs = _room([gap for _, gap in own], sum(len(surface.split()) for surface in slots.values()), bounds, seed)
    options = [
        option
        for number, order in enumerate(_orders([pair[1] for pair, _ in own[:-1]], seed))
        if (option := _sequence(order, slots, own if number == 0 else None, lows, highs, gaps, seed, json_key is not None))
    ]
    opening, closing = (_literal(f'{{"{json_key}": "', False), _literal('"}', False)) if json_key is not None else ("", "")
    return f"root ::= {opening} ({' | '.join(dict.fromkeys(options))}) {closing}".strip()


def _sequence(
    order: Sequence[str],
    slots: Mapping[str, str],
    own: Sequence[tuple[Pair, str]] | None,
    lows: Sequence[int],
    highs: Sequence[int],
    gaps: Gaps,
    seed: int,
    inside_json: bool,
) -> str:
    """One order of the slots with its gaps; "" if some pair has no gap that fits. ``own``: the draft, if it has this order."""
    parts = []
    for number, pair in enumerate(itertools.pairwise([START, *order, END])):
        fitting = [gap for gap in gaps.by_pair.get(pair, ()) if lows[number] <= len(gap.split()) <= highs[number]]
        if not fitting and own is not None:
            fitting = [own[number][1]]
        if not fitting:
            return ""
        chosen = sorted(shuffled(seed, STREAM_GAPS + (number << 12), fitting)[:_OPTIONS])
        parts.append("(" + " | ".join(_literal(gap, inside_json) for gap in chosen) + ")")
        if pair[1] != END:
            parts.append(_literal(slots[pair[1]], inside_json))
    return " ".join(parts)


def _literal(text: str, inside_json: bool) -> str:
    if inside_json:
        text = json.dumps(text, ensure_ascii=False)[1:-1]
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _orders(own: Sequence[str], seed: int) -> list[tuple[str, ...]]:
    """Orders of the slots' names; the draft's own first."""
    if len(own) <= _ALL_ORDERS:
        return list(itertools.permutations(own))
    return list(dict.fromkeys([tuple(own), *(tuple(shuffled(seed, STREAM_ORDER + (n << 12), own)) for n in range(_KEYED_ORDERS))]))


def _room(own: Sequence[str], spoken: int, bounds: tuple[int, int], seed: int) -> tuple[list[int], list[int]]:
    """Fewest and most words of each gap, measured by the draft's; any choice within them falls into ``bounds`` if one can."""
    need, free = max(0, bounds[0] - spoken), max(0, bounds[1] - spoken)
    shape = [len(gap.split()) for gap in own]
    lows = list(shape)
    while sum(lows) > need:
        lows[lows.index(max(lows))] -= 1
    lows[0] += max(0, need - sum(lows))
    highs = [max(low, gap) for low, gap in zip(lows, shape, strict=True)]
    while sum(highs) > max(free, need):
        spare = [high - low for high, low in zip(highs, lows, strict=True)]
        highs[spare.index(max(spare))] -= 1
    limits = [high + _EXTRA for high in highs]
    for attempt in range(max(0, free - sum(highs))):
        open_gaps = [n for n, high in enumerate(highs) if high < limits[n]]
        if not open_gaps:
            break
        highs[pick(seed, STREAM_GAPS, open_gaps, attempt)] += 1
    return lows, highs
