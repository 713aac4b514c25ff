"""Tests of drawing records as images and describing images in words, with real OCR."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image

from routenator.domain.records import LAYOUTS
from routenator.generation.describe import (
    Describer,
    TextBox,
    UnreadableImageError,
    colour_name,
    dominant_colours,
    layout_words,
)
from routenator.generation.render import _LAYOUTS, data_url, render

SIZE = (320, 320)
RECORD: dict[str, Any] = {
    "id": "m1",
    "title": "Spring Garden Party",
    "keywords": ["tulips"],
    "topics": ["garden"],
    "colours": ["navy", "#ffcc00", "white"],
    "layout": "centered",
}


@pytest.fixture(scope="session")
def describer() -> Describer:
    return Describer()


def test_every_layout_of_a_domain_can_be_drawn_and_looks_different() -> None:
    assert set(_LAYOUTS) == set(LAYOUTS)
    images = {layout: render({**RECORD, "layout": layout}, SIZE).tobytes() for layout in LAYOUTS}
    assert len(set(images.values())) == len(LAYOUTS)


def test_drawing_is_deterministic_and_follows_the_record() -> None:
    first = render(RECORD, SIZE)
    assert first.size == SIZE and first.mode == "RGB"
    assert first.tobytes() == render(dict(RECORD), SIZE).tobytes()
    for change in ({"title": "Other"}, {"colours": ["red", "blue"]}, {"topics": ["sailing"]}):
        assert first.tobytes() != render({**RECORD, **change}, SIZE).tobytes()


@pytest.mark.parametrize(
    "record", [{}, {"title": "x" * 300}, {"colours": ["no such colour", "#12"], "topics": [], "keywords": []}]
)
def test_odd_records_can_be_drawn(record: dict[str, Any]) -> None:
    assert render(record, (200, 120)).size == (200, 120)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_title_can_be_read_in_every_layout(describer: Describer, layout: str) -> None:
    description = describer.describe(render({**RECORD, "layout": layout}, SIZE))
    assert description.text == RECORD["title"]
    assert description.text in description.description and description.layout in description.description


def test_colours_and_layout_match_the_picture(describer: Describer) -> None:
    description = describer.describe(render(RECORD, SIZE))
    assert description.colours[0] == "navy" and "yellow" in description.colours
    assert description.layout == "a large centered title in the middle"
    assert "at the top" in describer.describe(render({**RECORD, "layout": "banner"}, SIZE)).layout
    assert "on the left" in describer.describe(render({**RECORD, "layout": "split"}, SIZE)).layout
    assert "at the bottom" in describer.describe(render({**RECORD, "layout": "full-bleed"}, SIZE)).layout


def test_an_image_without_text_is_unreadable(describer: Describer) -> None:
    with pytest.raises(UnreadableImageError):
        describer.describe(render({**RECORD, "title": ""}, SIZE))
    with pytest.raises(UnreadableImageError):
        describer.describe(Image.new("RGB", SIZE, "green"))


@pytest.mark.parametrize(
    ("rgb", "name"),
    [((0, 0, 0), "black"), ((255, 255, 255), "white"), ((255, 0, 0), "red"), ((0, 0, 128), "navy"),
     ((255, 192, 203), "pink"), ((34, 139, 34), "green"),
     ((255, 165, 0), "orange"), ((128, 128, 128), "gray"), ((0, 128, 128), "teal")],
)  # fmt: skip
def test_colour_names(rgb: tuple[int, int, int], name: str) -> None:
    assert colour_name(rgb) == name


def test_dominant_colours_are_ordered_by_area() -> None:
    image = Image.new("RGB", (100, 100), "white")
    image.paste((255, 0, 0), (0, 0, 100, 30))
    image.paste((0, 0, 128), (0, 30, 10, 40))  # 1%: too little to be named
    assert dominant_colours(image) == ["white", "red"]


def test_layout_words() -> None:
    assert layout_words([TextBox("a", 0.3, 0.05, 0.7, 0.2)]) == "a large centered title at the top"
    assert layout_words([TextBox("a", 0.1, 0.9, 0.3, 0.95)]) == "a small title on the left at the bottom"
    assert layout_words([TextBox("a", 0.1, 0.5, 0.3, 0.55), TextBox("b", 0.6, 0.5, 0.8, 0.55)]).startswith(
        "text in columns"
    )


def test_data_urls_contain_the_picture() -> None:
    image = render(RECORD, SIZE)
    head, data = data_url(image).split(",", 1)
    assert head == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).tobytes() == image.tobytes()
