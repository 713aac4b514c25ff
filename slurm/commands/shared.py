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
from routenator.errors import InputError, RoutenatorError
from routenator.files import NO_PERMISSION, nearest_folder
from routenator.terminal import put
from routenator.trust import user_name

if TYPE_CHECKING:
    from rich.console import Console

P = ParamSpec("P")
EXIT_INTERRUPTED = 130

RUNS = Path("runs")  # as the config's default for `root`
RunDir = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="A run directory, or a part of its name in runs/.", show_default=False),
]
AnyRun = Annotated[
    Path | None,
    typer.Argument(
        metavar="RUN",
        help="A run directory, or a part of its name in runs/. Default: the newest.",
        show_default=False,
    ),
]
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

    A missing permission is not a bug of ours either.
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


def find_run(given: Path | None) -> Path:
    """Return the directory of a run that is given as such, or in ``runs`` by a part of its name.

    Args:
        given: a path; without a slash also a run directory's name, the name in runs' configs, which means the newest
            of them, or a part of one run directory's name. None: the newest run.

    Raises:
        InputError: no run, or several, match.
    """
    if given is not None and ((given / "plan.json").is_file() or str(given) != given.name):
        return given
    found = sorted(RUNS.glob("*/plan.json"), key=lambda plan: plan.stat().st_mtime, reverse=True)
    names = [plan.parent.name for plan in found]
    if given is None:
        if not names:
            raise InputError("no runs here", file=RUNS, key="RUN", found="none", expected="a run directory")
        put(f"the newest run: {RUNS / names[0]}", err=True)
        return RUNS / names[0]
    # A top-up's name begins with the whole name of its run.
    own = [name for name in names if name == given.name] or [
        name for name in names if name.rpartition("-")[0] == given.name
    ]
    if len(own) > 1:
        put(f"the newest run of this name: {RUNS / own[0]}", err=True)
    matching = own[:1] or [name for name in names if given.name in name]
    if len(matching) > 1:
        raise InputError("several runs have this in their names", key="RUN", found=given, expected=", ".join(matching))
    if not matching:  # to be refused, with the nearest name of those in its folder
        return RUNS / given if names and not given.exists() else given
    return RUNS / matching[0]


def load_run(run: Path | None) -> Run:
    """Load a run, and check that the outputs of finished stages exist."""
    loaded = Run.load(find_run(run))
    loaded.check_store()
    return loaded


def load_own_run(run: Path) -> Run:
    """Load a run to act on it, which is refused if somebody else could have written it."""
    loaded = Run.load(find_run(run))
    loaded.check_own()
    loaded.check_store()
    return loaded


def listed(values: list[str]) -> list[str]:
    """Split the values of an option that may be repeated and may contain comma-separated items."""
    return [item.strip() for value in values for item in value.split(",") if item.strip()]
