"""Tests of extracting the query from a model's reply."""

from __future__ import annotations

import pytest

from routenator.generation.query import clean_query


@pytest.mark.parametrize(
    ("reply", "query"),
    [
        ('{"query": "find  a\\n poster"}', "find a poster"),
        ('{"query": "\\"a poster\\""}', "a poster"),
        ('{"query": ""}', ""),
        ('{"query": "cut', None),
        ('{"text": "a poster"}', None),
        ('{"query": 3}', None),
        ('["a poster"]', None),
        ("a poster", None),
    ],
)
def test_json(reply: str, query: str | None) -> None:
    assert clean_query(reply, "json", "query") == query


@pytest.mark.parametrize(
    ("reply", "query"),
    [
        ("\n  find a poster \nand more", "find a poster"),
        ('"find a poster"', "find a poster"),
        ("“find a poster”", "find a poster"),
        ("- find a poster", "find a poster"),
        ("1. find a poster", "find a poster"),
        ("2 posters of a dog", "2 posters of a dog"),
        ("'dog' and 'cat' posters", "'dog' and 'cat' posters"),
        ('"dog" posters of "cats"', '"dog" posters of "cats"'),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_line(reply: str, query: str) -> None:
    assert clean_query(reply, "line", "query") == query
