"""Describes an image in words, without a vision-language model: text by OCR, names of the dominant colours, layout.

The vision route uses it with ``kind: described``; the text model then writes the query from these words.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from routenator.extras import require_vision

if TYPE_CHECKING:
    from PIL.Image import Image

_TEXT_SCORE = 0.6  # below this, OCR reads letters into shapes
_LONGEST_SIDE = 640  # pixels; OCR scales larger images down, as its cost grows with the area
_COLOUR_SHARE = 0.05  # of the image's area, for a colour to be named
_COLOURS_NAMED = 3
_THREADS = 2  # OCR gains little from more, and tasks share a node

# Basic colour terms: a description should use the words that people use.
_NAMES: dict[str, tuple[int, int, int]] = {
    "black": (15, 15, 15), "white": (250, 250, 250), "gray": (128, 128, 128), "silver": (200, 200, 205),
    "red": (210, 30, 40), "maroon": (120, 10, 30), "orange": (250, 140, 20), "coral": (250, 125, 95),
    "brown": (130, 75, 40),
    "beige": (240, 225, 195), "cream": (253, 250, 232), "gold": (220, 175, 50), "yellow": (250, 220, 40),
    "lime": (160, 220, 60),
    "green": (40, 150, 60), "mint": (165, 235, 200), "olive": (120, 120, 40), "teal": (10, 130, 130),
    "turquoise": (70, 210, 205),
    "sky blue": (130, 200, 240), "blue": (40, 90, 215), "navy": (15, 25, 95), "purple": (120, 50, 150),
    "lavender": (205, 185, 240),
    "magenta": (210, 40, 160), "pink": (250, 170, 190), "hot pink": (250, 90, 165),
}  # fmt: skip


@dataclass(frozen=True)
class TextBox:
    """One line of text in an image; positions are shares of width and height, 0 at the left and top."""

    text: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def middle(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2


@dataclass(frozen=True)
class Description:
    """The variable ``image`` of a template.

    Attributes:
        text: all text, in reading order.
        colours: names of the dominant colours, the largest first.
        layout: where the text is, in words.
        description: all of the above in one sentence.
    """

    text: str
    colours: list[str]
    layout: str
    description: str


class UnreadableImageError(ValueError):
    """No text could be read in an image; the row is rejected with the reason ``unreadable_image``."""


class Describer:
    """Holds the OCR model. Loading takes 0.5 s; a 320 x 320 image takes about 0.1 s on two cores."""

    def __init__(self) -> None:
        require_vision()
        from rapidocr import RapidOCR

        logging.getLogger("RapidOCR").setLevel(logging.ERROR)
        threads = min(_THREADS, len(os.sched_getaffinity(0)))
        self._ocr: Any = RapidOCR(
            params={
                "Global.use_cls": False,  # no rotation detection: rendered text is upright
                "Global.text_score": _TEXT_SCORE,
                "Global.log_level": "error",
                "Det.limit_type": "max",
                "Det.limit_side_len": _LONGEST_SIDE,
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def describe(self, image: Image) -> Description:
        """Describe an RGB image.

        Raises:
            UnreadableImageError: OCR finds no text in it.
        """
        boxes = self._read(image)
        if not boxes:
            raise UnreadableImageError("no text was found in the image")
        text, colours, layout = " ".join(box.text for box in boxes), dominant_colours(image), layout_words(boxes)
        return Description(text, colours, layout, f'A design in {_and(colours)} that says "{text}", with {layout}.')

    def _read(self, image: Image) -> list[TextBox]:
        import numpy as np

        pixels = np.asarray(image.convert("RGB"))[:, :, ::-1]  # OCR takes BGR
        found = self._ocr(pixels)
        if found.txts is None or found.boxes is None:
            return []
        height, width = pixels.shape[:2]
        boxes = []
        for text, corners in zip(found.txts, found.boxes, strict=True):
            if any(sign.isalnum() and sign.isascii() for sign in text):
                xs, ys = corners[:, 0] / width, corners[:, 1] / height
                boxes.append(TextBox(text.strip(), float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())))
        return sorted(boxes, key=lambda box: (round(box.top, 1), box.left))


def dominant_colours(image: Image) -> list[str]:
    """Names of the colours that cover the most of an image, the largest first; at least one."""
    small = image.convert("RGB").resize((64, 64)).quantize(colors=8)
    palette = small.getpalette() or []
    shares: dict[str, float] = {}
    for count, index in sorted(small.getcolors() or [], reverse=True):
        assert isinstance(index, int)
        red, green, blue = palette[3 * index : 3 * index + 3]
        name = colour_name((red, green, blue))
        shares[name] = shares.get(name, 0.0) + count / (64 * 64)
    ordered = sorted(shares, key=lambda name: (-shares[name], name))
    return [name for name in ordered if shares[name] >= _COLOUR_SHARE][:_COLOURS_NAMED] or ordered[:1]


def colour_name(rgb: tuple[int, int, int]) -> str:
    """The nearest basic colour term by the "redmean" distance (CompuPhase), an RGB distance weighted for perception."""

    def distance(other: tuple[int, int, int]) -> float:
        mean = (rgb[0] + other[0]) / 2
        red, green, blue = (a - b for a, b in zip(rgb, other, strict=True))
        return (2 + mean / 256) * red**2 + 4 * green**2 + (2 + (255 - mean) / 256) * blue**2

    return min(_NAMES, key=lambda name: distance(_NAMES[name]))


def layout_words(boxes: Sequence[TextBox]) -> str:
    """Describe where the text is, e.g. "a large centered title at the top"; ``boxes`` must not be empty."""
    left, right = min(box.left for box in boxes), max(box.right for box in boxes)
    top, bottom = min(box.top for box in boxes), max(box.bottom for box in boxes)
    x, y = (left + right) / 2, (top + bottom) / 2
    side = "on the left" if x < 0.4 else "on the right" if x > 0.6 else "centered"
    level = "at the top" if y < 0.36 else "at the bottom" if y > 0.64 else "in the middle"
    large = max(box.bottom - box.top for box in boxes) > 0.09
    columns = any(a.right < b.left and abs(a.middle[1] - b.middle[1]) < 0.05 for a in boxes for b in boxes)
    what = "text in columns" if columns else "a large title" if large else "a small title"
    place = f"{what} {level}" if side == "centered" and not columns else f"{what} {side} {level}"
    return place.replace("a large title", "a large centered title") if side == "centered" and not columns else place


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
