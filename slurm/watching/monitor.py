"""``monitor RUN``: a live terminal view of a run: its stages, their running and failed tasks, and a task's log.

It only reads, so quitting it does nothing to the run. The status is read in a thread, so that keys respond while Slurm
is being queried.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Static

from routenator.terminal import shown
from slurm.watching.logs import tail
from slurm.watching.losses import loss_line, read_losses
from slurm.watching.monitor_table import Table, stage_columns, stage_row, task_row, text_of
from slurm.watching.patience import exit_code as outcome
from slurm.watching.run_status import RunStatus, StageStatus
from slurm.watching.status import StatusReader
from slurm.watching.status_view import STYLES, counts, duration, failure_line, hours, rate, remarks
from slurm.watching.tasks import job_list
from slurm.watching.wait_reasons import explained

LOG_LINES = 2000
_BACK: list[BindingType] = [
    Binding("escape,left,backspace", "app.pop_screen", "back"),
    Binding("q", "app.leave", "quit"),
]


class LogScreen(Screen[None]):
    """The end of one log, scrolled by arrows, page keys, home and end; follows the file as it grows.

    Args:
        title: the first line.
        other: the log to show if the shard has none of its own.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        *_BACK,
        Binding("home,g", "edge(False)", "top"),
        Binding("end,G", "edge(True)", "end"),
    ]

    def __init__(self, reader: StatusReader, stage: str, shard: int, title: str, other: str | None = None) -> None:
        super().__init__()
        self._reader, self._stage, self._shard, self._title, self._other = reader, stage, shard, title, other
        self._text: str | None = None

    def compose(self) -> ComposeResult:
        yield Static(text_of(self._title), id="title")
        yield Static("", id="path")
        with VerticalScroll(id="log", can_focus=True):
            yield Static("", id="lines")
        yield Footer(compact=True)

    def on_mount(self) -> None:
        self.query_one("#log").focus()
        self._read()
        self.set_interval(2.0, self._read)

    def action_edge(self, end: bool) -> None:
        view = self.query_one("#log", VerticalScroll)
        if end:
            view.scroll_end(animate=False)
        else:
            view.scroll_home(animate=False)

    def _read(self) -> None:
        path = self._reader.log(self._stage, self._shard) or (Path(self._other) if self._other else None)
        text = "\n".join(tail(path, LOG_LINES)) if path else ""
        if text == self._text:
            return
        view = self.query_one("#log", VerticalScroll)
        at_end = self._text is None or view.scroll_y >= view.max_scroll_y
        self._text = text
        self.query_one("#path", Static).update(text_of(str(path or "no log"), style="dim", overflow="fold"))
        nothing = "the log is empty" if path else "it has written no log in this run"
        self.query_one("#lines", Static).update(text_of(text or nothing))
        if at_end:
            self.call_after_refresh(view.scroll_end, animate=False)


