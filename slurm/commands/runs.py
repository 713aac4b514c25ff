"""Commands that plan and start runs."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from jobs.plan import Plan
from jobs.stages import STAGES, up_to
from routenator.compose import load_config
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.terminal import put
from slurm.commands.retry import go
from slurm.commands.shared import (
    AsJson,
    Config,
    Overrides,
    Patience,
    console_for_output,
    print_json,
    with_exit_codes,
)
from slurm.planning.measured import acceptance_note
from slurm.planning.planner import make_plan, materialise
from slurm.preflight.checks import preflight
from slurm.preflight.forecast import feasibility, forecast, forecast_scripts, placeholders, print_forecast
from slurm.preflight.paths import file_system_notes
from slurm.preflight.secrets import secret_warnings
from slurm.watching.patience import PATIENCE_MINUTES

app = typer.Typer()

Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="STAGE",
        help="The last stage before the report; merge makes only the data set.",
        show_default=False,
    ),
]


def compose_plan(config: str, overrides: list[str] | None, submitting: bool, until: str | None = None) -> Plan:
    """Compose and check a plan; writes nothing.

    Args:
        until: the last stage of the run.
    """
    if until is not None and until not in STAGES:
        raise InputError("no such stage", key="--until", found=until, valid=STAGES)
    composed = load_config(config, overrides or [])
    plan = make_plan(composed, sys.argv, stages=up_to(until) if until else STAGES)
    for warning in secret_warnings(composed, sys.argv, os.environ):
        put(f"warning: {warning}", err=True)
    for warning in preflight(plan, submitting=submitting):
        put(f"warning: {warning}", err=True)
    if said := acceptance_note(composed.generate.acceptance, plan):
        put(said, err=True)
    return plan


@app.command("run")
@with_exit_codes
def run_command(
    config: Config,
    overrides: Overrides = None,
    wait: Annotated[
        bool | None,
        typer.Option("--wait/--no-wait", help="Stay until the run ends. Default: local waits, slurm does not."),
    ] = None,
    until: Until = None,
    patience: Patience = PATIENCE_MINUTES,
) -> None:
    """Check, plan and submit every stage of a run.

    The last line printed is the run directory.
    """
    resolved = compose_plan(config, overrides, submitting=True, until=until)
    for note in [*feasibility(resolved, load_domain(resolved.config.domain)), *file_system_notes(resolved)]:
        put(f"note: {note}", err=True)
    go(materialise(resolved), wait, patience=patience)


@app.command()
@with_exit_codes
def plan(
    config: Config,
    overrides: Overrides = None,
    until: Until = None,
    scripts: Annotated[bool, typer.Option("--scripts", help="Print the sbatch script of each stage.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what `run` would do and cost.

    Shows stages, shards, resources, what is reused, node-hours at most, and what to expect, judging by earlier runs.
    Writes and submits nothing.
    """
    resolved = compose_plan(config, overrides, submitting=False, until=until)
    value = forecast(resolved)
    texts = forecast_scripts(resolved) if scripts else {}
    if as_json:
        print_json({**value, "scripts": texts} if scripts else value)
        return
    print_forecast(value, console_for_output())
    if texts:
        put(f"\n{placeholders(resolved)}")
    for stage, text in texts.items():
        put(f"\n# ---- {stage} ----\n{text}")
