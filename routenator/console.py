"""A rich console whose output comes from elsewhere: no control character passes, and no text is taken for markup."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from routenator.terminal import shown

_TABLE = 80  # columns; a narrower table would lose whole cells, and the names in them


class PlainConsole(Console):
    """A console that shows control characters instead of sending them; its own colors and cursor moves are kept.

    On a terminal of fewer than 80 columns it prints tables for 80, whose lines the terminal wraps.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as ``Console`` does, but never a table that is clipped for want of columns."""
        own, narrow = self._width, self.width < _TABLE
        if narrow and any(isinstance(one, (Table, Group)) for one in objects):
            self._width = _TABLE
        try:
            super().print(*objects, **options)
        finally:
            self._width = own

    def render_str(self, text: str, **options: Any) -> Text:
        """Prepare a string; replaced here, control characters count in the widths of columns."""
        return super().render_str(shown(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render anything else, such as ``Text``."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else shown(segment.text)
            yield segment if text == segment.text else Segment(text, segment.style)
