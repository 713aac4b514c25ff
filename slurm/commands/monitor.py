"""The command `monitor`: shows a run live in the terminal."""

from __future__ import annotations

import sys

import typer

from routenator.errors import InputError
from routenator.place import command_line
from slurm.commands.shared import EXIT_INTERRUPTED, AnyRun, Every, console_for_output, load_run, with_exit_codes
from slurm.watching.monitor import Monitor
from slurm.watching.status import StatusReader
from slurm.watching.status_view import print_status

MONITORED_FAILURES = 500  # listed per stage

app = typer.Typer()


@app.command()
@with_exit_codes
def monitor(run: AnyRun = None, every: Every = 5.0) -> None:
    """Watch a run live in the terminal.

    Keys show its tasks and their logs. Quitting does nothing to the run.
    """
    loaded = load_run(run)
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise InputError(
            "monitor needs a terminal",
            key="RUN",
            found="a pipe or a file",
            expected=f"a terminal; without one, use `status {loaded.path} --watch`",
        )
    screen = Monitor(StatusReader(loaded, failures=MONITORED_FAILURES, tails=0), every)
    code = screen.run()
    if screen.status is not None:
        console = console_for_output()
        if screen.status.ended:
            print_status(console, StatusReader(loaded).read())
        else:
            console.print(
                f"{screen.status.name} keeps running; see: {command_line('status', loaded.path)}",
                highlight=False,
                soft_wrap=True,
            )
    raise typer.Exit(EXIT_INTERRUPTED if code is None else code)
