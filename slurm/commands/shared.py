"""What all commands share: argument types, honest exit codes, output."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

from jobs.plan import Run
from routenator.errors import RoutenatorError

if TYPE_CHECKING:
    from rich.console import Console

P = ParamSpec("P")
EXIT_INTERRUPTED = 130

RunDir = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.", show_default=False)]
Config = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of one below configs/.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changes, e.g. cluster=slurm train.epochs=1.", show_default=False),
]
Cache = Annotated[Path, typer.Option("--cache", help="Folder for prepared weights.", envvar="ROUTENATOR_CACHE")]
Root = Annotated[Path, typer.Option("--root", help="The folder of runs.")]
Every = Annotated[float, typer.Option("--every", min=0.2, help="Seconds between two looks.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, for scripts.")]


def with_exit_codes(command: Callable[P, None]) -> Callable[P, None]:
    """Errors on purpose become a message and an exit code: 2 for bad input, 1 otherwise; Ctrl-C 130."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except RoutenatorError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None

    return wrapped


def console_for_output() -> Console:
    """Colour only on a terminal, and not where NO_COLOR is set; wide lines are not wrapped in a file."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=int(os.environ.get("COLUMNS", "140")))


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def load_run(run: Path) -> Run:
    """The run, whole: with the outputs of what is done."""
    loaded = Run.load(run)
    loaded.check_store()
    return loaded
