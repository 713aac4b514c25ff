"""Tests of the number of words of a query, and of the split by group hash."""

from __future__ import annotations

import string

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routenator.dataset import keys

TEXT = st.text(alphabet=string.printable + "éÉüÜñçøÅ\u00a0–’“”…¿", max_size=60)


def one(expression: pl.Expr, **columns: object) -> object:
    return pl.DataFrame({name: [value] for name, value in columns.items()}).select(expression).item()


@given(TEXT)
def test_word_count_counts_runs_of_characters(query: str) -> None:
    assert one(keys.word_count("query"), query=query) == len(query.split())


LOW, HIGH = 1, 2**64 - 1


@pytest.mark.parametrize(
    ("share", "group", "validation"),
    [
        (0.0, LOW, False),
        (1.0, HIGH, True),
        (0.5, 2**63 - 1, True),
        (0.5, 2**63, False),
        (0.25, 2**62 - 1, True),
        (0.25, 2**62, False),
    ],
)
def test_threshold(share: float, group: int, validation: bool) -> None:
    assert (group < keys.split_threshold(share, LOW, HIGH)) is validation


def test_no_side_is_left_empty_if_two_groups_exist() -> None:
    low, high = 10 * 2**60, 11 * 2**60
    assert low < keys.split_threshold(0.1, low, high) <= high  # both above the share: the lower one is moved
    low, high = 2**60, 2 * 2**60
    assert low < keys.split_threshold(0.9, low, high) <= high


@pytest.mark.parametrize("group", [LOW, HIGH])
def test_a_single_group_goes_to_training(group: int) -> None:
    assert not group < keys.split_threshold(0.5, group, group)
