"""The target as a joint distribution, word quantiles, and contradictory statistics."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from routenator.domain.fingerprint import domain_fingerprint
from routenator.domain.loader import load_domain
from routenator.domain.quantiles import shares_from_quantiles
from routenator.errors import InputError
from routenator.sampling.strata import build_strata, target_shares
from tests.conftest import TINY, make_config

CELLS = [
    ("search", "poster", "short", 0.30),
    ("search", "poster", "long", 0.05),
    ("search", "logo", "long", 0.15),
    ("search", "card", "short", 0.10),
    ("book", "bistro", "short", 0.05),
    ("book", "bistro", "long", 0.15),
    ("book", "none", "long", 0.20),
]
# What the cells above add up to, as conditionals.
MARGINALS = {
    "functions": {"search": 0.6, "book": 0.4},
    "categories": {"search": {"poster": 0.35, "logo": 0.15, "card": 0.1}, "book": {"bistro": 1.0}},
    "lengths": {"search": {"short": 0.4, "long": 0.2}, "book": {"short": 0.05, "long": 0.35}},
}


def cells() -> list[dict[str, Any]]:
    return [{"function": f, "category": c, "length": n, "language": "en", "share": s} for f, c, n, s in CELLS]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "tiny"))


def write(folder: Path, **changes: Any) -> None:
    """Write the tiny domain's statistics.yaml with some keys changed; None removes a key."""
    value = yaml.safe_load((TINY / "statistics.yaml").read_text())
    value.update(changes)
    (folder / "statistics.yaml").write_text(
        yaml.safe_dump({key: item for key, item in value.items() if item is not None})
    )


def as_joint(folder: Path, joint: Any, **more: Any) -> None:
    slots = {"book": {"people": 0.5, "near": 0.4}}
    write(folder, **{"joint": joint, "functions": None, "categories": None, "lengths": None, "slots": slots, **more})


def test_the_joint_is_the_target(folder: Path) -> None:
    as_joint(folder, cells())
    domain = load_domain(folder)
    config = make_config(domain=str(folder), dataset={"size": 1000})
    found: Counter[tuple[str, str, str]] = Counter()
    for (function, category, _, _, length, _), share in target_shares(domain, config).items():
        found[function, category, length] += share  # type: ignore[assignment]
    assert dict(found) == pytest.approx({(f, c, n): s for f, c, n, s in CELLS})
    quotas: Counter[tuple[str, str, str]] = Counter()
    for row in build_strata(domain, config):
        quotas[row.function, row.category, row.length] += row.quota
    assert quotas == {(f, c, n): round(1000 * s) for f, c, n, s in CELLS}


def test_marginals_follow_from_the_joint(folder: Path) -> None:
    as_joint(folder, cells())
    statistics = load_domain(folder).statistics
    assert statistics.functions == pytest.approx({"search": 0.6, "book": 0.4})
    assert statistics.categories["search"] == pytest.approx({"poster": 7 / 12, "logo": 3 / 12, "card": 2 / 12})
    assert statistics.lengths["book"] == pytest.approx({"short": 1 / 8, "long": 7 / 8})
    assert statistics.slots["book"] == pytest.approx({"people": 0.5, "near": 0.4, "place": 0.5})
    assert statistics.languages == pytest.approx({"en": 1.0})


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_joint_in_a_file(folder: Path, suffix: str) -> None:
    import polars as pl

    as_joint(folder, f"joint.{suffix}")
    table = pl.DataFrame(cells())
    if suffix == "csv":
        table.write_csv(folder / "joint.csv")
    else:
        table.write_parquet(folder / "joint.parquet")
    before = domain_fingerprint(folder)
    domain = load_domain(folder)
    as_joint(folder, cells())
    assert domain.joint == load_domain(folder).joint
    (folder / f"joint.{suffix}").unlink()
    assert domain_fingerprint(folder) != before


def test_consistent_marginals_may_be_given_as_well(folder: Path) -> None:
    as_joint(folder, cells(), slots={"book": {"place": 0.5, "people": 0.5, "near": 0.4}}, **MARGINALS)
    assert load_domain(folder).statistics.slots["book"]["place"] == pytest.approx(0.5)


def changed(number: int, **changes: Any) -> list[dict[str, Any]]:
    rows = cells()
    rows[number].update(changes)
    return rows


BAD_JOINTS = [
    ({"joint": changed(2, category="lgo")}, ["joint[2], category", "lgo", "nearest:  logo"]),
    ({"joint": changed(0, function="serch")}, ["joint[0], function", "nearest:  search"]),
    ({"joint": changed(1, length="lang")}, ["undeclared length bucket", "joint[1], length", "nearest:  long"]),
    ({"joint": changed(0, language="English")}, ["not a language code", "English"]),
    (
        {"joint": changed(0, category="none")},
        ["the API has no such category", "none"],
    ),  # the API requires search's category
    ({"joint": changed(1, length="short")}, ["duplicate cell", "search x poster x short x en"]),
    ({"joint": changed(0, share=-1)}, ["joint.list[JointCell].0.share", "greater than or equal to 0"]),
    ({"joint": changed(0, sharre=1)}, ["unknown key", "sharre"]),
    ({"joint": [{**row, "share": 0} for row in cells()]}, ["weights are zero", "joint"]),
    ({"joint": "../joint.csv"}, ["outside the domain's folder"]),
    ({"joint": "joint.tsv"}, ["unsupported file type", "joint.tsv"]),
    ({"joint": "joint.csv"}, ["joint.csv", "not found"]),
    ({"joint": "joint.parquet"}, ["joint.parquet", "not found"]),
    (
        {"joint": cells(), "functions": {"search": 0.7, "book": 0.3}},
        ["contradict", "functions.search", "0.7000, and 0.6000 in joint"],
    ),
    (
        {"joint": cells(), "categories": {"search": {"poster": 1, "logo": 1, "card": 1}}},
        ["contradict", "categories.search.poster", "0.3333, and 0.5833 in joint"],
    ),
    ({"joint": cells(), "lengths": {"book": {"short": 1}}}, ["contradict", "lengths.book.short"]),
    ({"joint": cells(), "languages": {"en": 1, "de": 1}}, ["contradict", "languages.de"]),
    ({"joint": cells(), "slots": {"book": {"place": 0.9}}}, ["contradict", "slots.book.place", "0.9000, and 0.5000"]),
]


