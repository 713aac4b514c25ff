"""The training benchmark runs on a tiny model, and its figures are those of the examples it trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import training
from tests.conftest import TINY
from tests.routenator.tiny_model import save_tiny_model


@pytest.mark.slow
def test_our_side_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_tiny_model(tmp_path / "model")
    options = [
        "--examples",
        "40",
        "--batch",
        "8",
        "--repeat",
        "1",
        "--model",
        str(model),
        "--domain",
        str(TINY),
        "--peers",
        "none",
    ]
    report = training.main([*options, "--json", str(tmp_path / "x.json")])
    assert json.loads((tmp_path / "x.json").read_text()) == report
    (run,) = report["runs"]["routenator"]
    assert run["steps"] == 5
    assert run["tokens_per_second"] > 0
    assert report["ratio"] == {}
    assert 0 <= report["padding"]["grouped"] < report["padding"]["random"] < 1
    assert "tokens/s" in capsys.readouterr().out


def test_rates_leave_out_the_first_steps_and_the_median_counts() -> None:
    def run(seconds: float) -> dict[str, float]:
        steps = [
            {"seconds": 9.0, "tokens": 1},
            {"seconds": 10.0, "tokens": 100},
            {"seconds": 10.0 + seconds, "tokens": 300},
        ]
        return training.figures({"steps": [step | {"loss": 1.0} for step in steps], "trainable": 1})

    assert run(2.0)["tokens_per_second"] == 100
    found = training.ratios({"routenator": [run(1.0), run(2.0), run(100.0)], "trl": [run(4.0), run(4.0), run(1.0)]})
    assert found["tokens_per_second"] == {"routenator": 100, "trl": 50}
    assert found["ratio"] == {"trl": 2.0}
