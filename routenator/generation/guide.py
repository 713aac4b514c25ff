"""Grammars that hold a small model to the words that a query must say.

The gold call is known before the query is written. So the reply can be held to texts that say each slot's surface
exactly once, put together from heuristic queries for the same function: a *frame* (how one query begins and ends, which
holds what it is about) and *gaps* (what stands between two given slots in any query). The model decides the order, the
frame and the gaps by what reads best to it after the prompt; it can neither drop a value nor run into gibberish. Free
words and a vocabulary of single words in the place of frames and gaps were tried first; both read much worse
(docs/method.md).

Grammars are GBNF text as xgrammar reads it (vLLM: ``structured_outputs.grammar``).
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from routenator.generation.seeds import STREAM_FRAMES, STREAM_GAPS, STREAM_ORDER, pick, shuffled
from routenator.validation.text import words

START, END = "^", "$"  # stand for the query's ends in a pair of slots
_ALL_ORDERS = 3  # up to this many slots the model may choose among all orders; beyond, among a few keyed ones
_KEYED_ORDERS = 4
_OPTIONS = 12  # frames or gaps offered at one place; a keyed choice, so that not every query opens alike
_EXTRA = 3  # words that a frame's end or a gap may hold beyond the draft's

Pair = tuple[str, str]


@dataclass(frozen=True)
class Gaps:
    """What stands around and between slots, with its spaces and signs.

    Attributes:
        frames: (first slot, last slot) -> (opening, closing) of queries; without slots (END, START) -> (all, "").
        between: (slot before, slot after) -> texts.
    """

    frames: Mapping[Pair, Sequence[tuple[str, str]]] = field(default_factory=dict)
    between: Mapping[Pair, Sequence[str]] = field(default_factory=dict)


def collect_gaps(texts: Iterable[tuple[str, Mapping[str, str]]]) -> Gaps:
    """Frames and gaps of many queries, each given with its slots' surfaces.

    One with a word that only the queries of one call have (of one mapping) is left out: it may be a typing error. So is
    a query in which a surface stands twice, as "show" in "show me the show Bluey": what stands between is not known.
    """
    calls: list[tuple[Mapping[str, str], list[tuple[Pair, str]]]] = []
    calls += [(slots, gaps) for text, slots in texts if (gaps := split_at_slots(text, slots, only=True)) is not None]
    split = [gaps for _, gaps in calls]
    # A slip of the finger is drawn for a call, so both of its queries may have it.
    counts = Counter(
        word for word, _ in {(word, id(slots)) for slots, gaps in calls for _, gap in gaps for word in words(gap)}
    )

    def common(text: str) -> bool:
        return all(counts[word] > 1 for word in words(text))

    frames: dict[Pair, set[tuple[str, str]]] = defaultdict(set)
    between: dict[Pair, set[str]] = defaultdict(set)
    for gaps in split:
        frame = (gaps[0][1], gaps[-1][1] if len(gaps) > 1 else "")
        if common(frame[0]) and common(frame[1]) and not frame[1].endswith((",", ";", ":", "-")):
            frames[gaps[0][0][1], gaps[-1][0][0]].add(frame)
        for pair, gap in gaps[1:-1]:
            if common(gap):
                between[pair].add(gap)
    return Gaps(
        {pair: sorted(found) for pair, found in frames.items()},
        {pair: sorted(found) for pair, found in between.items()},
    )


def split_at_slots(text: str, slots: Mapping[str, str], only: bool = False) -> list[tuple[Pair, str]] | None:
    """A query's gaps in order, or None if it does not say every surface; with ``only``, or if it says one in more than
    one place.
    """
    places: list[tuple[int, int, str]] = []

    def find(surface: str, start: int) -> int:
        """Where it stands next, apart from what longer surfaces take."""
        start = text.find(surface, start)
        while start >= 0 and any(start < end and begin < start + len(surface) for begin, end, _ in places):
            start = text.find(surface, start + 1)
        return start

    for name, surface in sorted(slots.items(), key=lambda item: -len(item[1])):
        start = find(surface, 0)
        if start < 0 or (only and find(surface, start + len(surface)) >= 0):
            return None
        places.append((start, start + len(surface), name))
    result, at, before = [], 0, START
    for begin, end, name in sorted(places):
        result.append(((before, name), text[at:begin]))
        at, before = end, name
    return [*result, ((before, END), text[at:])]


def build_grammar(
    slots: Mapping[str, str], draft: str, bounds: tuple[int, int], gaps: Gaps, seed: int, json_key: str | None = None
) -> str:
    """The grammar of the replies to one request.

    Args:
        slots: surface by slot; each is said once.
        draft: a query for the same call; the reply's gaps are about as long as its gaps, and it is what can be said
            where ``gaps`` has nothing that fits.
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
    maker = _Maker(slots, own, lows, highs, gaps, seed, json_key is not None)
    options = [
        option for order in _orders([pair[1] for pair, _ in own[:-1]], seed) if (option := maker.sequence(order))
    ]
    opening, closing = (
        (_literal(f'{{"{json_key}": "', False), _literal('"}', False)) if json_key is not None else ("", "")
    )
    root = f"root ::= {opening} ({' | '.join(dict.fromkeys(options))}) {closing}".strip()
    return "\n".join([root, *maker.rules.values()])