@pytest.mark.parametrize(("changes", "expected"), BAD_JOINTS, ids=[" ".join(parts)[:40] for _, parts in BAD_JOINTS])
def test_bad_joints_are_refused(folder: Path, changes: dict[str, Any], expected: list[str]) -> None:
    as_joint(folder, **changes)
    with pytest.raises(InputError) as error:
        load_domain(folder)
    for part in expected:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("function,category,length,share\nsearch,poster,short,1\n", ["missing column", "language"]),
        ("function,category,length,language,share\nsearch,poster,short,en,much\n", ["line 2, share", "much"]),
        ("function,category,length,language,share\nsearch,poster,short,en,inf\n", ["line 2, share", "inf"]),
        (
            "function,category,length,language,share\nsearch,poster,short,en,1\nsearch,pster,short,en,1\n",
            ["line 3, category", "poster"],
        ),
    ],
)
def test_bad_tables_name_file_and_line(folder: Path, text: str, expected: list[str]) -> None:
    as_joint(folder, "joint.csv")
    (folder / "joint.csv").write_text(text)
    with pytest.raises(InputError) as error:
        load_domain(folder)
    for part in [*expected, "joint.csv"]:
        assert part in str(error.value)


def test_a_file_that_is_not_parquet_is_refused(folder: Path) -> None:
    as_joint(folder, "joint.parquet")
    (folder / "joint.parquet").write_text("function,category\n")
    with pytest.raises(InputError, match="not Parquet"):
        load_domain(folder)


BAD_STATISTICS = [
    ({"functions": None}, ["missing key", "functions"]),
    (
        {"word_quantiles": {"search": {0.25: 6, 0.5: 3}}},
        ["quantiles out of order", "word_quantiles.search.0.5", "3 words", "at least 6"],
    ),
    (
        {"lengths": {"book": {"short": 1}}, "word_quantiles": {"search": {0.25: 6, 0.5: 3}}},
        ["quantiles out of order", "word_quantiles.search.0.5"],
    ),
    (
        {"word_quantiles": {"search": {0.25: 9}}},
        ["contradict", "word_quantiles.search.0.25", "9 words", "50.0% of its queries", "(short)"],
    ),
    ({"word_quantiles": {"search": {0.9: 4}}}, ["contradict", "word_quantiles.search.0.9", "4 words"]),
    ({"word_quantiles": {"serch": {0.5: 4}}}, ["the API has no such function", "nearest:  search"]),
    ({"word_quantiles": {"search": {1.5: 4}}}, ["word_quantiles.search.1.5"]),
    ({"length_buckets": {"short": [1, 6], "long": [6, 20]}}, ["overlap", "length_buckets.long", "above 6"]),
    ({"slots": {"book": {"city": 0.5}}}, ["slots.book.city", "required parameter"]),
    ({"languages": {"english": 1}}, ["not a language code", "languages.english"]),
    ({"keyword_position": {"search": {"first": 0}}}, ["weights are zero", "keyword_position.search"]),
]


@pytest.mark.parametrize(
    ("changes", "expected"), BAD_STATISTICS, ids=[" ".join(parts)[:40] for _, parts in BAD_STATISTICS]
)
def test_contradictory_statistics_are_refused(folder: Path, changes: dict[str, Any], expected: list[str]) -> None:
    write(folder, **changes)
    with pytest.raises(InputError) as error:
        load_domain(folder)
    for part in [*expected, "statistics.yaml"]:
        assert part in str(error.value)


def test_categories_of_a_function_without_a_category(folder: Path) -> None:
    file = folder / "domain.yaml"
    file.write_text(file.read_text().replace("    category: {step: Place}\n", ""))
    with pytest.raises(InputError, match=r"categories\.book"):
        load_domain(folder)


def test_lengths_may_be_given_by_quantiles(folder: Path) -> None:
    write(folder, lengths={"book": {"short": 0.3, "long": 0.7}}, word_quantiles={"search": {0.5: 4, 0.75: 6, 0.9: 9}})
    shares = load_domain(folder).statistics.lengths["search"]
    # At most 5 words: between the median (4) and the upper quartile (6).
    assert shares["short"] == pytest.approx(0.5 + 0.25 * 1.5 / 2)
    assert math.fsum(shares.values()) == pytest.approx(1.0)


BUCKETS = {"short": (1, 4), "medium": (5, 9), "long": (10, 30)}


def rising(table: dict[float, int]) -> dict[float, int]:
    return dict(zip(sorted(table), sorted(table.values()), strict=True))


@given(st.dictionaries(st.floats(0.01, 0.99), st.integers(1, 40), max_size=6).map(rising))
def test_quantiles_give_shares_that_agree_with_them(quantiles: dict[float, int]) -> None:
    shares = shares_from_quantiles(quantiles, BUCKETS)
    assert math.fsum(shares.values()) == pytest.approx(1.0) and min(shares.values()) >= 0
    for share, words in quantiles.items():
        mass = 0.0
        for name, (_, high) in BUCKETS.items():
            mass += shares[name]
            if min(words, 30) <= high:
                assert mass >= share - 1e-9
            else:
                assert mass <= share + 1e-9
