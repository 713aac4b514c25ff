"""``domain fit`` computes aggregates of a sample of queries and reveals nothing else."""

from __future__ import annotations

import itertools
import json
import random
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from routenator.authoring.inspection import inspect_domain
from routenator.domain.domain import Domain
from routenator.domain.golden import load_golden
from routenator.domain.loader import load_domain, with_statistics
from routenator.errors import InputError
from routenator.population.fit import Fit, fit, render
from routenator.population.histograms import Histograms, cells, nearest_bucket
from routenator.population.queries import Observation, Observer
from routenator.population.tables import Fitter
from routenator.sampling.sampler import Sampler
from routenator.validation.text import third_of
from routenator.wording.composer import Composer
from routenator.wording.labeller import Labeller
from tests.conftest import ROOT, TINY, make_config
from tests.routenator.population import SAMPLE, book, loaded, search, write

CREATIVE = ROOT / "configs" / "domains" / "creative"
ASSISTANT = ROOT / "configs" / "domains" / "assistant"


def shares(table: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in table.items()}


def test_shares_match_the_sample(tiny: Domain, tmp_path: Path) -> None:
    found = fit(tiny, write(tmp_path, SAMPLE), min_count=3)
    statistics = found.statistics
    assert shares(statistics["functions"]) == {"search": round(69 / 102, 4), "book": round(33 / 102, 4)}
    assert shares(statistics["categories"]["search"]) == {
        "poster": round(50 / 69, 4),
        "logo": round(15 / 69, 4),
        "card": round(4 / 69, 4),
    }
    assert shares(statistics["lengths"]["search"]) == {"short": round(49 / 69, 4), "long": round(20 / 69, 4)}
    assert statistics["word_quantiles"]["search"] == {0.1: 3, 0.25: 4, 0.5: 5, 0.75: 10, 0.9: 10}
    thirds = {"first": round(45 / 69, 4), "middle": round(4 / 69, 4), "last": round(20 / 69, 4)}
    assert shares(statistics["keyword_position"]["search"]) == thirds
    assert statistics["languages"] == {"en": 1.0}
    assert statistics["noise"] == {"lowercase": round(49 / 102, 4), "typo": 0.1, "no_punctuation": round(82 / 102, 4)}
    assert statistics["routes"] == {
        "search": {"heuristic": 0.6, "text": 0.3, "vision": 0.1},
        "book": {"heuristic": 0.8, "text": 0.2},
    }
    assert any("routes" in line for line in found.kept) and (found.labelled, found.guessed, found.unsure) == (102, 0, 0)
    assert found.warnings == [
        "book: 10 calls name a category that no walk ends in; they are not counted in `categories`"
    ]


def test_a_slots_share_is_relative_to_calls_that_could_have_it(tiny: Domain, tmp_path: Path) -> None:
    slots = fit(tiny, write(tmp_path, SAMPLE), min_count=3).statistics["slots"]["book"]
    assert slots["place"] == pytest.approx(22 / 33, abs=1e-4) and slots["people"] == pytest.approx(12 / 33, abs=1e-4)
    assert slots["near"] == pytest.approx(11 / 21, abs=1e-4)  # people excludes it


def test_the_file_is_valid(tiny: Domain, tmp_path: Path) -> None:
    found = fit(tiny, write(tmp_path, SAMPLE), min_count=3)
    domain = loaded(tmp_path, render(found, tiny, min_count=3, epsilon=None))
    assert domain.statistics.functions["search"] == pytest.approx(69 / 102, abs=1e-6)
    assert inspect_domain(domain.path).facts["functions"] == 2


@pytest.mark.parametrize("folder", [CREATIVE, ASSISTANT], ids=["creative", "assistant"])
@pytest.mark.parametrize("epsilon", [None, 1.0])
def test_no_query_is_in_the_file(folder: Path, epsilon: float | None, tmp_path: Path) -> None:
    """No four consecutive words of any query appear in the output, unless all are names from the domain."""
    domain = load_domain(folder)
    text = render(
        fit(domain, folder / "golden.jsonl", min_count=5, epsilon=epsilon), domain, min_count=5, epsilon=epsilon
    )
    loaded(tmp_path, text, folder)

    def words(value: str) -> list[str]:
        return re.findall(r"[^\W_]+", value.casefold())

    output = words(text)
    names = {word for node in domain.nodes.values() for surface in node.surfaces for word in words(surface)}
    names |= {
        word
        for function in domain.functions.values()
        for name in (function.name, *function.properties)
        for word in words(name)
    }
    fours = {tuple(output[at : at + 4]) for at in range(len(output) - 3)}
    examples = load_golden(folder / "golden.jsonl", domain.functions)
    leaked = [
        run
        for example in examples
        for run in zip(*(words(example.query)[k:] for k in range(4)), strict=False)
        if run in fours and not set(run) <= names
    ]
    assert len(examples) > 100 and leaked == []


