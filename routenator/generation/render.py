"""Draws a metadata record as an image: layout, colours, title, and simple shapes for its topics.

Deterministic, and needs nothing but Pillow.
The vision route needs images and a domain has only metadata, so they are drawn on demand. They need not be beautiful:
the point is that OCR or a vision-language model can recognise the record's title, colours and layout.
"""

from __future__ import annotations

import base64
import hashlib
import io
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from routenator.extras import require

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels
Colour = tuple[int, int, int]

_DEFAULT_COLOURS = ("white", "navy", "gold")
_SMALLEST_TEXT = 11  # pixels; OCR misreads anything smaller


def render(record: dict[str, Any], size: tuple[int, int]) -> Image:
    """Draw a record.

    Args:
        record: a line of metadata.jsonl.
        size: width and height in pixels.

    Returns:
        An RGB image; the same record and size always give the same pixels.
    """
    require("vision", "drawing an image", ("PIL",))
    from PIL import Image, ImageDraw

    colours = _colours(record)
    image = Image.new("RGB", size, colours[0])
    draw = ImageDraw.Draw(image)
    text_box, art = _LAYOUTS.get(str(record.get("layout", "minimal")), _minimal)(draw, size, colours)
    _shapes(draw, art, record, colours)
    behind = image.getpixel((max(0, text_box[0] + 1), max(0, text_box[1] + 1)))
    assert isinstance(behind, tuple)
    _title(draw, text_box, str(record.get("title", "")), _readable_on((behind[0], behind[1], behind[2])))
    return image


def data_url(image: Image) -> str:
    """Encode an image as PNG in a data URL, for OpenAI-style ``image_url`` parts."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _colours(record: dict[str, Any]) -> list[Colour]:
    """The record's colours, at least three; names unknown to Pillow are skipped."""
    from PIL import ImageColor

    found: list[Colour] = []
    for name in [*record.get("colours", []), *_DEFAULT_COLOURS]:
        try:
            rgb = ImageColor.getrgb(str(name).replace(" ", ""))
        except ValueError:
            continue
        found.append((rgb[0], rgb[1], rgb[2]))
    return found


def _readable_on(background: Colour) -> Colour:
    """Black or white, whichever has more contrast."""
    luminance = 0.299 * background[0] + 0.587 * background[1] + 0.114 * background[2]
    return (0, 0, 0) if luminance > 140 else (255, 255, 255)


def _share(size: tuple[int, int], left: float, top: float, right: float, bottom: float) -> Box:
    return int(size[0] * left), int(size[1] * top), int(size[0] * right), int(size[1] * bottom)


# Each layout paints its background and returns the box of the title and the boxes of the shapes.
Layout = Callable[["ImageDraw", tuple[int, int], list[Colour]], tuple[Box, list[Box]]]


def _centered(draw: ImageDraw, size: tuple[int, int], colours: list[Colour]) -> tuple[Box, list[Box]]:
    return _share(size, 0.1, 0.36, 0.9, 0.64), [_share(size, 0.3, 0.04, 0.7, 0.32), _share(size, 0.35, 0.7, 0.65, 0.95)]


def _split(draw: ImageDraw, size: tuple[int, int], colours: list[Colour]) -> tuple[Box, list[Box]]:
    draw.rectangle(_share(size, 0.5, 0, 1, 1), fill=colours[1])
    return _share(size, 0.03, 0.3, 0.47, 0.7), [
        _share(size, 0.58, 0.12, 0.92, 0.46),
        _share(size, 0.58, 0.54, 0.92, 0.88),
    ]


def _grid(draw: ImageDraw, size: tuple[int, int], colours: list[Colour]) -> tuple[Box, list[Box]]:
    draw.rectangle(_share(size, 0, 0.24, 1, 1), fill=colours[1])
    cells = [_share(size, x, y, x + 0.4, y + 0.3) for y in (0.3, 0.66) for x in (0.06, 0.54)]
    return _share(size, 0.04, 0.03, 0.96, 0.21), cells


def _banner(draw: ImageDraw, size: tuple[int, int], colours: list[Colour]) -> tuple[Box, list[Box]]:
    draw.rectangle(_share(size, 0, 0, 1, 0.3), fill=colours[1])
    return _share(size, 0.04, 0.04, 0.96, 0.26), [_share(size, 0.1, 0.4, 0.45, 0.9), _share(size, 0.55, 0.4, 0.9, 0.9)]


