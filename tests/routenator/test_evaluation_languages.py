"""Scores by language, and differences to English that are paired by the queries' ids."""

from __future__ import annotations

from typing import Any

import numpy as np

from routenator.chat.replies import parse_reply
from routenator.domain.functions import load_functions
from routenator.domain.golden import GoldenCall, GoldenExample
from routenator.evaluation.languages import Answered, by_language
from routenator.evaluation.pooled import outcomes
from routenator.evaluation.verdict import judge_reply
from tests.conftest import TINY

API = load_functions(TINY / "functions.json")
RIGHT = '{"name": "search", "arguments": {"extracted_prompt": "a cake"}}'
WRONG = '{"name": "book", "arguments": {"city": "Bergen", "people": 4}}'
MEASURES = ("function_f1_micro", "argument_f1", "exact_match")


def golden(language: str | None, ids: range) -> list[GoldenExample]:
    calls = (GoldenCall("search", {"extracted_prompt": "a cake"}),)
    return [GoldenExample(f"{language} {n}", calls, language=language, id=n) for n in ids]


def run(answers: list[tuple[GoldenExample, bool]]) -> Answered:
    """A run that answers these queries right or wrong."""
    verdicts = [judge_reply(example, parse_reply(RIGHT if right else WRONG), API) for example, right in answers]
    return Answered(
        [example for example, _ in answers], outcomes(verdicts, API, lambda texts: np.ones((len(texts), 1)))
    )


def scores(*arms: list[Answered], reference: str | None = None) -> dict[str, Any]:
    named = {f"arm-{number}": runs for number, runs in enumerate(arms)}
    return by_language(named, MEASURES, reference, resamples=200, seed=1)


def test_a_language_that_gets_the_same_queries_right_as_english_differs_by_nothing_in_every_resample() -> None:
    """Unpaired, the two would differ in nearly all resamples: half of the queries are wrong."""
    english, german = golden("en", range(20)), golden("de", range(20))
    found = scores([run([(one, one.id % 2 == 0) for one in [*german, *english]])])  # type: ignore[operator]
    assert list(found) == ["en", "de"] and found["de"]["queries"] == 20
    for measure in MEASURES:
        own = found["de"]["arms"]["arm-0"][measure]
        assert own["low"] < own["value"] < own["high"]
        assert own["english"] == {
            "queries": 20,
            "difference": {"value": 0.0, "low": 0.0, "high": 0.0},
            "ratio": {"value": 1.0, "low": 1.0, "high": 1.0},
        }
        assert found["en"]["arms"]["arm-0"][measure]["english"] is None


def test_the_same_runs_are_drawn_for_a_language_and_for_english() -> None:
    """One seed gets everything right and one nothing, in both languages; drawn apart, they would differ."""
    english, german = golden("en", range(8)), golden("de", range(8))
    runs = [run([(one, right) for one in [*english, *german]]) for right in (True, False)]
    own = scores(runs)["de"]["arms"]["arm-0"]["exact_match"]
    assert (own["low"], own["high"], own["runs"]) == (0.0, 1.0, [1.0, 0.0])
    assert own["english"]["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert own["english"]["ratio"] is None  # where English is 0, there is none


def test_only_queries_that_both_languages_have_are_compared() -> None:
    english, german = golden("en", range(10)), golden("de", range(5, 12))
    first = {one.id for one in english[:5]}
    found = scores([run([*((one, one.id in first) for one in english), *((one, True) for one in german)])])
    own = found["de"]["arms"]["arm-0"]["exact_match"]
    assert found["en"]["arms"]["arm-0"]["exact_match"]["value"] == 0.5
    assert own["english"]["queries"] == 5 and own["english"]["difference"]["value"] == 1.0


def test_arms_are_compared_within_each_language() -> None:
    english, german = golden("en", range(10)), golden("de", range(10))
    both = run([(one, True) for one in [*english, *german]])
    alone = run([(one, one.language == "en") for one in [*english, *german]])
    found = scores([both], [alone], reference="arm-0")
    assert found["en"]["arms"]["arm-1"]["exact_match"]["difference"]["value"] == 0.0
    assert found["de"]["arms"]["arm-1"]["exact_match"]["difference"]["value"] == -1.0
    assert found["de"]["arms"]["arm-0"]["exact_match"]["difference"] is None


def test_without_languages_or_ids_there_is_nothing_to_compare() -> None:
    assert scores([run([(one, True) for one in golden(None, range(4))])]) == {}
    assert scores([run([(one, True) for one in golden("en", range(4))])]) == {}
    bare = [
        GoldenExample(f"{code} {n}", golden("en", range(1))[0].calls, language=code)
        for code in ("en", "de")
        for n in (1, 2)
    ]
    assert scores([run([(one, True) for one in bare])])["de"]["arms"]["arm-0"]["exact_match"]["english"] is None
