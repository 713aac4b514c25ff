"""Pooled statistics against a slow, simple reference: scikit-learn's F1 and means over rows, one resample at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from routenator.evaluation.bootstrap import Estimate
from routenator.evaluation.pooled import Outcomes, Pooled, compare_arms, draws, pool, weighed

LABELS = 3


def outcomes_of(n: int, seed: int, accuracy: float = 0.8) -> Outcomes:
    """Random outcomes: some predictions have no known label, some queries have no category or subprompt."""
    luck = np.random.default_rng(seed)
    gold = np.arange(n) % LABELS
    predicted = np.where(luck.random(n) < accuracy, gold, luck.integers(0, LABELS + 1, n))
    pairs = luck.integers(1, 6, n).astype(float)
    category = np.where(luck.random(n) < 0.3, np.nan, (luck.random(n) < accuracy).astype(float))
    similarity = np.where(luck.random(n) < 0.3, np.nan, luck.random(n))
    exact = (luck.random(n) < accuracy / 2).astype(float)
    unparsable = (luck.random(n) < 0.1).astype(float)
    asked = luck.random(n) < 0.8
    values = {
        "cta": category,
        "ss": similarity,
        "exact_match": exact,
        "unparsable": unparsable,
        "functions_right": (gold == predicted).astype(float),
        "false_call": np.where(asked, np.nan, luck.random(n) < 0.3),
        "missed_call": np.where(asked, luck.random(n) < 0.1, np.nan),
    }
    found = Outcomes(
        gold=np.eye(LABELS + 1)[gold][:, :LABELS],
        said=np.eye(LABELS + 1)[predicted][:, :LABELS],
        right=gold == predicted,
        sums={"argument_f1": np.minimum(pairs, luck.integers(0, 6, n))},
        counts={"argument_f1": pairs},
    )
    for measure, value in values.items():
        found = with_measure(found, measure, value)
    return found


def with_measure(found: Outcomes, measure: str, values: np.ndarray) -> Outcomes:
    """With other values of a measure; NaN where it is not measured."""
    known = ~np.isnan(values)
    return replace(
        found,
        sums={**found.sums, measure: np.where(known, values, 0.0)},
        counts={**found.counts, measure: known.astype(float)},
    )


def plain(found: Outcomes, measure: str, rows: list[int]) -> float:
    """The measure of drawn rows, straight from its definition."""
    if measure.startswith("function_f1"):
        from sklearn.metrics import f1_score

        gold = found.gold.argmax(axis=1)
        predicted = np.where(found.said.any(axis=1), found.said.argmax(axis=1), LABELS)
        used = [label for label in range(LABELS) if any(label in (gold[row], predicted[row]) for row in rows)]
        average = measure.removeprefix("function_f1_")
        return float(f1_score(gold[rows], predicted[rows], labels=used, average=average, zero_division=0))
    count = sum(found.counts[measure][row] for row in rows)
    return float(sum(found.sums[measure][row] for row in rows) / count) if count else 0.0


@pytest.mark.parametrize(
    "measure",
    [
        *("function_f1_macro", "function_f1_micro", "cta", "ss", "exact_match", "argument_f1", "unparsable"),
        *("functions_right", "false_call", "missed_call"),
    ],
)
def test_means_intervals_and_differences_equal_the_reference(measure: str) -> None:
    n, resamples = 40, 60
    runs = {"a": [outcomes_of(n, seed) for seed in (1, 2, 3)], "b": [outcomes_of(n, seed, 0.5) for seed in (4, 5)]}
    places = np.arange(n)
    found = pool(
        {name: [weighed(run, measure, places, n) for run in many] for name, many in runs.items()},  # type: ignore[misc]
        "b",
        n,
        resamples=resamples,
        seed=9,
    )
    luck: dict[str, list[float]] = {"a": [], "b": []}
    for weights, picks in draws(n, {"a": 3, "b": 2}, resamples, 9):
        for number, weight in enumerate(weights):
            rows = [query for query in range(n) for _ in range(int(weight[query]))]
            for name, many in runs.items():
                luck[name].append(float(np.mean([plain(many[run], measure, rows) for run in picks[name][number]])))
    whole = {name: float(np.mean([plain(run, measure, list(range(n))) for run in many])) for name, many in runs.items()}
    for name in runs:
        assert found[name].mean.value == pytest.approx(whole[name])
        assert [found[name].mean.low, found[name].mean.high] == pytest.approx(
            list(np.quantile(luck[name], [0.025, 0.975]))
        )
    gaps = np.array(luck["a"]) - np.array(luck["b"])
    difference = found["a"].difference
    assert difference is not None and found["b"].difference is None
    assert difference.value == pytest.approx(whole["a"] - whole["b"])
    assert [difference.low, difference.high] == pytest.approx(list(np.quantile(gaps, [0.025, 0.975])))


def test_an_arm_of_fewer_queries_is_measured_on_its_own() -> None:
    whole, part = outcomes_of(30, 1), outcomes_of(12, 2)
    places = np.arange(3, 15)
    statistic = weighed(part, "function_f1_macro", places, 30)
    everything = weighed(whole, "function_f1_macro", np.arange(30), 30)
    assert statistic is not None and everything is not None
    found = pool({"whole": [everything], "part": [statistic]}, "whole", 30, resamples=50, seed=1)
    assert found["part"].mean.value == pytest.approx(plain(part, "function_f1_macro", list(range(12))))


def test_a_measure_without_queries_is_none() -> None:
    nothing = with_measure(outcomes_of(6, 1), "cta", np.full(6, np.nan))
    assert weighed(nothing, "cta", np.arange(6), 6) is None


def test_draws_are_keyed_and_do_not_depend_on_other_arms() -> None:
    once = list(draws(50, {"a": 3}, 20, 7))
    again = list(draws(50, {"a": 3, "b": 5}, 20, 7))
    other = list(draws(50, {"a": 3}, 20, 8))
    assert np.array_equal(once[0][0], again[0][0]) and np.array_equal(once[0][1]["a"], again[0][1]["a"])
    assert not np.array_equal(once[0][0], other[0][0])
    assert (once[0][0].sum(axis=1) == 50).all()


def test_wider_seeds_make_wider_intervals() -> None:
    """If only queries were drawn, equal runs and different runs with the same mean would have equal intervals."""
    n = 400
    steady = [outcomes_of(n, 1)] * 3
    luck = np.random.default_rng(0)

    def at(level: float) -> Outcomes:
        return with_measure(steady[0], "exact_match", (luck.random(n) < level).astype(float))

    arms = {"steady": [at(0.5)] * 3, "wild": [at(0.2), at(0.5), at(0.8)]}
    found = pool(
        {k: [weighed(run, "exact_match", np.arange(n), n) for run in v] for k, v in arms.items()},
        "",
        n,
        resamples=400,
        seed=1,
    )  # type: ignore[misc]

    def width(name: str) -> float:
        mean = found[name].mean
        assert mean.low is not None and mean.high is not None
        return mean.high - mean.low

    assert width("wild") > 3 * width("steady")


def pooled(value: float, half: float, difference: tuple[float, float] | None = None) -> Pooled:
    gap = None if difference is None else Estimate(sum(difference) / 2, *difference)
    return Pooled(Estimate(value, value - half, value + half), [value], gap)


@pytest.mark.parametrize(
    ("measure", "ours", "theirs", "said"),
    [
        ("cta", pooled(0.9, 0.02), pooled(0.8, 0.02, (-0.12, -0.08)), "apart"),
        ("cta", pooled(0.9, 0.06), pooled(0.85, 0.06, (-0.08, -0.02)), "better"),
        ("cta", pooled(0.8, 0.06), pooled(0.85, 0.06, (0.02, 0.08)), "worse"),
        ("cta", pooled(0.8, 0.06), pooled(0.81, 0.06, (-0.03, 0.05)), "open"),
        ("unparsable", pooled(0.1, 0.02), pooled(0.3, 0.02, (0.16, 0.24)), "apart"),
        ("unparsable", pooled(0.3, 0.06), pooled(0.25, 0.06, (-0.08, -0.02)), "worse"),
    ],
)
def test_arms_are_compared_by_their_intervals_and_by_which_direction_is_better(
    measure: str, ours: Pooled, theirs: Pooled, said: str
) -> None:
    found: dict[str, Any] = compare_arms("ours", "theirs", {measure: {"ours": ours, "theirs": theirs}})
    assert found == {**{key: [] for key in ("apart", "better", "worse", "open")}, said: [measure]}
