"""Baselines learn from the training set alone and answer as documented."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from routenator.chat.replies import Reply
from routenator.domain.calls import Call, calls_text
from routenator.evaluation.baselines import NAMES, Example, baseline_replies, read_examples

TRAIN: list[Example] = [
    ("play blue moon", (Call("play", {"song": "Blue Moon"}),)),
    ("play halo please", (Call("play", {"song": "halo"}),)),
    ("please play blue moon now", (Call("play", {"song": "Blue Moon"}),)),
    ("will it rain in rome", (Call("weather", {"city": "rome"}),)),
    ("rain in paris please", (Call("weather", {"city": "paris"}),)),
    ("is there rain in new york", (Call("weather", {"city": "new york"}),)),
    ("play halo", (Call("play", {"song": "halo"}),)),
    ("play blue moon again", (Call("play", {"song": "Blue Moon"}),)),
]


def bag(texts: list[str]) -> np.ndarray:
    """An embedding that needs no model: normalised letter counts."""
    rows = np.array([[text.count(chr(97 + letter)) for letter in range(26)] for text in texts], dtype=float)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_majority_returns_the_most_common_call_of_the_most_common_function() -> None:
    replies = baseline_replies("majority", TRAIN, ["anything", "else"], bag)
    assert replies == [Reply((Call("play", {"song": "Blue Moon"}),))] * 2


def test_keywords_decide_the_function_and_known_values_fill_the_arguments() -> None:
    rain, song, unknown = baseline_replies("keywords", TRAIN, ["rain over new york?", "now play Halo!", "zzz"], bag)
    assert rain == Reply((Call("weather", {"city": "new york"}),))
    assert song == Reply((Call("play", {"song": "halo"}),))
    assert unknown == Reply((Call("play", {}),))


def test_nearest_copies_the_nearest_call() -> None:
    (reply,) = baseline_replies("nearest", TRAIN, ["rain in paris"], bag)
    assert reply == Reply((Call("weather", {"city": "paris"}),))


def test_no_call_and_several_calls_are_learnt_as_they_are() -> None:
    both = (Call("play", {"song": "halo"}), Call("weather", {"city": "rome"}))
    train: list[Example] = [*TRAIN, *[(f"set an alarm for {hour}", ()) for hour in ("six", "seven", "eight", "nine")]]
    train += [(f"play halo, then the weather in rome {number}", both) for number in ("one", "two", "three")]
    alarm, several = baseline_replies("keywords", train, ["an alarm for ten", "halo, then paris"], bag)
    assert alarm == Reply()
    assert several == Reply((Call("play", {"song": "halo"}), Call("weather", {"city": "paris"})))
    assert baseline_replies("nearest", train, ["set an alarm for six"], bag) == [Reply()]
    assert baseline_replies("majority", train[8:12], ["anything"], bag) == [Reply()]
    assert baseline_replies("majority", train[12:], ["anything"], bag) == [Reply(both)]


@pytest.mark.parametrize("name", NAMES)
def test_neither_the_order_of_queries_nor_of_examples_matters(name: str) -> None:
    queries = ["rain over new york?", "now play halo", "please"]
    replies = baseline_replies(name, TRAIN, queries, bag)
    assert baseline_replies(name, TRAIN, queries[::-1], bag) == replies[::-1]
    if name != "nearest":  # ties between equally near examples are broken by their order
        assert baseline_replies(name, TRAIN[::-1], queries, bag) == replies


def test_examples_come_from_the_data_sets_parquet(tmp_path: Path) -> None:
    import polars as pl

    rows = [[Call("play", {"song": "halo"})], []]
    for number, calls in enumerate(rows):
        pl.DataFrame({"query": [f"q{number}"], "calls": [calls_text(calls)], "other": [1]}).write_parquet(
            tmp_path / f"train-{number}.parquet"
        )
    files = sorted(tmp_path.glob("*.parquet"))
    assert read_examples(files) == [("q0", (Call("play", {"song": "halo"}),)), ("q1", ())]
    assert read_examples(files, most=1) == [("q0", (Call("play", {"song": "halo"}),))]
    assert read_examples([]) == []
