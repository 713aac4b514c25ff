"""The tables of the monitor: one that marks its selected row with a symbol, and the rows of stages and tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text
from textual.widgets import DataTable

from routenator.report.summary import rate_text
from routenator.terminal import shown
from slurm.watching.run_status import StageStatus
from slurm.watching.status_view import STYLES, bar, duration, rate

_MARK = "▸"
_WIDE = 122  # columns that the table of stages takes with all that it can show
_BAR = 10
_LONGEST_BAR = 60


class Table(DataTable[Text]):
    """A table that also marks the selected row with a symbol, for terminals without color."""

    def __init__(self, columns: Sequence[tuple[str, int]], name: str) -> None:
        super().__init__(cursor_type="row", cell_padding=0, id=name, zebra_stripes=False)
        self._titles = columns
        self._shown: list[list[Text]] = []
        self._marked = 0
        self._kept: int | None = None  # row to select once there are rows again

    def on_mount(self) -> None:
        self._add_columns()

    def _add_columns(self) -> None:
        self.add_column("", width=2, key="mark")
        for title, width in self._titles:
            self.add_column(title, width=width + 1, key=title)

    def use(self, columns: Sequence[tuple[str, int]]) -> None:
        """Change the columns; ``show`` must follow. Keeps the selection."""
        if columns != self._titles:
            row, self._titles, self._shown = self.cursor_row, columns, []
            self.clear(columns=True)
            self._add_columns()
            self._kept = row

    def show(self, lines: list[list[Text]]) -> None:
        """Show these rows. Redraws only cells that differ and keeps the selection."""
        while self.row_count > len(lines):
            self.remove_row(str(self.row_count - 1))
            self._shown.pop()
        for number, line in enumerate(lines):
            if number == self.row_count:
                self.add_row(self._mark(number), *line, key=str(number))
                self._shown.append(line)
                continue
            for (title, _), old, new in zip(self._titles, self._shown[number], line, strict=True):
                if old != new or old.style != new.style:
                    self.update_cell(str(number), title, new)
            self._shown[number] = line
        if self._kept is not None:
            self.move_cursor(row=self._kept)
            self._kept = None
        self.marked()

    def marked(self) -> None:
        """Move the symbol to the selected row."""
        for number in {self._marked, self.cursor_row}:
            if 0 <= number < self.row_count:
                self.update_cell(str(number), "mark", self._mark(number))
        self._marked = self.cursor_row

    def _mark(self, number: int) -> Text:
        return text_of(_MARK if number == self.cursor_row else " ", style="bold")


def stage_columns(width: int) -> list[tuple[str, int]]:
    """Return the columns of the table of stages: more, and a longer bar, on a wide terminal."""
    columns = [
        ("stage", 9),
        ("state", 9),
        ("done", 15),
        ("shards", 12),
        ("run", 6),
        ("wait", 6),
        ("fail", 6),
        ("ETA", 7),
    ]
    if width >= _WIDE:
        columns[2] = ("done", 15 + _more(width))
        columns += [("rows", 13), ("rate", 16), ("tokens/s", 10)]
    return columns


def _more(width: int) -> int:
    """Return by how much the bar is longer on a wide terminal."""
    return min(width - _WIDE, _LONGEST_BAR - _BAR) if width >= _WIDE else 0


def stage_row(stage: StageStatus, width: int) -> list[Text]:
    cells = [
        stage.stage,
        stage.state,
        f"{bar(stage.fraction, _BAR + _more(width))} {stage.fraction:4.0%}",
        f"{stage.done:,}/{stage.shards:,}",
        f"{stage.running:,}",
        f"{stage.pending:,}",
        f"{stage.failed:,}",
        duration(stage.eta_s),
    ]
    if width >= _WIDE:
        tokens = stage.tokens_per_second
        cells += [f"{stage.rows:,}" if stage.rows else "-", rate(stage), "-" if tokens is None else rate_text(tokens)]
    styles = {1: STYLES.get(stage.state, "dim"), 6: STYLES["failed"] if stage.failed else ""}
    return [text_of(cell, style=styles.get(number, "")) for number, cell in enumerate(cells)]


def task_row(shard: str, state: str, job: str | None, nodes: str | None, why: str) -> list[Text]:
    return [
        text_of(shard),
        text_of(state, style=STYLES[state]),
        text_of(job or "-"),
        text_of(nodes or "-"),
        text_of(why),
    ]


def text_of(text: str, **options: Any) -> Text:
    """Text to draw; names, logs and messages come from elsewhere, and textual sends what it gets."""
    return Text(shown(text), **options)
