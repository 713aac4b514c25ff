"""Exact quotas, the permutation, and requests that do not depend on the shard count."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routenator.domain.functions import check_call
from routenator.domain.load import NO_CATEGORY, Domain, load_domain
from routenator.errors import InputError
from routenator.sampling.permutation import Permutation
from routenator.sampling.philox import philox, row_seeds, uniforms
from routenator.sampling.sampler import Sampler
from routenator.sampling.strata import build_strata, category_shares, largest_remainder, target_shares
from routenator.sampling.walk import Graph
from tests.conftest import ROOT, TINY, make_config

# Known answers of philox4x32_10 from the Random123 distribution's kat_vectors.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_philox_gives_the_published_answers(counter, key, words):
    assert tuple(int(word) for word in philox(counter, key)) == words


def test_uniforms_are_uniform_and_keyed():
    seeds = row_seeds(3, np.arange(20_000))
    first, second = uniforms(seeds, 1), uniforms(seeds, 2)
    assert first.min() >= 0 and first.max() < 1
    assert abs(first.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert len(set(seeds.tolist())) == len(seeds)


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 5000), key=st.integers(0, 2**63 - 1))
def test_the_permutation_is_a_bijection(size, key):
    image = Permutation(size, key)(np.arange(size))
    assert np.array_equal(np.sort(image), np.arange(size))


def test_the_permutation_and_seeds_are_stable_across_versions():
    """Golden digests: a change here changes every data set ever planned."""
    image = Permutation(1_000_003, 42)(np.arange(5000))
    assert hashlib.sha256(image.astype("<i8").tobytes()).hexdigest()[:16] == "a457360e49a90269"
    seeds = row_seeds(42, np.arange(5000))
    assert hashlib.sha256(seeds.astype("<i8").tobytes()).hexdigest()[:16] == "fbb2fe74f059d5a8"


def test_the_permutation_refuses_what_is_outside():
    with pytest.raises(ValueError, match="not in"):
        Permutation(10, 1)(np.array([10]))


@settings(max_examples=100, deadline=None)
@given(weights=st.lists(st.floats(0.001, 1000), min_size=1, max_size=40), total=st.integers(0, 10_000))
def test_largest_remainder_is_exact_and_fair(weights, total):
    counts = largest_remainder(weights, total)
    assert sum(counts) == total
    scale = sum(weights)
    assert all(abs(count - weight / scale * total) < 1 + 1e-6 for count, weight in zip(counts, weights, strict=True))


@settings(max_examples=25, deadline=None)
@given(size=st.integers(10, 3000), seed=st.integers(0, 1000))
def test_quotas_add_up_and_meet_the_marginals(tiny, size, seed):
    strata = build_strata(tiny, make_config(dataset={"size": size}, seed=seed))
    assert sum(s.quota for s in strata) == size
    functions = Counter()
    for stratum in strata:
        functions[stratum.function] += stratum.quota
    assert functions["search"] == round(size * 0.6 + 1e-9) or abs(functions["search"] - size * 0.6) < 1


def test_routes_are_near_their_shares_even_with_more_templates_than_rows_a_cell(tiny):
    strata = build_strata(tiny, make_config(dataset={"size": 100}))
    routes = Counter()
    for stratum in strata:
        if stratum.function == "search":
            routes[stratum.route] += stratum.quota
    assert abs(routes["heuristic"] - 36) <= 4 and abs(routes["text"] - 18) <= 4 and abs(routes["vision"] - 6) <= 3


@pytest.mark.parametrize("size", [40, 137, 1000, 20_000])
@pytest.mark.parametrize("name", ["tiny", "creative"])
def test_the_marginals_are_met_at_every_size(name, size):
    domain = load_domain(TINY if name == "tiny" else ROOT / "configs" / "domains" / name)
    config = make_config(dataset={"size": size}, domain=str(domain.path))
    strata, target = build_strata(domain, config), target_shares(domain, config)
    assert math.fsum(target.values()) == pytest.approx(1)
    for field, place, slack in (("function", 0, 1), ("category", 1, 1), ("length", 4, 2.5), ("route", 2, 3), ("language", 5, 1)):
        for function in domain.statistics.functions:
            quota, wanted = Counter(), Counter()
            for stratum in strata:
                if stratum.function == function:
                    quota[getattr(stratum, field)] += stratum.quota
            for key, share in target.items():
                if key[0] == function:
                    wanted[key[place]] += share * size
            for value, rows in wanted.items():
                # The function's own rows are whole, which moves its parts by less than a row.
                assert abs(quota[value] - rows) <= slack + 1, f"{function} {field} {value}: {quota[value]} of {rows:.2f}"


def test_fewer_rows_than_population_cells_are_refused(tiny):
    with pytest.raises(InputError, match="fewer rows"):
        build_strata(tiny, make_config(dataset={"size": 3}))


def test_the_shard_count_changes_nothing(tiny):
    sampler = Sampler(tiny, make_config())
    whole = sampler.requests(0, sampler.size)
    for shards in (1, 3, 7, 50):
        rows: dict[str, list] = {name: [] for name in whole}
        for shard in reversed(range(shards)):
            part = sampler.requests(*sampler.slice(shard, shards))
            for name, values in part.items():
                rows[name] = values + rows[name]
        assert rows == whole, f"{shards} shards"


def test_requests_meet_the_quotas_exactly_and_their_calls_are_valid(tiny):
    sampler = Sampler(tiny, make_config())
    rows = sampler.requests(0, sampler.size)
    assert Counter(rows["stratum"]) == {s.stratum: s.requested for s in sampler.strata}
    for name, arguments, slots, category in zip(rows["function"], rows["arguments"], rows["slots"], rows["category"], strict=True):
        call = json.loads(arguments)
        assert check_call(tiny.functions[name], call) == []
        assert set(call) == set(json.loads(slots))
        if name == "search":
            assert call["content_type"] == category
        else:
            assert call.get("place", NO_CATEGORY) == category or call["place"].lower() == category
            assert not ({"people", "near"} <= set(call)), "near excludes people"


def test_every_draft_says_every_present_slot(tiny):
    sampler = Sampler(tiny, make_config(dataset={"size": 600}))
    rows = sampler.requests(0, sampler.size)
    for draft, slots in zip(rows["draft"], rows["slots"], strict=True):
        for surface in json.loads(slots).values():
            assert surface in draft
        assert not set("\x01\x02\x03") & set(draft)


def test_drafts_fall_into_their_length_bucket_where_a_template_can(tiny):
    sampler = Sampler(tiny, make_config(dataset={"size": 600}))
    rows = sampler.requests(0, sampler.size)
    inside = [
        tiny.statistics.length_buckets[bucket][0] <= len(draft.split()) <= tiny.statistics.length_buckets[bucket][1]
        for bucket, draft, template in zip(rows["length"], rows["draft"], rows["template"], strict=True)
        if template == "heuristic/search_fragment"
    ]
    assert sum(inside) / len(inside) > 0.7


def test_optional_slots_have_their_shares(tiny):
    sampler = Sampler(tiny, make_config(dataset={"size": 4000}, sample={"tries": 1}))
    rows = sampler.requests(0, sampler.size)
    book = [json.loads(slots) for slots, name in zip(rows["slots"], rows["function"], strict=True) if name == "book"]
    assert abs(sum("people" in slots for slots in book) / len(book) - 0.5) < 0.04
    assert abs(sum("place" in slots for slots in book) / len(book) - 0.7) < 0.02


def test_walks_have_the_conditional_distribution(tiny):
    """Against brute force: all paths of the graph with their probabilities, conditioned on the category."""
    graph = Graph(tiny)
    count = 40_000
    draws = np.random.default_rng(5).random((count, 3))
    paths = graph.walk("search", "poster", draws)
    intents, designs = graph.types["Intent"], graph.types["Design"]
    assert {designs[d] for d in paths[:, 1]} == {"d_poster"}
    # P(intent | poster) is start weight x P(poster | intent): birthday 3 x 2/7, sale 1 x 4/5.
    share = np.mean([intents[i] == "i_birthday" for i in paths[:, 0]])
    assert share == pytest.approx((3 * 2 / 7) / (3 * 2 / 7 + 4 / 5), abs=0.01)
    scenes = graph.types["Scene"]
    assert np.mean([scenes[s] == "s_beach" for s in paths[:, 2]]) == pytest.approx(0.75, abs=0.01)


def test_an_unreachable_category_is_named(tiny):
    with pytest.raises(InputError, match="no walk over the graph") as error:
        Graph(tiny).walk("search", "banner", np.zeros((1, 3)))
    assert "Intent -> Design -> Scene" in str(error.value)


def test_an_optional_category_has_its_absence_as_a_cell(tiny: Domain):
    assert category_shares(tiny, "book") == pytest.approx({"bistro": 0.35, "diner": 0.35, NO_CATEGORY: 0.3})


def test_examples_are_pure_and_say_one_call_twice(tiny):
    sampler = Sampler(tiny, make_config())
    other = Sampler(tiny, make_config(seed=99, dataset={"size": 77}))
    assert sampler.examples(5, "search", "en", 3) == other.examples(5, "search", "en", 3)
    for example in sampler.examples(6, "book", "en", 8):
        assert example["arguments"]["city"].lower() in example["draft"].lower()
        assert all(surface.lower() in example["query"].lower() for surface in example["slots"].values())


def test_records_are_about_the_path(tiny):
    sampler = Sampler(tiny, make_config(dataset={"size": 400}))
    rows = sampler.requests(0, sampler.size)
    for record, category, name in zip(rows["record"], rows["category"], rows["function"], strict=True):
        if name == "search":
            assert tiny.records[record]["category"] == category