def _full_bleed(draw: ImageDraw, size: tuple[int, int], colours: list[Colour]) -> tuple[Box, list[Box]]:
    draw.polygon(
        [(0, int(size[1] * 0.7)), (size[0], int(size[1] * 0.4)), (size[0], int(size[1] * 0.72)), (0, size[1])],
        fill=colours[2],
    )
    draw.rectangle(_share(size, 0, 0.74, 1, 1), fill=colours[1])
    return _share(size, 0.05, 0.77, 0.95, 0.97), [_share(size, 0.25, 0.08, 0.75, 0.6)]


def _framed(draw: ImageDraw, size: tuple[int, int], colours: list[Colour]) -> tuple[Box, list[Box]]:
    draw.rectangle(_share(size, 0, 0, 1, 1), outline=colours[1], width=max(4, size[0] // 24))
    return _share(size, 0.12, 0.55, 0.88, 0.88), [_share(size, 0.3, 0.12, 0.7, 0.5)]


def _columns(draw: ImageDraw, size: tuple[int, int], colours: list[Colour]) -> tuple[Box, list[Box]]:
    draw.rectangle(_share(size, 0.34, 0, 0.67, 1), fill=colours[1])
    draw.rectangle(_share(size, 0.67, 0, 1, 1), fill=colours[2])
    draw.rectangle(_share(size, 0, 0, 1, 0.26), fill=colours[0])
    return _share(size, 0.04, 0.04, 0.96, 0.22), [_share(size, x, 0.4, x + 0.24, 0.7) for x in (0.05, 0.38, 0.71)]


def _minimal(draw: ImageDraw, size: tuple[int, int], colours: list[Colour]) -> tuple[Box, list[Box]]:
    return _share(size, 0.06, 0.06, 0.94, 0.36), [_share(size, 0.62, 0.6, 0.9, 0.9)]


_LAYOUTS: dict[str, Layout] = {
    "centered": _centered,
    "split": _split,
    "grid": _grid,
    "banner": _banner,
    "full-bleed": _full_bleed,
    "framed": _framed,
    "columns": _columns,
    "minimal": _minimal,
}


def _shapes(draw: ImageDraw, places: list[Box], record: dict[str, Any], colours: list[Colour]) -> None:
    """Draw one shape in each place; kind and colour come from the topic's hash, so a topic always looks the same."""
    topics = [str(topic) for topic in [*record.get("topics", []), *record.get("keywords", [])]] or [
        str(record.get("id", ""))
    ]
    for number, box in enumerate(places):
        key = hashlib.sha256(topics[number % len(topics)].encode()).digest()
        fill = colours[1:][key[0] % len(colours[1:])]
        left, top, right, bottom = box
        middle = ((left + right) // 2, (top + bottom) // 2)
        kind = key[1] % 5
        if kind == 0:
            draw.ellipse(box, fill=fill, outline=_readable_on(fill))
        elif kind == 1:
            draw.rectangle(box, fill=fill, outline=_readable_on(fill))
        elif kind == 2:
            draw.polygon([(middle[0], top), (right, bottom), (left, bottom)], fill=fill, outline=_readable_on(fill))
        elif kind == 3:
            draw.polygon(
                [(middle[0], top), (right, middle[1]), (middle[0], bottom), (left, middle[1])],
                fill=fill,
                outline=_readable_on(fill),
            )
        else:
            radius = min(right - left, bottom - top) // 2
            draw.regular_polygon(
                (middle[0], middle[1], radius), n_sides=5 + key[2] % 3, fill=fill, outline=_readable_on(fill)
            )


def _title(draw: ImageDraw, box: Box, title: str, colour: Colour) -> None:
    """Draw the title as large as fits, wrapped and centred in its box; clipped if even the smallest size is too big."""
    from PIL import ImageFont

    width, height = box[2] - box[0], box[3] - box[1]
    if not title:
        return
    font_size = max(_SMALLEST_TEXT, height // 2)
    while True:
        font = ImageFont.load_default(font_size)
        per_line = max(1, int(width / max(1.0, font.getlength("n"))))
        text = "\n".join(textwrap.wrap(title, per_line, break_long_words=False))
        left, top, right, bottom = draw.multiline_textbbox((0, 0), text, font=font, align="center")
        if (right - left <= width and bottom - top <= height) or font_size <= _SMALLEST_TEXT:
            break
        font_size = max(_SMALLEST_TEXT, int(font_size * 0.9))
    position = (box[0] + (width - (right - left)) / 2 - left, box[1] + (height - (bottom - top)) / 2 - top)
    draw.multiline_text(position, text, font=font, fill=colour, align="center")
