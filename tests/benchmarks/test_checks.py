"""The benchmark of the checks: its labels are complete, and it runs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import checks
from routenator.domain.loader import load_domain
from routenator.generation.reasons import REASONS
from tests.conftest import ROOT


def test_the_labelled_set_is_whole() -> None:
    rows = checks.read_labelled()
    labels = Counter(row["reason"] for row in rows)
    assert len(rows) >= 300 and labels[None] >= 150
    assert set(labels) - {None} == {reason.code for reason in REASONS if reason.where != "before"} - {
        "surplus",
        "mistaken",  # of the same candidates as `ambiguous`
    }
    assert len({row["query"] for row in rows}) == len(rows)
    domains = {name: load_domain(ROOT / "configs" / "domains" / name) for name in ("creative", "assistant")}
    assert all(row["template"] in domains[row["domain"]].templates for row in rows)
    assert all(row["length"] in domains[row["domain"]].statistics.length_buckets for row in rows)


@pytest.mark.slow
def test_it_runs_and_its_figures_hold(tmp_path: Path) -> None:
    """Without embeddings, so without ambiguity. The bounds are somewhat below what it printed."""
    result = checks.main(["--rows", "200", "--share", "0", "--json", str(tmp_path / "report.json")])
    assert json.loads((tmp_path / "report.json").read_text()) == result
    found = {row["check"]: row for row in result["checks"]}
    assert "ambiguous" not in found and found["schema"]["recall"] == found["duplicate"]["recall"] == 1.0
    mistaken, together = result["together"]
    assert mistaken["refused"] > 8 and mistaken["precision"] > 0.8
    assert together["precision"] > 0.97 and together["recall"] > 0.85
