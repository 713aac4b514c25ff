"""The command `preview`: shows rows of a run without running it."""

from __future__ import annotations

from typing import Annotated

import typer

from routenator.routes import ROUTES
from slurm.commands.runs import compose_plan
from slurm.commands.shared import AsJson, Config, Overrides, console_for_output, print_json, with_exit_codes
from slurm.preflight.preview import preview as preview_rows
from slurm.preflight.preview import print_preview

app = typer.Typer()


@app.command()
@with_exit_codes
def preview(
    config: Config,
    overrides: Overrides = None,
    count: Annotated[int, typer.Option("--n", min=1, help="Number of rows.")] = 20,
    route: Annotated[str | None, typer.Option("--route", help=f"Only rows of this route: {', '.join(ROUTES)}.")] = None,
    template: Annotated[
        str | None, typer.Option("--template", help="Only rows of this template, such as text/persona.")
    ] = None,
    prompts: Annotated[bool, typer.Option("--prompts/--no-prompts", help="Show the prompts.")] = True,
    as_json: AsJson = False,
) -> None:
    """Show the first rows of a run without running it.

    Shows prompts, raw replies and the results of the checks. Writes and submits nothing.
    """
    rows = preview_rows(compose_plan(config, overrides, submitting=False).config, count, route, template)
    if as_json:
        print_json(rows)
    else:
        print_preview(rows, console_for_output(), prompts)
