"""The command line: the command ``routenator``, and ``launch.py`` of a checkout. ``lazy`` lists its commands."""

from __future__ import annotations

import os
from typing import Annotated

import typer

import routenator
from routenator.quiet import quiet_libraries
from routenator.terminal import put
from slurm.commands.lazy import LazyGroup

# Pydantic reads a file of every installed package in search of plugins, and we use none.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

app = typer.Typer(
    name="routenator",
    cls=LazyGroup,
    help="RouteNator: synthetic function-calling data, training and evaluation as jobs, on a Slurm cluster or on this "
    "machine.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", "-v", help="Print the version.", is_eager=True)] = False,
) -> None:
    quiet_libraries()
    if version:
        put(routenator.__version__)
        raise typer.Exit


if __name__ == "__main__":
    app()
