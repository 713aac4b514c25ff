"""The measure of naturalness: a line for people's queries and for each group, with faults and perplexity."""

from __future__ import annotations

import sys

import pytest

from benchmarks import naturalness
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
