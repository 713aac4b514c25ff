"""Splitting a golden file into two parts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from routenator.domain.golden import load_golden, split_golden
from routenator.domain.loader import load_domain
from routenator.errors import InputError

CREATIVE = Path("configs/domains/creative")


def _calls(lines: list[str]) -> Counter[tuple[str, str]]:
    """How many queries have one call of each function and content type; others count by their number of calls."""
    rows = [json.loads(line) for line in lines]
    found = [row["calls"] if "calls" in row else [row["call"]] for row in rows]
    return Counter(
        (calls[0]["name"], calls[0]["arguments"]["content_type"]) if len(calls) == 1 else ("", str(len(calls)))
        for calls in found
    )


def test_parts_are_disjoint_complete_and_alike() -> None:
    functions = load_domain(CREATIVE).functions
    first, second = split_golden(CREATIVE / "golden.jsonl", functions, 0.5, 0)
    whole = [line for line in (CREATIVE / "golden.jsonl").read_text().splitlines() if line]
    assert sorted(first + second) == sorted(whole) and not set(first) & set(second)
    assert abs(len(first) - len(second)) <= 1
    assert all(abs(count - _calls(second)[cell]) <= 2 for cell, count in _calls(first).items())


def test_the_seed_decides_the_split_and_the_order_of_lines_does_not(tmp_path: Path) -> None:
    functions = load_domain(CREATIVE).functions
    lines = (CREATIVE / "golden.jsonl").read_text().splitlines()
    (tmp_path / "turned.jsonl").write_text("\n".join(reversed(lines)) + "\n")
    first, _ = split_golden(CREATIVE / "golden.jsonl", functions, 0.3, 5)
    turned, _ = split_golden(tmp_path / "turned.jsonl", functions, 0.3, 5)
    other, _ = split_golden(CREATIVE / "golden.jsonl", functions, 0.3, 6)
    assert sorted(first) == sorted(turned) and turned != first
    assert sorted(first) != sorted(other)
    (tmp_path / "first.jsonl").write_text("\n".join(first))
    assert len(load_golden(tmp_path / "first.jsonl", functions)) == len(first)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_an_empty_part_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="this share leaves one part without queries"):
        split_golden(CREATIVE / "golden.jsonl", load_domain(CREATIVE).functions, share, 0)
