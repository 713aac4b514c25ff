"""Tests of ambiguity against a slow reference, and of its independence of files and blocks."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from routenator.dataset import ambiguity
from routenator.dataset.ambiguity import Ambiguity
from routenator.dataset.decisions import Decision, Decisions
from routenator.dataset.merge import decide
from routenator.dataset.sources import open_sources
from tests.routenator.test_dataset_merge import names, row, stratum, write

FUNCTIONS = ("search", "generate", "edit")
STRATA = [{**stratum(number, 400), "function": name} for number, name in enumerate(FUNCTIONS)]


def place(text: str) -> float:
    return float(text.split()[1])


def embed(texts: list[str]) -> np.ndarray:
    """Places a query "at 0.31 ..." on a circle by its number, so close numbers make close queries."""
    angles = np.array([place(text) for text in texts], dtype=np.float32)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def scattered(count: int, seed: int = 1) -> list[dict[str, Any]]:
    """Each function has its own stretch, with a few rows of another in between."""
    random = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        number = int(random.choice(3, p=[0.6, 0.3, 0.1]))
        where = number + random.random() if random.random() < 0.9 else 3 * random.random()
        rows.append(row(index, f"at {where:.6f} n{index}", number, accepted=random.random() < 0.95))
    return rows


def decided(rows: list[dict[str, Any]], rule: Ambiguity | None, files: int = 1, **how: Any) -> Decisions:
    with TemporaryDirectory() as folder:
        sources = open_sources(write(Path(folder), rows, files))
        found = decide(sources, STRATA, [], Path(folder) / "work", ambiguity=rule, **how)
        found.save()
        found = Decisions.load(found.folder)
        found.codes, found.strata = np.array(found.codes), np.array(found.strata)
        return found


def reference(rows: list[dict[str, Any]], share: float, neighbours: int) -> dict[int, tuple[int, list[int]]]:
    """Ambiguous rows by plain loops: index -> (neighbours of another function, the nearest three of them)."""
    pending = [item for item in rows if item["accepted"]]
    found = {}
    for item in pending:
        others = [other for other in pending if other is not item]
        near = sorted(
            others,
            key=lambda other: (
                round((1 - np.cos(place(item["query"]) - place(other["query"]))) * ambiguity.DIGITS),
                other["index"],
            ),
        )
        wrong = [other["index"] for other in near[:neighbours] if other["stratum"] != item["stratum"]]
        if len(wrong) >= share * neighbours - 1e-9:
            found[item["index"]] = (len(wrong), wrong[:3])
    return found


@pytest.mark.parametrize(("share", "neighbours"), [(1.0, 5), (0.6, 10), (0.9, 1)])
def test_agrees_with_plain_loops(share: float, neighbours: int) -> None:
    rows = scattered(300)
    found = decided(rows, Ambiguity(embed, share, neighbours))
    expected = reference(rows, share, neighbours)
    assert 3 < len(expected) < 100
    assert {index for index, name in enumerate(names(found)) if name == "AMBIGUOUS"} == set(expected)
    for index, others, of, *named in found.neighbours.tolist():
        assert (others, [number for number in named if number >= 0]) == expected[index] and of == neighbours
    assert found.count(Decision.AMBIGUOUS) == len(expected)
    assert "AMBIGUOUS" not in names(decided(rows, None))


def test_files_and_blocks_change_nothing() -> None:
    rows = scattered(300)
    rule = Ambiguity(embed, 0.8, 5)
    whole = decided(rows, rule)
    for files, block in ((3, 50), (7, 1000), (1, 17)):
        part = decided(rows, rule, files, block_rows=block)
        assert names(part) == names(whole) and part.neighbours.tolist() == whole.neighbours.tolist()


def test_above_the_limit_there_are_equally_many_references_of_each_function(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = scattered(600)
    asked: list[int] = []
    marked = ambiguity.mark

    def bounded(*arguments: Any, **more: Any) -> None:
        marked(*arguments, **more, references=120)

    def counted(texts: list[str]) -> np.ndarray:
        asked.append(len(texts))
        return embed(texts)

    rule = Ambiguity(counted, 1.0, 5)
    whole = set(np.flatnonzero(decided(rows, rule).codes == Decision.AMBIGUOUS).tolist())
    accepted = sum(item["accepted"] for item in rows)
    assert sum(asked) == accepted  # each once
    asked.clear()
    monkeypatch.setattr("routenator.dataset.ambiguity.mark", bounded)
    found = decided(rows, rule, block_rows=100)
    assert asked[:6] != [] and sum(asked) == accepted  # the references, then the others
    some = set(np.flatnonzero(found.codes == Decision.AMBIGUOUS).tolist())
    assert len(some & whole) > 0.7 * len(whole) and len(some) < 2 * len(whole)
    chosen = ambiguity._draw(fresh(rows), np.arange(3, dtype=np.int32), 3, 0, 120, 100)[0]
    strata = np.array([item["stratum"] for item in rows])
    assert np.bincount(strata[chosen]).tolist() == [40, 40, 40]
    assert chosen.tolist() == ambiguity._draw(fresh(rows), np.arange(3, dtype=np.int32), 3, 0, 120, 999)[0].tolist()


def fresh(rows: list[dict[str, Any]]) -> Decisions:
    with TemporaryDirectory() as folder:
        found = Decisions.new(Path(folder), len(rows), 3)
        found.codes = np.array(
            [Decision.PENDING if item["accepted"] else Decision.REJECTED for item in rows], dtype=np.uint8
        )
        found.strata = np.array([item["stratum"] for item in rows], dtype=np.int32)
        return found


def test_functions_too_small_for_a_neighbourhood_are_skipped() -> None:
    rows = [row(index, f"at 0.{index:03d} n{index}", 1 if index == 5 else 0) for index in range(30)]
    assert set(names(decided(rows, Ambiguity(embed, 1.0, 3)))) == {"FINAL"}
    rows += [row(30 + index, f"at 2.{index:03d} n{index}", 1) for index in range(3)]
    found = decided(rows, Ambiguity(embed, 1.0, 3))
    assert [index for index, name in enumerate(names(found)) if name == "AMBIGUOUS"] == [5]
