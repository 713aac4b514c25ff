"""Charts as inline SVG: small functions over plain numbers.

Every chart is 400 units wide and scales with its column, so its text is readable on a phone and on a desktop; only the
matrix of many labels is wider. Names are never cut: they take as many lines as they need, by the widths of the widest
usual font. Colours are CSS classes of the page, which has a light and a dark theme. All text passes through
``element``, which escapes it. A chart is one image to a screen reader, with its figures as the description.
"""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from routenator.report.summary import seconds_text

if TYPE_CHECKING:
    from markupsafe import Markup

Interval = tuple[float, float | None, float | None]  # value, low, high

WIDTH = 400
_LABEL = 140  # room for names on the left
_VALUE = 56  # room for numbers on the right
_ROWS = 40  # bars in one chart; its last line says how many more there are
_CELL = (20.0, 34.0)  # least and greatest width of a matrix's cell
_FONT = 11.5  # size of text; 11 for names
_NAME_FONT = 11.0
_LINE = 12  # from one line of a name to the next
# Widths of characters in em, a little above those of DejaVu Sans and Verdana, the widest fonts that browsers draw with.
_EM = {
    **dict.fromkeys(" ilj.,:;'|!I", 0.4),
    **dict.fromkeys('tfr()[]-/"_', 0.55),
    **dict.fromkeys("mwMW@%", 1.0),
}
_CAPITAL, _OTHER, _WIDE = 0.8, 0.65, 1.0


def element(tag: str, *children: Markup | str, **attributes: Any) -> Markup:
    """One SVG or HTML element, with text and attributes escaped.

    Args:
        tag: name of the element.
        children: text, or elements made by this function.
        attributes: None leaves one out; ``class_`` becomes class, and ``text_anchor`` becomes text-anchor.
    """
    from markupsafe import Markup, escape

    parts = [
        f' {name.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for name, value in attributes.items()
        if value is not None
    ]
    inside = Markup("").join(escape(child) for child in children)
    return Markup(f"<{tag}{''.join(parts)}>{inside}</{tag}>")


def _number(value: Any) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def text_width(text: str, size: float = _FONT) -> float:
    """Width of a line of text in the chart's units; rather too much than too little."""
    return size * sum(
        _EM.get(sign)
        or (
            _WIDE
            if unicodedata.east_asian_width(sign) in "WF"
            else _CAPITAL
            if unicodedata.category(sign) == "Lu"
            else _OTHER
        )
        for sign in text
    )


def text_lines(text: str, room: float, size: float = _FONT) -> list[str]:
    """Break a text into lines that fit: after spaces and punctuation, inside a word only if it is wider than a line."""
    lines = [""]
    for word in re.split(r"(?<=[\s_/.,+-])", text):
        if lines[-1] and text_width((lines[-1] + word).rstrip(), size) > room:
            lines.append("")
        for sign in word:
            if lines[-1] and text_width(lines[-1] + sign.rstrip(), size) > room:
                lines.append("")
            lines[-1] += sign
    return [line.strip() for line in lines]


def _svg(height: float, title: str, told: Sequence[str], *children: Markup, width: float = WIDTH) -> Markup:
    """A chart.

    Args:
        told: its figures in words, for those who do not see it.
        width: above ``WIDTH`` the page scrolls instead of making the text small.
    """
    return element(
        "svg",
        element("title", title),
        element("desc", "; ".join(told)),
        *children,
        viewBox=f"0 0 {_number(float(width))} {_number(float(height))}",
        role="img",
        class_="chart" if width <= WIDTH else "chart wide",
        style=None if width <= WIDTH else f"min-width: {width:.0f}px",
    )


