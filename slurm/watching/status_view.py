"""Prints a run's status in 80 columns: tables and remarks, live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from jobs.plan import Run
from routenator.report.summary import rate_text
from slurm.watching.patience import Patience, exit_code
from slurm.watching.run_status import STATES, Failure, RunStatus, StageStatus
from slurm.watching.status import StatusReader
from slurm.watching.tasks import job_list, task_list
from slurm.watching.usage import Usage
from slurm.watching.wait_reasons import explained, names_jobs

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

STYLES = {
    "done": "green",
    "running": "cyan",
    "ending": "cyan",
    "pending": "yellow",
    "stuck": "bold yellow",
    "unknown": "yellow",
    "failed": "bold red",
    "cancelled": "magenta",
}
_BAR = 10
# Without a terminal a line is printed when a state changes; mere progress is printed at most this often.
_PLAIN_EVERY_S = 20.0
_MAX_REASONS = 5
_MAX_TASKS = 3


def duration(seconds: float | None) -> str:
    """Format seconds: ``75`` -> 1m15s; a dash if unknown."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 100 * 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def counts(stage: StageStatus) -> str:
    """Format the number of shards in each state: ``3 done, 1 failed``."""
    return ", ".join(f"{getattr(stage, name):,} {name}" for name in STATES if getattr(stage, name))


def rate(stage: StageStatus) -> str:
    """Format units per second; a dash if unknown."""
    return f"{rate_text(stage.rate)} {stage.unit}/s" if stage.rate is not None else "-"


def hours(value: float | None) -> str:
    """Format hours; a dash if unknown."""
    if value is None:
        return "-"
    return f"{value:,.3f}" if value < 1 else f"{value:,.1f}"


