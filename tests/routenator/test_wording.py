"""Tests of drawing from compiled grammars: possible texts, noise, word counts, position of the category word."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routenator.config import RunConfig
from routenator.domain import kinds
from routenator.domain.domain import Domain
from routenator.domain.loader import load_domain
from routenator.domain.schema import NO_CATEGORY, Noise, TemplateHead
from routenator.domain.templates import Template
from routenator.grammar import parse, tidy
from routenator.sampling.philox import philox, row_seeds, split64
from routenator.sampling.sampler import Sampler
from routenator.wording import text as compiled_text
from routenator.wording.composer import Composer
from routenator.wording.placement import tilt
from routenator.wording.random import SIZE, begin, below, word
from routenator.wording.tables import counting
from routenator.wording.writer import Words, Writer
from tests.conftest import ROOT, make_config

CREATIVE = ROOT / "configs" / "domains" / "creative"


def with_template(
    domain: Domain, text: str, *, near: float = 0.0, noise: Noise | None = None, surface: str | None = None
) -> Domain:
    """The tiny domain with a single template for ``book``.

    Args:
        domain: the tiny domain.
        text: the template's grammar.
        near: share of the optional slot ``near``.
        noise: noise of the queries.
        surface: replaces the surface of ``city``.
    """
    template = Template("heuristic/t", "heuristic", Path("t.yaml"), TemplateHead(functions=["book"]), text, parse(text))
    statistics = domain.statistics.model_copy(
        update={"slots": {"book": {"people": 0.0, "near": near}}, "noise": noise or Noise()}
    )
    surfaces = {**domain.surfaces, ("book", "city"): parse(surface) if surface else domain.surfaces["book", "city"]}
    return replace(domain, templates={"heuristic/t": template}, statistics=statistics, surfaces=surfaces)


def draw(domain: Domain, category: str = NO_CATEGORY, count: int = 400) -> Words:
    writer = Writer(domain, 1)
    root = writer.compiled.root["book", "heuristic/t"]
    return writer.draw(
        "book", row_seeds(3, np.arange(count)), np.full(count, category, dtype=object), np.full(count, root)
    )


def drawn(domain: Domain, category: str = NO_CATEGORY, count: int = 400) -> list[str]:
    """Queries with each slot's surface replaced by # and the slot's name."""
    words = draw(domain, category, count)
    queries = []
    for query, slots in zip(words.query.to_pylist(), words.slots.to_pylist(), strict=True):
        text = query
        for name, surface in json.loads(slots).items():
            text = text.replace(surface, f"#{name}")
        queries.append(text)
    return queries


@pytest.mark.parametrize(
    ("grammar", "present", "expected"),
    [
        ("[a|b|c]", set(), {"a", "b", "c"}),
        ("go( near {near})( to a {place})", {"near"}, {"go near #near"}),
        ("go( near {near})( to a {place})", {"near", "place"}, {"go near #near to a #place"}),
        ("[near {near}|a {place}|now]", {"place"}, {"a #place", "now"}),
        ("[near {near}|a {place}]", set(), {""}),
        ("<x|near {near}|a {place}>", {"near"}, {"x near #near", "near #near x"}),
        ("q <x|(near {near})|y>'s", set(), {"q x y's", "q y x's"}),
        ("<[a|a]|b|c>", set(), {"a b c", "a c b", "b a c", "b c a", "c a b", "c b a"}),
        ("[a[b|c]|d]", set(), {"ab", "ac", "d"}),
        (r"50\% \[off\] a\|b", set(), {"50% [off] a|b"}),
        ("a ,  b  !", set(), {"a, b!"}),
        ("line\n  break", set(), {"line break"}),
        ("in {city} ,( {near} ,) . x", {"near"}, {"in #city, #near,. x"}),
    ],
)
def test_draws_give_all_texts_of_a_grammar_and_no_others(tiny, grammar, present, expected):
    domain = with_template(tiny, grammar, near=float("near" in present))
    assert set(drawn(domain, "diner" if "place" in present else NO_CATEGORY)) == expected


def test_alternatives_are_drawn_uniformly_and_repeats_are_weights(tiny):
    draws = drawn(with_template(tiny, "[a|b|b|b]"), count=4000)
    assert draws.count("b") / len(draws) == pytest.approx(0.75, abs=0.03)
    # Uniform among the usable ones, even if few are usable.
    options = "|".join(["( {near})"] * 3 + ["{near}"] * 40 + ["x", "y"])
    draws = drawn(with_template(tiny, f"[{options}]"), count=4000)
    assert draws.count("x") / len(draws) == pytest.approx(0.2, abs=0.03) and draws.count("") / len(
        draws
    ) == pytest.approx(0.6, abs=0.03)


def test_word_lists_and_aliases_follow_their_weights(tiny):
    draws = drawn(with_template(tiny, "{find}"), count=4000)
    items = {item.text: item.weight for item in tiny.lexicon["find"]}
    for text, weight in items.items():
        assert draws.count(text) / len(draws) == pytest.approx(weight / sum(items.values()), abs=0.04)


def test_slots_occur_with_their_shares_and_their_own_surfaces(tiny):
    words = draw(with_template(tiny, "to {city}( by {near})", near=0.3, surface="the city of {City}"), count=4000)
    slots = [json.loads(row) for row in words.slots.to_pylist()]
    assert np.mean(["near" in row for row in slots]) == pytest.approx(0.3, abs=0.03)
    for row, arguments, query in zip(slots, words.arguments.to_pylist(), words.query.to_pylist(), strict=True):
        assert list(json.loads(arguments)) == list(row)
        assert (
            row["city"].startswith("the city of ")
            and json.loads(arguments)["city"] in row["city"]
            and row["city"] in query
        )


def test_lower_case_applies_to_whole_rows_and_to_values_that_are_spans(tiny):
    words = draw(with_template(tiny, "Go TO {city}", noise=Noise(lowercase=0.5)))
    rows = list(zip(words.query.to_pylist(), (json.loads(a)["city"] for a in words.arguments.to_pylist()), strict=True))
    low = [query == query.lower() for query, _ in rows]
    assert 0.4 < np.mean(low) < 0.6
    assert all(
        value in query and (value == value.lower()) == is_low for (query, value), is_low in zip(rows, low, strict=True)
    )


def test_punctuation_is_dropped_only_outside_the_slots(tiny):
    words = draw(with_template(tiny, "hey , you: {city} !", noise=Noise(no_punctuation=1.0), surface="St. {City}, now"))
    for query, slots in zip(words.query.to_pylist(), words.slots.to_pylist(), strict=True):
        assert query == f"hey you {json.loads(slots)['city']}"


@pytest.mark.parametrize("grammar", ["please go to {city}", "für Äpfel grüßen {city}", "a an the of {city}"])
def test_a_typo_changes_one_letter_outside_the_slots(tiny, grammar):
    clean = draw(with_template(tiny, grammar)).query.to_pylist()
    slipped = draw(with_template(tiny, grammar, noise=Noise(typo=1.0)))
    kinds = set()
    for before, after, slots in zip(clean, slipped.query.to_pylist(), slipped.slots.to_pylist(), strict=True):
        city = json.loads(slots)["city"]
        head, stem = after.removesuffix(city), before.removesuffix(city)
        assert after.endswith(city) and len(after.split()) == len(before.split())
        places = [k for k in range(1, len(stem) - 2) if stem[k - 1 : k + 3].isalpha()]
        dropped = {stem[:k] + stem[k + 1 :] for k in places}
        doubled = {stem[:k] + stem[k] + stem[k:] for k in places}
        swapped = {stem[:k] + stem[k + 1] + stem[k] + stem[k + 2 :] for k in places}
        assert head in dropped | doubled | swapped or (not places and head == stem)
        kinds |= {
            name for name, found in (("dropped", dropped), ("doubled", doubled), ("swapped", swapped)) if head in found
        }
    assert not kinds or kinds == {"dropped", "doubled", "swapped"}


WORDS = st.text(alphabet="ab ,.!'\u00e9", max_size=12)


@given(st.lists(WORDS, max_size=6), st.booleans())
@settings(max_examples=300, deadline=None)
def test_tidying_bytes_agrees_with_tidying_text_and_pieces_give_the_word_count(texts, bare):
    whole = "".join(texts)
    raw = np.frombuffer(whole.encode() + b"\0", dtype=np.uint8).copy()
    out = np.zeros(len(raw) + 1, dtype=np.uint8)
    end, words, third = compiled_text.tidy(raw, 0, len(raw) - 1, bare, out, 0)
    assert bytes(out[:end]).decode() == tidy(whole.translate(str.maketrans("", "", ",.?!;:")) if bare else whole)
    assert words == len(bytes(out[:end]).decode().split()) and third == -1
    # The count that kernel.py makes on pieces: exact except for words in doubt, which can only be removed.
    count = doubt = edge = 0
    for facts in map(counting, texts):
        count += (facts & 0xFFFF) - (edge & facts >> 16)
        doubt += (facts >> 20) + (facts >> 18 & 1 & (1 - edge))
        edge = edge if facts >> 19 & 1 else facts >> 17 & 1
    assert count - doubt <= words <= count


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("007", "INTEGER", 7), ("+12", "INTEGER", 12), ("-3", "INTEGER", -3), ("-0", "INTEGER", 0),
        ("2.5", "INTEGER", "2.5"), ("2.50", "NUMBER", 2.5), ("-00.5", "NUMBER", -0.5), ("4", "NUMBER", 4),
        ("1.2.3", "NUMBER", "1.2.3"), (".5", "NUMBER", ".5"), ("seven", "INTEGER", "seven"), ("", "INTEGER", ""),
        ("-", "NUMBER", "-"), ("Yes", "BOOLEAN", True), ("TRUE", "BOOLEAN", True), ("no", "BOOLEAN", False),
        ('say "x" \\ é', "STRING", 'say "x" \\ é'),
    ],
)  # fmt: skip
def test_arguments_have_their_json_types(value, kind, expected):
    raw = np.frombuffer(value.encode() + b"\0", dtype=np.uint8).copy()
    out = np.zeros(99, dtype=np.uint8)
    end = compiled_text.typed(raw, 0, len(raw) - 1, getattr(kinds, kind), out, 0)
    found = json.loads(bytes(out[:end]).decode())
    assert found == expected and type(found) is type(expected)


def test_compiled_draws_are_philox():
    state = np.zeros(SIZE, dtype=np.uint64)
    begin(state, np.int64(2**62 + 12345), 21, 7)
    words = [word(state) for _ in range(8)]
    expected = [int(w) for block in (0, 1) for w in philox((block, 7, 21, 0), split64(2**62 + 12345))]
    assert words == expected
    begin(state, np.int64(5), 1, 0)
    assert {below(state, 3) for _ in range(64)} == {0, 1, 2}


def creative_config(**sections: object) -> RunConfig:
    return make_config(domain=str(CREATIVE), **sections)


def test_rows_do_not_depend_on_other_rows():
    domain, config = load_domain(CREATIVE), creative_config(dataset={"size": 3000})
    sampler = Sampler(domain, config)
    composer = Composer(domain, config, sampler.strata)
    requests = sampler.requests(0, 2000)
    whole = composer.details(requests)
    cuts = [0, 1, 2, 700, 701, 1999, 2000]
    parts = [composer.details(requests.slice(low, high - low)) for low, high in pairwise(cuts)]
    assert [row for part in parts for row in part.to_pylist()] == whole.to_pylist()
    backwards = np.arange(2000)[::-1]
    other = Composer(domain, config, sampler.strata)
    assert other.details(requests.take(backwards)).to_pylist() == whole.take(backwards).to_pylist()
    assert composer.details(requests.slice(0, 0)).num_rows == 0


@pytest.mark.parametrize("name", ["creative", pytest.param("assistant", marks=pytest.mark.slow)])
def test_positions_of_the_category_word_follow_the_statistics(name):
    """Chi-square test of the thirds (two degrees of freedom, 1%), on 20,000 heuristic rows of each function that has
    keyword positions in its statistics.
    """
    domain = load_domain(ROOT / "configs" / "domains" / name)
    named = domain.statistics.keyword_position
    assert set(named) == ({"search", "generate"} if name == "creative" else set()), (
        "every function with positions is tested here"
    )
    config = make_config(domain=str(domain.path), dataset={"size": 1_000_000})
    sampler = Sampler(domain, config)
    composer = Composer(domain, config, sampler.strata)
    assert {function for function, _, _ in composer.position_targets} == set(named)
    found: list[Words] = []
    write = composer.writer.write
    composer.writer.write = lambda *rows: found.append(write(*rows)) or found[-1]  # type: ignore[method-assign]
    requests = sampler.requests(0, 200_000 if named else 0)
    for function, shares in named.items():
        mine = np.array([s.function == function and s.route == "heuristic" for s in sampler.strata])[
            requests["stratum"].to_numpy()
        ]
        found.clear()
        rows = composer.details(requests.filter(mine).slice(0, 20_000))
        thirds = np.concatenate([words.facts[:, 1] for words in found])
        counts = np.bincount(thirds[thirds >= 0], minlength=3)
        assert rows.num_rows == counts.sum() == 20_000, "each draft of these functions contains its category"
        expected = counts.sum() * np.array([shares["first"], shares["middle"], shares["last"]]) / sum(shares.values())
        assert ((counts - expected) ** 2 / expected).sum() < 9.21


def test_the_reported_position_is_the_one_in_the_query():
    domain = load_domain(CREATIVE)
    writer = Writer(domain, 1)
    name = "heuristic/s_find_of"
    words = writer.draw(
        "search",
        row_seeds(1, np.arange(500)),
        np.full(500, "poster", dtype=object),
        np.full(500, writer.compiled.root["search", name]),
    )
    checked = 0
    for query, slots, (count, third, guess, doubt) in zip(
        words.query.to_pylist(), words.slots.to_pylist(), words.facts.tolist(), strict=True
    ):
        surface = json.loads(slots)["content_type"]
        assert count == len(query.split()) and (doubt or guess == count)
        if query.count(surface) == 1 and f" {surface} " in f" {query} ":
            before, inside = len(query.partition(surface)[0].split()), len(surface.split())
            assert third == min(2, int(3 * (before + inside / 2) / count))
            checked += 1
    assert checked > 300


def test_target_positions_give_the_wanted_shares_if_the_templates_can():
    own = np.array([[0.9, 0.05, 0.05], [0.1, 0.2, 0.7], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    met = np.repeat(np.eye(3)[None], 4, axis=0)
    met[1, 0] = [0.4, 0.1, 0.5]  # if the second cell targets the first third, two rows in five reach it
    met[2], met[3] = [0.0, 1.0, 0.0], [0.1, 0.0, 0.9]
    outcomes = np.concatenate([np.where(own.any(axis=1, keepdims=True), own, met[:, 0])[:, None], met], axis=1)
    weights, wanted = np.array([0.4, 0.4, 0.15, 0.05]), np.array([0.5, 0.25, 0.25])
    targets = tilt(own, outcomes, weights, wanted)
    assert targets.sum(axis=1) == pytest.approx([1.0, 1.0, 1.0, 0.0])
    outcome = np.einsum("cw,cwt->ct", targets, met)
    outcome[3] = met[3, 0]
    assert weights @ outcome == pytest.approx(wanted, abs=0.01)
    assert targets[2].tolist() == [0.0, 1.0, 0.0], "a cell does not target a third that it cannot reach"
    only = tilt(own[2:3], outcomes[2:3], np.ones(1), wanted)
    assert only.tolist() == [[0.0, 1.0, 0.0]], "shares that cannot be reached are approached as closely as possible"
