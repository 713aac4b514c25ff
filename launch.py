"""The command line. Its commands are in ``slurm/commands``, by subject."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from slurm.commands import data, evaluate, experiments, machine, runs, topup, watch

app = typer.Typer(
    name="launch.py",
    help="RouteNator: synthetic function-calling data, training and evaluation as jobs, on a SLURM cluster or on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for commands in (runs.app, topup.app, experiments.app, watch.app, evaluate.app, machine.app):
    app.add_typer(commands)
app.add_typer(data.domain_app, name="domain")
app.add_typer(data.golden_app, name="golden")
app.add_typer(machine.models_app, name="models")
app.add_typer(machine.devcluster_app, name="devcluster")


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    logging.getLogger("bitsandbytes").setLevel(
        logging.ERROR
    )  # on some CPUs it advises to fetch kernels that nothing here needs
    if version:
        import routenator

        typer.echo(routenator.__version__)
        raise typer.Exit


if __name__ == "__main__":
    app()