def test_small_cells_are_pooled_and_listed(tiny: Domain, tmp_path: Path) -> None:
    found = fit(tiny, write(tmp_path, SAMPLE), min_count=12)
    # card has 4 of 69 and logo 15: even the pool is below 12, so its share is the domain's (0.3), but no more than 12
    # queries.
    categories = found.statistics["categories"]["search"]
    assert found.pooled["categories.search"] == ["card"]
    assert categories["card"] == pytest.approx(12 / 77, abs=1e-4) and categories["poster"] == pytest.approx(
        50 / 77, abs=1e-4
    )
    more = [*SAMPLE, *[search("red beach card please", "card")] * 4, *[search("tiny logo", "logo", "tiny")]]
    found = fit(tiny, write(tmp_path, more), min_count=20)
    # card 8 and logo 16 make 24 together, which the domain's own shares (0.3 and 0.2) divide.
    assert found.pooled["categories.search"] == ["card", "logo"]
    assert shares(found.statistics["categories"]["search"]) == {
        "poster": round(50 / 74, 4),
        "logo": round(24 * 0.4 / 74, 4),
        "card": round(24 * 0.6 / 74, 4),
    }
    assert "pooled in categories.search: card, logo" in render(found, tiny, min_count=20, epsilon=None)


def test_counts_below_the_minimum_do_not_leak(tiny: Domain, tmp_path: Path) -> None:
    """Samples that differ only in a cell below the minimum give the same table."""
    tables = []
    for times in (1, 4, 9):
        rows = [*[search("poster of a red beach", "poster")] * 100, *[search("red beach card please", "card")] * times]
        tables.append(fit(tiny, write(tmp_path, rows), min_count=10).statistics["categories"]["search"])
    assert tables[0] == tables[1] == tables[2]


def test_a_table_without_data_is_the_domains_own(tiny: Domain, tmp_path: Path) -> None:
    found = fit(tiny, write(tmp_path, [row for row in SAMPLE if row["call"]["name"] == "search"]), min_count=10)
    assert found.statistics["lengths"]["book"] == {"short": 0.3, "long": 0.7}
    assert found.statistics["functions"]["book"] == pytest.approx(10 / 79, abs=1e-4)  # all we know is: fewer than ten
    assert any(line.startswith("lengths.book") for line in found.kept)
    loaded(tmp_path, render(found, tiny, min_count=10, epsilon=None))


def test_lengths_outside_all_buckets_count_towards_the_nearest(tiny: Domain) -> None:
    assert [nearest_bucket(tiny, words) for words in (1, 5, 6, 20, 50)] == [
        ("short", 1), ("short", 5), ("long", 6), ("long", 20), ("long", 20),
    ]  # fmt: skip


def test_other_languages_are_reported_and_not_counted(tiny: Domain, tmp_path: Path) -> None:
    rows = [*SAMPLE, *[search("zeig mir ein plakat mit einem strand für den flohmarkt", "poster", "strand")] * 25]
    found = fit(tiny, write(tmp_path, rows), min_count=3)
    assert found.statistics["languages"] == {"en": 1.0}
    assert any(
        "25 of 127 queries are in languages that the domain does not have" in line and "de 25" in line
        for line in found.warnings
    )


def test_a_population_that_the_templates_cannot_write_gives_a_warning(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(TINY, tmp_path / "copy"))
    for file in (copy / "templates").rglob("*.*"):
        text = file.read_text().replace("functions: ['*']", "functions: [book]")
        if "functions: [search]" in text:
            text = text.replace("    text: |", "    lengths: [short]\n    text: |")
        file.write_text(text)
    value = yaml.safe_load((copy / "statistics.yaml").read_text())
    value["lengths"]["search"], value["routes"]["search"] = {"short": 1.0}, {"heuristic": 1.0}
    (copy / "statistics.yaml").write_text(yaml.safe_dump(value))
    found = fit(load_domain(copy), write(tmp_path, SAMPLE), min_count=3)
    assert any("cannot write all of this" in line and " x long x en" in line for line in found.warnings)


