"""Follows a run to its end and prints the outcome, for ``run`` and ``retry`` with ``--wait``."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jobs.disk import mount_of, size
from jobs.plan import Run
from jobs.results import gather
from routenator.place import command_line
from routenator.report.summary import METRICS
from routenator.report.table import print_summary, score_text
from slurm.local.driver import start_driver, stop_driver
from slurm.watching.patience import PATIENCE_MINUTES, Patience, exit_code
from slurm.watching.status_view import print_failures, watch

if TYPE_CHECKING:
    from rich.console import Console

EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
LOCAL_LOOK_S = 0.5
# Each look costs the controller a squeue and the accounting database a sacct call, so it is slow on a cluster.
SLURM_LOOK_S = 10.0
_LITTLE = 1024**2  # bytes


def run_local(run: Run, wait: bool, console: Console, package: str) -> int:
    """Start the local driver.

    Args:
        wait: show its progress and stop it on Ctrl-C or SIGTERM; otherwise it runs in the background.
        package: package of the stage modules.

    Returns:
        Exit code: 0 done or started, 1 a shard failed, 130 or 143 stopped.

    Raises:
        DriverRunningError: a driver of this run is already running.
    """
    process = start_driver(run, attached=wait, package=package)
    if not wait:
        console.print(
            f"Running in the background as process {process.pid}; see `status` and `cancel`.", highlight=False
        )
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
        console.print(f"Stopped. Finished shards and chunks are kept; {_resume(run)}", highlight=False, soft_wrap=True)
        return EXIT_TERMINATED if stopped_by else EXIT_INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    if status.state == "done":
        print_result(run, console)
        return 0
    print_failures(console, status)
    if not any(stage.failures for stage in status.stages):
        console.print(
            _early_end(run),
            style="red",
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"\nOnce the cause is fixed, {_resume(run)}", highlight=False, soft_wrap=True)
    return process.returncode or 1


def _early_end(run: Run) -> str:
    """Why the driver ended before any task failed: on a full disk it could not even write its log."""
    free = shutil.disk_usage(run.path).free
    if free < _LITTLE:
        return f"The driver ended early: disk {mount_of(run.path)} has {size(free)} free"
    return f"The driver ended early; see {run.path / 'logs' / 'driver.log'}"


def watch_slurm(run: Run, console: Console, patience: float = PATIENCE_MINUTES) -> int:
    """Show the run's progress until it has ended or stays stuck. Ctrl-C stops the display, not the jobs.

    Args:
        patience: minutes that it may be stuck.

    Returns:
        Exit code: 0 done, 1 not done, 3 stuck, 130 interrupted.
    """
    try:
        status = watch(run, console, Patience(patience).over, SLURM_LOOK_S)
    except KeyboardInterrupt:
        console.print(
            f"\nThe jobs keep running; see: {command_line('status', run.path)}",
            highlight=False,
            soft_wrap=True,
        )
        return EXIT_INTERRUPTED
    if status.state == "done":
        print_result(run, console)
        return 0
    print_failures(console, status)
    if status.state == "stuck":
        console.print(
            f"\nThe run is stuck: its jobs stay in the queue, but for {patience:g} minutes none could start. Nothing "
            f"has to be submitted again; to wait on, use: {command_line('status', run.path, '--watch')}",
            highlight=False,
            soft_wrap=True,
        )
    else:
        console.print(f"\nThe run is {status.state}; {_resume(run)}", highlight=False, soft_wrap=True)
    return exit_code(status)


def print_result(run: Run, console: Console) -> None:
    """Print the table of results so far."""
    print_summary(gather(run), console, run.path)


def print_scores(scores: Mapping[str, Any], console: Console) -> None:
    """Print the scores of one model, for ``evaluate``."""
    from rich.table import Table

    table = Table("metric", f"{scores['n']} queries [95% interval]", box=None, pad_edge=False)
    for key, name in METRICS.items():
        if key in scores:
            table.add_row(name, score_text(scores[key]))
    console.print(table)


def _resume(run: Run) -> str:
    return f"resume with: {command_line('retry', run.path)}"
