"""Acceptance by stratum: shrinkage towards margins, lower bounds, numbers of requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from routenator.errors import InputError
from routenator.sampling.acceptance import (
    HOPELESS_AFTER,
    LEAST_STRENGTH,
    MOST_STRENGTH,
    Acceptance,
    Posterior,
    load_acceptance,
    read_note,
    write_text,
)
from routenator.sampling.strata import KEY


def row(requested: int, kept: int, **key: str) -> dict[str, Any]:
    names = {
        "function": "f",
        "category": "c",
        "route": "text",
        "template": "text/t",
        "length": "short",
        "language": "en",
    }
    return {**names, **key, "requested": requested, "accepted": kept, "kept": kept}


def many(rng: np.random.Generator, spread: float) -> tuple[list[dict[str, Any]], list[float]]:
    """Cells of two functions with true shares around 0.8 and 0.3; a greater spread makes cells more alike."""
    rows, truth = [], []
    for function, mean in (("f", 0.8), ("g", 0.3)):
        for number in range(300):
            share = float(rng.beta(spread * mean, spread * (1 - mean)))
            requested = int(rng.integers(1, 20))
            rows.append(row(requested, int(rng.binomial(requested, share)), function=function, category=f"c{number}"))
            truth.append(share)
    return rows, truth


def test_shrinkage_beats_both_raw_shares_and_the_margin() -> None:
    rows, truth = many(np.random.default_rng(1), spread=8.0)
    share = Acceptance(rows).posterior(rows).share
    plain = np.array([one["kept"] / one["requested"] for one in rows])
    margin = np.where([one["function"] == "f" for one in rows], 0.8, 0.3)
    error, of_plain, of_margin = (float(np.mean((found - truth) ** 2)) for found in (share, plain, margin))
    assert error < 0.7 * of_plain and error < 0.9 * of_margin


def test_the_strength_falls_as_cells_differ_more() -> None:
    strengths = [Acceptance(many(np.random.default_rng(2), spread)[0]).strengths[-1] for spread in (2.0, 8.0, 30.0)]
    assert strengths[0] < strengths[1] < strengths[2]
    assert strengths[1] == pytest.approx(8.0, rel=0.4)  # the correlation of a beta-binomial with a + b = 8 is 1 / 9
    assert all(LEAST_STRENGTH <= strength <= MOST_STRENGTH for strength in strengths)


def test_an_unseen_cell_gets_its_margins_share_and_a_large_one_keeps_its_own() -> None:
    rows = [row(40, 30, category=f"c{n}") for n in range(5)] + [row(20_000, 1_000, category="large")]
    found = Acceptance(rows).posterior(
        [row(0, 0, category="new"), rows[-1], row(0, 0, function="other", route="other")]
    )
    margin = sum(one["kept"] for one in rows) / sum(one["requested"] for one in rows)
    assert found.share[0] == pytest.approx(margin, abs=0.01)
    assert found.share[1] == pytest.approx(0.05, abs=0.002)
    assert 0 < found.share[2] < 1


@pytest.mark.parametrize(("quota", "confidence"), [(1, 0.9), (7, 0.5), (40, 0.99), (2000, 0.9)])
def test_requests_are_the_least_that_keep_the_quota_at_the_lower_bound(quota: int, confidence: float) -> None:
    found = Posterior(np.array([60.0, 3.0]), np.array([40.0, 1.0]))
    asked = found.requests(np.array([quota, quota]), confidence, np.array([10**7, 10**7]))
    for requests, share in zip(asked.tolist(), found.lower(confidence).tolist(), strict=True):
        assert binom.sf(quota - 1, requests, share) >= confidence
        assert requests == quota or binom.sf(quota - 1, requests - 1, share) < confidence


def test_no_quota_needs_no_requests_and_the_limit_holds() -> None:
    hopeless = Posterior(np.array([0.01] * 3), np.array([500.0] * 3))
    assert hopeless.requests(np.array([0, 1, 12]), 0.9, np.array([20, 20, 240])).tolist() == [0, 20, 240]
    sure = Posterior(np.array([1e9] * 2), np.array([1e-9] * 2))
    assert sure.requests(np.array([50, 50]), 0.9, np.array([1000, 1])).tolist() == [50, 50]


def test_larger_quotas_need_a_smaller_surplus() -> None:
    found = Posterior(np.array([5000.0]), np.array([5000.0]))
    factors = [found.requests(np.array([quota]), 0.9, np.array([10**6]))[0] / quota for quota in (1, 10, 100, 10_000)]
    assert factors == sorted(factors, reverse=True) and factors[-1] == pytest.approx(2.0, rel=0.03)


def test_the_file_round_trips_and_its_head_can_be_read_alone(tmp_path: Path) -> None:
    rows = [
        {**row(30, 20), "newest": {"requested": 5, "kept": 1}},
        row(25, 0, category="none"),
        row(3, 0, category="few"),
    ]
    file = tmp_path / "acceptance.json"
    file.write_text(write_text(Acceptance(rows, {"likeness": "abc", "size": 9, "seed": 4, "rounds": 2}).as_dict()))
    found = load_acceptance(file)
    assert found.rows == rows
    assert (found.note["likeness"], found.note["rounds"]) == ("abc", 2)
    note = read_note(file)
    assert (note["likeness"], note["size"], note["seed"]) == ("abc", 9, 4)
    assert [one["category"] for one in found.hopeless()] == ["none"] and HOPELESS_AFTER <= 25
    assert [(one["requested"], one["kept"]) for one in Acceptance(rows[:1]).newest().rows] == [(5, 1)]
    assert found.by("route") == [{"route": "text", "requested": 58, "accepted": 20, "kept": 20, "share": 20 / 58}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "not an acceptance file"),
        ('{"format": 99, "strata": []}', "not an acceptance file"),
        ("{", "cannot read"),
        ('{"format": 1, "strata": [{"function": "f"}]}', r"strata\[0\]"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        load_acceptance(file)
    with pytest.raises(InputError, match="no acceptance has been measured here"):
        load_acceptance(tmp_path / "none.json")


def test_impossible_counts_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "acceptance.json"
    value = Acceptance([row(5, 5)]).as_dict()
    value["strata"][0]["kept"] = 6
    file.write_text(write_text(value))
    with pytest.raises(InputError, match="kept 6 of 5"):
        load_acceptance(file)


def test_every_part_of_the_key_distinguishes_strata() -> None:
    rows = [row(10, 10)] + [row(10, 0, **{name: "other"}) for name in KEY]
    assert len(Acceptance(rows).counts) == 1 + len(KEY)
    assert Acceptance(rows).posterior(rows).share.argmax() == 0
