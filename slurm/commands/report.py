"""The command `report`: prints the results of a run."""

from __future__ import annotations

import typer

from jobs.report import gather
from slurm.commands.shared import AsJson, RunDir, console_for_output, load_run, print_json, with_exit_codes
from slurm.watching.follow import print_result

app = typer.Typer()


@app.command()
@with_exit_codes
def report(run: RunDir, as_json: AsJson = False) -> None:
    """Print the results of a run, finished or not.

    Prints the table of results so far, and the path of the HTML report.
    """
    loaded = load_run(run)
    if as_json:
        print_json(gather(loaded))
        return
    print_result(loaded, console_for_output())
