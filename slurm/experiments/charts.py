"""Draws an experiment's charts as standalone SVG files, from results.json."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routenator.files import write_atomic
from routenator.report.charts import WIDTH, bars, boxes, curve, element, intervals, matrix
from routenator.report.summary import METRICS, interval

if TYPE_CHECKING:
    from markupsafe import Markup

_STYLE = """
text { font: 11.5px system-ui, sans-serif; fill: #1b2430; } .heading { font-weight: 600; font-size: 13px; }
.value { fill: #5b6676; }
.name { font-size: 11px; } .grid { stroke: #dfe3e9; } .whisker { stroke: #5b6676; }
.median { stroke: #ffffff; stroke-width: 2.5; }
.after, .c0 { fill: #1f6fd1; stroke: #1f6fd1; } .range { stroke-width: 2; }
.curve { fill: none; stroke: #1f6fd1; stroke-width: 1.6; }
.final { fill: #1f6fd1; } .c1 { fill: #c9512f; } .c2 { fill: #2a9d74; } .c3 { fill: #8a63c9; }
.target { fill: #9aa5b4; }
.miss { fill: #c9512f; } .hit { fill: #1f6fd1; } .empty { fill: #eef1f5; } .count { font-size: 10.5px; }
.count.on { fill: #ffffff; }
"""
_HEADING = 26
_LINE = 18
_LETTER = 8  # width of a heading's letter, generously
_PAIRS = 15
_MARGIN = 10
_VIEW = re.compile(r'<svg viewBox="0 0 ([\d.]+) ([\d.]+)"')


def write_charts(results: Mapping[str, Any], folder: Path) -> list[str]:
    """Write every chart that the results have data for.

    Returns:
        The names of the files.
    """
    if results["kind"] == "distribution":
        drawn = {"shares.svg": _shares(results), "words.svg": _words(results)}
    else:
        drawn = {
            "scores.svg": _scores(results),
            "functions.svg": _curves(results, "functions", "functions of the API"),
            "rows.svg": _curves(results, "rows", "examples for training"),
            "languages.svg": _languages(results),
            "confusion.svg": _confusion(results),
            "pairs.svg": _pairs(results),
        }
    written = []
    for name, charts in drawn.items():
        if charts:
            write_atomic(folder / name, _stack(charts))
            written.append(name)
    return written


def _stack(charts: Sequence[tuple[str, Markup]]) -> str:
    """Stack charts, each below its heading, in one SVG."""
    from markupsafe import Markup

    parts, y, widest = [], float(_MARGIN), float(WIDTH)
    for heading, chart in charts:
        found = _VIEW.match(chart)
        assert found is not None
        for line in textwrap.wrap(heading, int(float(found[1]) / _LETTER)):
            parts.append(element("text", line, x=_MARGIN, y=y + 14, class_="heading"))
            y += _LINE
        y += _HEADING - _LINE
        parts.append(
            Markup(
                str(chart).replace("<svg ", f'<svg x="{_MARGIN}" y="{y}" width="{found[1]}" height="{found[2]}" ', 1)
            )
        )
        y += float(found[2]) + _MARGIN
        widest = max(widest, float(found[1]))
    wide = widest + 2 * _MARGIN
    back = element("rect", width=wide, height=y, fill="#ffffff")
    style = element("style", Markup(_STYLE))
    whole = element(
        "svg",
        style,
        back,
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {wide:g} {y:g}",
        width=wide * 2,
        height=y * 2,
    )
    return str(whole) + "\n"


def _scores(results: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    charts = []
    for measure, name in METRICS.items():
        rows = [
            (arm["title"], [interval(arm["measures"].get(measure))])
            for arm in results["arms"].values()
            if measure in arm["measures"]
        ]
        if rows:
            charts.append((name, intervals(name, rows, {"mean over seeds, 95% interval": "after"})))
    return charts


def _languages(results: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    found = results.get("languages", {})
    arms = [name for name in results["arms"] if any(table["arms"].get(name) for table in found.values())]
    series = {results["arms"][name]["title"]: f"c{number % 4}" for number, name in enumerate(arms)}
    charts = []
    for measure, name in METRICS.items():
        rows = [
            (code, [interval(table["arms"].get(arm, {}).get(measure)) for arm in arms]) for code, table in found.items()
        ]
        if any(any(points) for _, points in rows):
            charts.append((f"{name}, by language", intervals(name, rows, series)))
    return charts


def _curves(results: Mapping[str, Any], axis: str, label: str) -> list[tuple[str, Markup]]:
    """Draw F1 against what the arms of a curve differ in: their functions, or their rows."""
    arms = results.get("curves", {}).get(axis, list(results["arms"]) if axis == "functions" else [])
    numbers = {
        run["arm"]: run.get("functions") if axis == "functions" else run["data"]["counts"]["final"]
        for run in results["runs"]
        if run["arm"] in arms
    }
    if len(set(numbers.values())) < 2:
        return []
    charts = []
    for measure in ("function_f1_macro", "function_f1_micro"):
        points = sorted(
            (float(numbers[name]), arm["measures"][measure]["value"])
            for name, arm in results["arms"].items()
            if name in numbers and measure in arm["measures"]
        )
        if points:
            charts.append((METRICS[measure], curve(METRICS[measure], points, points, label)))
    return charts


def _confusion(results: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """Draw each arm's confusion matrix of content types, over all seeds."""
    charts = []
    for name, arm in results["arms"].items():
        tables = [run["scores"]["confusion_categories"] for run in results["runs"] if run["arm"] == name]
        labels = list(dict.fromkeys(label for table in tables for label in table["labels"]))
        if not labels:
            continue
        counts = [[0] * len(labels) for _ in labels]
        for table in tables:
            for gold, row in zip(table["labels"], table["counts"], strict=True):
                for said, count in zip(table["labels"], row, strict=True):
                    counts[labels.index(gold)][labels.index(said)] += count
        charts.append((f"{arm['title']}: content types", matrix(arm["title"], labels, counts)))
    return charts


def _pairs(results: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """Draw each arm's most frequent confusions of functions, over all seeds."""
    charts = []
    for name, arm in results["arms"].items():
        counts: Counter[tuple[str, str]] = Counter()
        for table in (run["scores"].get("confusion") for run in results["runs"] if run["arm"] == name):
            for gold, row in zip(table["labels"], table["counts"], strict=True) if table else ():
                counts.update(
                    {(gold, said): count for said, count in zip(table["labels"], row, strict=True) if said != gold}
                )
        rows = [(f"{gold} → {said}", [float(count)]) for (gold, said), count in counts.most_common(_PAIRS) if count]
        if rows:
            heading = f"{arm['title']}: functions wanted → called, golden queries"
            charts.append((heading, bars(heading, rows, {"golden queries": "c1"}, style="count")))
    return charts


def _series(results: Mapping[str, Any]) -> dict[str, str]:
    return {
        results["population"]["title"]: "target",
        **{arm["title"]: f"c{number % 4}" for number, arm in enumerate(results["arms"].values())},
    }


def _shares(results: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    charts = []
    arms = list(results["arms"].values())
    for dimension, target in results["population"]["shares"].items():
        rows = [
            (name, [share, *(arm["shares"][dimension].get(name, 0.0) for arm in arms)])
            for name, share in target.items()
        ]
        charts.append((dimension, bars(dimension, rows, _series(results))))
    return charts


def _words(results: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    charts = []
    for function, target in results["population"]["words"].items():
        rows = [(results["population"]["title"], "target", target)]
        for number, arm in enumerate(results["arms"].values()):
            if function in arm["words"]:
                rows.append((arm["title"], f"c{number % 4}", arm["words"][function]))
        charts.append((f"words of a query, {function}", boxes(function, rows)))
    return charts
