"""Stay with a run until it ends, and say how it ended: ``run`` and ``retry`` when they wait."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jobs.plan import Run
from jobs.report import gather
from routenator.report.summary import METRICS
from routenator.report.table import print_summary, score_text
from slurm.local.driver import start_driver, stop_driver
from slurm.watching.status_view import print_failures, watch

if TYPE_CHECKING:
    from rich.console import Console

EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
LOCAL_LOOK_S = 0.5
SLURM_LOOK_S = 10.0


def run_local(run: Run, wait: bool, console: Console, package: str) -> int:
    """Start the local driver.

    Args:
        wait: show its progress and stop it on Ctrl-C or SIGTERM; otherwise it goes on alone.
        package: where the stage modules are.

    Returns:
        Exit code: 0 done or started, 1 a shard failed, 130 and 143 stopped.

    Raises:
        DriverRunningError: one works on this run already.
    """
    process = start_driver(run, attached=wait, package=package)
    if not wait:
        console.print(f"Process {process.pid} works on it; see `status` and `cancel`.", highlight=False)
        return 0
    stopped_by: list[int] = []

    def stop(number: int, frame: object) -> None:
        stopped_by.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        status = watch(run, console, lambda seen: process.poll() is not None, LOCAL_LOOK_S)
    except KeyboardInterrupt:
        console.print("\nStopping this run's tasks ...")
        stop_driver(run)
        console.print(f"Stopped. Finished shards and chunks are kept; {_go_on(run)}", highlight=False, soft_wrap=True)
        return EXIT_TERMINATED if stopped_by else EXIT_INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    if status.state == "done":
        print_result(run, console)
        return 0
    print_failures(console, status)
    if not any(stage.failures for stage in status.stages):
        console.print(
            f"The driver ended early; see {run.path / 'logs' / 'driver.log'}",
            style="red",
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"\nWhen it is mended, {_go_on(run)}", highlight=False, soft_wrap=True)
    return process.returncode or 1


def watch_slurm(run: Run, console: Console) -> int:
    """Show the queue's progress until nothing of the run is left in it. Ctrl-C ends the watching, not the jobs.

    Returns:
        Exit code: 0 done, 1 not, 130 no longer watched.
    """
    try:
        status = watch(run, console, lambda seen: seen.state not in ("running", "unknown"), SLURM_LOOK_S)
    except KeyboardInterrupt:
        console.print(f"\nThe jobs go on; see: python launch.py status {run.path}", highlight=False, soft_wrap=True)
        return EXIT_INTERRUPTED
    if status.state == "done":
        print_result(run, console)
        return 0
    print_failures(console, status)
    console.print(f"\nThe run is {status.state}; {_go_on(run)}", highlight=False, soft_wrap=True)
    return 1


def print_result(run: Run, console: Console) -> None:
    """The result table, of what there is so far."""
    print_summary(gather(run), console, run.path)


def print_scores(scores: Mapping[str, Any], console: Console) -> None:
    """The scores of one model: what ``evaluate`` prints."""
    from rich.table import Table

    table = Table("metric", f"{scores['n']} queries [95% interval]", box=None, pad_edge=False)
    for key, name in METRICS.items():
        if key in scores:
            table.add_row(name, score_text(scores[key]))
    console.print(table)


def _go_on(run: Run) -> str:
    return f"go on with: python launch.py retry {run.path}"
