"""Grammars that hold a small model to the words that a query must say.

The gold call is known before the query is written. So the reply can be held to texts that say each slot's surface once, in an order
of the model's choice, with words between them from a closed vocabulary: function words of the language and the words of heuristic
queries for the same function. The model still decides what to say; it cannot drop a value, nor run into gibberish.

Grammars are GBNF text as xgrammar reads it (vLLM: ``structured_outputs.grammar``).
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from routenator.generation.seeds import STREAM_GAPS, STREAM_ORDER, pick, shuffled
from routenator.validation.words import FUNCTION_WORDS, SELDOM_LAST

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_ALL_ORDERS = 3  # up to this many slots the model may choose among all orders; beyond, among a few keyed ones
_KEYED_ORDERS = 4
_EXTRA = 4  # words that a gap may hold beyond the draft's


def glue_words(texts: Iterable[tuple[str, Mapping[str, str]]], language: str, at_least: int = 1) -> frozenset[str]:
    """The vocabulary between slots.

    Args:
        texts: queries, each with its slots' surfaces, which are left out.
        language: code; its function words are added if they are known.
        at_least: in how many texts a word must occur; above 1, typing errors stay out.
    """
    counts: Counter[str] = Counter()
    for text, slots in texts:
        rest = text
        for surface in slots.values():
            rest = rest.replace(surface, " ")
        counts.update(set(_WORD.findall(rest)))
    return frozenset(word for word, count in counts.items() if count >= at_least) | FUNCTION_WORDS.get(language, frozenset())


def build_grammar(
    slots: Mapping[str, str],
    draft: str,
    bounds: tuple[int, int],
    words: frozenset[str],
    seed: int,
    language: str,
    json_key: str | None = None,
) -> str:
    """The grammar of the replies to one request.

    Args:
        slots: surface by slot; each must be said once.
        draft: a query for the same call; its gaps between slots are what the reply's gaps are measured by.
        bounds: lowest and highest number of words of the query.
        words: vocabulary of the gaps (``glue_words``).
        seed: the row's seed; decides how spare words are spread.
        language: code; words that seldom end a request do not end the reply.
        json_key: if given, the reply is a JSON object with the query under this key; else the query alone.
    """
    surfaces = list(slots.values())
    lows, highs = _gaps(surfaces, draft, bounds, seed) if words else ([0] * (len(surfaces) + 1), [0] * (len(surfaces) + 1))
    options = [_sequence(order, lows, highs, json_key is not None) for order in _orders(surfaces, draft, seed)]
    inside_json = json_key is not None
    start, end = ('"{\\"' + str(json_key) + '\\": \\"" ', ' "\\"}"') if inside_json else ("", "")

    def rule(name: str, allowed: Iterable[str]) -> str:
        return f"{name} ::= " + " | ".join(_literal(word, inside_json) for word in sorted(allowed))

    seldom_last = SELDOM_LAST.get(language, frozenset())
    words = words or frozenset({"."})  # rules may not be empty; with no vocabulary all gaps are, so these are never used
    return "\n".join(
        [
            f"root ::= {start}({' | '.join(options)}) [.?!]?{end}",
            rule("word", words),
            rule("first", words | {word[0].upper() + word[1:] for word in words}),
            rule("last", [word for word in words if word.lower() not in seldom_last] or words),
        ]
    )


def _literal(text: str, inside_json: bool) -> str:
    if inside_json:
        text = json.dumps(text, ensure_ascii=False)[1:-1]
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _sequence(order: Sequence[str], lows: Sequence[int], highs: Sequence[int], inside_json: bool) -> str:
    """One order of the slots: gap, slot, gap, slot, ..., gap."""
    parts = []
    low, high = lows[0], highs[0]
    if not order:
        return f'first (" " word){{{max(low - 2, 0)},{max(high - 2, 0)}}}' + (' " " last' if high > 1 else "")
    if high:
        opening = f'first " " (word " "){{{max(low - 1, 0)},{high - 1}}}'
        parts.append(opening if low else f"({opening})?")
    for position, surface in enumerate(order):
        parts.append(_literal(surface, inside_json))
        low, high = lows[position + 1], highs[position + 1]
        if position < len(order) - 1:
            parts.append((f'(" " word){{{low},{high}}} ' if high else "") + '" "')
        elif high:
            closing = f'(" " word){{{max(low - 1, 0)},{high - 1}}} " " last'
            parts.append(closing if low else f"({closing})?")
    return " ".join(parts)


def _orders(surfaces: Sequence[str], draft: str, seed: int) -> list[tuple[str, ...]]:
    own = tuple(sorted(surfaces, key=lambda surface: (draft.find(surface), surface)))
    if len(surfaces) <= _ALL_ORDERS:
        return sorted(set(itertools.permutations(own)))
    return list(dict.fromkeys([own, *(tuple(shuffled(seed, STREAM_ORDER + (n << 8), own)) for n in range(_KEYED_ORDERS))]))


def _gaps(surfaces: Sequence[str], draft: str, bounds: tuple[int, int], seed: int) -> tuple[list[int], list[int]]:
    """Fewest and most words in each gap, len(surfaces) + 1 of each; any choice within them falls into ``bounds`` if one can."""
    spoken = sum(len(surface.split()) for surface in surfaces)
    need, free = max(0, bounds[0] - spoken), max(0, bounds[1] - spoken)
    shape = _draft_gaps(surfaces, draft)
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


def _draft_gaps(surfaces: Sequence[str], draft: str) -> list[int]:
    """Words of the draft before, between and after the slots."""
    rest = draft
    for surface in sorted(surfaces, key=len, reverse=True):
        rest = rest.replace(surface, "\0", 1)
    gaps = [len(_WORD.findall(part)) for part in rest.split("\0")]
    gaps += [0] * (len(surfaces) + 1 - len(gaps))
    return gaps[: len(surfaces) + 1]
