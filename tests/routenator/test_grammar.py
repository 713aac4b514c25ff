"""The grammar of slots and heuristic templates."""

from __future__ import annotations

import pytest

from routenator.grammar import GrammarError, Text, demanded, parse, references, said, skeleton, tidy

SLOTS = frozenset({"city", "time"})


@pytest.mark.parametrize("text", ["[a|b", "a]", "(a", "<a|b", "{}", "{a b}", "{a", "a|b", "{1x}"])
def test_syntax_errors_are_refused_with_their_position(text):
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
def test_said_finds_the_slots_in_every_draw(grammar, expected):
    assert said(parse(grammar), SLOTS, SLOTS) == expected


def test_said_ignores_alternatives_with_absent_slots():
    assert said(parse("[{city} {time}|in {city}]"), SLOTS, frozenset({"city"})) == {"city"}
    assert demanded(parse("a {city}( {time})"), SLOTS) == {"city"}


@pytest.mark.parametrize(
    "text",
    [
        "[a|b] {city}[ {time}|, x| at {time}]",
        "<in {city}|({time} [o'clock|])|{day}>",
        "[{city} [a|b]|[c|(now {time})|d] e|f]( for {city} at {time})",
        "[[a|b]|(c)|<d|{day}>]",
    ],
)
def test_a_skeleton_says_and_demands_the_same(text):
    grammar = parse(text)
    reduced = skeleton(grammar, SLOTS)
    assert {r.name for r in references(reduced)} <= SLOTS
    assert demanded(reduced, SLOTS) == demanded(grammar, SLOTS)
    for present in (frozenset(), frozenset({"city"}), frozenset({"time"}), SLOTS):
        assert said(reduced, SLOTS, present) == said(grammar, SLOTS, present)


def test_special_characters_stand_for_themselves_after_a_backslash():
    assert parse("a\\[b\\|c\\\\ d\\") == Text("a[b|c\\ d\\")


def test_references_are_found_everywhere():
    assert [r.name for r in references(parse("{a}[{b}|({c.d})]<{e}|x>"))] == ["a", "b", "c.d", "e"]


def test_tidy_collapses_spaces_and_attaches_punctuation():
    assert tidy("  a ,  b  ! ,c . d") == "a, b! ,c. d"
