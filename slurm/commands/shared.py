"""Argument types, exit codes and output shared by all commands."""

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
from routenator.console import PlainConsole
from routenator.errors import RoutenatorError
from routenator.files import NO_PERMISSION, nearest_folder
from routenator.terminal import put
from routenator.trust import user_name

if TYPE_CHECKING:
    from rich.console import Console

P = ParamSpec("P")
EXIT_INTERRUPTED = 130

RunDir = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.", show_default=False)]
Config = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of one in configs/.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Overrides, e.g. cluster=slurm train.epochs=1.", show_default=False),
]
Cache = Annotated[Path, typer.Option("--cache", help="Folder for prepared weights.", envvar="ROUTENATOR_CACHE")]
Root = Annotated[Path, typer.Option("--root", help="The folder of runs.")]
Every = Annotated[float, typer.Option("--every", min=0.2, help="Seconds between refreshes.")]
Patience = Annotated[
    float,
    typer.Option(
        "--patience", min=0.0, metavar="MINUTES", help="End the wait, with exit code 3, of a run stuck for this long."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def with_exit_codes(command: Callable[P, None]) -> Callable[P, None]:
    """Turn our errors into a message and an exit code: 2 for bad input, 1 otherwise; Ctrl-C gives 130.

    A missing permission is no error of ours either.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except RoutenatorError as error:
            put(f"error: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except OSError as error:
            if error.errno not in NO_PERMISSION or error.filename is None:
                raise
            file = Path(os.fsdecode(error.filename))
            owner = user_name(nearest_folder(file).stat().st_uid)
            put(f"error: no permission for {file} ({error.strerror}); it belongs to {owner}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            put("interrupted", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None

    return wrapped


def console_for_output() -> Console:
    """Return a console with color only on a terminal and unless NO_COLOR is set; does not wrap lines in a file."""
    return PlainConsole() if sys.stdout.isatty() else PlainConsole(width=int(os.environ.get("COLUMNS", "140")))


def print_json(value: Any) -> None:
    put(json.dumps(value, indent=2, ensure_ascii=False))


def load_run(run: Path) -> Run:
    """Load a run, and check that the outputs of finished stages exist."""
    loaded = Run.load(run)
    loaded.check_store()
    return loaded


def load_own_run(run: Path) -> Run:
    """Load a run to act on it, which is refused if somebody else could have written it."""
    loaded = Run.load(run)
    loaded.check_own()
    loaded.check_store()
    return loaded


def listed(values: list[str]) -> list[str]:
    """Split the values of an option that may be repeated and may contain comma-separated items."""
    return [item.strip() for value in values for item in value.split(",") if item.strip()]
