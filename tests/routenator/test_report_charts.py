"""Charts are well-formed and escaped, stay within their frame, and show the right numbers."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from routenator.report import charts

NASTY = "<script>alert(\"1\")</script> & 'x'"
CHARTS = {
    "bars": charts.bars(NASTY, [(NASTY, [0.25, 0.5]), ("none", [0.0, 0.0])], {"target": "target", NASTY: "final"}),
    "boxes": charts.boxes(NASTY, [(NASTY, "final", {"min": 1, "q1": 2, "median": 3, "q3": 5.5, "max": 9})]),
    "intervals": charts.intervals(
        NASTY, [(NASTY, [(0.5, 0.4, 0.6), None]), ("y", [(1.0, None, None), (0.0, 0.0, 0.0)])], {"a": "a", "b": "b"}
    ),
    "matrix": charts.matrix(NASTY, [NASTY, "b"], [[3, 1], [0, 0]]),
    "curve": charts.curve(NASTY, [(1, 2.0), (2, 1.5), (3, 0.1)], [(2, 1.0)]),
}


def tree(chart: Markup) -> ElementTree.Element:
    return ElementTree.fromstring(chart)


def found(chart: Markup, tag: str, class_: str) -> list[ElementTree.Element]:
    return [node for node in tree(chart).iter(tag) if class_ in (node.get("class") or "").split()]


@pytest.mark.parametrize("name", CHARTS)
def test_well_formed_and_escaped(name: str) -> None:
    root = tree(CHARTS[name])
    assert root.tag == "svg"
    assert "script" not in {node.tag for node in root.iter()}
    assert NASTY in "".join(root.itertext())


@pytest.mark.parametrize("name", CHARTS)
def test_everything_is_inside_the_frame(name: str) -> None:
    root = tree(CHARTS[name])
    width, height = (float(number) for number in (root.get("viewBox") or "").split()[2:])
    assert width == charts.WIDTH
    for node in root.iter():
        for x in ("x", "x1", "x2", "cx"):
            assert 0 <= float(node.get(x, 0)) <= width, (name, node.attrib)
        for y in ("y", "y1", "y2", "cy"):
            assert 0 <= float(node.get(y, 0)) <= height, (name, node.attrib)
        assert float(node.get("x", 0)) + float(node.get("width", 0)) <= width


@pytest.mark.parametrize("name", ["a_name_of_many_words_" * 3, "W" * 70, "\u56fe\u50cf" * 12])
def test_names_are_broken_and_never_cut(name: str) -> None:
    """Names above 21 characters ended in dots, and the legend ran out of the frame."""
    lines = charts.text_lines(name, 134, 11)
    assert "".join(lines) == name and len(lines) > 1
    assert all(charts.text_width(line, 11) <= 134 for line in lines)
    drawn = charts.bars("t", [(name, [0.5, 0.1]), ("b", [0.1, 0.2])], {name: "target", "other " * 20: "final"})
    assert "\u2026" not in drawn
    written = [node.text or "" for node in tree(drawn).iter("text")]
    assert "".join(written).replace(" ", "").count(name) == 2
    assert all(float(node.get("x", 0)) + charts.text_width(node.text or "") <= charts.WIDTH for node in
               tree(drawn).iter("text") if node.get("text-anchor") == "start")  # fmt: skip


def test_a_chart_is_described_to_those_who_do_not_see_it() -> None:
    chart = tree(charts.bars("t", [("a", [0.25, 0.5])], {"target": "target", "final": "final"}))
    assert [node.text for node in chart.iter("desc")] == ["a: target 25.0%, final 50.0%"]


def test_bars_are_proportional_to_their_values() -> None:
    chart = charts.bars("t", [("a", [10]), ("b", [5]), ("c", [0])], {"rows": "final"}, style="count")
    widths = [float(node.get("width", 0)) for node in found(chart, "rect", "final")]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.02)
    assert 0 < widths[2] < 1
    assert "1,234" in charts.bars("t", [("a", [1234])], {"rows": "final"}, style="count")
    assert "12.5%" in charts.bars("t", [("a", [0.125])], {"rows": "final"})


def test_bars_beyond_the_limit_are_counted() -> None:
    chart = charts.bars("t", [(f"name {number}", [1.0]) for number in range(45)], {"rows": "final"})
    assert len(found(chart, "rect", "final")) == 40
    assert "and 5 more, in summary.json" in chart


def test_matrix_shades_by_the_share_of_the_row() -> None:
    chart = charts.matrix("t", ["a", "b"], [[90, 10], [0, 4]])
    hits = [float(node.get("fill-opacity", 0)) for node in found(chart, "rect", "hit")]
    misses = [float(node.get("fill-opacity", 0)) for node in found(chart, "rect", "miss")]
    assert hits == [pytest.approx(0.15 + 0.85 * 0.9, abs=0.006), 1.0]
    assert misses == [pytest.approx(0.15 + 0.85 * 0.1, abs=0.006)]
    assert "a taken for b: 10 of 100" in chart


def test_a_matrix_of_a_hundred_functions_keeps_every_cell() -> None:
    labels = [f"function_{number}" for number in range(100)]
    chart = charts.matrix(
        "t", labels, [[5 if gold == predicted else 0 for predicted in range(100)] for gold in range(100)]
    )
    assert len(found(chart, "rect", "hit")) == 100


def test_curve_falls_when_the_loss_falls() -> None:
    (line,) = found(CHARTS["curve"], "polyline", "curve")
    heights = [float(point.split(",")[1]) for point in (line.get("points") or "").split()]
    assert heights == sorted(heights)  # y grows downwards in SVG
    assert len(found(CHARTS["curve"], "circle", "final")) == 1


def test_a_single_point_is_drawn_as_a_dot() -> None:
    assert len(found(charts.curve("t", [(1, 2.0)]), "circle", "final")) == 1


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_cover_the_range_in_at_most_eight_values(low: float, width: float) -> None:
    high = low + width
    ticks = charts.nice_ticks(low, high)
    slack = 1e-6 * max(1.0, abs(low), abs(high), width)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= 8


def test_element_turns_underscores_into_hyphens() -> None:
    assert (
        charts.element("text", "a<b", text_anchor="end", class_="x", fill=None)
        == '<text text-anchor="end" class="x">a&lt;b</text>'
    )
    assert re.search(r'x="1.5"', charts.element("g", x=1.500))
