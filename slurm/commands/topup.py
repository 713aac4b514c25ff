"""Commands of the closed loop: measure acceptance, plan with it, and fill what is missing."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from jobs.plan import Run
from jobs.stages import DATA_STAGES
from jobs.task import read_receipt
from routenator.compose import load_config
from routenator.errors import InputError
from routenator.place import command_line
from routenator.sampling.needs import Need
from routenator.terminal import put
from slurm.commands.retry import start
from slurm.commands.shared import (
    AsJson,
    Config,
    Overrides,
    RunDir,
    console_for_output,
    load_own_run,
    load_run,
    print_json,
    with_exit_codes,
)
from slurm.planning.planner import make_plan, materialise
from slurm.planning.topup import (
    builds_on,
    given_up,
    later_stages,
    look,
    measured_of,
    pilot_config,
    plan_topup,
    topup_path,
)
from slurm.preflight.checks import preflight
from slurm.preflight.secrets import secret_warnings
from slurm.watching.topup_view import need_as_dict, print_acceptance, print_need

PILOT_ROWS = 1000

app = typer.Typer()
Wait = Annotated[bool | None, typer.Option("--wait/--no-wait", help="As for run.")]


@app.command()
@with_exit_codes
def pilot(
    config: Config,
    overrides: Overrides = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Rows of its data set.")] = PILOT_ROWS,
    wait: Wait = None,
) -> None:
    """Measure acceptance with a small run up to merge.

    Runs only sample, generate and merge; `generate.acceptance=auto` then uses the result.
    """
    plan = make_plan(pilot_config(load_config(config, overrides or []), rows), sys.argv, stages=DATA_STAGES)
    for warning in secret_warnings(plan.config, sys.argv, os.environ):
        put(f"warning: {warning}", err=True)
    preflight(plan, submitting=True)
    run = materialise(plan)
    code = start(run, wait)
    if code == 0 and _merged(run):
        print_acceptance(measured_of(run), console_for_output())
    elif code == 0:
        put(f"Once it is done: {command_line('acceptance', run.path)}")
    put(run.path)
    raise typer.Exit(code)


@app.command()
@with_exit_codes
def acceptance(
    run: RunDir,
    worst: Annotated[int, typer.Option("--worst", min=0, help="How many of the worst strata to show.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Show the acceptance rates of a run's requests.

    By route and for the worst strata, after checks and deduplication; and the rows missing from its quotas.
    """
    loaded = load_run(run)
    measured, need = measured_of(loaded), look(loaded)
    lost = list(given_up(loaded, need))
    if as_json:
        print_json({**measured.as_dict(), "lacks": need_as_dict(need, lost)})
        return
    console = console_for_output()
    print_acceptance(measured, console, worst)
    print_need(need, lost, console)
    if any(need.asked):
        console.print(f"Fill them with: {command_line('topup', loaded.path)}", highlight=False, soft_wrap=True)


@app.command()
@with_exit_codes
def topup(
    run: RunDir,
    wait: Wait = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Maximum number of top-ups, one after the other.")] = 1,
    shards: Annotated[
        int | None, typer.Option("--shards", min=1, help="Shards of generate. Default: as in the run, or fewer.")
    ] = None,
) -> None:
    """Fill the quotas that a run did not meet.

    Makes a new run that requests more rows of those strata only, merges both, and continues with the later stages.
    RUN itself is never changed.
    """
    current = load_own_run(run)
    if rounds > 1 and current.config.cluster.kind == "slurm" and not wait:
        raise InputError(
            "each round waits for the one before",
            key="--rounds",
            found=rounds,
            expected="--wait, or one round at a time",
        )
    stages, console = later_stages(current), console_for_output()
    stepwise = rounds > 1 and stages != DATA_STAGES
    previous: tuple[Run, Need] | None = None
    need = look(current)
    if not need.short:
        console.print("Every quota is met; nothing was submitted.")
        put(current.path)
        return
    print_need(need, list(given_up(current, need)), console)
    for number in range(rounds):
        if not any(need.asked):
            break
        made = _topup_run(current, need, topup_path(current, stepwise), DATA_STAGES if stepwise else stages, shards)
        console.print(
            f"Round {number + 1} of at most {rounds}:" if rounds > 1 else "The top-up:", made.path.name, highlight=False
        )
        code = start(made, True if rounds > 1 else wait)
        if code or not _merged(made):
            put(made.path)
            raise typer.Exit(code)
        previous, current = (current, need), made
        need = look(current)
        print_need(need, list(given_up(current, need)), console)
    if previous is None:
        console.print("None of these strata can be filled by more requests; nothing was submitted.", style="red")
        raise typer.Exit(1)
    code = 0
    if stepwise:
        current = _topup_run(*previous, topup_path(previous[0]), stages, shards)
        code = start(current, wait)
    put(current.path)
    raise typer.Exit(code)


def _topup_run(run: Run, need: Need, path: Path, stages: tuple[str, ...], shards: int | None) -> Run:
    """Return the run of a top-up: a new one, or the one that an earlier call made, whose plan does not change."""
    if (path / "plan.json").is_file() and builds_on(Run.load(path), run):
        return Run.load(path)
    plan = plan_topup(run, need, path, stages=stages, shards=shards, command=sys.argv)
    preflight(plan, submitting=True)
    return materialise(plan)


def _merged(run: Run) -> bool:
    return read_receipt(run.stage_dir("merge"), 0) is not None
