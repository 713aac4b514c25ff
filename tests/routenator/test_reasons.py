"""Tests that the table of reasons is complete, has no duplicates, and matches docs/checks.md."""

from __future__ import annotations

import re
from pathlib import Path

from routenator.dataset.decisions import DROPPED
from routenator.generation.reasons import REASONS
from routenator.validation.checks import CHECKS, EARLY_REASONS
from tests.conftest import ROOT

ROW = re.compile(r"^\| `([a-z_]+)` \| (.+?) \| (.+) \|$")
WHERE = {"before": "before there is a query", "check": "check", "agreement": "agreement check", "merge": "merge"}


def test_every_code_is_listed_once() -> None:
    codes = [reason.code for reason in REASONS]
    assert sorted(codes) == sorted(
        {*EARLY_REASONS, *CHECKS, "mistaken", "judge", *(decision.reason for decision in DROPPED)}
    )
    assert all(len(reason.meaning) > 5 for reason in REASONS)


def test_the_generator_gives_only_listed_reasons() -> None:
    """Reads the generator's literals; checks and merge take their codes from their own tables."""
    text = (Path(ROOT) / "routenator" / "generation" / "generator.py").read_text(encoding="utf-8")
    given = {*re.findall(r'_Refused\("([a-z_]+)"', text), *re.findall(r'\.refuse\("([a-z_]+)"', text)}
    assert given and given <= set(EARLY_REASONS)


def test_the_page_shows_the_table() -> None:
    page = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    rows = [found.groups() for line in page.splitlines() if (found := ROW.match(line))]
    assert rows == [(reason.code, WHERE[reason.where], reason.meaning) for reason in REASONS]
