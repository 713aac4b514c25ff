"""Commands that make, go on with, end and judge runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from slurm.commands.shared import AsJson, Config, Overrides, RunDir, console_for_output, honest, load_run, print_json

if TYPE_CHECKING:
    from jobs.plan import Plan, Run

app = typer.Typer()


def compose_plan(config: str, overrides: list[str] | None, submitting: bool, until: str | None = None) -> Plan:
    """Composed, planned, and checked; nothing is written.

    Args:
        until: the last stage that the run shall have.
    """
    from jobs.plan import STAGES
    from routenator.compose import load_config
    from routenator.errors import InputError
    from slurm.planning.measured import acceptance_note
    from slurm.planning.planner import make_plan
    from slurm.preflight.checks import preflight

    if until is not None and until not in STAGES:
        raise InputError("no such stage", key="--until", found=until, valid=STAGES)
    composed = load_config(config, overrides or [])
    plan = make_plan(composed, sys.argv, stages=STAGES[: STAGES.index(until) + 1] if until else STAGES)
    preflight(plan, submitting=submitting)
    if said := acceptance_note(composed.generate.acceptance, plan):
        typer.echo(said, err=True)
    return plan


@app.command("run")
@honest
def run_command(
    config: Config,
    overrides: Overrides = None,
    wait: Annotated[
        bool | None,
        typer.Option("--wait/--no-wait", help="Stay until the run ends. Default: local waits, slurm does not."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="The last stage: merge makes the data set alone.")
    ] = None,
) -> None:
    """Check everything, write the plan, submit the whole DAG. The last line is the run directory."""
    from slurm.planning.planner import materialise
    from slurm.preflight.forecast import feasibility

    resolved = compose_plan(config, overrides, submitting=True, until=until)
    for note in feasibility(resolved):
        typer.echo(f"note: {note}", err=True)
    go(materialise(resolved), wait)


@app.command()
@honest
def retry(
    run: RunDir, wait: Annotated[bool | None, typer.Option("--wait/--no-wait", help="As of run.")] = None
) -> None:
    """Go on with a run: only shards that are missing and not at work are submitted."""
    go(load_run(run), wait)


def go(run: Run, wait: bool | None, package: str = "jobs") -> NoReturn:
    """``start``, and end with the run directory and an honest exit code."""
    code = start(run, wait, package)
    typer.echo(run.path)
    raise typer.Exit(code)


def start(run: Run, wait: bool | None, package: str = "jobs") -> int:
    """Submit what is missing; wait if asked.

    Args:
        package: where the stage modules are; another one only in tests.

    Returns:
        The exit code.
    """
    from slurm import control
    from slurm.planning.planner import missing_shards
    from slurm.watching.follow import print_result, run_local, watch_slurm

    console = console_for_output()
    if not any(missing_shards(run).values()):
        console.print("Everything is already done; nothing was submitted.")
        print_result(run, console)
        code = 0
    elif run.config.cluster.kind == "local":
        code = run_local(run, wait is not False, console, package)
    else:
        submissions = control.submit(run, package)
        for line in control.describe(submissions) or ["Nothing to submit: what is missing is in the queue."]:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        code = watch_slurm(run, console) if wait else 0
    return code


@app.command()
@honest
def plan(
    config: Config,
    overrides: Overrides = None,
    scripts: Annotated[bool, typer.Option("--scripts", help="The sbatch text of each stage.")] = False,
    as_json: AsJson = False,
) -> None:
    """What `run` would do: stages, shards, resources, what is used again, node-hours. Writes and submits nothing."""
    from slurm.preflight.forecast import forecast, forecast_scripts, print_forecast

    resolved = compose_plan(config, overrides, submitting=False)
    value = forecast(resolved)
    texts = forecast_scripts(resolved) if scripts else {}
    if as_json:
        print_json({**value, "scripts": texts} if scripts else value)
        return
    print_forecast(value, console_for_output())
    for stage, text in texts.items():
        typer.echo(f"\n# ---- {stage} ----\n{text}")


@app.command()
@honest
def preview(
    config: Config,
    overrides: Overrides = None,
    count: Annotated[int, typer.Option("--n", min=1, help="Rows.")] = 20,
    route: Annotated[
        str | None, typer.Option("--route", help="Only rows of this route: heuristic, text or vision.")
    ] = None,
    template: Annotated[
        str | None, typer.Option("--template", help="Only rows of this template, such as text/persona.")
    ] = None,
    prompts: Annotated[bool, typer.Option("--prompts/--no-prompts", help="Show what the model is asked.")] = True,
    as_json: AsJson = False,
) -> None:
    """The first rows of a run without the run: prompts, raw replies and verdicts. Writes and submits nothing."""
    from slurm.preflight.preview import preview as preview_rows
    from slurm.preflight.preview import print_preview

    rows = preview_rows(compose_plan(config, overrides, submitting=False).config, count, route, template)
    if as_json:
        print_json(rows)
    else:
        print_preview(rows, console_for_output(), prompts)


@app.command()
@honest
def cancel(run: RunDir) -> None:
    """End this run's jobs and processes, and no others. What is done stays; `retry` goes on."""
    from jobs.plan import Run
    from slurm.control import cancel as cancel_run

    ended = cancel_run(Run.load(run))
    parts = [f"Slurm jobs {', '.join(ended.jobs)}"] if ended.jobs else []
    parts += ["the local driver and its tasks"] if ended.driver else []
    parts += [f"{ended.processes} processes without a driver"] if ended.processes else []
    typer.echo("ended " + ", ".join(parts) if parts else "nothing was running")


@app.command()
@honest
def report(run: RunDir, as_json: AsJson = False) -> None:
    """The result table of a run, also of one that has not ended, and where its HTML report is."""
    from jobs.report import gather
    from slurm.watching.follow import print_result

    loaded = load_run(run)
    if as_json:
        print_json(gather(loaded))
        return
    print_result(loaded, console_for_output())
