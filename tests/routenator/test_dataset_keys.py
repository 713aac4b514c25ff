"""What makes two queries or calls the same, and the keyed split."""

from __future__ import annotations

import string

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routenator.dataset import keys
from routenator.domain.golden import normalise_query

TEXT = st.text(alphabet=string.printable + "éÉüÜñçøÅ\u00a0–’“”…¿", max_size=60)


def one(expression: pl.Expr, **columns: object) -> object:
    return pl.DataFrame({name: [value] for name, value in columns.items()}).select(expression).item()


@given(TEXT)
def test_normalised_agrees_with_the_golden_sets(query: str) -> None:
    assert one(keys.normalised("query"), query=query) == normalise_query(query)


@pytest.mark.parametrize(
    ("first", "second", "same", "near"),
    [
        ("Find a Dog poster!", "find a dog  POSTER", True, True),
        ("dog poster", "poster, dog", False, True),
        ("dog dog poster", "dog poster", False, False),
        ("snake_case words", "snake case words", True, True),
        ("poster 1", "poster 2", False, False),
    ],
)
def test_same_and_near(first: str, second: str, same: bool, near: bool) -> None:
    assert (one(keys.normalised("q"), q=first) == one(keys.normalised("q"), q=second)) is same
    assert (one(keys.bag("q"), q=first) == one(keys.bag("q"), q=second)) is near


@given(TEXT)
def test_word_count_counts_runs_of_signs(query: str) -> None:
    assert one(keys.word_count("query"), query=query) == len(query.split())


def test_groups_are_keyed_and_stable() -> None:
    texts = ["search\na b", "search\nb c"]
    # Written down, so that a change of the hash (which would move rows between splits of published data) is noticed.
    assert keys.group_hashes(texts, seed=7) == ["0c93251642ffe247", "a56664056baca07b"]
    assert keys.group_hashes(texts, seed=7) != keys.group_hashes(texts, seed=8)


def test_group_ignores_case_punctuation_and_order_of_words() -> None:
    text = keys.group_text()
    base = one(text, function="search", arguments='{"type": "poster", "prompt": "red dog"}')
    assert base == one(text, function="search", arguments='{"type":"Poster","prompt":"dog, red!"}')
    assert base != one(text, function="generate", arguments='{"type": "poster", "prompt": "red dog"}')
    assert base != one(text, function="search", arguments='{"type": "poster", "prompt": "red cat"}')


LOW, HIGH = "0000000000000001", "ffffffffffffffff"


@pytest.mark.parametrize(
    ("share", "group", "validation"),
    [
        (0.0, LOW, False),
        (1.0, HIGH, True),
        (0.5, "7fffffffffffffff", True),
        (0.5, "8000000000000000", False),
        (0.25, "3fffffffffffffff", True),
        (0.25, "4000000000000000", False),
    ],
)
def test_threshold(share: float, group: str, validation: bool) -> None:
    assert (group < keys.split_threshold(share, LOW, HIGH)) is validation


def test_no_side_is_left_empty_if_two_groups_exist() -> None:
    low, high = "a000000000000000", "b000000000000000"
    assert low < keys.split_threshold(0.1, low, high) <= high  # both above the share: the lower one is moved
    low, high = "1000000000000000", "2000000000000000"
    assert low < keys.split_threshold(0.9, low, high) <= high  # both below it: the higher one is moved


@pytest.mark.parametrize("group", [LOW, HIGH])
def test_a_single_group_goes_to_training(group: str) -> None:
    assert not group < keys.split_threshold(0.5, group, group)


def test_shares_are_met_in_expectation() -> None:
    groups = keys.group_hashes([f"search\n{number}" for number in range(20_000)], seed=3)
    threshold = keys.split_threshold(0.1, min(groups), max(groups))
    assert sum(group < threshold for group in groups) / len(groups) == pytest.approx(0.1, abs=0.008)
