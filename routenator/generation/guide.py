"""Grammars that make a small model say the words a query must say.

The gold call is known before the query is written, so decoding can be restricted to texts that contain each slot's
surface exactly once. They are assembled from heuristic queries for the same function: a *frame* (the beginning and end
of one query, which carry its intent) and *gaps* (the text between two given slots in any query). The model chooses the
order, the frame and the gaps by what it finds most likely after the prompt; it can neither drop a value nor drift into
gibberish. Free words, and a vocabulary of single words, in place of frames and gaps were tried first; both read much
worse (docs/method.md).

Grammars are GBNF text for xgrammar (vLLM: ``structured_outputs.grammar``).
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from routenator.generation.seeds import STREAM_FRAMES, STREAM_GAPS, STREAM_ORDER, pick, shuffled
from routenator.validation.segments import count_words
from routenator.validation.text import words

START, END = "^", "$"  # the query's ends, in place of a slot in a pair
_ALL_ORDERS = 3  # up to this many slots, the model may use any order; above, a few orders drawn by the row's seed
_KEYED_ORDERS = 4
_OPTIONS = 12  # frames or gaps offered at one place, drawn by the row's seed so that queries do not all open alike
_EXTRA = 3  # words by which a frame's end or a gap may exceed the draft's

Pair = tuple[str, str]


@dataclass(frozen=True)
class Gaps:
    """The text around and between slots, including spaces and punctuation.

    Attributes:
        frames: (first slot, last slot) -> (opening, closing) of queries; a query without slots is kept under
            (END, START) as (whole text, "").
        between: (slot before, slot after) -> texts.
    """

    frames: Mapping[Pair, Sequence[tuple[str, str]]] = field(default_factory=dict)
    between: Mapping[Pair, Sequence[str]] = field(default_factory=dict)


def collect_gaps(texts: Iterable[tuple[str, Mapping[str, str]]]) -> Gaps:
    """Collect the frames and gaps of many queries, each given with its slots' surfaces.

    A frame or gap is skipped if one of its words occurs only in the queries of a single call (one mapping object): it
    may be a typo. So is a query in which a surface occurs twice, like "show" in "show me the show Bluey": it is unclear
    which one is the slot.
    """
    calls: list[tuple[Mapping[str, str], list[tuple[Pair, str]]]] = []
    calls += [(slots, gaps) for text, slots in texts if (gaps := split_at_slots(text, slots, only=True)) is not None]
    split = [gaps for _, gaps in calls]
    # Typos are drawn per call, so both of its queries may have the same one: count calls (by id), not queries.
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
    """Split a query into its gaps, in order.

    Args:
        text: the query.
        slots: surface by slot.
        only: also return None if a surface occurs more than once.

    Returns:
        (slot before, slot after) and the text between them; None if a surface is missing.
    """
    places: list[tuple[int, int, str]] = []

    def find(surface: str, start: int) -> int:
        """Find the next occurrence that does not overlap a longer surface."""
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
    slots: Mapping[str, str],
    draft: str,
    bounds: tuple[int, int],
    gaps: Gaps,
    seed: int,
    json_key: str | None = None,
    language: str = "en",
) -> str:
    """Build the grammar of the replies to one request.

    Args:
        slots: surface by slot; the reply contains each exactly once.
        draft: a query for the same call; the reply's gaps are about as long as its gaps, and it supplies the text
            where ``gaps`` has nothing that fits.
        bounds: lowest and highest number of words of the query.
        gaps: from queries for the same function.
        seed: the row's seed; it decides which gaps are offered.
        json_key: if given, the reply is a JSON object with the query under this key; else just the query.
        language: of the query; its words are counted accordingly.
    """
    own = split_at_slots(draft, slots)
    if own is None:
        # The draft does not contain every surface, so it gives no gaps: use the slots, separated by single spaces.
        names = list(slots)
        own = [((before, after), " ") for before, after in itertools.pairwise([START, *names, END])]
        own[0], own[-1] = (own[0][0], ""), (own[-1][0], "")
    spoken = sum(count_words(surface, language) for surface in slots.values())
    lows, highs = _room([count_words(gap, language) for _, gap in own], spoken, bounds, seed)
    maker = _Maker(slots, own, lows, highs, gaps, seed, json_key is not None, language)
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
    """Turns the orders of one request's slots into alternatives that share one grammar rule per gap."""

    slots: Mapping[str, str]
    own: Sequence[tuple[Pair, str]]
    lows: Sequence[int]
    highs: Sequence[int]
    gaps: Gaps
    seed: int
    inside_json: bool
    language: str
    rules: dict[str, str] = field(default_factory=dict)

    def sequence(self, order: Sequence[str]) -> str:
        """Alternatives for one order of the slots; "" if no frame fits, or no gap for some pair.

        The draft's own order always works: it falls back to the draft's frame and gaps.
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
        return self.lows[place] <= count_words(text, self.language) <= self.highs[place]

    def _rule(self, place: int, pair: Pair, fitting: Sequence[str]) -> str:
        """Name of the rule for the text between two slots at the ``place``-th gap; made on first use."""
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
    """Orders of the slots' names, the draft's own first."""
    if len(own) <= _ALL_ORDERS:
        return list(itertools.permutations(own))
    return list(
        dict.fromkeys(
            [tuple(own), *(tuple(shuffled(seed, STREAM_ORDER + (n << 12), own)) for n in range(_KEYED_ORDERS))]
        )
    )


def _room(shape: Sequence[int], spoken: int, bounds: tuple[int, int], seed: int) -> tuple[list[int], list[int]]:
    """Minimum and maximum words of each gap, modelled on the draft's gaps.

    Any choice within them keeps the query within ``bounds``, if that is possible at all.

    Args:
        shape: words of each of the draft's gaps.
        spoken: words of the slots' surfaces.
        bounds: lowest and highest number of words of the query.
        seed: the row's seed; it decides which gaps get the words that are left over.
    """
    need, free = max(0, bounds[0] - spoken), max(0, bounds[1] - spoken)
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