def test_fitting_the_domains_own_drafts_recovers_its_shares(tiny: Domain, tmp_path: Path) -> None:
    """Round trip: draw requests by the statistics, compose drafts, and fit statistics to the drafts."""
    config = make_config(
        dataset={"size": 1000}, generate={"oversample": {"heuristic": 1.0, "text": 1.0, "vision": 1.0}}
    )
    sampler = Sampler(tiny, config)
    rows = Composer(tiny, config, sampler.strata).details(sampler.requests(0, sampler.size)).to_pylist()
    file = write(
        tmp_path,
        [{"query": r["draft"], "call": json.loads(r["calls"])[0]} for r in rows],
    )
    found = fit(tiny, file).statistics
    assert found["functions"] == pytest.approx({"search": 0.6, "book": 0.4}, abs=0.005)
    assert found["categories"]["search"] == pytest.approx({"poster": 0.5, "logo": 0.2, "card": 0.3}, abs=0.005)
    assert found["categories"]["book"] == pytest.approx({"bistro": 0.5, "diner": 0.5}, abs=0.005)
    assert found["slots"]["book"]["place"] == pytest.approx(0.7, abs=0.01)


# Guessed functions


def test_functions_are_guessed_from_the_domain_alone(tmp_path: Path) -> None:
    domain = load_domain(CREATIVE)
    golden = load_golden(CREATIVE / "golden.jsonl", domain.functions)
    guesses = Labeller(domain).guess([example.query for example in golden])
    sure = [(guess, example.labels[0]) for guess, example in zip(guesses, golden, strict=True) if guess is not None]
    assert len(sure) > 0.75 * len(golden)
    assert sum(guess == name for guess, name in sure) > 0.9 * len(sure)


def test_queries_without_calls(tiny: Domain, tmp_path: Path) -> None:
    rows = [{"query": row["query"]} for row in SAMPLE] + [{"query": "hello"}] * 7
    found = fit(tiny, write(tmp_path, rows), min_count=3)
    assert found.labelled == 0 and found.guessed + found.unsure == len(rows) and found.unsure >= 7
    assert found.statistics["slots"] == {
        "book": {"place": 0.7, "people": 0.5, "near": 0.4}
    }  # cannot be measured without calls
    assert shares(found.statistics["categories"]["search"])["poster"] > 0.6
    text = render(found, tiny, min_count=3, epsilon=None)
    assert (
        f"{found.guessed} without, whose function was guessed" in text and f"{found.unsure} more are left out" in text
    )
    loaded(tmp_path, text)


def test_an_uninformative_sample_is_refused(tiny: Domain, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="could not determine the function of any query"):
        fit(tiny, write(tmp_path, [{"query": "zzz"}] * 20))
    with pytest.raises(InputError, match="too few queries"):
        fit(tiny, write(tmp_path, SAMPLE), min_count=1000)


# Tables that could contradict each other


def test_queries_too_few_for_a_length_share_do_not_count_in_quantiles(tiny: Domain) -> None:
    """Nine very long queries are below the minimum, and the domain has no share to pool them with. If counted, they
    would move the 0.9 quantile from three words to ten, but by the lengths 91% have at most five.
    """
    own = tiny.statistics.model_dump(exclude={"joint"})
    own["length_buckets"] = {"short": (1, 5), "long": (6, 12), "extended": (13, 20)}
    domain = with_statistics(tiny, own)
    tables = {name: Counter(dict.fromkeys(keys, 0)) for name, keys in cells(domain, labelled=True).items()}
    tables["functions"]["search",] = 121
    tables["words"] += Counter({("search", 3): 102, ("search", 10): 10, ("search", 15): 9})
    found = Fitter(domain, Histograms(tables), min_count=10).statistics()
    assert shares(found["lengths"]["search"]) == {"short": 0.9107, "long": 0.0893, "extended": 0.0}
    assert found["word_quantiles"]["search"] == {0.1: 3, 0.25: 3, 0.5: 3, 0.75: 3, 0.9: 3}
    with_statistics(tiny, found)


@pytest.mark.parametrize("epsilon", [None, 1.0])
def test_a_category_that_no_walk_ends_in_gets_no_share(tiny: Domain, tmp_path: Path, epsilon: float | None) -> None:
    domain = replace(tiny, edges=[edge for edge in tiny.edges if edge.target != "d_card"])
    own = tiny.statistics.model_dump(exclude={"joint"})
    own["categories"]["search"].pop("card")
    domain = with_statistics(domain, own)
    assert ("search", "card") not in cells(domain, labelled=True)["categories"]
    rows = [*SAMPLE, *[search("red beach card please", "card")] * 30] * 4
    found = fit(domain, write(tmp_path, rows), epsilon=epsilon)
    assert set(found.statistics["categories"]["search"]) == {"poster", "logo"}
    warning = "search: 136 calls name a category that no walk ends in; they are not counted in `categories`"
    assert warning in found.warnings


