"""Tests of guides: a grammar allows exactly the texts that contain what a query must say."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routenator.generation.guide import Gaps, build_grammar, collect_gaps, split_at_slots

TEXTS = [
    ("find a poster of dogs", {"kind": "poster", "what": "dogs"}),
    ("get a poster of cats please", {"kind": "poster", "what": "cats"}),
    ("get me cats poster please", {"kind": "poster", "what": "cats"}),
    ("find me a red sea logo", {"kind": "logo", "what": "red sea"}),
    ("logo with birds", {"kind": "logo", "what": "birds"}),
    ("card with birds, thnaks", {"kind": "card", "what": "birds"}),
]


def language(grammar: str) -> set[str]:
    """All texts of a grammar of literals, rules, alternatives and groups, which is all that our grammars use."""
    rules = dict(line.split(" ::= ", 1) for line in grammar.splitlines())

    def texts_of(rule: str) -> set[str]:
        tokens: list[str] = re.findall(r'"(?:[^"\\]|\\.)*"|[()|]|\w+', rules[rule])

        def alternatives(at: int) -> tuple[set[str], int]:
            result: set[str] = set()
            texts = {""}
            while at < len(tokens) and tokens[at] != ")":
                token = tokens[at]
                if token == "|":
                    result |= texts
                    texts = {""}
                elif token == "(":
                    inner, at = alternatives(at + 1)
                    texts = {a + b for a, b in itertools.product(texts, inner)}
                else:
                    inner = {re.sub(r"\\(.)", r"\1", token[1:-1])} if token.startswith('"') else texts_of(token)
                    texts = {a + b for a, b in itertools.product(texts, inner)}
                at += 1
            return result | texts, at

        return alternatives(0)[0]

    return texts_of("root")


def test_split_at_slots() -> None:
    assert split_at_slots("find a poster of dogs!", {"kind": "poster", "what": "dogs"}) == [
        (("^", "kind"), "find a "),
        (("kind", "what"), " of "),
        (("what", "$"), "!"),
    ]
    assert split_at_slots("find a poster", {"kind": "poster", "what": "dogs"}) is None
    assert split_at_slots("hello", {}) == [(("^", "$"), "hello")]


def test_a_surface_inside_another_is_found_outside_it() -> None:
    slots = {"kind": "card", "what": "birthday card"}
    assert split_at_slots("a birthday card as card", slots) == [
        (("^", "what"), "a "),
        (("what", "kind"), " as "),
        (("kind", "$"), ""),
    ]
    assert split_at_slots("a birthday card", slots) is None


def test_gaps_are_not_learnt_from_a_query_that_contains_a_surface_twice() -> None:
    slots = {"kind": "show", "title": "Bluey"}
    assert split_at_slots("show me the show Bluey", slots) is not None, "it can still serve as a draft"
    assert split_at_slots("show me the show Bluey", slots, only=True) is None
    assert collect_gaps([("show me the show Bluey", slots)] * 2) == collect_gaps([])
    assert collect_gaps([("find the show Bluey", slots), ("find the show Bluey", dict(slots))]).between == {
        ("kind", "title"): [" "]
    }
    assert collect_gaps([("fnid the show Bluey", slots)] * 2).frames == {}, "two queries of one call may share a typo"


def test_frames_and_gaps_with_words_that_occur_once_are_skipped() -> None:
    gaps = collect_gaps(TEXTS)
    assert gaps.frames["kind", "what"] == [
        ("", ""),
        ("find a ", ""),
        ("get a ", " please"),
    ]  # "thnaks" may be a typo
    assert gaps.frames["what", "kind"] == [("find me a ", ""), ("get me ", " please")]
    assert gaps.between["kind", "what"] == [" of ", " with "]
    assert collect_gaps([("what is on", {}), ("what is on", {})]).frames == {("$", "^"): [("what is on", "")]}


def test_the_two_halves_of_a_frame_stay_together() -> None:
    slots = {"kind": "poster", "what": "dogs"}
    for seed in range(20):
        for text in language(build_grammar(slots, "get a poster of dogs please", (2, 9), collect_gaps(TEXTS), seed)):
            assert text.startswith("get") == text.endswith("please")


def test_a_closing_that_trails_off_is_skipped() -> None:
    texts = [("get dogs please,", {"what": "dogs"}), ("get cats please", {"what": "cats"})]
    assert collect_gaps(texts).frames == {("what", "what"): [("get ", " please")]}


def test_every_text_contains_every_slot_once_and_fits_its_bounds() -> None:
    slots = {"kind": "poster", "what": "big red dogs"}
    for seed in range(40):
        texts = language(build_grammar(slots, "get a poster of big red dogs", (4, 8), collect_gaps(TEXTS), seed))
        assert texts
        for text in texts:
            assert text.count("poster") == 1 and text.count("big red dogs") == 1
            assert 4 <= len(text.split()) <= 8


def test_orders_are_offered_if_queries_have_them() -> None:
    slots = {"kind": "poster", "what": "dogs"}
    texts = set().union(
        *(
            language(build_grammar(slots, "find a poster of dogs", (2, 8), collect_gaps(TEXTS), seed))
            for seed in range(20)
        )
    )
    assert not any("thnaks" in text for text in texts)
    assert any(text.index("dogs") < text.index("poster") for text in texts)
    assert any(text.index("poster") < text.index("dogs") for text in texts)
    assert len(texts) > 5


def test_the_draft_is_used_when_nothing_fits() -> None:
    slots = {"a": "x", "b": "y"}
    assert language(build_grammar(slots, "so x, then y!", (1, 9), Gaps(), 1)) == {"so x, then y!"}
    assert language(build_grammar(slots, "a draft without them", (1, 9), Gaps(), 1)) == {"x y"}
    assert language(build_grammar({}, "what is on", (1, 9), Gaps(), 1)) == {"what is on"}


def test_many_slots_get_only_some_orders() -> None:
    slots = {name: name * 2 for name in "abcdefg"}
    pairs = list(itertools.permutations(slots, 2))
    gaps = Gaps({pair: [("", "")] for pair in pairs}, {pair: [" "] for pair in pairs})
    grammar = build_grammar(slots, "aa bb cc dd ee ff gg", (1, 20), gaps, 3)
    texts = language(grammar)
    assert "aa bb cc dd ee ff gg" in texts and 1 < len(texts) <= 5


def test_the_grammar_depends_on_the_seed() -> None:
    gaps = Gaps({("a", "a"): [(f"w{n} ", "") for n in range(99)]})
    made = [build_grammar({"a": "x"}, "say x", (1, 5), gaps, seed) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
    assert len(language(made[0])) == 12


@pytest.mark.parametrize("surface", ['say "hi"', "back\\slash", "Beyoncé", "a|b", "(x)"])
def test_special_characters_are_escaped(surface: str) -> None:
    gaps = Gaps({("a", "a"): [("get ", "")]})
    assert language(build_grammar({"a": surface}, f"get {surface}", (1, 9), gaps, 1)) == {f"get {surface}"}
    (text,) = language(build_grammar({"a": surface}, f"get {surface}", (1, 9), gaps, 1, "query"))
    assert json.loads(text) == {"query": f"get {surface}"}


@given(
    names=st.lists(st.sampled_from("abcde"), min_size=1, max_size=5, unique=True),
    low=st.integers(1, 12),
    extra=st.integers(0, 12),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_request_has_a_grammar_with_its_slots(names: list[str], low: int, extra: int, seed: int) -> None:
    slots = {name: f"{name}1 {name}2" for name in names}
    draft = "please " + " and ".join(slots.values()) + " now"
    gaps = collect_gaps([(draft, slots), (" ".join(reversed(list(slots.values()))), slots), (draft, slots)])
    for text in language(build_grammar(slots, draft, (low, low + extra), gaps, seed)):
        assert all(text.count(surface) == 1 for surface in slots.values())
