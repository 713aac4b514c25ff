"""Commands that show where runs and the cluster stand."""

from __future__ import annotations

from typing import Annotated

import typer

from slurm.commands.shared import AsJson, RunDir, console_for_output, honest, load_run, print_json

LOG_LINES = 40

app = typer.Typer()


@app.command()
@honest
def status(run: RunDir, as_json: AsJson = False) -> None:
    """Where a run stands: each stage's shards, rows, speed, time to go; failed shards with the end of their log."""
    from slurm.status import StatusReader
    from slurm.view import print_status

    seen = StatusReader(load_run(run)).read()
    if as_json:
        print_json(seen.as_dict())
    else:
        print_status(console_for_output(), seen)


@app.command()
@honest
def logs(
    run: RunDir,
    stage: Annotated[str | None, typer.Argument(metavar="STAGE", help="Only this stage.", show_default=False)] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only shards that failed.")] = False,
    lines: Annotated[int, typer.Option("--lines", help="Lines of each log.", min=1)] = LOG_LINES,
) -> None:
    """The end of each shard's newest log."""
    from slurm.logs import select_logs, tail

    found = select_logs(load_run(run), stage, failed)
    for log in found:
        typer.echo(f"==> {log.stage} shard {log.shard}: {log.path}")
        typer.echo("\n".join(tail(log.path, lines)) + "\n")
    if not found:
        typer.echo("no shard failed" if failed else "no logs yet", err=True)
