"""A run's status for people: a table, live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from jobs.plan import Run
from slurm.status import STATES, RunStatus, StageStatus, StatusReader

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_STYLES = {"done": "green", "running": "cyan", "pending": "yellow", "unknown": "yellow", "failed": "bold red", "cancelled": "magenta"}
_BAR = 16
# Without a terminal a line is written when something changed, but for one that only counts on, no oftener than this.
_PLAIN_EVERY_S = 20.0


def duration(seconds: float | None) -> str:
    """``75`` -> 1m15s; nothing known: a dash."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def counts(stage: StageStatus) -> str:
    """``3 done, 1 failed``."""
    return ", ".join(f"{getattr(stage, name)} {name}" for name in STATES if getattr(stage, name))


def rate(stage: StageStatus) -> str:
    """Units a second; a dash if unknown."""
    if stage.rate is None:
        return "-"
    digits = 0 if stage.rate >= 100 else 1 if stage.rate >= 1 else 3
    return f"{stage.rate:,.{digits}f} {stage.unit}/s"


def status_table(status: RunStatus, bars: bool = False) -> RenderableType:
    """The stages as a table.

    Args:
        bars: whether to draw how far each stage is.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in (("stage", "left"), ("state", "left"), ("shards", "left"), ("rows", "right"), ("rate", "right"), ("ETA", "right")):
        table.add_column(name, justify=justify, no_wrap=name != "shards")  # type: ignore[arg-type]
    for stage in status.stages:
        shards = counts(stage)
        if stage.reused:
            shards += " (used again)"
        elif stage.pending and stage.reasons and not bars:
            shards += f" ({next(iter(stage.reasons))})"
        if bars and stage.state == "running":
            filled = int(stage.fraction * _BAR)
            shards = f"{'━' * filled}{'╌' * (_BAR - filled)} {stage.fraction:4.0%}  {shards}"
        rows = f"{stage.rows:,}" if stage.rows else "-"
        style = _STYLES.get(stage.state, "dim")
        table.add_row(stage.stage, Text(stage.state, style=style), shards, rows, rate(stage), duration(stage.eta_s))
    return table


def print_status(console: Console, status: RunStatus) -> None:
    """Everything that ``status`` shows."""
    console.print(f"{status.name}: {status.state}", style=_STYLES.get(status.state, ""), highlight=False)
    console.print(status_table(status))
    if status.problem:
        console.print(f"the queue could not be read: {status.problem}", style="yellow", highlight=False)
    if status.kind == "slurm" and status.accounting is False and not status.problem:
        console.print("accounting is off or silent: ended tasks are judged by receipts and their own records", style="dim", highlight=False)
    print_failures(console, status)


def print_failures(console: Console, status: RunStatus, lines: int = 8) -> None:
    """Each failed shard with its reason and the end of its log."""
    for stage in status.stages:
        for failure in stage.failures:
            where = f" (job {failure.job})" if failure.job else ""
            console.print(
                f"\n{failure.stage} shard {failure.shard} failed{where}: {failure.reason}", style="red", markup=False, highlight=False
            )
            for line in failure.tail[-lines:]:
                console.print(f"  | {line}", markup=False, highlight=False)
            if failure.log:
                console.print(f"  log: {failure.log}", style="dim", markup=False, highlight=False)
        if stage.failed > len(stage.failures):
            console.print(f"\n{stage.stage}: {stage.failed - len(stage.failures)} more failed shards", style="red", highlight=False)


def watch(run: Run, console: Console, ended: Callable[[RunStatus], bool], every_s: float) -> RunStatus:
    """Show a run's progress until ``ended`` says so of a status.

    Args:
        ended: called with each status.
        every_s: seconds between two looks.

    Returns:
        The last status.
    """
    reader = StatusReader(run)
    if console.is_terminal:
        from rich.live import Live

        with Live(console=console, refresh_per_second=4, transient=False) as live:
            while True:
                over = reader.read()
                live.update(status_table(over, bars=True))
                if ended(over):
                    return over
                time.sleep(every_s)
    shown: dict[str, str] = {}
    last = 0.0
    while True:
        over = reader.read()
        for stage in over.stages:
            states = f"{stage.state} {counts(stage)}"
            due = stage.state == "running" and time.monotonic() - last >= _PLAIN_EVERY_S
            if stage.state in ("pending", "missing") or (shown.get(stage.stage) == states and not due):
                continue
            shown[stage.stage] = states
            last = time.monotonic()
            console.print(plain_line(stage), markup=False, highlight=False, soft_wrap=True)
        if ended(over):
            return over
        time.sleep(every_s)


def plain_line(stage: StageStatus) -> str:
    """One stage in one line."""
    parts = [f"{stage.stage:<9} {stage.state:<8} {counts(stage)}"]
    if stage.reused:
        parts.append("used again")
    if stage.state == "running":
        parts.append(f"{stage.fraction:.0%}")
    if stage.rows:
        parts.append(f"{stage.rows:,} rows")
    if stage.rate is not None and not stage.reused:
        parts.append(rate(stage))
    if stage.seconds and stage.state == "done":
        parts.append(duration(stage.seconds))
    if stage.eta_s is not None:
        parts.append(f"ETA {duration(stage.eta_s)}")
    return "  ".join(parts)