@pytest.mark.parametrize(
    ("tables", "times", "reason"),
    [
        ({"routes": {"search": {"heuristic": 1.0}, "book": {"text": 0.0}}}, 20, "all weights are zero"),
        ({"lengths": {"search": {"short": 1.0}, "book": {"tiny": 1.0}}}, 20, "undeclared length bucket"),
        ({"slots": {"book": {"city": 0.5}}}, 2, ""),  # too few for a share
    ],
)
def test_a_function_with_invalid_tables_gets_no_share(
    tiny: Domain, tmp_path: Path, tables: dict[str, Any], times: int, reason: str
) -> None:
    """The loader does not check tables of functions that the domain does not use; here the sample has some."""
    own = tiny.statistics.model_dump(exclude={"joint"})
    domain = with_statistics(tiny, {**own, "functions": {"search": 1.0}, **tables})
    rows = [*[search("logo red beach", "logo")] * 30, *[book("a bistro table in Oslo", place="bistro")] * times]
    found = fit(domain, write(tmp_path, rows), min_count=3)
    assert found.statistics["functions"]["book"] == 0.0
    assert all("book" not in found.statistics.get(table, {}) for table in ("lengths", "routes", "slots"))
    assert any(line.startswith("functions.book: kept at 0: ") and reason in line for line in found.kept) == bool(reason)


def test_tables_never_contradict_each_other(tiny: Domain) -> None:
    """Whatever noise does to the counts, and whichever of its own shares the domain lacks."""
    draw, own = random.Random(5), tiny.statistics.model_dump(exclude={"joint"})
    buckets = {"short": (1, 5), "long": (6, 12), "extended": (13, 20)}
    quantiles = 0
    for _ in range(500):
        used = draw.choice([{"search": 1.0}, {"search": 0.5, "book": 0.5}, {"search": 1.0, "book": 0.0}])
        lengths = {f: dict.fromkeys(draw.sample(list(buckets), draw.randint(1, 3)), 1.0) for f in own["lengths"]}
        domain = with_statistics(tiny, {**own, "functions": used, "length_buckets": buckets, "lengths": lengths})
        tables = {}
        for name, keys in cells(domain, labelled=True).items():
            mean, spread = draw.choice([0, 10, 100]), draw.choice([3, 30, 300])
            tables[name] = Counter({key: round(draw.gauss(mean, spread)) for key in keys})
        tables["functions"]["search",] = 300
        found = Fitter(domain, Histograms(tables), draw.choice([1, 5, 10, 40])).statistics()
        with_statistics(tiny, found)
        quantiles += len(found.get("word_quantiles", {}))
    assert quantiles > 50


# Bad input


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["has no queries"]),
        ("{nope\n", ["not JSON", "line 1"]),
        ('{"query": "  "}\n', ["line 1"]),
        ('{"query": 3}\n', ["not a golden example", "line 1"]),
        (
            '{"query": "x"}\n{"query": "x", "call": {"name": "serch", "arguments": {}}}\n',
            ["line 2, name", "nearest:  search"],
        ),
        ('{"query": "x", "call": {"name": "book", "arguments": {}}}\n', ["line 1, arguments.city", "missing"]),
    ],
)
def test_bad_files_are_refused(tiny: Domain, tmp_path: Path, text: str, expected: list[str]) -> None:
    file = tmp_path / "queries.jsonl"
    file.write_text(text)
    with pytest.raises(InputError) as error:
        fit(tiny, file)
    for part in [*expected, "queries.jsonl"]:
        assert part in str(error.value)


@pytest.mark.parametrize("options", [{"min_count": 0}, {"epsilon": 0.0}, {"epsilon": -1.0}, {"epsilon": float("nan")}])
def test_bad_options_are_refused(tiny: Domain, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"--min-count|--epsilon"):
        fit(tiny, write(tmp_path, SAMPLE), **options)


def test_thirds() -> None:
    words = ("a", "poster", "of", "the", "red", "beach")
    assert third_of(words, [("poster",)]) == "first"
    assert third_of(words, [("sea",), ("red", "beach")]) == "last"
    assert third_of(words, [("of", "the")]) == "middle" and third_of(words, [("sea",), ()]) is None


def test_an_observation_contains_no_text(tiny: Domain, tmp_path: Path) -> None:
    seen = Observer(tiny, Labeller(tiny)).count(write(tmp_path, SAMPLE))
    texts = [value for o in seen for value in vars(o).values() if isinstance(value, str)]
    assert set(texts) <= {"search", "book", "poster", "logo", "card", "bistro", "none", "first", "middle", "last", "en"}
    assert all(isinstance(o, Observation) for o in seen) and seen.total() == len(SAMPLE)
    assert isinstance(fit(tiny, write(tmp_path, SAMPLE)), Fit) and list(itertools.islice(seen, 1))
