"""Alias tables, constrained walks and coverage, checked against exhaustive enumeration; errors for impossible walks."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routenator.config import RunConfig
from routenator.domain.domain import Domain
from routenator.domain.graph import Edge, Node
from routenator.domain.loader import load_domain
from routenator.domain.rules import FunctionRule
from routenator.domain.schema import NO_CATEGORY
from routenator.errors import InputError
from routenator.sampling.alias import AliasTable, units
from routenator.sampling.coverage import Coverage
from routenator.sampling.feasible import check_walks, notes, rows_to_cover
from routenator.sampling.forcing import spread
from routenator.sampling.philox import row_seeds
from routenator.sampling.sampler import Sampler
from routenator.sampling.walk import Graph, Walker, walk_words
from tests.conftest import ROOT, make_config

Path = tuple[int, ...]


def all_paths(walker: Walker, category: str) -> dict[Path, float]:
    """All complete paths of a category, weighted by start weight times each edge's share among its node's edges."""
    found: dict[Path, float] = {}

    def extend(path: Path, weight: float) -> None:
        step = len(path)
        if step == walker.steps:
            found[path] = weight
            return
        edges, node = walker.edges(step), path[walker.parents[step]]
        own = slice(edges.start[node], edges.start[node + 1])
        for target, share in zip(edges.target[own].tolist(), edges.weight[own] / edges.weight[own].sum(), strict=True):
            extend((*path, target), weight * share)

    for root in np.flatnonzero(walker.roots).tolist():
        extend((root,), walker.roots[root])
    if category == NO_CATEGORY:
        return found
    domain, step = walker.graph.domain, walker.chain[-1]
    nodes = walker.graph.types[walker.path[step].type]
    return {
        path: w
        for path, w in found.items()
        if domain.node_category(walker.function, domain.nodes[nodes[path[step]]]) == category
    }


def edges_of(walker: Walker, path: Path) -> set[tuple[int, int, int]]:
    """Edges of a path, as (step, parent's node, node)."""
    return {(step, path[walker.parents[step]], path[step]) for step in range(1, walker.steps)}


def counted(columns: list[np.ndarray]) -> Counter[Path]:
    return Counter(zip(*(column.tolist() for column in columns), strict=True))


def assert_distribution(seen: Counter[Path], wanted: dict[Path, float]) -> None:
    """Check that only wanted paths occur, each with its expected frequency within five standard errors."""
    assert set(seen) <= set(wanted)
    total, rows = sum(wanted.values()), seen.total()
    for path, weight in wanted.items():
        share = weight / total
        assert abs(seen[path] / rows - share) <= 5 * np.sqrt(share * (1 - share) / rows) + 1e-9


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.floats(1e-6, 1e6), max_size=12), min_size=1, max_size=8))
def test_an_alias_table_gives_each_entry_exactly_its_units(segments):
    """Summed over all words, an entry is drawn exactly as often as its units, which are its rounded share."""
    degree = [len(segment) for segment in segments]
    start = np.concatenate([[0], np.cumsum(degree)])
    weight = np.array([w for segment in segments for w in segment])
    table = AliasTable(start, weight, np.arange(len(weight)))
    got = np.zeros(len(weight), dtype=np.int64)
    for segment, count in enumerate(degree):
        for slot in range(count):
            # A slot's words run from its first word to the next slot's first word; up to the threshold they draw the
            # entry itself, above it the alias.
            first, end = -(-(slot << 32) // count), -(-((slot + 1) << 32) // count)
            entry = start[segment] + slot
            threshold = int(table._threshold[entry])
            own, other = table._values[2 * entry : 2 * entry + 2]
            got[own] += threshold if own != other else 1 << 32
            if own != other:
                got[other] += (1 << 32) - threshold
            edge = np.array([first, end - 1], dtype=np.uint64)
            assert set(table.draw(np.full(2, segment), edge).tolist()) <= {own, other}
    assert np.array_equal(got, units(start, weight))
    for segment, count in enumerate(degree):
        part = slice(start[segment], start[segment + 1])
        share = weight[part] / weight[part].sum() if count else weight[part]
        assert np.allclose(got[part], share * count * 2**32, rtol=1e-9, atol=2)


def random_domain(tiny: Domain, seed: int) -> Domain:
    """The tiny domain with a random graph and a random branching path of four steps; any one decides the category."""
    draw = np.random.default_rng(seed)
    kinds, sizes = "ABCD", draw.integers(1, 4, 4)
    nodes = {
        f"{kind}{n}": Node(f"{kind}{n}", kind, f"label {draw.integers(2)}", (), float(draw.integers(0, 3)), {})
        for kind, size in zip(kinds, sizes, strict=True)
        for n in range(size)
    }
    parents = [int(draw.integers(step)) for step in (1, 2, 3)]
    edges = [
        Edge(source, target, float(draw.exponential()))
        for step, parent in enumerate(parents, 1)
        for source, target in itertools.product(
            (n for n in nodes if n[0] == kinds[parent]), (n for n in nodes if n[0] == kinds[step])
        )
        if draw.random() < 0.7
    ]
    path = [{"type": kind} | ({"from": kinds[parents[step - 1]]} if step else {}) for step, kind in enumerate(kinds)]
    rule = FunctionRule.model_validate({"path": path, "category": {"step": kinds[draw.integers(4)]}, "slots": {}})
    return dataclasses.replace(tiny, nodes=nodes, edges=edges, rules={"search": rule})


def check_against_all_paths(domain: Domain, function: str, rows: int) -> None:
    """Check free walks, and walks through every edge, for every reachable category."""
    walker = Graph(domain).walker(function)
    numbers = [number for number, mass in enumerate(walker.mass) if mass > 0]
    coverage = Coverage(walker, numbers)
    draws = walk_words(row_seeds(5, np.arange(rows)), walker.steps)
    for number, category in enumerate(walker.categories):
        paths = all_paths(walker, category)
        assert walker.mass[number] == pytest.approx(sum(paths.values())) and (number in numbers) == bool(
            sum(paths.values())
        )
        if number not in numbers:
            assert coverage.count[number] == 0
            continue
        assert_distribution(counted(walker.draw(np.full(rows, number), draws)), paths)
        met = set()
        for edge in range(coverage.count[number]):
            step, parent, node = known_edge(coverage, number, edge)
            through = {
                path: weight
                for path, weight in paths.items()
                if path[walker.parents[step]] == parent and path[step] == node
            }
            assert_distribution(counted(coverage.draw(np.full(rows, number), np.full(rows, edge), draws)), through)
            met.add((step, parent, node))
        assert met == set().union(*(edges_of(walker, path) for path in paths)) and len(met) == coverage.count[number]


def known_edge(coverage: Coverage, category: int, number: int) -> tuple[int, int, int]:
    """A usable edge, as (step, parent's node, node)."""
    walker, place = coverage.walker, np.array([coverage._first[category] + number])
    step = int(coverage._step[place[0]])
    parent = walker.parents[step]
    return (
        step,
        int(walker.nodes(parent, coverage._place[parent].take(coverage._parent.take(place)))[0]),
        int(walker.nodes(step, coverage._value.take(place))[0]),
    )


@pytest.mark.parametrize("function", ["search", "book"])
def test_walks_have_the_distribution_of_all_paths(tiny, function):
    check_against_all_paths(tiny, function, 20_000)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_walks_of_random_graphs_have_the_distribution_of_all_paths(tiny, seed):
    check_against_all_paths(random_domain(tiny, seed), "search", 4000)


def test_a_walk_depends_on_its_seed_alone(tiny):
    graph = Graph(tiny)
    seeds = row_seeds(1, np.arange(300))
    categories = np.array(["poster", "logo", "card"] * 100)
    whole = graph.walks("search", seeds, categories)
    assert np.array_equal(whole[37:38], graph.walks("search", seeds[37:38], categories[37:38]))


def test_an_unreachable_category_is_named(tiny):
    with pytest.raises(InputError, match="no walk over the graph") as error:
        Graph(tiny).walks("search", np.zeros(1, dtype=np.int64), np.array(["banner"]))
    assert "Intent -> Design -> Scene" in str(error.value)


@settings(max_examples=200, deadline=None)
@given(size=st.integers(1, 2000), share=st.floats(0, 1))
def test_the_wanted_number_of_ranks_is_forced_and_spread_evenly(size, share):
    forced = round(size * share)
    rank = np.arange(size)
    chosen, number = spread(rank, np.full(size, size), np.full(size, forced))
    assert number[chosen].tolist() == list(range(forced))
    gaps = np.diff(np.flatnonzero(chosen))
    assert not gaps.size or gaps.max() - gaps.min() <= 1


def covering(domain: Domain, size: int, times: int) -> tuple[Sampler, Counter[tuple[str, str, int, int, int]]]:
    """A sampler with coverage, and the uses of each edge: by function, category, step, parent's node, node."""
    sampler = Sampler(domain, coverage_config(domain, size, times))
    used: Counter[tuple[str, str, int, int, int]] = Counter()
    for row in sampler.requests(0, sampler.size).to_pylist():
        stratum = sampler.strata[row["stratum"]]
        walker = sampler.graphs[0].walker(stratum.function)
        used.update((stratum.function, stratum.category, *edge) for edge in edges_of(walker, tuple(row["path"])))
    return sampler, used


def coverage_config(domain: Domain, size: int, times: int) -> RunConfig:
    return make_config(
        domain=str(domain.path), dataset={"size": size}, sample={"traversal": "coverage", "coverage": times}
    )


@pytest.mark.parametrize("times", [1, 4])
def test_every_usable_edge_is_walked_often_enough_given_enough_rows(tiny, times):
    sampler, used = covering(tiny, 600, times)
    for group in sampler.coverage.groups:
        assert group.forced == times * group.edges < group.rows, "there are enough rows"
        walker = sampler.graphs[0].walker(group.function)
        for edge in set().union(*(edges_of(walker, path) for path in all_paths(walker, group.category))):
            assert used[group.function, group.category, *edge] >= times
    assert Counter(sampler.requests(0, sampler.size)["stratum"].to_pylist()) == {
        s.stratum: s.requested for s in sampler.strata
    }


def test_rare_edges_are_walked_only_because_they_are_forced():
    """On a real graph, a weighted set of the same size misses some edges."""
    domain = load_domain(ROOT / "configs" / "domains" / "creative")
    share = dict.fromkeys(domain.statistics.categories["search"], 0.0) | {"poster": 1.0}
    changes = {"functions": {"search": 1.0}, "categories": {"search": share}, "calls": {1: 1.0}}
    domain = dataclasses.replace(domain, statistics=domain.statistics.model_copy(update=changes))
    sampler, used = covering(domain, 28_000, 1)
    (group,) = sampler.coverage.groups
    assert len(used) == group.edges
    weighted = Sampler(domain, make_config(domain=str(domain.path), dataset={"size": 28_000}))
    walker, paths = weighted.graphs[0].walker("search"), weighted.requests(0, weighted.size)["path"].to_pylist()
    seen = set().union(*(edges_of(walker, tuple(path)) for path in paths))
    assert len(seen) < group.edges


def test_too_few_rows_for_coverage_are_reported_with_both_numbers(tiny):
    (note,) = [note for note in notes(tiny, coverage_config(tiny, 600, 500)) if note.startswith("sample.coverage")]
    assert "6 of 6 groups" in note
    sampler = Sampler(tiny, coverage_config(tiny, 600, 500))
    assert f"{sum(500 * group.edges for group in sampler.coverage.groups):,} needed, {sampler.size:,} available" in note
    assert not any(note.startswith("sample.coverage") for note in notes(tiny, coverage_config(tiny, 600, 1)))
    sampler, used = covering(tiny, 600, 500)
    assert all(used[e] for e in used) and all(group.forced == group.rows for group in sampler.coverage.groups)


def test_rows_to_cover_are_enough(tiny):
    size = rows_to_cover(tiny)
    assert not any(note.startswith("sample.coverage") for note in notes(tiny, coverage_config(tiny, size, 1)))


def test_strata_too_rare_for_a_row_are_reported(tiny):
    (note,) = notes(tiny, make_config(dataset={"size": 12}))
    assert note.startswith("dataset.size") and "too rare for a row of 12" in note
    assert notes(tiny, make_config(dataset={"size": 2000})) == []


def without_edges(domain: Domain, *targets: str) -> Domain:
    return dataclasses.replace(domain, edges=[edge for edge in domain.edges if edge.target not in targets])


def test_all_unreachable_categories_are_named_with_their_shares(tiny):
    (error,) = check_walks(without_edges(tiny, "d_logo", "d_card"))
    assert error.found == "logo (20.0%), card (30.0%)"
    assert "2 of its 3 categories" in error.message and "50.0% of its requests, 30.0% of all" in error.message


def test_a_path_that_the_graph_cannot_walk_is_named(tiny):
    (error,) = check_walks(without_edges(tiny, "s_dog", "s_cake", "s_beach"))
    assert (
        error.key == "functions.search.path"
        and error.found == "Design -> Scene"
        and "60.0% of all requests are lost" in error.message
    )
    book = tiny.rules["book"]
    rules = {**tiny.rules, "book": book.model_copy(update={"root": book.root.model_copy(update={"equals": "buy"})})}
    (error,) = check_walks(dataclasses.replace(tiny, rules=rules))
    assert error.key == "functions.book.root" and error.found == "function: buy" and "40.0% of all" in error.message
    assert list(check_walks(tiny)) == []
