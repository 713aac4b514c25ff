"""Tests of which candidates stay: against a plain reference, and each quota rule by itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routenator.dataset.decisions import KEPT, Decision, Decisions
from routenator.dataset.merge import decide, join_groups
from routenator.dataset.quotas import CELL, _take_first
from routenator.dataset.sources import open_sources
from routenator.errors import StageError
from routenator.normalform import normal_form
from routenator.schemas import CANDIDATE_COLUMNS, arrow_schema


def stratum(number: int, quota: int, route: str = "text", length: str = "short") -> dict[str, Any]:
    return {
        "stratum": number, "function": "search", "category": "poster", "route": route, "template": f"{route}/a",
        "length": length, "language": "en", "target": 0.5, "quota": quota, "requested": quota,
    }  # fmt: skip


def row(
    index: int, query: str, number: int = 0, arguments: str = '{"p": "x"}', accepted: bool = True, **more: Any
) -> dict[str, Any]:
    base: dict[str, Any] = dict.fromkeys(CANDIDATE_COLUMNS)
    return {
        **base, "index": index, "query": query, "stratum": number, "function": "search",
        "calls": f'[{{"name": "search", "arguments": {arguments}}}]',
        "accepted": accepted, "reason": None if accepted else "length", **more,
    }  # fmt: skip


def write(folder: Path, rows: list[dict[str, Any]], files: int = 1) -> list[tuple[str, Path]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = []
    for number in range(files):
        part = rows[len(rows) * number // files : len(rows) * (number + 1) // files]
        path = folder / f"{number}.parquet"
        pq.write_table(pa.Table.from_pylist(part, schema=arrow_schema(CANDIDATE_COLUMNS)), path)
        found.append((f"generate shard {number}", path))
    return found[::-1]  # the order of the files must not matter


def verdicts(
    rows: list[dict[str, Any]],
    strata: list[dict[str, Any]],
    golden: list[str] | None = None,
    files: int = 1,
    **how: Any,
) -> Decisions:
    with TemporaryDirectory() as folder:
        sources = open_sources(write(Path(folder), rows, files))
        found = decide(sources, strata, golden or [], Path(folder) / "work", **how)
        found.save()
        # Copies, because the files are deleted with the folder.
        found = Decisions.load(found.folder)
        for name in ("codes", "strata", "kept", "groups"):
            setattr(found, name, np.array(getattr(found, name)))
        return found


def names(decisions: Decisions) -> list[str]:
    return [Decision(code).name for code in decisions.codes]


def reference(
    rows: list[dict[str, Any]], strata: list[dict[str, Any]], golden: list[str], near: bool, backfill: bool
) -> list[str]:
    """The same rules as plain loops."""
    result = [""] * len(rows)
    leaks = {normal_form(query) for query in golden}
    near_leaks = {" ".join(sorted(leak.split())) for leak in leaks}
    calls: dict[str, str] = {}
    bags: set[str] = set()
    left = {item["stratum"]: item["quota"] for item in strata}
    for item in rows:
        key = normal_form(item["query"])
        bag = " ".join(sorted(key.split()))
        if not item["accepted"]:
            result[item["index"]] = "REJECTED"
        elif key in leaks:
            result[item["index"]] = "GOLDEN_LEAK"
        elif bag in near_leaks:
            result[item["index"]] = "GOLDEN_NEAR_LEAK"
        elif key in calls:
            result[item["index"]] = "DUPLICATE" if calls[key] == item["calls"] else "CONFLICT"
        elif near and bag in bags:
            result[item["index"]] = "NEAR_DUPLICATE"
            calls[key] = item["calls"]
        else:
            calls[key] = item["calls"]
            bags.add(bag)
            result[item["index"]] = "FINAL" if left[item["stratum"]] else "SURPLUS"
            left[item["stratum"]] -= left[item["stratum"]] > 0
    short: Counter[tuple[str, ...]] = Counter()
    for item in strata:
        short[tuple(item[key] for key in CELL)] += left[item["stratum"]]
    for item in rows:
        cell = tuple(strata[item["stratum"]][key] for key in CELL)
        if backfill and result[item["index"]] == "SURPLUS" and short[cell]:
            result[item["index"]] = "BACKFILLED"
            short[cell] -= 1
    return result


WORDS = st.lists(st.sampled_from(["dog", "Dog", "poster", "red,", "a"]), min_size=1, max_size=3).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(
    drawn=st.lists(
        st.tuples(
            WORDS, st.integers(0, 3), st.sampled_from(['{"p": "x"}', '{"p": "y"}']), st.booleans() | st.just(True)
        ),
        min_size=1,
        max_size=40,
    ),
    quotas=st.lists(st.integers(0, 4), min_size=4, max_size=4),
    golden=st.lists(WORDS, max_size=2),
    near=st.booleans(),
    backfill=st.booleans(),
    files=st.integers(1, 3),
    block=st.integers(1, 50),
    partition=st.integers(1, 50),
)
def test_agrees_with_plain_loops(
    drawn: list[tuple[str, int, str, bool]],
    quotas: list[int],
    golden: list[str],
    near: bool,
    backfill: bool,
    files: int,
    block: int,
    partition: int,
) -> None:
    strata = [
        stratum(0, quotas[0]),
        stratum(1, quotas[1], "vision"),
        stratum(2, quotas[2], length="long"),
        stratum(3, quotas[3], "heuristic"),
    ]
    rows = [row(index, query, number, call, ok) for index, (query, number, call, ok) in enumerate(drawn)]
    found = verdicts(
        rows,
        strata,
        golden,
        files,
        near_duplicates="bag" if near else "off",
        backfill=backfill,
        block_rows=block,
        partition_rows=partition,
    )
    assert names(found) == reference(rows, strata, golden, near, backfill)


def test_the_lowest_index_is_kept_and_named() -> None:
    rows = [
        row(0, "a red dog"),
        row(1, "A red dog!"),
        row(2, "dog red a"),
        row(3, "a RED dog", arguments='{"p": "y"}'),
        row(4, "golden query"),
    ]
    found = verdicts(rows, [stratum(0, 9)], ["Golden, query?"])
    assert names(found) == ["FINAL", "DUPLICATE", "NEAR_DUPLICATE", "CONFLICT", "GOLDEN_LEAK"]
    assert list(found.kept[1:4]) == [0, 0, 0]


def test_a_rejected_row_takes_no_place_and_makes_no_other_row_a_duplicate() -> None:
    found = verdicts([row(0, "same", accepted=False), row(1, "same")], [stratum(0, 1)])
    assert names(found) == ["REJECTED", "FINAL"]


def test_deficits_are_filled_within_the_cell_and_reported() -> None:
    strata = [stratum(0, 3, "text"), stratum(1, 1, "heuristic"), stratum(2, 2, "text", length="long")]
    rows = [row(0, "one", 0), *(row(index, f"query {index}", 1) for index in range(1, 3)), row(3, "long one", 2)]
    found = verdicts(rows, strata)
    assert names(found) == ["FINAL", "FINAL", "BACKFILLED", "FINAL"]
    assert [(d["stratum"], d["quota"], d["own"], d["backfilled"], d["missing"]) for d in found.deficits] == [
        (0, 3, 1, 1, 1),
        (2, 2, 1, 0, 1),
    ]
    assert found.per_stratum(Decision) == [1, 2, 1]
    assert found.per_stratum(KEPT) == [1, 2, 1]
    assert found.count(Decision.BACKFILLED) == 1


def test_extra_rows_of_a_cell_are_credited_to_its_earlier_strata_first() -> None:
    strata = [stratum(0, 2, "text"), stratum(1, 3, "vision"), stratum(2, 1, "heuristic"), stratum(3, 2, "text")]
    found = verdicts([row(index, f"query {index}", 2) for index in range(5)], strata)
    assert names(found) == ["FINAL"] + ["BACKFILLED"] * 4
    assert [(d["stratum"], d["own"], d["backfilled"], d["missing"]) for d in found.deficits] == [
        (0, 0, 2, 0),
        (1, 0, 2, 1),
        (3, 0, 0, 2),
    ]


def test_without_backfill_surplus_stays_surplus() -> None:
    strata = [stratum(0, 3, "text"), stratum(1, 1, "heuristic")]
    rows = [row(0, "one", 0), row(1, "two", 1), row(2, "three", 1)]
    found = verdicts(rows, strata, backfill=False)
    assert names(found) == ["FINAL", "FINAL", "SURPLUS"]
    assert found.deficits[0]["missing"] == 2


def test_an_unknown_stratum_is_an_error() -> None:
    with pytest.raises(StageError, match="candidate 1 has stratum 5, but there are 1 strata"):
        verdicts([row(0, "a"), row(1, "b", 5)], [stratum(0, 1)])


def test_rows_that_differ_in_word_order_are_on_one_side_of_the_split_even_if_kept() -> None:
    rows = [row(0, "a red dog"), row(1, "red dog a", arguments='{"p": "y"}'), row(2, "a cat", arguments='{"p": "z"}')]
    found = verdicts(rows, [stratum(0, 9)], near_duplicates="off", seed=5)
    assert names(found) == ["FINAL"] * 3
    groups = found.group_of(0, 3)
    assert len(set(found.groups.tolist())) == 3
    assert groups[0] == groups[1] != groups[2]


def test_connected_groups_count_as_the_smallest_of_them() -> None:
    pairs = np.array([[5, 9, 20, 7], [9, 3, 30, 7]], dtype=np.uint64)
    assert join_groups(pairs).tolist() == [[5, 9, 30], [3, 3, 20]]
    assert join_groups(pairs[:, :0]).shape == (2, 0)


def test_minhash_drops_similar_rows_and_names_the_row_that_is_kept() -> None:
    rows = [
        row(0, "find me a poster of a red dog on the beach at sunset"),
        row(1, "find me a poster of a blue whale under the bright moon"),
        row(2, "find me a poster of a red dog on the beach at sunsets"),
        row(3, "poster find me a of a red dog on the beach at sunset"),
        row(4, "please show the golden query of a tiny green bird"),
        row(5, "please show the golden query of a tiny green birds"),
    ]
    golden = ["please show the golden query of a tiny green bird!!"]
    found = verdicts(rows, [stratum(0, 9)], golden, near_duplicates="minhash", near_threshold=0.8)
    assert names(found) == ["FINAL", "FINAL", "NEAR_DUPLICATE", "NEAR_DUPLICATE", "GOLDEN_LEAK", "GOLDEN_NEAR_LEAK"]
    assert found.kept[2:4].tolist() == [0, 0]


@pytest.mark.parametrize("groups", [3, 2**16, 2**16 + 1, 2**17])
def test_places_go_to_the_first_of_each_group_however_many_groups_there_are(groups: int) -> None:
    """Up to 2**16 groups are sorted as 16-bit numbers."""
    last = groups - 1
    places = np.zeros(groups, dtype=np.int64)
    places[[0, last]] = [1, 2]
    taken = _take_first(np.array([last, 0, last, 0, 1, last]), places)
    assert taken.tolist() == [True, True, True, False, False, False]
    assert not places.any()


def test_rows_of_a_call_without_arguments_are_not_one_group() -> None:
    """All rows of a function without arguments went to one side of the split: to validation, it was never trained."""
    rows = [row(0, "stop"), row(1, "please stop"), row(2, "STOP it"), row(3, "a cat")]
    for item in rows[:3]:
        item["calls"] = '[{"name": "search", "arguments": {}}]'
    rows[3]["calls"] = '[{"name": "search", "arguments": {"p": "z"}}]'
    found = verdicts(rows, [stratum(0, 9)], near_duplicates="off", seed=5)
    assert names(found) == ["FINAL"] * 4
    assert len(set(found.group_of(0, 4).tolist())) == 4