def status_table(status: RunStatus, bars: bool = False) -> RenderableType:
    """Return the stages as a table.

    Args:
        bars: whether to draw progress bars.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in (
        ("stage", "left"),
        ("state", "left"),
        ("shards", "left"),
        ("rows", "right"),
        ("rate", "right"),
        ("ETA", "right"),
    ):
        table.add_column(name, justify=justify, no_wrap=name != "shards")  # type: ignore[arg-type]
    for stage in status.stages:
        shards = counts(stage)
        if stage.reused:
            shards += " (reused)"
        if bars and stage.state == "running":
            shards = ", ".join([f"{bar(stage.fraction)} {stage.fraction:4.0%}  {shards}", *stage.doing])
        rows = f"{stage.rows:,}" if stage.rows else "-"
        table.add_row(
            stage.stage,
            Text(stage.state, style=STYLES.get(stage.state, "dim")),
            shards,
            rows,
            rate(stage),
            duration(stage.eta_s),
        )
    return table


def bar(fraction: float, width: int = _BAR) -> str:
    """Draw a progress bar; ``0.5`` fills half of it."""
    filled = int(fraction * width)
    return "━" * filled + "╌" * (width - filled)


def usage_table(status: RunStatus) -> RenderableType | None:
    """Return the resources used so far as a table; None if there are none."""
    if not status.usage.attempts:
        return None
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("used by", "attempts", "requeued", "node-h", "GPU-h", "wasted", "node-h", "GPU-h"):
        table.add_column(name, justify="left" if name == "used by" else "right", no_wrap=True)
    for stage in status.stages:
        if stage.usage.attempts:
            table.add_row(stage.stage, *_usage(stage.usage))
    table.add_row("all", *_usage(status.usage), style="bold")
    return table


def _usage(usage: Usage) -> list[str]:
    return [
        f"{usage.attempts:,}",
        f"{usage.requeued:,}",
        hours(usage.node_hours),
        hours(usage.gpu_hours),
        "-" if usage.wasted_attempts is None else f"{usage.wasted_attempts:,}",
        hours(usage.wasted_node_hours),
        hours(usage.wasted_gpu_hours),
    ]


def remarks(status: RunStatus) -> list[str]:
    """Return lines that explain why shards wait or failed, most common first, and other remarks."""
    lines = waits(status)
    for stage in status.stages:
        if stage.tasks:
            lines.append(f"{stage.stage}: running: {task_list(stage.tasks, _MAX_TASKS)}")
        for doing, count in stage.doing.items():
            lines.append(f"{stage.stage}: {doing}{f' ({count:,} tasks)' if count > 1 else ''}")
        if stage.starts is not None and stage.starts > status.time:
            lines.append(f"{stage.stage}: Slurm expects the next start in {duration(stage.starts - status.time)}")
        lines += [f"{stage.stage}: {count:,} unknown: {reason}" for reason, count in stage.unknown_reasons.items()]
        if stage.failed > 1:
            for reason, count in list(stage.failure_reasons.items())[:_MAX_REASONS]:
                lines.append(f"{stage.stage}: {count:,} failed: {reason}")
        if stage.tokens_per_second and not stage.reused:
            lines.append(
                f"{stage.stage}: {rate_text(stage.tokens_per_second)} tokens/s{'' if stage.running else ' per task'}"
            )
        lines += [f"{stage.stage}: {note}" for note in stage.notes]
        lines += [
            f"{stage.stage}: this receipt cannot be read; remove it and run `retry`: {path}"
            for path in stage.unreadable
        ]
    return [*lines, *(f"serve: {server.told()}" for server in status.servers)]


def waits(status: RunStatus) -> list[str]:
    """Return lines that explain why shards wait, with the ids of their tasks; those that are stuck first."""
    found: dict[tuple[str, str, int], tuple[list[str], list[str]]] = {}
    for stage in status.stages:
        shown = [group for group in stage.waiting if group.state in ("pending", "stuck")]
        for group in shown[:_MAX_REASONS]:
            stages, jobs = found.setdefault((group.state, group.reason, group.count), ([], []))
            stages.append(stage.stage)
            jobs += group.jobs
    lines = []
    for (state, reason, count), (stages, jobs) in sorted(found.items(), key=lambda item: item[0][0] != "stuck"):
        word = "stuck" if state == "stuck" else "waiting"
        told = "" if not jobs or names_jobs(reason) else f", {'jobs' if len(jobs) > 1 else 'job'} {job_list(jobs)}"
        lines.append(f"{', '.join(stages)}: {count:,} {word}: {explained(reason, job_list(jobs, ' '))}{told}")
    return lines


def failure_line(failure: Failure) -> str:
    """Describe a failure in one line: which shard, where, and why."""
    facts = [
        f"job {failure.job}" if failure.job else "",
        f"attempt {failure.attempt}" if failure.attempt else "",
        f"on {failure.host}" if failure.host and failure.host not in failure.reason else "",
        failure.exit_code if failure.exit_code and failure.exit_code not in failure.reason else "",
    ]
    where = ", ".join(filter(None, facts))
    line = f"{failure.stage} shard {failure.shard} failed{f' ({where})' if where else ''}: {failure.reason}"
    return f"{line}\n{failure.advice}" if failure.advice else line


def look(status: RunStatus) -> str:
    """Say when the status was read, how old the run is, and when it last made progress."""
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.time))
    ago = None if status.progressed is None else duration(max(status.time - status.progressed, 0))
    progress = "no progress yet" if ago is None else f"last progress {ago} ago"
    return f"{clock}, planned {duration(max(status.time - status.created, 0))} ago, {progress}"


def print_status(console: Console, status: RunStatus) -> None:
    """Print everything that ``status`` shows."""
    console.print(f"{status.name}: {status.state}", style=STYLES.get(status.state, ""), highlight=False)
    console.print(look(status), style="dim", highlight=False)
    console.print(status_table(status))
    for line in remarks(status):
        # Not wrapped, so that a command in it can be copied.
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if (table := usage_table(status)) is not None:
        console.print()
        console.print(table)
    if status.problem:
        console.print(f"the queue could not be read: {status.problem}", style="yellow", markup=False, highlight=False)
    if status.kind == "slurm" and status.accounting is False and not status.problem:
        console.print(
            "accounting is off or does not answer: the outcome of tasks is read from receipts and failure records, "
            "and the waste is unknown",
            style="dim",
            highlight=False,
        )
    print_failures(console, status)


def print_failures(console: Console, status: RunStatus, lines: int = 8) -> None:
    """Print each failed shard with its reason and the end of its log."""
    for stage in status.stages:
        for failure in stage.failures:
            console.print(f"\n{failure_line(failure)}", style="red", markup=False, highlight=False)
            for line in failure.tail[-lines:]:
                console.print(f"  | {line}", markup=False, highlight=False)
            if failure.log:
                console.print(f"  log: {failure.log}", style="dim", markup=False, highlight=False)
        if stage.failed > len(stage.failures):
            console.print(
                f"\n{stage.stage}: {stage.failed - len(stage.failures)} more failed shards",
                style="red",
                highlight=False,
            )


def watch(run: Run, console: Console, ended: Callable[[RunStatus], bool], every_s: float) -> RunStatus:
    """Show a run's progress until ``ended`` is true.

    Args:
        ended: called with each status.
        every_s: seconds between refreshes.

    Returns:
        The last status.
    """
    reader = StatusReader(run)
    if console.is_terminal:
        from rich.console import Group
        from rich.live import Live
        from rich.text import Text

        with Live(console=console, refresh_per_second=4, transient=False) as live:
            while True:
                over = reader.read()
                held = [Text(line, style=STYLES["stuck"]) for line in waits(over) if over.state == "stuck"]
                live.update(Group(status_table(over, bars=True), *held))
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
        held_up = "\n".join(waits(over)) if over.state == "stuck" else ""
        if held_up and shown.get("") != held_up:
            console.print(held_up, markup=False, highlight=False, soft_wrap=True)
        shown[""] = held_up
        if ended(over):
            return over
        time.sleep(every_s)


def watch_status(run: Run, console: Console, every_s: float, patience: float) -> int:
    """Show a run's progress until it ends or stays stuck, then print everything that ``status`` shows.

    Args:
        patience: minutes that it may be stuck.

    Returns:
        Exit code: 0 done, 1 not done, 3 stuck.
    """
    over = watch(run, console, Patience(patience).over, every_s)
    print_status(console, over)
    return exit_code(over)


def plain_line(stage: StageStatus) -> str:
    """Describe one stage in one line."""
    parts = [f"{stage.stage:<9} {stage.state:<8} {counts(stage)}"]
    if stage.reused:
        parts.append("reused")
    if stage.state == "running":
        parts.append(f"{stage.fraction:.0%}")
        parts += stage.doing
    if stage.rows:
        parts.append(f"{stage.rows:,} rows")
    if stage.rate is not None and not stage.reused:
        parts.append(rate(stage))
    if stage.seconds and stage.state == "done":
        parts.append(duration(stage.seconds))
    if stage.eta_s is not None:
        parts.append(f"ETA {duration(stage.eta_s)}")
    parts += stage.notes
    return "  ".join(parts)
