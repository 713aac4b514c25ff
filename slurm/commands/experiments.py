"""The command `experiment`: runs several arms with several seeds and writes one table."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from routenator.files import check_writable
from routenator.terminal import put
from slurm.commands.shared import Overrides, console_for_output, with_exit_codes
from slurm.experiments.conduct import conduct, print_runs
from slurm.experiments.config import load_experiment
from slurm.planning.planner import check_golden

app = typer.Typer()


@app.command()
@with_exit_codes
def experiment(
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG", help="A YAML file, or the name of one below configs/experiments.", show_default=False
        ),
    ],
    overrides: Overrides = None,
    parallel: Annotated[
        int, typer.Option("--parallel", min=1, help="Number of runs at once; they share this machine's cores.")
    ] = 1,
    only: Annotated[
        list[str] | None, typer.Option("--arm", help="Only this arm; may be repeated.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("--results", help="Folder of results; each experiment gets a subfolder.")] = Path(
        "results"
    ),
    collect: Annotated[
        bool, typer.Option("--collect", help="Run nothing: collect finished runs and list missing ones.")
    ] = False,
    confirm: Annotated[
        Path | None,
        typer.Option(
            "--confirm",
            help="Train nothing: score the trained models on this other golden file; results go to NAME-confirm.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the runs and their settings; run nothing.")] = False,
) -> None:
    """Run an experiment and write its results.

    Writes a table, charts, raw scores and provenance. When repeated, it runs only what is missing.
    """
    loaded = load_experiment(config, overrides or [])
    if confirm is not None:
        check_golden(confirm, "--confirm")
    if dry_run:
        print_runs(loaded, console_for_output(), only or [])
        return
    folder = out / (loaded.name if confirm is None else f"{loaded.name}-confirm")
    check_writable(folder, "--results")
    code = conduct(loaded, folder, parallel=parallel, only=only or [], collecting=collect, say=_say, confirm=confirm)
    raise typer.Exit(code)


def _say(text: str) -> None:
    put(f"{time.strftime('%H:%M:%S')} {text}")