class TasksScreen(Screen[None]):
    """The tasks of a stage: failed, running, waiting, and the last finished ones."""

    BINDINGS: ClassVar[list[BindingType]] = [*_BACK, Binding("l,right", "log", "log", key_display="⏎")]

    def __init__(self, reader: StatusReader, stage: str, status: RunStatus) -> None:
        super().__init__()
        self._reader, self._stage, self._status = reader, stage, status
        self._rows: list[tuple[int | None, str, str | None]] = []  # shard, description, log if it has none of its own

    def compose(self) -> ComposeResult:
        yield Static("", id="title")
        yield Table(
            [("shard", 7), ("state", 8), ("job", 12), ("node", 8), ("why", max(self.app.size.width - 43, 30))], "tasks"
        )
        yield Static("", id="reason")
        yield Footer(compact=True)

    def on_mount(self) -> None:
        self.show(self._status)

    def show(self, status: RunStatus) -> None:
        """Draw a newer status."""
        self._status = status
        stage = status.stage(self._stage)
        lines, self._rows = [], []
        for failure in stage.failures:
            why = failure.reason.splitlines()[0]
            lines.append(task_row(str(failure.shard), "failed", failure.job, failure.host, why))
            self._rows.append((failure.shard, failure_line(failure), failure.log))
        for task in stage.tasks:
            since = "" if task.started is None else f"since {_clock(task.started)}"
            lines.append(task_row(str(task.shard), task.state, task.job, task.nodes, since))
            self._rows.append((task.shard, f"{stage.stage} shard {task.shard} is {task.state}", None))
        for group in stage.waiting:
            if group.state in ("pending", "stuck"):
                why = explained(group.reason, job_list(group.jobs, " "))
                lines.append(task_row(group.shards, group.state, job_list(group.jobs), None, why))
                self._rows.append((None, f"{stage.stage} shards {group.shards}, {', '.join(group.jobs)}: {why}", None))
        for receipt in self._reader.finished(stage.stage):
            why = f"finished {_clock(receipt.moment())}, attempt {receipt.attempt}"
            lines.append(task_row(str(receipt.shard), "done", receipt.job, receipt.host, why))
            self._rows.append((receipt.shard, f"{stage.stage} shard {receipt.shard} is done: {why}", None))
        self.query_one("#title", Static).update(
            text_of(f"{status.name} · {stage.stage}: {counts(stage)}", style="bold")
        )
        self.query_one(Table).show(lines)
        self._reason()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        event.stop()  # keep it from the app, which handles the same event of its own table
        self.query_one(Table).marked()
        self._reason()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        event.stop()
        self.action_log()

    def action_log(self) -> None:
        if self._rows:
            shard, line, other = self._rows[self.query_one(Table).cursor_row]
            if shard is not None:  # what waits has no log
                self.app.push_screen(LogScreen(self._reader, self._stage, shard, line.splitlines()[0], other))

    def _reason(self) -> None:
        row = self.query_one(Table).cursor_row
        said = self._rows[row][1] if row < len(self._rows) else "no tasks"
        self.query_one("#reason", Static).update(text_of(said))


