"""The command `report`: prints the results of a run, and writes its page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.report import listings
from jobs.results import gather
from routenator.files import check_file, write_atomic
from routenator.report.page import render
from slurm.commands.shared import AnyRun, AsJson, console_for_output, load_run, print_json, with_exit_codes
from slurm.watching.follow import print_result

app = typer.Typer()


@app.command()
@with_exit_codes
def report(
    run: AnyRun = None,
    as_json: AsJson = False,
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FILE", help="Also write the HTML page of what is done so far.")
    ] = None,
) -> None:
    """Print the results of a run, finished or not.

    Prints the table of results so far, and the path of the HTML report.
    """
    loaded = load_run(run)
    if page is not None:
        check_file(page, "--page")
        write_atomic(page, render(gather(loaded), listings(loaded)))
    if as_json:
        print_json(gather(loaded))
        return
    print_result(loaded, console_for_output())
