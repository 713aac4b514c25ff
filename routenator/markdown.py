"""Tables and lines of Markdown from text that comes from elsewhere."""

from __future__ import annotations

from typing import Any


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table of ready cells; empty without rows."""
    if not rows:
        return ""
    return "\n".join(["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)])


def line(text: Any) -> str:
    """Return text on one line."""
    return " ".join(str(text).split())


def cell(text: Any) -> str:
    """Return text that stays in its cell and is shown as it is."""
    return line(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
