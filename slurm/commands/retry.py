"""Submits what is missing of a run, for `retry` and for every command that starts a run.

Kept apart from planning, whose modules take longer to import than ``retry`` takes to run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from jobs.plan import Run
from jobs.task import missing_shards
from routenator.terminal import put
from slurm.commands.shared import Patience, RunDir, console_for_output, load_own_run, with_exit_codes
from slurm.control import describe
from slurm.submission.submit import submit_missing
from slurm.watching.follow import print_result, run_local, watch_slurm
from slurm.watching.patience import PATIENCE_MINUTES
from slurm.watching.repeats import last_errors, repeated
from slurm.watching.snapshot import domain_remarks

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer()


@app.command()
@with_exit_codes
def retry(
    run: RunDir,
    wait: Annotated[bool | None, typer.Option("--wait/--no-wait", help="As for run.")] = None,
    presume_lost: Annotated[
        bool, typer.Option("--presume-lost", help="Also submit shards that Slurm says nothing about; names them first.")
    ] = False,
    patience: Patience = PATIENCE_MINUTES,
) -> None:
    """Resume a run: submit only the shards that are missing.

    Leaves shards alone that are done, queued, running or unknown.
    """
    found = load_own_run(run)
    if any(missing_shards(found, stage) for stage in found.plan.stages):
        _remark(console_for_output(), domain_remarks(found))
    go(found, wait, patience=patience, presume_lost=presume_lost)


def go(
    run: Run,
    wait: bool | None,
    package: str = "jobs",
    *,
    patience: float = PATIENCE_MINUTES,
    presume_lost: bool = False,
) -> NoReturn:
    """``start``, then print the run directory and exit with the exit code."""
    code = start(run, wait, package, patience=patience, presume_lost=presume_lost)
    put(run.path)
    raise typer.Exit(code)


def start(
    run: Run,
    wait: bool | None,
    package: str = "jobs",
    *,
    patience: float = PATIENCE_MINUTES,
    presume_lost: bool = False,
) -> int:
    """Submit missing shards, and wait if requested.

    Args:
        package: package of the stage modules; only tests use another one.
        patience: minutes after which the wait for a stuck run ends.
        presume_lost: also submit shards that Slurm says nothing about.

    Returns:
        The exit code.
    """
    console = console_for_output()
    absent = {stage: missing_shards(run, stage) for stage in run.plan.stages}
    before = last_errors(run)
    if not any(absent.values()):
        console.print("Everything is already done; nothing was submitted.")
        print_result(run, console)
        code = 0
    elif run.config.cluster.kind == "local":
        _remark(console, repeated(before, absent))
        code = run_local(run, wait is not False, console, package)
    else:

        def tell(line: str) -> None:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

        submissions = submit_missing(run, package, presume_lost=presume_lost, tell=tell)
        for line in describe(submissions) or ["Nothing to submit: all missing shards are in the queue."]:
            tell(line)
        again: dict[str, list[int]] = {}
        for item in submissions:
            again.setdefault(item.stage, []).extend(item.indices())
        _remark(console, repeated(before, again))
        code = watch_slurm(run, console, patience) if wait else 0
    return code


def _remark(console: Console, lines: list[str]) -> None:
    for line in lines:
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
