"""The measure of naturalness: a line for people's queries and for each group, with faults and perplexity."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

from benchmarks import naturalness
from routenator.domain.loader import load_domain
from tests.conftest import ROOT

TINY = ROOT / "tests" / "domains" / "tiny"


@pytest.mark.slow
def test_a_group_with_too_many_faults_misses_the_goal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "argv",
        ["naturalness", "--human", str(TINY / "golden.jsonl"), "--domain", str(TINY), "--rows", "60", "--no-model"],
    )  # fmt: skip
    assert naturalness.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["people", "tiny"]


@pytest.mark.parametrize(("domain", "shown"), [(None, 0), (TINY, 1)])
def test_faults_of_people_are_counted_and_not_shown(
    domain: Path | None, shown: int, capsys: pytest.CaptureFixture[str]
) -> None:
    query = "find a orange poster"
    call = '[{"name": "search", "arguments": {"content_type": "poster", "extracted_prompt": "orange"}}]'
    group = naturalness.Group("rows", None if domain is None else load_domain(domain), [(query, call)])
    naturalness._measure(group, None, None, argparse.Namespace(show=5, rows=1))
    line, *more = capsys.readouterr().out.splitlines()
    assert "100.0" in line and len(more) == shown and all(query in each for each in more)


def test_perplexities_are_compared_at_equal_numbers_of_words() -> None:
    """Short queries have a far higher perplexity: a group of more of them would look unnatural beside the rest."""
    people = naturalness.Reference([0, 2, 2, 2, 2], [9000.0, 100.0, 200.0, 300.0, 400.0])
    assert people.median([2, 2]) == 200.0
    assert people.median([0, 0, 0, 2]) == 9000.0
    assert people.median([0, 2, 2, 2, 2]) == 300.0
    assert people.median([2, 2, 5, 5, 5, 5]) == 200.0, "lengths that people's queries lack are left out"
