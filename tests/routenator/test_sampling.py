"""Exact quotas, the permutation, and requests that do not depend on the shard count."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from routenator.domain.domain import Domain
from routenator.domain.joint import Joint
from routenator.domain.loader import load_domain
from routenator.domain.schema import NO_CATEGORY
from routenator.errors import InputError
from routenator.sampling import GENERATOR
from routenator.sampling.permutation import Permutation
from routenator.sampling.philox import philox, row_seeds, uniforms, words
from routenator.sampling.sampler import Sampler
from routenator.sampling.shares import Diffusion, largest_remainder
from routenator.sampling.strata import build_strata, category_shares, target_shares
from routenator.schemas import REQUEST_COLUMNS, arrow_schema
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


@settings(max_examples=30, deadline=None)
@given(plan=st.integers(0, 2**63 - 1), rows=st.integers(1, 20_000), stream=st.integers(0, 2**32 - 1))
def test_a_rows_numbers_do_not_depend_on_other_rows(plan, rows, stream):
    """Blocks and batches only add speed: row i gets the same numbers when drawn alone."""
    seeds = row_seeds(plan, np.arange(rows))
    row = rows * 2 // 3
    assert row_seeds(plan, np.array([row]))[0] == seeds[row] and seeds.min() >= 0
    assert [word[row] for word in words(seeds, stream, 3)] == [
        word[0] for word in words(seeds[row : row + 1], stream, 3)
    ]


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 20_000), key=st.integers(0, 2**63 - 1))
def test_the_permutation_is_a_bijection(size, key):
    image = Permutation(size, key)(np.arange(size))
    assert np.array_equal(np.sort(image), np.arange(size))


@settings(max_examples=60, deadline=None)
@given(size=st.integers(20_001, 2**62), key=st.integers(0, 2**63 - 1), data=st.data())
def test_the_permutation_of_a_large_range_stays_inside_without_duplicates(size, key, data):
    start = data.draw(st.integers(0, size - 10_000))
    image = Permutation(size, key)(np.arange(start, start + 10_000))
    assert image.min() >= 0 and image.max() < size and len(np.unique(image)) == len(image)


@pytest.mark.parametrize("size", [10**7, 10**9, 2**40, 2**62])
def test_the_permutation_scatters(size):
    """A slice of the indices is spread over the whole range, with no correlation between consecutive indices."""
    permute, count = Permutation(size, 7), 200_000
    for start in (0, size // 2, size - count):
        place = permute(np.arange(start, start + count)) / size
        assert chisquare(np.bincount((place * 100).astype(int), minlength=100)).pvalue > 1e-4
        for lag in (1, permute.right) if permute.right < count // 2 else (1,):
            assert abs(np.corrcoef(place[:-lag], place[lag:])[0, 1]) * math.sqrt(count - lag) < 4.5


def test_the_permutation_and_seeds_are_stable_across_versions():
    """Golden digests: a change here changes every data set ever planned."""
    image = Permutation(1_000_003, 42)(np.arange(5000))
    assert hashlib.sha256(image.astype("<i8").tobytes()).hexdigest()[:16] == "9e9f43ec1be50d4d"
    seeds = row_seeds(42, np.arange(5000))
    assert hashlib.sha256(seeds.astype("<i8").tobytes()).hexdigest()[:16] == "fbb2fe74f059d5a8"
    image = Permutation(2**62, 42)(np.arange(2**61, 2**61 + 5000))
    assert hashlib.sha256(image.astype("<i8").tobytes()).hexdigest()[:16] == "120e26ba99ca41a4"


def rows_digest(table: pa.Table) -> str:
    """Digest of all values, independent of chunking."""
    digest = hashlib.sha256()
    for row in table.to_pylist():
        digest.update(repr(list(row.values())).encode())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize(
    ("traversal", "expected"), [("weighted", "967e4cb9f71c2fca"), ("coverage", "2bb77a6744f913b2")]
)
def test_rows_are_stable_across_versions(tiny, traversal, expected):
    """Golden digests of whole rows. If one changes, raise GENERATOR (unless the tiny domain was edited), and thereby
    change fingerprints.
    """
    assert GENERATOR == "philox4x32-10/2"
    sampler = Sampler(tiny, make_config(sample={"traversal": traversal, "coverage": 2}))
    assert rows_digest(sampler.requests(0, sampler.size)) == expected


def test_the_permutation_refuses_indices_out_of_range():
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


@settings(max_examples=60, deadline=None)
@given(size=st.integers(60, 5000), data=st.data())
def test_quotas_of_any_joint_are_shares_rounded_down_or_up(tiny, size, data):
    """At each level (function, category, cell), a count is its share of the level above, rounded down or up."""
    cell = st.tuples(st.sampled_from(["short", "long"]), st.just("en"))
    cells = st.dictionaries(cell, st.floats(0.01, 1000), min_size=1)
    weights = data.draw(
        st.fixed_dictionaries(
            {"search": st.dictionaries(st.sampled_from(["poster", "logo", "card"]), cells, min_size=1)},
            optional={"book": st.dictionaries(st.sampled_from(["bistro", "diner", NO_CATEGORY]), cells, min_size=1)},
        )
    )
    joint = Joint(weights)
    statistics = tiny.statistics.model_copy(update={"functions": joint.functions()})
    strata = build_strata(
        dataclasses.replace(tiny, joint=joint, statistics=statistics), make_config(dataset={"size": size})
    )
    counts = Counter()
    for stratum in strata:
        for depth in range(1, 5):
            counts[(stratum.function, stratum.category, stratum.length, stratum.language)[:depth]] += stratum.quota
    assert sum(s.quota for s in strata) == size and {s.stratum for s in strata} == set(range(len(strata)))

    def rounded(part, whole, share):
        assert math.floor(whole * share - 1e-6) <= counts[part] <= math.ceil(whole * share + 1e-6)

    for function, share in joint.functions().items():
        rounded((function,), size, share)
        for category, inner in joint.categories(function).items():
            rounded((function, category), counts[(function,)], inner)
            for (length, language), last in joint.cells(function, category).items():
                rounded((function, category, length, language), counts[function, category], last)


@settings(max_examples=60, deadline=None)
@given(
    shares=st.dictionaries(st.integers(0, 30), st.floats(0.001, 100), min_size=1, max_size=12),
    totals=st.lists(st.integers(0, 40), min_size=1, max_size=30),
)
def test_diffusion_rounds_each_part_down_or_up_and_keeps_the_totals(shares, totals):
    diffusion, scale = Diffusion(), math.fsum(shares.values())
    given_away = Counter()
    for total in totals:
        counts = diffusion.split({part: share / scale for part, share in shares.items()}, total)
        assert sum(counts.values()) == total
        for part, count in counts.items():
            assert (
                math.floor(total * shares[part] / scale - 1e-6)
                <= count
                <= math.ceil(total * shares[part] / scale + 1e-6)
            )
            given_away[part] += count
    if len(shares) == 2:
        assert all(abs(given_away[part] - sum(totals) * share / scale) <= 1 + 1e-6 for part, share in shares.items())


def test_routes_are_near_their_shares_even_with_more_templates_than_rows_per_cell(tiny):
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
    config = make_config(dataset={"size": size, "calls": {1: 1}}, domain=str(domain.path))
    strata, target = build_strata(domain, config), target_shares(domain, config)
    assert math.fsum(target.values()) == pytest.approx(1)
    for field, place, slack in (
        ("function", 0, 1),
        ("category", 1, 1),
        ("length", 4, 2.5),
        ("route", 2, 3),
        ("language", 5, 1),
    ):
        for function in domain.statistics.functions:
            quota, wanted = Counter(), Counter()
            for stratum in strata:
                if stratum.function == function:
                    quota[getattr(stratum, field)] += stratum.quota
            for key, share in target.items():
                if key[0] == function:
                    wanted[key[place]] += share * size
            for value, rows in wanted.items():
                # The function's own rows are rounded, which shifts its parts by less than a row.
                assert abs(quota[value] - rows) <= slack + 1, (
                    f"{function} {field} {value}: {quota[value]} of {rows:.2f}"
                )


def test_fewer_rows_than_population_cells_are_refused(tiny):
    with pytest.raises(InputError, match="too few rows"):
        build_strata(tiny, make_config(dataset={"size": 3}))


def test_the_shard_count_changes_nothing(tiny):
    sampler = Sampler(tiny, make_config())
    whole = sampler.requests(0, sampler.size)
    assert whole.schema.equals(arrow_schema(REQUEST_COLUMNS)) and whole["index"].to_pylist() == list(
        range(sampler.size)
    )
    for shards in (1, 7, 50, 1000):
        parts = [sampler.requests(*sampler.slice(shard, shards)) for shard in reversed(range(shards))]
        assert pa.concat_tables(parts[::-1]).equals(whole), f"{shards} shards"


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 300), max_size=12), traversal=st.sampled_from(["weighted", "coverage"]))
def test_batches_may_be_cut_anywhere(tiny, cuts, traversal):
    sampler = Sampler(tiny, make_config(sample={"traversal": traversal}))
    edges = sorted({0, sampler.size, *(cut for cut in cuts if cut < sampler.size)})
    parts = [sampler.requests(low, high) for low, high in itertools.pairwise(edges)]
    assert pa.concat_tables(parts).equals(sampler.requests(0, sampler.size))


def test_a_plans_own_numbers_are_met_and_indices_start_at_first(tiny):
    config = make_config()
    requested = [number % 3 for number in range(len(build_strata(tiny, config)))]
    sampler = Sampler(tiny, config, requested, first=1000)
    rows = sampler.requests(0, sampler.size)
    assert Counter(rows["stratum"].to_pylist()) == {number: count for number, count in enumerate(requested) if count}
    assert rows["index"].to_pylist() == list(range(1000, 1000 + sum(requested)))
    assert rows["seed"].to_pylist() == row_seeds(config.seed, rows["index"].to_numpy()).tolist()


def test_requests_meet_the_quotas_exactly(tiny):
    sampler = Sampler(tiny, make_config())
    rows = sampler.requests(0, sampler.size)
    assert Counter(rows["stratum"].to_pylist()) == {s.stratum: s.requested for s in sampler.strata}


def test_records_are_about_the_path(tiny):
    sampler = Sampler(tiny, make_config(dataset={"size": 400}))
    ids = list(tiny.records)
    for row in sampler.requests(0, sampler.size).to_pylist():
        stratum = sampler.strata[row["stratum"]]
        if stratum.function == "search":
            assert tiny.records[ids[row["record"]]]["category"] == stratum.category


def test_the_absence_of_an_optional_category_is_a_cell(tiny: Domain):
    assert category_shares(tiny, "book") == pytest.approx({"bistro": 0.35, "diner": 0.35, NO_CATEGORY: 0.3})
