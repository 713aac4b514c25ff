"""The charts of an experiment: which of them are drawn, and from which arms."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from pydantic import ValidationError

from slurm.experiments.charts import write_charts
from slurm.experiments.config import Experiment

ARMS = {"small": (2, 500), "middle": (4, 500), "large": (4, 2000)}  # functions of the API, rows


def results(curves: dict[str, list[str]]) -> dict[str, Any]:
    """Results of three arms, the F1 of each its place among them."""
    scores = {"confusion": {"labels": ["play", "stop"], "counts": [[9, 3], [0, 7]]}}
    return {
        "kind": "arms",
        "curves": curves,
        "arms": {
            name: {"title": name, "measures": {"function_f1_micro": {"value": place / 10, "low": 0.0, "high": 1.0}}}
            for place, name in enumerate(ARMS, 1)
        },
        "runs": [
            {
                "arm": name,
                "functions": functions,
                "data": {"counts": {"final": rows}},
                "scores": {**scores, "confusion_categories": {"labels": [], "counts": []}},
            }
            for name, (functions, rows) in ARMS.items()
        ],
    }


def dots(file: Path) -> int:
    return sum(element.tag.endswith("circle") for element in ElementTree.parse(file).iter())


def test_a_curve_joins_the_arms_that_it_names(tmp_path: Path) -> None:
    written = write_charts(results({"functions": ["small", "middle"], "rows": ["middle", "large"]}), tmp_path)
    assert written == ["scores.svg", "functions.svg", "rows.svg", "pairs.svg"]
    assert dots(tmp_path / "functions.svg") == dots(tmp_path / "rows.svg") == 2
    assert "play → stop" in (tmp_path / "pairs.svg").read_text("utf-8")
    assert "stop → play" not in (tmp_path / "pairs.svg").read_text("utf-8")


def test_without_curves_all_arms_stand_over_their_functions(tmp_path: Path) -> None:
    assert write_charts(results({}), tmp_path) == ["scores.svg", "functions.svg", "pairs.svg"]
    assert dots(tmp_path / "functions.svg") == 3


def test_a_heading_that_is_wider_than_its_chart_takes_two_lines(tmp_path: Path) -> None:
    long = results({})
    next(iter(long["arms"].values()))["title"] = "an arm whose title is as long as titles of arms become"
    write_charts(long, tmp_path)
    headings = [
        element.text or ""
        for element in ElementTree.parse(tmp_path / "pairs.svg").iter()
        if element.get("class") == "heading"
    ]
    assert "an arm whose title is as long as titles of arms" in headings[0] and len(headings[0]) < 60
    assert headings[1].endswith("golden queries")


def test_a_curve_of_an_unknown_arm_is_refused() -> None:
    arms: dict[str, dict[str, Any]] = {"small": {}, "large": {}}
    value = {"name": "x", "question": "?", "base": "b", "arms": arms, "curves": {"rows": ["lrge"]}}
    with pytest.raises(ValidationError, match=r"curves.rows: lrge is not one of the arms: small, large"):
        Experiment.model_validate(value)
