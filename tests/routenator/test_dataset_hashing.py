"""Tests of the hashes of words, texts, bags and groups: equal exactly when they should be, and never changing."""

from __future__ import annotations

import string

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routenator.dataset import hashing
from routenator.normalform import normal_form

TEXT = st.text(alphabet=string.printable + "éÉüÜñçøÅ\u00a0–’“”…¿日本ßﬁ\u0301\u200b😀", max_size=40)


def text_hashes(texts: list[str | None]) -> hashing.Hashes:
    return hashing.hash_queries(pl.Series(texts, dtype=pl.String))


@settings(deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=8))
def test_hashes_are_equal_exactly_if_the_normal_forms_are(texts: list[str]) -> None:
    found = text_hashes(texts)
    words = [normal_form(text).split() for text in texts]
    for name, forms in (("text", words), ("bag", [sorted(form) for form in words])):
        values = getattr(found, name).tolist()
        assert [[a == b for b in forms] for a in forms] == [[a == b for b in values] for a in values]


@settings(deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=8), st.integers(1, 64))
def test_a_row_does_not_depend_on_its_neighbours_or_the_chunk(texts: list[str], size: int) -> None:
    whole = text_hashes(texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashing, "_CHUNK_BYTES", size)
        cut = text_hashes(texts)
    assert whole.text.tolist() == cut.text.tolist() == [int(text_hashes([text]).text[0]) for text in texts]
    assert whole.bag.tolist() == cut.bag.tolist()


def test_no_collisions_among_many_similar_texts() -> None:
    texts = [f"poster {a} {b} x{a * b}" for a in range(300) for b in range(300)]
    found = text_hashes(texts)
    assert len(np.unique(found.text)) == len(texts)
    assert (
        len(np.unique(found.text >> np.uint64(24))) > len(texts) - 10
    )  # upper 40 bits: about 0.004 collisions expected


def test_empty_input_and_nulls() -> None:
    found = text_hashes([None, "", "?!", "a"])
    assert found.bag.tolist()[:3] == [0, 0, 0]
    assert found.bag[3] != 0


# Fixed values: a changed hash would move rows between the splits of published data.
def test_known_answers() -> None:
    functions = hashing.name_hashes(["search", "generate"])
    found = hashing.group_hashes(functions, pl.Series(['{"p": "red dog"}', '{"p": "red dog"}']), seed=7)
    assert hashing.hex_digits(found).to_list() == KNOWN


KNOWN = ["7b7868547d37438a", "3af1abc46c72b8c8"]


def test_groups_depend_on_the_seed_and_ignore_case_punctuation_and_order() -> None:
    same = np.repeat(hashing.name_hashes(["search"]), 3)
    texts = pl.Series(
        [
            '{"type": "poster", "prompt": "red dog"}',
            '{"type":"Poster","prompt":"dog, red!"}',
            '{"type": "poster", "prompt": "cat"}',
        ]
    )
    found = hashing.group_hashes(same, texts, seed=1)
    assert found[0] == found[1] != found[2]
    assert hashing.group_hashes(same, texts, seed=2)[0] != found[0]


def test_groups_are_spread_evenly() -> None:
    texts = pl.Series([f"w{number}" for number in range(20_000)])
    found = hashing.group_hashes(np.zeros(20_000, dtype=np.uint64), texts, seed=3)
    assert (found < np.uint64(2**64 // 10)).mean() == pytest.approx(0.1, abs=0.008)


def test_hex_digits() -> None:
    values = np.array([0, 255, 2**64 - 1, 0x0C93251642FFE247], dtype=np.uint64)
    assert hashing.hex_digits(values).to_list() == [f"{value:016x}" for value in values.tolist()]