def _text(x: float, y: float, text: str, anchor: str = "start", class_: str = "") -> Markup:
    return element("text", text, x=float(x), y=float(y), text_anchor=anchor, class_=class_ or None)


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return element("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def _rect(x: float, y: float, width: float, height: float, class_: str, *children: Markup, **more: Any) -> Markup:
    return element(
        "rect",
        *children,
        x=float(x),
        y=float(y),
        width=float(max(width, 0)),
        height=float(height),
        rx=1,
        class_=class_,
        **more,
    )


def _name_lines(name: str, right: float = _LABEL - 6) -> list[str]:
    return text_lines(name, right, _NAME_FONT)


def _name(x: float, middle: float, name: str) -> list[Markup]:
    """A name that ends at ``x``, in as many lines as it needs, centred on the height ``middle``."""
    lines = _name_lines(name, x)
    top = middle + 4 - _LINE * (len(lines) - 1) / 2
    return [_text(x, top + _LINE * number, line, "end", "name") for number, line in enumerate(lines)]


def _row_tops(names: Sequence[str], least: float, top: float) -> tuple[list[float], list[float]]:
    """Place rows below each other, each at least ``least`` high and as high as its name.

    Returns:
        (the upper edge of each row and, last, the lower edge of the last one; the height of each row).
    """
    heights = [max(least, _LINE * len(_name_lines(name)) + 5.0) for name in names]
    return list(itertools.accumulate(heights, initial=float(top))), heights


def _legend(top: float, series: Mapping[str, str]) -> tuple[list[Markup], float]:
    """The series' colours and names in as many lines as they need.

    Returns:
        (its elements, the height of its lower edge).
    """
    parts: list[Markup] = []
    left = x = 8.0
    y = top + 12
    for name, class_ in series.items():
        lines = text_lines(name, WIDTH - left - 18)
        width = 14 + max(text_width(line) for line in lines) + 12
        if x > left and x + width > WIDTH:
            x, y = left, y + 15
        parts.append(_rect(x, y - 8, 10, 8, class_))
        for number, line in enumerate(lines):
            parts.append(_text(x + 14, y + _LINE * number, line))
        y += _LINE * (len(lines) - 1)
        x += width
    return parts, y + 8


def _told(name: str, values: Mapping[str, str]) -> str:
    return f"{name}: " + ", ".join(f"{label} {value}" for label, value in values.items())


def bars(
    title: str,
    rows: Sequence[tuple[str, Sequence[float]]],
    series: Mapping[str, str],
    *,
    style: str = "percent",
) -> Markup:
    """Horizontal bars, one group per row.

    Args:
        rows: (name, one value per series); values are 0 or more.
        series: name -> CSS class; a legend is drawn if there are several.
        style: format of the values: ``percent`` (of shares), ``count``, ``seconds``.
    """

    write = {"percent": lambda v: f"{v:.1%}", "count": lambda v: f"{v:,.0f}", "seconds": seconds_text}[style]
    shown = rows[:_ROWS]
    thick = 12 if len(series) == 1 else 7
    parts, top = _legend(0, series) if len(series) > 1 else ([], 4.0)
    tops, heights = _row_tops([name for name, _ in shown], thick * len(series) + 9, top)
    most = max((value for _, values in shown for value in values), default=0) or 1.0
    room = WIDTH - _LABEL - 8 - max((text_width(write(values[-1])) for _, values in shown), default=0)
    told = []
    for (name, values), y, high in zip(shown, tops, heights, strict=False):
        middle = y + (high - 9) / 2
        parts += _name(_LABEL - 6, middle, name)
        told.append(_told(name, dict(zip(series, map(write, values), strict=True))))
        first = middle - thick * len(series) / 2
        for place, (value, (label, class_)) in enumerate(zip(values, series.items(), strict=True)):
            tip = element("title", f"{name}, {label}: {write(value)}")
            parts.append(_rect(_LABEL, first + place * thick, max(room * value / most, 0.8), thick - 1, class_, tip))
        parts.append(_text(_LABEL + room * max(values) / most + 5, middle + 4, write(values[-1]), class_="value"))
    height = tops[-1]
    if len(rows) > len(shown):
        parts.append(_text(_LABEL, height + 8, f"and {len(rows) - len(shown)} more, in summary.json", class_="value"))
        height += 14
    return _svg(height, title, told, *parts)


def boxes(title: str, rows: Sequence[tuple[str, str, Mapping[str, float]]]) -> Markup:
    """Box plots: minimum, quartiles and maximum.

    Args:
        rows: (name, CSS class, {min, q1, median, q3, max}).
    """
    most = max((row["max"] for _, _, row in rows), default=1) or 1
    room = WIDTH - _LABEL - 16
    ticks = nice_ticks(0, most)
    scale = room / ticks[-1]
    tops, heights = _row_tops([name for name, _, _ in rows], 24, 8)
    height = tops[-1]
    parts: list[Markup] = []
    told = []
    for tick in ticks:
        x = _LABEL + tick * scale
        parts += [_line(x, 2, x, height, "grid"), _text(x, height + 13, _number(float(tick)), "middle", "value")]
    for (name, class_, row), top, high in zip(rows, tops, heights, strict=False):
        y = top + (high - 24) / 2
        at = {key: _LABEL + row[key] * scale for key in ("min", "q1", "median", "q3", "max")}
        told.append(_told(name, {key: _number(float(row[key])) for key in at}))
        parts += [
            *_name(_LABEL - 6, y + 8, name),
            _line(at["min"], y + 8, at["max"], y + 8, "whisker"),
            _line(at["min"], y + 4, at["min"], y + 12, "whisker"),
            _line(at["max"], y + 4, at["max"], y + 12, "whisker"),
            _rect(at["q1"], y, max(at["q3"] - at["q1"], 1), 16, class_, element("title", told[-1])),
            _line(at["median"], y, at["median"], y + 16, "median"),
        ]
    return _svg(height + 18, title, told, *parts)


def intervals(title: str, rows: Sequence[tuple[str, Sequence[Interval | None]]], series: Mapping[str, str]) -> Markup:
    """Points with intervals on a scale from 0 to 1.

    Args:
        rows: (name, (value, low, high) or None for each series).
    """
    room = WIDTH - _LABEL - _VALUE
    parts, top = _legend(0, series)
    tops, heights = _row_tops([name for name, _ in rows], 13 * len(series) + 10, top + 8)
    height = tops[-1]
    told = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x = _LABEL + tick * room
        parts += [_line(x, top, x, height, "grid"), _text(x, height + 13, f"{tick:g}", "middle", "value")]
    for (name, points), y, high in zip(rows, tops, heights, strict=False):
        first = y + (high - 10 - 13 * len(series)) / 2
        parts += _name(_LABEL - 6, first + 6 * len(series) - 5, name)
        said = {}
        for place, (point, (label, class_)) in enumerate(zip(points, series.items(), strict=True)):
            if point is None:
                continue
            value, low, high_end = point
            at = first + 13 * place
            whole = low is not None and high_end is not None
            said[label] = f"{value:.3f}" + (f" [{low:.3f}, {high_end:.3f}]" if whole else "")
            if low is not None and high_end is not None:
                parts.append(_line(_LABEL + low * room, at, _LABEL + high_end * room, at, f"{class_} range"))
            tip = element("title", f"{name}, {label}: {said[label]}")
            parts.append(element("circle", tip, cx=float(_LABEL + value * room), cy=float(at), r=4, class_=class_))
            parts.append(_text(WIDTH - 4, at + 4, f"{value:.3f}", "end", "value"))
        told.append(_told(name, said))
    return _svg(height + 18, title, told, *parts)


def matrix(title: str, labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Markup:
    """Confusion matrix: gold in rows, predicted in columns, shaded by the share of the row.

    Columns are labelled with the rows' numbers.
    """
    size = max(1, len(labels))
    cell = max(_CELL[0], min(_CELL[1], (WIDTH - _LABEL - 30) / size))
    left = float(_LABEL + 22)
    parts: list[Markup] = [_text(left, 14, "predicted \u2192", class_="value")]
    tops, heights = _row_tops(labels, cell, 30)
    told = []
    for number, (label, y, high) in enumerate(zip(labels, tops, heights, strict=False)):
        parts += _name(left - 26, y + high / 2, label)
        parts.append(_text(left - 5, y + high / 2 + 4, str(number + 1), "end", "value"))
        parts.append(_text(left + (number + 0.5) * cell, 27, str(number + 1), "middle", "value small"))
        row = counts[number] if number < len(counts) else []
        whole = sum(row)
        for place, count in enumerate(row):
            share = count / whole if whole else 0.0
            predicted = labels[place] if place < len(labels) else "?"
            class_ = "hit" if place == number else "miss"
            x = left + place * cell
            parts.append(_rect(x, y, cell - 1, high - 1, "empty"))
            if count:
                told.append(f"{label} taken for {predicted}: {count} of {whole}")
                tip = element("title", told[-1])
                parts.append(_rect(x, y, cell - 1, high - 1, class_, tip, fill_opacity=round(0.15 + 0.85 * share, 3)))
                if text_width(str(count), 10.5) <= cell - 1:
                    tone = "on" if share > 0.45 else "off"
                    parts.append(_text(x + (cell - 1) / 2, y + high / 2 + 4, str(count), "middle", f"count {tone}"))
    return _svg(tops[-1] + 4, title, told, *parts, width=max(WIDTH, left + size * cell + 4))


def curve(
    title: str, points: Sequence[tuple[float, float]], others: Sequence[tuple[float, float]] = (), x_name: str = "step"
) -> Markup:
    """A line through ``points``, and ``others`` as dots.

    Args:
        points: (x, y) in order of x; at least one.
        others: more points (x, y), such as validation losses.
        x_name: label of the x axis.
    """
    every = [*points, *others]
    ticks_x = nice_ticks(min(x for x, _ in every), max(x for x, _ in every))
    ticks_y = nice_ticks(min(0.0, *(y for _, y in every)), max(y for _, y in every))
    left = 10.0 + max(text_width(f"{tick:g}") for tick in ticks_y)
    right = WIDTH - 4 - text_width(f"{ticks_x[-1]:g}") / 2
    top, bottom = 8.0, 170.0

    def at(x: float, y: float) -> tuple[float, float]:
        wide, high = (ticks_x[-1] - ticks_x[0]) or 1.0, (ticks_y[-1] - ticks_y[0]) or 1.0
        return left + (x - ticks_x[0]) / wide * (right - left), bottom - (y - ticks_y[0]) / high * (bottom - top)

    parts: list[Markup] = []
    for tick in ticks_y:
        y = at(ticks_x[0], tick)[1]
        parts += [_line(left, y, right, y, "grid"), _text(left - 6, y + 4, f"{tick:g}", "end", "value")]
    for tick in ticks_x:
        parts.append(_text(at(tick, 0)[0], bottom + 14, f"{tick:g}", "middle", "value"))
    parts.append(_text((left + right) / 2, bottom + 29, x_name, "middle", "value"))
    path = " ".join(f"{_number(x)},{_number(y)}" for x, y in (at(*point) for point in points))
    parts.append(element("polyline", points=path, class_="curve"))
    if len(points) == 1:
        others = [*others, *points]
    for x, y in others:
        place = at(x, y)
        parts.append(
            element(
                "circle", element("title", f"{x_name} {x:g}: {y:.4f}"), cx=place[0], cy=place[1], r=3.5, class_="final"
            )
        )
    first, last = points[0], points[-1]
    told = [f"from {first[1]:.4g} at {x_name} {first[0]:g} to {last[1]:.4g} at {x_name} {last[0]:g}"]
    return _svg(bottom + 34, title, told, *parts)


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` evenly spaced round numbers that cover [low, high]."""
    if not high - low > 1e-9 * max(1.0, abs(low)):
        high = low + 1.0
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]
