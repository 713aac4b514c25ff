"""The grammar of slots and heuristic templates."""

from __future__ import annotations

import numpy as np
import pytest

from routenator.grammar import Expansion, GrammarError, demanded, parse, references, said, tidy

SLOTS = frozenset({"city", "time"})


def expand(text: str, present: set[str], count: int = 400) -> list[str]:
    """Draws of a grammar in which every reference says its own name in brackets."""
    generator = np.random.default_rng(1)
    table = {site: generator.random(count) for site in range(10_000)}
    expansion = Expansion(
        draw=lambda site, rows: table[site][rows],
        resolve=lambda reference, rows: np.full(len(rows), f"#{reference.name}", dtype=object),
        present={slot: np.full(count, slot in present) for slot in SLOTS},
    )
    return [tidy(text) for text in expansion.expand(parse(text), np.arange(count))]


@pytest.mark.parametrize(
    ("grammar", "present", "expected"),
    [
        ("weather", set(), {"weather"}),
        ("in {city}", {"city"}, {"in #city"}),
        ("[a|b|c]", set(), {"a", "b", "c"}),
        ("go( to {city})( at {time})", {"city"}, {"go to #city"}),
        ("go( to {city})( at {time})", {"city", "time"}, {"go to #city at #time"}),
        ("[in {city}|at {time}|now]", {"time"}, {"at #time", "now"}),
        ("[in {city}|at {time}]", set(), {""}),
        ("<x|in {city}|at {time}>", {"city"}, {"x in #city", "in #city x"}),
        ("<a|b>", set(), {"a b", "b a"}),
        ("[a[b|c]|d]", set(), {"ab", "ac", "d"}),
        (r"50\% \[off\] a\|b", set(), {"50% [off] a|b"}),
        ("a ,  b  !", set(), {"a, b!"}),
        ("line\n  break", set(), {"line break"}),
        ("{lexicon} x", set(), {"#lexicon x"}),
    ],
)
def test_expansions(grammar, present, expected):
    assert set(expand(grammar, present)) == expected


def test_alternatives_are_drawn_uniformly_and_repeats_are_weights():
    draws = expand("[a|b|b|b]", set(), 4000)
    assert draws.count("b") / len(draws) == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("text", ["[a|b", "a]", "(a", "<a|b", "{}", "{a b}", "{a", "a|b", "{1x}"])
def test_what_cannot_be_read_is_refused_with_its_place(text):
    with pytest.raises(GrammarError, match="at character"):
        parse(text)


@pytest.mark.parametrize(
    ("grammar", "expected"),
    [
        ("{city} {time}", {"city", "time"}),
        ("[{city}|x] {time}", {"time"}),
        ("[{city} {time}|{time} {city}]", {"city", "time"}),
        ("( {city})<{time}>", {"city", "time"}),
        ("( {city} {time})", {"city", "time"}),
        ("nothing", set()),
    ],
)
def test_said_finds_what_every_draw_says(grammar, expected):
    assert said(parse(grammar), SLOTS, SLOTS) == expected


def test_said_knows_that_alternatives_with_absent_slots_are_out():
    assert said(parse("[{city} {time}|in {city}]"), SLOTS, frozenset({"city"})) == {"city"}
    assert demanded(parse("a {city}( {time})"), SLOTS) == {"city"}


def test_references_are_found_everywhere():
    assert [r.name for r in references(parse("{a}[{b}|({c.d})]<{e}|x>"))] == ["a", "b", "c.d", "e"]
