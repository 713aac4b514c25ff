"""The monitor's screens and keys on a local run; tests/cluster/test_watch.py tests it on a terminal and a cluster."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.widgets import DataTable, Static

from jobs.entry import write_failure
from jobs.plan import Run
from slurm.submission.answers import QueueEntry
from slurm.submission.queue import QueueView
from slurm.submission.submissions import Submission, append_submission, attempt_log
from slurm.watching.monitor import LogScreen, Monitor, TasksScreen, exit_code
from slurm.watching.status import StatusReader
from tests.slurm.test_status import commit

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(make_run: Callable[..., Run]) -> Run:
    """Two of three generate shards failed, one with a long log."""
    run = make_run(cluster={"kind": "slurm"})
    submission = Submission("slurm", "generate", "5", "0-2", array=True, time=time.time() - 100)
    append_submission(run, submission)
    commit(run, "generate", 0)
    write_failure(run, "generate", 1, kind="ValueError", message="no such thing", attempt=1, job="5_1")
    log = run.log_dir("generate") / attempt_log("5_1", 1)
    log.write_text("\n".join(f"line {number}" for number in range(200)) + "\n")
    return run


def monitor(run: Run, **queue: QueueEntry) -> Monitor:
    entries = {
        "5_1": QueueEntry("FAILED", "exit 1", "n1"),
        "5_2": QueueEntry("OUT_OF_MEMORY", "signal 9", "n2"),
        **queue,
    }
    return Monitor(
        StatusReader(
            run,
            lambda jobs: QueueView({(task, ""): entry for task, entry in entries.items()}, True),
            failures=500,
            tails=0,
        ),
        every_s=0.2,
    )


def text_of(app: Monitor, selector: str) -> str:
    return str(app.screen.query_one(selector, Static).render())


def test_keys_lead_from_a_stage_to_a_failed_tasks_log_and_back(run: Run) -> None:
    async def use() -> None:
        app = monitor(run)
        async with app.run_test(size=(80, 24)) as pilot:
            while app.status is None:
                await pilot.pause(0.05)
            assert "failed" in text_of(app, "#title") and "ended; q quits" in text_of(app, "#title")
            await pilot.press("down")
            assert "generate: 1 done, 2 failed" in text_of(app, "#about")
            rows = app.screen.query_one(DataTable)
            assert [str(rows.get_cell(str(row), "mark")) for row in (0, 1)] == [" ", "▸"], "visible without color too"
            await pilot.press("enter")
            assert isinstance(app.screen, TasksScreen) and app.screen.query_one(DataTable).row_count == 3
            assert "ValueError: no such thing" in text_of(app, "#reason")
            await pilot.press("down")
            assert "OUT_OF_MEMORY (signal 9) on n2" in text_of(app, "#reason")
            await pilot.press("up", "enter")
            assert isinstance(app.screen, LogScreen)
            await pilot.pause()
            assert "line 199" in text_of(app, "#lines")
            view = app.screen.query_one("#log")
            assert view.scroll_y == view.max_scroll_y > 0, "the end is shown first"
            await pilot.press("home")
            assert view.scroll_y == 0
            await pilot.press("escape", "escape")
            assert not isinstance(app.screen, TasksScreen | LogScreen)
            await pilot.press("q")
        assert app.return_value == 1

    asyncio.run(use())


def test_on_call_1_and_4_the_monitor_names_jobs_and_nodes_and_opens_a_finished_tasks_log(run: Run) -> None:
    """Of running tasks it showed a dash, of waiting and finished ones nothing."""
    log = run.log_dir("generate") / attempt_log("5_0", 1)
    log.write_text("all went well\n")

    async def use() -> None:
        app = monitor(
            run,
            **{"5_1": QueueEntry("RUNNING", nodes="n[3-4]", start=1e9), "5_2": QueueEntry("PENDING", "JobHeldUser")},
        )
        async with app.run_test(size=(120, 24)) as pilot:
            while app.status is None:
                await pilot.pause(0.05)
            await pilot.press("down", "enter")
            rows = app.screen.query_one(DataTable)
            cells = [
                [str(rows.get_cell(str(row), name)) for name in ("shard", "state", "job", "node", "why")]
                for row in range(3)
            ]
            assert cells[0][:4] == ["1", "running", "5_1", "n[3-4]"]
            assert cells[1] == ["2", "stuck", "5_2", "-", "held by its user; scontrol release 5_2 (JobHeldUser)"]
            assert cells[2][:2] == ["0", "done"] and "attempt 1" in cells[2][4]
            await pilot.press("down", "enter")
            assert isinstance(app.screen, TasksScreen), "what waits has no log"
            await pilot.press("down", "enter")
            assert isinstance(app.screen, LogScreen)
            await pilot.pause()
            assert "all went well" in text_of(app, "#lines")
            await pilot.press("q")

    asyncio.run(use())


def test_a_wide_terminal_shows_more_and_training_its_losses(run: Run) -> None:
    """It took 80 columns of any width, and showed nothing of how training goes."""
    losses = [{"step": step, "loss": 4.0 / step} for step in range(1, 201)]
    stage = run.stage_dir("train")
    (stage / "attempt-1").mkdir(parents=True)
    lines = [json.dumps(line) for line in [*losses, {"step": 200, "eval_loss": 9.0}]]
    (stage / "attempt-1" / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 201, "lo']))

    async def use() -> None:
        app = monitor(run)
        async with app.run_test(size=(160, 40)) as pilot:
            while app.status is None:
                await pilot.pause(0.05)
            table = app.screen.query_one(DataTable)
            titles = [str(column.label) for column in table.ordered_columns]
            assert titles[-4:] == ["ETA", "rows", "rate", "tokens/s"]
            assert str(table.get_cell("0", "done")).count("╌") == 48
            await pilot.press("down", "down", "down")
            line = next(line for line in text_of(app, "#about").splitlines() if line.startswith("loss"))
            assert line.startswith("loss 4 █") and line.endswith("▁ 0.0201 at step 200") and 80 < len(line) <= 160
            await pilot.resize_terminal(80, 24)
            await pilot.pause(0.3)
            assert [str(column.label) for column in table.ordered_columns][-1] == "ETA"
            assert str(table.get_cell("0", "done")).count("╌") == 10
            assert table.cursor_row == 3 and str(table.get_cell("3", "mark")) == "▸"

    asyncio.run(use())


def test_a_log_that_grows_is_followed(run: Run) -> None:
    async def use() -> None:
        app = monitor(run)
        async with app.run_test(size=(80, 24)) as pilot:
            while app.status is None:
                await pilot.pause(0.05)
            await pilot.press("l")
            await pilot.pause()
            with (run.log_dir("generate") / attempt_log("5_1", 1)).open("a") as log:
                log.write("one more\n")
            assert isinstance(app.screen, LogScreen)
            while "one more" not in text_of(app, "#lines"):
                await pilot.pause(0.1)
            view = app.screen.query_one("#log")
            for _ in range(100):  # the scroll follows the next layout, which a loaded machine delays
                if view.scroll_y == view.max_scroll_y:
                    break
                await pilot.pause(0.1)
            assert view.scroll_y == view.max_scroll_y

    asyncio.run(use())


def test_it_ends_with_the_run_and_says_how(run: Run) -> None:
    async def use() -> None:
        app = monitor(run, **{"5_1": QueueEntry("RUNNING")})
        async with app.run_test(size=(80, 24)) as pilot:
            while app.status is None:
                await pilot.pause(0.05)
            assert app.status.state == "running" and exit_code(app.status) == 130
            for stage, entry in run.plan.stages.items():
                for shard in range(entry.shards):
                    commit(run, stage, shard)
            while app.return_value is None:
                await pilot.pause(0.05)
        assert app.return_value == 0

    asyncio.run(use())


def test_without_a_terminal_it_is_refused_with_what_to_use_instead(run: Run) -> None:
    done = subprocess.run(
        [sys.executable, "launch.py", "monitor", str(run.path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and f"status {run.path} --watch" in done.stderr
