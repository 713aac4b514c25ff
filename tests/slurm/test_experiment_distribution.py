"""Data compared with the population's statistics, and with real queries that its statistics are not from."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.sampling.shares import normalise
from slurm.experiments.config import load_experiment
from slurm.experiments.planned import entries_of
from slurm.experiments.queries import RARE, count_queries, pooled, same_source
from tests.conftest import TINY, launch_here
from tests.slurm.experiments import world

ARMS = {"unrouted": {"derive": {"flat": True}}, "routed": {}}


def queries(file: Path, searches: int, books: int) -> Path:
    """Golden queries of the tiny domain: posters that come first in the query, and tables for two."""
    rows: list[dict[str, Any]] = []
    for n in range(searches):
        call = {"name": "search", "arguments": {"extracted_prompt": f"cat {n}", "content_type": "poster"}}
        rows.append({"query": f"poster of a cat number {n}", "call": call})
    rows += [
        {"query": f"a table for 2 in Bergen {n}", "call": {"name": "book", "arguments": {"city": "Bergen"}}}
        for n in range(books)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def experiment(folder: Path) -> Path:
    return world(
        folder,
        kind="distribution",
        reference=None,
        arms=ARMS,
        fit=str(queries(folder / "first.jsonl", 30, 10)),
        golden=str(queries(folder / "second.jsonl", 24, 12)),
    )


def test_real_queries_are_counted_by_what_data_are_counted_by(tmp_path: Path) -> None:
    found = count_queries(TINY, queries(tmp_path / "golden.jsonl", 6, 3))
    assert found.rows["function"] == {"search": 6, "book": 3}
    assert found.rows["content type"] == {"search/poster": 6, "book/none": 3}
    assert found.rows["place of the content type, search"] == {"first": 6}
    assert found.words == {"search": Counter({6: 6}), "book": Counter({7: 3})}


def test_cells_of_few_real_queries_are_one_cell(tmp_path: Path) -> None:
    real = {"poster": 9, "a word of somebody": 1, "flyer": 4}
    assert pooled(real, real) == {"poster": 9, RARE: 5}
    assert pooled({"poster": 50, "flyer": 30, "banner": 20}, real) == {"poster": 50, RARE: 50}


def test_two_samples_of_one_population_are_told_from_two_of_different_ones() -> None:
    """Taken for the population itself, forty real queries would make a thousand rows that follow it look wrong."""
    same = same_source({"a": 22, "b": 18}, {"a": 500, "b": 500})
    assert same["degrees"] == 1 and same["p"] > 0.5
    assert same_source({"a": 22, "b": 18}, {"a": 900, "b": 100})["p"] < 1e-6
    assert same_source({"a": 3}, {"a": 8}) == {"statistic": 0.0, "degrees": 0, "p": 1.0}


def test_statistics_are_fitted_to_the_queries_for_it(tmp_path: Path) -> None:
    entries = {entry.arm: entry for entry in entries_of(load_experiment(str(experiment(tmp_path))))}
    fitted, flat, own = (
        normalise(load_domain(folder).statistics.functions)
        for folder in (entries["routed"].plan.config.domain, entries["unrouted"].plan.config.domain, TINY)
    )
    assert fitted == pytest.approx({"search": 0.75, "book": 0.25})
    assert flat == pytest.approx({"search": 0.5, "book": 0.5}) and own["search"] == pytest.approx(0.6)


def test_queries_to_fit_to_that_are_not_there_are_named(tmp_path: Path) -> None:
    file = experiment(tmp_path)
    (tmp_path / "first.jsonl").unlink()
    with pytest.raises(InputError, match="the file to fit statistics to is missing"):
        entries_of(load_experiment(str(file)))
    asked = launch_here("experiment", str(file), "--dry-run")
    assert asked.returncode == 2 and "first.jsonl" in asked.stderr


@pytest.mark.slow
def test_data_with_and_without_the_router_is_compared_with_other_queries(tmp_path: Path) -> None:
    file = experiment(tmp_path)
    assert launch_here("experiment", str(file), "--results", str(tmp_path / "results")).returncode == 0
    folder = tmp_path / "results" / "try"
    found = json.loads((folder / "results.json").read_text())
    assert found["population"]["shares"]["function"] == pytest.approx({"search": 2 / 3, "book": 1 / 3})
    assert list(found["arms"]) == ["(fitted)", "unrouted", "routed"]
    shares = {name: arm["shares"]["function"]["search"] for name, arm in found["arms"].items()}
    assert shares == pytest.approx({"(fitted)": 0.75, "unrouted": 0.5, "routed": 0.75}, abs=0.06)
    chi = found["arms"]["unrouted"]["measures"]["function"]["chi_square"]
    assert chi["degrees"] == 1 and 0 < chi["p"] < 1
    table = (folder / "table.md").read_text()
    assert "Distance from 36 queries" in table and "the queries fitted to" in table
    assert "cat number" not in table + json.dumps(found)
    assert "queries" in (folder / "words.svg").read_text()
    origin = json.loads((folder / "provenance.json").read_text())
    assert sorted(one["rows"] for one in origin["golden"]) == [36, 36, 40]
