"""Charts as inline SVG: small functions over plain numbers.

Every chart is 400 units wide and scales with its column, so its text is readable on a phone and on a desktop. Colours
are CSS classes of the page, which has a light and a dark theme. All text passes through ``element``, which escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from routenator.report.summary import seconds_text

if TYPE_CHECKING:
    from markupsafe import Markup

Interval = tuple[float, float | None, float | None]  # value, low, high

WIDTH = 400
_LABEL = 140  # room for names on the left
_VALUE = 56  # room for numbers on the right
_NAME = 21  # characters of a name that fit
_ROWS = 40  # bars in one chart; its last line says how many more there are


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


def _svg(height: float, title: str, *children: Markup) -> Markup:
    return element(
        "svg",
        element("title", title),
        *children,
        viewBox=f"0 0 {WIDTH} {_number(float(height))}",
        role="img",
        class_="chart",
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


def _name(x: float, y: float, name: str) -> Markup:
    short = name if len(name) <= _NAME else name[: _NAME - 1] + "\u2026"
    return element("text", element("title", name), short, x=float(x), y=float(y), text_anchor="end", class_="name")


def _legend(y: float, series: Mapping[str, str]) -> list[Markup]:
    parts: list[Markup] = []
    x = float(_LABEL)
    for name, class_ in series.items():
        parts += [_rect(x, y - 8, 10, 8, class_), _text(x + 14, y, name)]
        x += 26 + 6.6 * len(name)
    return parts


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
    step = thick * len(series) + 9
    top = 20 if len(series) > 1 else 4
    most = max((value for _, values in shown for value in values), default=0) or 1.0
    room = WIDTH - _LABEL - _VALUE
    parts = _legend(12, series) if len(series) > 1 else []
    for number, (name, values) in enumerate(shown):
        y = top + number * step
        parts.append(_name(_LABEL - 6, y + thick * len(series) / 2 + 4, name))
        for place, (value, (label, class_)) in enumerate(zip(values, series.items(), strict=True)):
            tip = element("title", f"{name}, {label}: {write(value)}")
            parts.append(_rect(_LABEL, y + place * thick, max(room * value / most, 0.8), thick - 1, class_, tip))
        width = room * max(values) / most
        parts.append(_text(_LABEL + width + 5, y + thick * len(series) / 2 + 4, write(values[-1]), class_="value"))
    height = top + len(shown) * step
    if len(rows) > len(shown):
        parts.append(_text(_LABEL, height + 8, f"and {len(rows) - len(shown)} more, in summary.json", class_="value"))
        height += 14
    return _svg(height, title, *parts)


def boxes(title: str, rows: Sequence[tuple[str, str, Mapping[str, float]]]) -> Markup:
    """Box plots: minimum, quartiles and maximum.

    Args:
        rows: (name, CSS class, {min, q1, median, q3, max}).
    """
    most = max((row["max"] for _, _, row in rows), default=1) or 1
    room = WIDTH - _LABEL - 16
    ticks = nice_ticks(0, most)
    scale = room / ticks[-1]
    height = 8 + 24 * len(rows)
    parts: list[Markup] = []
    for tick in ticks:
        x = _LABEL + tick * scale
        parts += [_line(x, 2, x, height, "grid"), _text(x, height + 13, _number(float(tick)), "middle", "value")]
    for number, (name, class_, row) in enumerate(rows):
        y = 8 + 24 * number
        at = {key: _LABEL + row[key] * scale for key in ("min", "q1", "median", "q3", "max")}
        tip = element("title", f"{name}: " + ", ".join(f"{key} {_number(float(row[key]))}" for key in at))
        parts += [
            _name(_LABEL - 6, y + 12, name),
            _line(at["min"], y + 8, at["max"], y + 8, "whisker"),
            _line(at["min"], y + 4, at["min"], y + 12, "whisker"),
            _line(at["max"], y + 4, at["max"], y + 12, "whisker"),
            _rect(at["q1"], y, max(at["q3"] - at["q1"], 1), 16, class_, tip),
            _line(at["median"], y, at["median"], y + 16, "median"),
        ]
    return _svg(height + 18, title, *parts)


def intervals(title: str, rows: Sequence[tuple[str, Sequence[Interval | None]]], series: Mapping[str, str]) -> Markup:
    """Points with intervals on a scale from 0 to 1.

    Args:
        rows: (name, (value, low, high) or None for each series).
    """
    room = WIDTH - _LABEL - _VALUE
    step = 13 * len(series) + 10
    height = 20 + step * len(rows)
    parts = _legend(12, series)
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x = _LABEL + tick * room
        parts += [_line(x, 20, x, height, "grid"), _text(x, height + 13, f"{tick:g}", "middle", "value")]
    for number, (name, points) in enumerate(rows):
        y = 28 + number * step
        parts.append(_name(_LABEL - 6, y + 6 * len(series) - 1, name))
        for place, (point, (label, class_)) in enumerate(zip(points, series.items(), strict=True)):
            if point is None:
                continue
            value, low, high = point
            at = y + 13 * place
            tip = f"{name}, {label}: {value:.3f}" + ("" if low is None or high is None else f" [{low:.3f}, {high:.3f}]")
            if low is not None and high is not None:
                parts.append(_line(_LABEL + low * room, at, _LABEL + high * room, at, f"{class_} range"))
            parts.append(
                element(
                    "circle", element("title", tip), cx=float(_LABEL + value * room), cy=float(at), r=4, class_=class_
                )
            )
            parts.append(_text(WIDTH - 4, at + 4, f"{value:.3f}", "end", "value"))
    return _svg(height + 18, title, *parts)


def matrix(title: str, labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Markup:
    """Confusion matrix: gold in rows, predicted in columns, shaded by the share of the row.

    Columns are labelled with the rows' numbers.
    """
    size = max(1, len(labels))
    cell = min(34.0, (WIDTH - _LABEL - 30) / size)
    left, top = float(_LABEL + 22), 30.0
    parts: list[Markup] = [_text(left, 10, "predicted \u2192", class_="value")]
    for number, label in enumerate(labels):
        y = top + number * cell
        if cell >= 9:
            parts.append(_name(left - 22, y + cell / 2 + 4, label))
            parts.append(_text(left - 5, y + cell / 2 + 4, str(number + 1), "end", "value"))
            parts.append(_text(left + (number + 0.5) * cell, top - 3, str(number + 1), "middle", "value"))
        row = counts[number] if number < len(counts) else []
        whole = sum(row)
        for place, count in enumerate(row):
            share = count / whole if whole else 0.0
            predicted = labels[place] if place < len(labels) else "?"
            tip = element("title", f"{label} taken for {predicted}: {count} of {whole}")
            class_ = "hit" if place == number else "miss"
            x = left + place * cell
            parts.append(_rect(x, y, cell - 1, cell - 1, "empty"))
            if count:
                parts.append(_rect(x, y, cell - 1, cell - 1, class_, tip, fill_opacity=round(0.15 + 0.85 * share, 3)))
                if cell >= 17:
                    tone = "on" if share > 0.45 else "off"
                    parts.append(_text(x + (cell - 1) / 2, y + cell / 2 + 4, str(count), "middle", f"count {tone}"))
    return _svg(top + size * cell + 4, title, *parts)


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
    left, right, top, bottom = 44.0, WIDTH - 10.0, 8.0, 170.0
    ticks_x = nice_ticks(min(x for x, _ in every), max(x for x, _ in every))
    ticks_y = nice_ticks(min(0.0, *(y for _, y in every)), max(y for _, y in every))

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
    return _svg(bottom + 34, title, *parts)


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` evenly spaced round numbers that cover [low, high]."""
    if not high - low > 1e-9 * max(1.0, abs(low)):
        high = low + 1.0
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]
