"""Numbers within the bounds that a schema gives and the range that a name suggests."""

from __future__ import annotations

import random
import re
from typing import Any, NamedTuple

from routenator.authoring.door.banks import Drawn
from routenator.authoring.door.english import in_words

WANTED = 600  # values of a list; at least 500 survive the checks where the schema admits them


class Range(NamedTuple):
    """Numbers that a name suggests.

    Attributes:
        fine: they may have decimals.
    """

    name: re.Pattern[str]
    low: float
    high: float
    fine: bool


def numbers(suggested: Range | None, schema: dict[str, Any], decimals: bool, draw: random.Random) -> list[Drawn]:
    """Numbers for a parameter, in order; none if its bounds leave none.

    Args:
        suggested: the range that its name suggests; None: 1 to 650.
        decimals: its type allows them.
    """
    low, high, fine = (
        1.0,
        650.0,
        re.search(r"decimal|fraction|price|amount|float", str(schema.get("description"))) is not None,
    )
    if suggested is not None:
        low, high, fine = suggested.low, suggested.high, suggested.fine
    inner = [each for key in ("anyOf", "oneOf") for each in schema.get(key, ())]
    bounds = [part for part in (schema, *inner) if isinstance(part, dict)]
    # The schema refuses exclusive bounds themselves afterwards.
    least = max((float(b[k]) for b in bounds for k in ("minimum", "exclusiveMinimum") if k in b), default=None)
    most = min((float(b[k]) for b in bounds for k in ("maximum", "exclusiveMaximum") if k in b), default=None)
    if least is not None:
        low, high = (least, high) if least < high else (least, least + 650)
    if most is not None:
        low, high = (low, most) if low <= most else (most - 650 if least is None else least, most)
        if least is not None:
            low = least
    high = min(high, low + 10**6) if most is None and suggested is None else high
    fine = fine or high - low < 20
    step = next((float(b["multipleOf"]) for b in bounds if b.get("multipleOf")), None)
    if step is None:
        step = 0.5 if decimals and fine and high - low <= 12 else 0.01 if decimals and fine else 1.0
        if decimals and fine and most is not None and high - low <= 2:
            step = 0.001
    first, last = int(-(-low // step)), int(high // step)
    count = last - first + 1
    if count <= 0:
        return []
    chosen = sorted(draw.sample(range(first, last + 1), WANTED)) if count > WANTED else list(range(first, last + 1))
    digits = max(0, len(f"{step:g}".partition(".")[2]))
    return [_number(round(place * step, digits), digits) for place in chosen]


def _number(value: float, digits: int) -> Drawn:
    text = f"{value:.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".") or "0"
    if text == "-0":
        text = "0"
    if value == int(value) and 2 <= value <= 12:
        return (text, text, in_words(int(value)))
    return (text, text)
