"""Figures computed from receipts, and their formatting."""

from __future__ import annotations

from typing import Any

import pytest

from routenator.report.summary import add_metrics, build_summary, interval, rejections, seconds_text, stage_row, thin


def receipt(**changes: Any) -> dict[str, Any]:
    return {"rows": 10, "seconds": 2.0, "host": "a", "attempt": 1, "metrics": {}, **changes}


def test_receipts_of_a_stage_become_one_row() -> None:
    row = stage_row("generate", 3, [receipt(), receipt(rows=5, seconds=7.5, host="b", attempt=2)])
    assert (row["shards"], row["done"], row["rows"], row["seconds"], row["longest"]) == (3, 2, 15, 9.5, 7.5)
    assert (row["hosts"], row["retried"]) == (2, 1)


def test_a_stage_that_has_not_started() -> None:
    row = stage_row("train", 1, [])
    assert (row["done"], row["rows"], row["seconds"], row["longest"], row["metrics"]) == (0, 0, 0, 0.0, {})


def test_metrics_add_up_key_by_key() -> None:
    found = add_metrics(
        [
            {"rejected": {"length": 2, "grounding": 1}, "tokens": 100, "model": "m"},
            {"rejected": {"length": 3}, "tokens": 50, "model": "m", "by_route": {"text": {"tokens": 4}}},
            {"rejected": {}, "tokens": None, "by_route": {"text": {"tokens": 5}, "vision": {"tokens": 1}}},
        ]
    )
    assert found["rejected"] == {"length": 5, "grounding": 1}
    assert found["tokens"] == 150
    assert found["model"] == "m"
    assert found["by_route"] == {"text": {"tokens": 9}, "vision": {"tokens": 1}}


def test_rates_are_averaged_by_time_not_by_shard() -> None:
    # 100 tokens in 1 s and 100 tokens in 3 s: 200 tokens in 4 s of engine time.
    found = add_metrics([{"tokens": 100, "tokens_per_second": 100.0}, {"tokens": 100, "tokens_per_second": 100 / 3}])
    assert found["tokens_per_second"] == pytest.approx(50)
    assert add_metrics([{"tokens_per_second": 10.0}, {"tokens_per_second": 20.0}])["tokens_per_second"] == 15.0
    assert (
        add_metrics([{"tokens": 0, "tokens_per_second": 0.0}, {"tokens": 9, "tokens_per_second": 3.0}])[
            "tokens_per_second"
        ]
        == 3.0
    )


@pytest.mark.parametrize("rows", [0, 1, 3, 10, 11, 1000])
def test_thin_keeps_the_first_and_last_row(rows: int) -> None:
    steps = [{"step": number} for number in range(rows)]
    kept = thin(steps, 10)
    assert len(kept) == min(rows, 10)
    assert kept[:1] == steps[:1]
    assert kept[-1:] == steps[-1:]
    assert [row["step"] for row in kept] == sorted({row["step"] for row in kept})


def test_interval() -> None:
    assert interval({"value": 0.5, "low": 0.4, "high": 0.6}) == (0.5, 0.4, 0.6)
    assert interval(0.25) == (0.25, None, None)
    assert interval({"value": None}) is None
    assert interval(None) is None
    assert interval("text") is None


def test_rejections_of_both_stages_are_sorted_by_count() -> None:
    counts = {"rejected": {"length": 2, "grounding": 7}, "dropped": {"duplicate": 5, "conflict": 0}}
    assert rejections(counts) == [("grounding", 7, "check"), ("duplicate", 5, "merge"), ("length", 2, "check")]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.23, "4.2 s"),
        (59.4, "59 s"),
        (60, "1 min 0 s"),
        (185, "3 min 5 s"),
        (7800, "2 h 10 min"),
        (119.7, "2 min 0 s"),
    ],
)
def test_seconds_text(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_summary_of_a_run_whose_merge_has_not_started() -> None:
    metrics = {"requested": 20, "generated": 20, "accepted": 15, "rejected": {"length": 5}, "tokens_per_second": 99.0}
    stages = [
        stage_row("sample", 1, [receipt()]),
        stage_row("generate", 1, [receipt(metrics=metrics)]),
        stage_row("merge", 1, []),
    ]
    summary = build_summary(run={"name": "x"}, stages=stages, merge=None, training=[], scores=None)
    assert summary["counts"] == {
        "requested": 20,
        "generated": 20,
        "accepted": 15,
        "rejected": {"length": 5},
        "dropped": {},
    }
    assert summary["generate"]["tokens_per_second"] == 99.0
    assert summary["scores"] == {"before": None, "after": None}
    assert summary["seconds"] == 4.0