@dataclass
class _Maker:
    """Makes the orders of one request's slots into alternatives; gaps are rules of their own, shared by them."""

    slots: Mapping[str, str]
    own: Sequence[tuple[Pair, str]]
    lows: Sequence[int]
    highs: Sequence[int]
    gaps: Gaps
    seed: int
    inside_json: bool
    rules: dict[str, str] = field(default_factory=dict)

    def sequence(self, order: Sequence[str]) -> str:
        """One order of the slots; "" if it has no frame, or some pair no gap, that fits. The draft's own order has the
        draft's.
        """
        drafted = list(order) == [pair[1] for pair, _ in self.own[:-1]]
        first, last = (order[0], order[-1]) if order else (END, START)
        frames = [
            frame
            for frame in self.gaps.frames.get((first, last), ())
            if self._fits(frame[0], 0) and (not order or self._fits(frame[1], len(order)))
        ]
        if not frames and drafted:
            frames = [(self.own[0][1], self.own[-1][1] if order else "")]
        middle = []
        for number, pair in enumerate(itertools.pairwise(order), 1):
            fitting = [gap for gap in self.gaps.between.get(pair, ()) if self._fits(gap, number)]
            if not fitting and drafted:
                fitting = [self.own[number][1]]
            if not fitting:
                return ""
            middle += [self._rule(number, pair, fitting), _literal(self.slots[pair[1]], self.inside_json)]
        if not frames:
            return ""
        inner = " ".join([_literal(self.slots[first], self.inside_json), *middle]) if order else ""
        chosen = sorted(shuffled(self.seed, STREAM_FRAMES, frames)[:_OPTIONS])
        core = f"core{len(self.rules)}"
        self.rules[core] = f"{core} ::= {inner or _literal('', False)}"
        return " | ".join(f"{_literal(a, self.inside_json)} {core} {_literal(b, self.inside_json)}" for a, b in chosen)

    def _fits(self, text: str, place: int) -> bool:
        return self.lows[place] <= len(text.split()) <= self.highs[place]

    def _rule(self, place: int, pair: Pair, fitting: Sequence[str]) -> str:
        """The name of the rule of what may stand between two slots at the ``place``-th gap."""
        key = f"{place} {pair}"
        if key not in self.rules:
            chosen = sorted(shuffled(self.seed, STREAM_GAPS + (place << 12), fitting)[:_OPTIONS])
            self.rules[key] = f"gap{len(self.rules)} ::= " + " | ".join(
                _literal(gap, self.inside_json) for gap in chosen
            )
        return self.rules[key].split(" ", 1)[0]


def _literal(text: str, inside_json: bool) -> str:
    if inside_json:
        text = json.dumps(text, ensure_ascii=False)[1:-1]
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _orders(own: Sequence[str], seed: int) -> list[tuple[str, ...]]:
    """Orders of the slots' names; the draft's own first."""
    if len(own) <= _ALL_ORDERS:
        return list(itertools.permutations(own))
    return list(
        dict.fromkeys(
            [tuple(own), *(tuple(shuffled(seed, STREAM_ORDER + (n << 12), own)) for n in range(_KEYED_ORDERS))]
        )
    )


def _room(own: Sequence[str], spoken: int, bounds: tuple[int, int], seed: int) -> tuple[list[int], list[int]]:
    """Fewest and most words of each gap, measured by the draft's; any choice within them falls into ``bounds`` if one
    can.
    """
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