class Monitor(App[int]):
    """The main view: the run's stages.

    Args:
        reader: reads the status; its limit on described failures is the number of failed tasks listed.
        every_s: seconds between refreshes.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    Table { height: auto; max-height: 60%; }
    #tasks { height: 1fr; max-height: 100%; }
    #title { height: 1; }
    #path { height: auto; max-height: 4; }
    #details { height: 1fr; padding: 1 0 0 0; }
    #reason { height: auto; max-height: 6; padding: 1 0 0 0; }
    #log { height: 1fr; }
    #problem { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f,right", "tasks", "tasks", key_display="⏎"),
        Binding("l", "log", "first failed log"),
        Binding("r", "look", "refresh"),
        Binding("q", "leave", "quit"),
        Binding("ctrl+c", "leave", show=False, priority=True),
    ]

    def __init__(self, reader: StatusReader, every_s: float) -> None:
        super().__init__(ansi_color=True)
        self._reader, self._every_s = reader, every_s
        self._now = asyncio.Event()
        self.status: RunStatus | None = None
        self.first: RunStatus | None = None

    def compose(self) -> ComposeResult:
        yield Static("reading ...", id="title")
        yield Table(stage_columns(self.app.size.width), "stages")
        yield VerticalScroll(Static("", id="about"), id="details", can_focus=False)
        yield Static("", id="problem")
        yield Footer(compact=True)

    def on_mount(self) -> None:
        self.run_worker(self._look_again_and_again(), exit_on_error=True)

    def on_resize(self) -> None:
        if self.status is not None:
            self.show(self.status)

    async def _look_again_and_again(self) -> None:
        while True:
            self._now.clear()
            status = await asyncio.to_thread(self._reader.read)
            if not self.screen_stack or not self.screen_stack[0].query("#title"):
                return  # closed in the meantime
            self.show(status)
            # Stay open if the run had already ended when we started, because the user wants to see its failures; exit
            # if it ends while we watch and nobody is reading a log.
            if status.ended and self.first is not None and not self.first.ended and len(self.screen_stack) == 1:
                self.exit(exit_code(status))
                return
            self.first = self.first or status
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._now.wait(), self._every_s)

    def show(self, status: RunStatus) -> None:
        """Draw a status on the current screen."""
        self.status = status
        main = self.screen_stack[0]
        said = Text.assemble(
            (shown(f"{status.name}: "), "bold"),
            (status.state, STYLES.get(status.state, "")),
            f"  {time.strftime('%H:%M:%S', time.localtime(status.time))}",
            (
                f"  {hours(status.usage.node_hours)} node-hours, {hours(status.usage.gpu_hours)} GPU-hours"
                if status.usage.attempts
                else ""
            ),
            ("  ended; q quits" if status.ended else ""),
        )
        main.query_one("#title", Static).update(said)
        table, width = main.query_one("#stages", Table), self.size.width
        table.use(stage_columns(width))
        table.show([stage_row(stage, width) for stage in status.stages])
        problem = f"the queue could not be read: {status.problem}" if status.problem else ""
        main.query_one("#problem", Static).update(text_of(problem, style="yellow"))
        self._details()
        if isinstance(self.screen, TasksScreen):
            self.screen.show(status)

    def on_data_table_row_highlighted(self) -> None:
        self.screen_stack[0].query_one("#stages", Table).marked()
        self._details()

    def on_data_table_row_selected(self) -> None:
        self.action_tasks()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        # Actions of the main view are neither offered nor run while another screen covers it.
        return action not in ("tasks", "log", "look") or len(self.screen_stack) == 1

    def action_look(self) -> None:
        self._now.set()

    def action_tasks(self) -> None:
        if (stage := self._chosen()) is not None and self.status is not None:
            self.push_screen(TasksScreen(self._reader, stage.stage, self.status))

    def action_log(self) -> None:
        stages = self.status.stages if self.status else []
        first = next((failure for stage in stages for failure in stage.failures), None)
        if first is not None:
            title = failure_line(first).splitlines()[0]
            self.push_screen(LogScreen(self._reader, first.stage, first.shard, title, first.log))

    def action_leave(self) -> None:
        self.exit(exit_code(self.status))

    def _chosen(self) -> StageStatus | None:
        row = self.screen_stack[0].query_one("#stages", Table).cursor_row
        return self.status.stages[row] if self.status and row < len(self.status.stages) else None

    def _details(self) -> None:
        stage = self._chosen()
        if stage is not None and self.status is not None:
            self.screen_stack[0].query_one("#about", Static).update(
                text_of("\n".join(details(self.status, stage, self.size.width)))
            )


def details(status: RunStatus, stage: StageStatus, width: int) -> list[str]:
    """Return the lines that describe one stage; ``width``: columns of the terminal."""
    usage = stage.usage
    lines = [f"{stage.stage}: {counts(stage)}{' (reused)' if stage.reused else ''}"]
    lines.append(f"{stage.rows:,} rows, {rate(stage)}, ETA {duration(stage.eta_s)}")
    if losses := read_losses(Path(stage.dir)) if stage.stage == "train" else []:
        lines.append(loss_line(losses, width))
    if usage.attempts:
        lines.append(
            f"{usage.attempts:,} attempts, {usage.requeued:,} requeued, {hours(usage.node_hours)} node-hours, "
            f"{hours(usage.gpu_hours)} GPU-hours"
        )
        if usage.wasted_attempts:
            lines.append(
                f"wasted: {usage.wasted_attempts:,} attempts, {hours(usage.wasted_node_hours)} node-hours, "
                f"{hours(usage.wasted_gpu_hours)} GPU-hours"
            )
    alone = RunStatus(status.run, status.name, status.kind, status.state, [stage], time=status.time)
    return lines + remarks(alone)


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))


def exit_code(status: RunStatus | None) -> int:
    """Return 0 if the run is done, 3 if it is stuck, 1 if it ended otherwise, 130 if it is still running."""
    if status is None or not (status.ended or status.state == "stuck"):
        return 130
    return outcome(status)
