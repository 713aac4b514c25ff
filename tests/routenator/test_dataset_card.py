"""Tests of the data set's card: the front matter is valid, and text cannot break out of its table."""

from __future__ import annotations

import pytest
import yaml

from routenator.dataset.card import dataset_card, size_category
from routenator.dataset.distribution import distribution

STRATUM = {"function": "search", "category": "a|b", "route": "text", "length": "short", "language": "en", "quota": 10}

TARGET = {name: {str(STRATUM[name]): 1.0} for name in ("function", "category", "route", "length", "language")}


def card(**changes: object) -> str:
    counts = {
        "train": 9,
        "validation": 1,
        "requested": 20,
        "generated": 20,
        "accepted": 15,
        "final": 10,
        "backfilled": 2,
        "missing": 3,
    }
    counts |= {"strata": 4, "strata_full": 1}
    summary = {
        "counts": {**counts, "rejected": {"length": 5}, "dropped": {"duplicate": 4, "conflict": 0}, **changes},
        "distribution": distribution([STRATUM], {"requested": [20], "accepted": [15], "final": [10]}, TARGET),
        "formats": ["openai"],
        "files": {"train": ["train.parquet", "train.jsonl"], "validation": ["validation.parquet"]},
        "generators": {"<model>": 10},
    }
    return dataset_card(
        summary,
        title="A: title\nof two lines",
        description="What it is.",
        functions={"search": "Find | things"},
        languages=["en", "no"],
        provenance={"plan": "abc"},
        config={"merge": {"backfill": True}},
    )


def test_front_matter() -> None:
    front = yaml.safe_load(card().split("---\n")[1])
    assert front["language"] == ["en", "no"]
    assert front["size_categories"] == ["n<1K"]
    assert [item["split"] for item in front["configs"][0]["data_files"]] == ["train", "validation"]


def test_an_empty_split_is_not_listed() -> None:
    front = yaml.safe_load(card(validation=0).split("---\n")[1])
    assert [item["path"] for item in front["configs"][0]["data_files"]] == ["train.parquet"]


def test_cells_are_escaped() -> None:
    text = card()
    assert "| a\\|b | 100.0% | 100.0% | 100.0% |" in text
    assert "| `search` | Find \\| things |" in text
    assert "<model>" not in text
    assert "# A: title of two lines: synthetic" in text


def test_reasons_of_both_stages_most_frequent_first() -> None:
    text = card()
    assert text.index("| length | 5 |") < text.index("| duplicate | 4 |")
    assert "conflict" not in text.split("## Functions")[0]


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (5_000_000, "1M<n<10M"),
        (2 * 10**9, "1B<n<10B"),
        (10**11, "10B<n<100B"),
    ],
)
def test_size_category(rows: int, name: str) -> None:
    assert size_category(rows) == name
