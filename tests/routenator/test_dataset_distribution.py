"""Tests of the measures against numpy and scipy, and of their explanations."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, entropy

from routenator.dataset.distribution import (
    acceptance,
    distribution,
    hardest,
    marginals,
    measures,
    positions,
    quartiles,
    word_quartiles,
)


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), min_size=2, max_size=8).filter(
        lambda rows: sum(n for _, n in rows) > 0
    )
)
def test_measures_agree_with_scipy(rows: list[tuple[int, int]]) -> None:
    weights, counts = np.array([w for w, _ in rows], float), np.array([n for _, n in rows])
    target = weights / weights.sum()
    found = measures(list(target), list(map(int, counts)))
    share = counts / counts.sum()
    expected = chisquare(counts, target * counts.sum())
    assert found["chi_square"]["statistic"] == pytest.approx(expected.statistic, abs=1e-9)
    assert found["chi_square"]["p"] == pytest.approx(expected.pvalue, abs=1e-9)
    assert found["kl"]["value"] == pytest.approx(entropy(share, target, base=2), abs=1e-9)
    assert found["total_variation"]["value"] == pytest.approx(np.abs(share - target).sum() / 2, abs=1e-12)


def test_meanings_distinguish_far_from_close() -> None:
    assert "do not follow the target" in measures([0.5, 0.5], [900, 100])["chi_square"]["meaning"]
    assert "closer than chance" in measures([0.5, 0.5], [500, 500])["chi_square"]["meaning"]
    assert "no significant difference" in measures([0.5, 0.5], [490, 510])["chi_square"]["meaning"]
    assert "approximate" in measures([0.9, 0.1], [9, 1])["chi_square"]["meaning"]
    assert "40.00% of the rows (400 of 1000)" in measures([0.5, 0.5], [900, 100])["total_variation"]["meaning"]


def test_rows_where_the_target_share_is_zero() -> None:
    found = measures([1.0, 0.0], [5, 1])
    assert found["kl"]["value"] is None
    assert "infinite" in found["kl"]["meaning"]
    assert found["chi_square"]["p"] == 0.0


def test_a_single_value_leaves_nothing_to_test() -> None:
    found = measures([1.0], [12])
    assert (found["chi_square"]["p"], found["total_variation"]["value"], found["kl"]["value"]) == (1.0, 0.0, 0.0)


def test_no_rows_give_no_measures() -> None:
    assert measures([0.5, 0.5], [0, 0]) == {"rows": 0, "chi_square": None, "total_variation": None, "kl": None}


def strata() -> list[dict[str, Any]]:
    base = {"category": "poster", "template": "a", "length": "short", "language": "en"}
    return [
        {**base, "function": "search", "route": "text", "quota": 2},
        {**base, "function": "search", "route": "heuristic", "quota": 4},
        {**base, "function": "generate", "route": "text", "quota": 2},
    ]


SHARES = {
    ("search", "poster", "text", "a", "short", "en"): 0.25,
    ("search", "poster", "heuristic", "a", "short", "en"): 0.45,
    ("generate", "poster", "text", "a", "short", "en"): 0.25,
    ("generate", "poster", "vision", "a", "short", "en"): 0.05,  # too rare for a stratum of its own
}


def test_strata_are_added_up_by_dimension() -> None:
    target = marginals(SHARES)
    assert target["function"] == pytest.approx({"search": 0.7, "generate": 0.3})
    found = distribution(strata(), {"requested": [4, 4, 2], "accepted": [2, 3, 2], "final": [2, 4, 2]}, target)
    functions = {row["name"]: row for row in found["dimensions"]["function"]["rows"]}
    assert list(functions) == ["search", "generate"]
    assert functions["search"]["target"] == pytest.approx(0.7)
    assert functions["search"]["final"] == {"rows": 6, "share": 0.75}
    assert functions["search"]["accepted"]["share"] == pytest.approx(5 / 7)
    routes = {row["name"]: (row["target"], row["requested"]["rows"]) for row in found["dimensions"]["route"]["rows"]}
    assert routes == {"text": (0.5, 6), "heuristic": (0.45, 4), "vision": (0.05, 0)}
    assert found["dimensions"]["function"]["measures"]["final"]["total_variation"]["value"] == pytest.approx(0.05)


def test_individual_strata_are_compared_with_their_quotas() -> None:
    found = distribution(
        strata(), {"requested": [4, 4, 2], "accepted": [2, 3, 2], "final": [2, 4, 2]}, marginals(SHARES)
    )
    assert found["joint"]["final"]["total_variation"]["value"] == pytest.approx(0.0)
    assert found["joint"]["requested"]["total_variation"]["value"] > 0


def test_acceptance_and_deficits_by_margin() -> None:
    found = distribution(
        strata(), {"requested": [40, 40, 20], "accepted": [10, 40, 20], "final": [1, 4, 2]}, marginals(SHARES)
    )
    routes = {row["name"]: row for row in found["dimensions"]["route"]["rows"]}
    assert routes["text"]["acceptance"]["value"] == pytest.approx(0.5) and routes["text"]["missing"] == 1
    assert routes["heuristic"]["acceptance"]["value"] == 1.0 and routes["heuristic"]["missing"] == 0
    assert routes["vision"]["acceptance"] is None
    # 30 of 100 requests are lost, all of them text: 60 of 100 were text, 30 of 70 are.
    assert found["dimensions"]["route"]["checks"]["total_variation"]["value"] == pytest.approx(0.6 - 30 / 70)
    assert found["dimensions"]["category"]["checks"]["total_variation"]["value"] == 0.0


def test_the_hardest_cells_list_missing_rows_first() -> None:
    counts = {"requested": [40, 30, 10], "accepted": [10, 29, 2], "final": [2, 4, 1]}
    cells = [(row["route"], row["function"], row["missing"], row["accepted"]) for row in hardest(strata(), counts)]
    assert cells == [("text", "generate", 1, 2), ("text", "search", 0, 10), ("heuristic", "search", 0, 29)]
    # A cell with ten requests and no missing rows is omitted.
    assert [row["function"] for row in hardest(strata(), {**counts, "final": [2, 4, 2]})] == ["search", "search"]


@pytest.mark.parametrize(("accepted", "requested"), [(0, 5), (5, 5), (30, 100), (999, 1000)])
def test_acceptance_has_wilson_intervals(accepted: int, requested: int) -> None:
    found = acceptance(accepted, requested)
    assert found is not None
    z, n, p = 1.959964, requested, accepted / requested
    middle, half = (
        (p + z * z / (2 * n)) / (1 + z * z / n),
        z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)),
    )
    assert (found["low"], found["high"]) == pytest.approx((max(0, middle - half), min(1, middle + half)), abs=1e-6)
    assert acceptance(0, 0) is None


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_quartiles_agree_with_numpy(values: list[int]) -> None:
    found = quartiles(Counter(values))
    expected = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    assert [found[key] for key in ("min", "q1", "median", "q3", "max")] == pytest.approx(list(expected))
    assert found["mean"] == pytest.approx(np.mean(values))


def test_quartiles_of_nothing() -> None:
    with pytest.raises(ValueError, match="empty"):
        quartiles({})
    assert word_quartiles({"search": {}, "book": {3: 2}}).keys() == {"book"}


def test_positions_are_shares_of_the_rows_that_mention_the_category() -> None:
    found = positions(
        {"search": {"first": 3, "last": 1, "absent": 6}, "book": {"middle": 1}}, {"search": {"first": 3, "last": 1}}
    )
    rows = {row["name"]: row for row in found["search"]["rows"]}
    assert (rows["first"]["share"], rows["first"]["target"], rows["middle"]["target"]) == (0.75, 0.75, 0.0)
    assert found["search"]["absent"] == 6
    assert found["search"]["measures"]["total_variation"]["value"] == pytest.approx(0.0)
    assert found["book"]["measures"] is None
