"""Commands that show where runs and the cluster stand."""

from __future__ import annotations

import getpass
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from routenator.errors import InputError
from slurm.commands.shared import EXIT_INTERRUPTED, AsJson, RunDir, console_for_output, honest, load_run, print_json

if TYPE_CHECKING:
    from prometheus_client import Metric

LOG_LINES = 40
MONITORED_FAILURES = 500  # of one stage

app = typer.Typer()

Root = Annotated[Path, typer.Option("--root", help="The folder of runs.")]
Every = Annotated[float, typer.Option("--every", min=0.2, help="Seconds between two looks.")]


@app.command()
@honest
def status(
    run: RunDir,
    as_json: AsJson = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay until the run ends; exit code 0 if it is done, 1 if not.")
    ] = False,
    every: Every = 5.0,
) -> None:
    """Where a run stands: shards, rows, speed, time to go, what it used and wasted; failed shards with the end of their
    log.
    """
    from slurm.watching.status import StatusReader
    from slurm.watching.status_view import print_status, watch_status

    loaded = load_run(run)
    if watch and as_json:
        raise InputError(
            "one of the two", key="--watch", found="--watch --json", expected="--json alone, as often as you like"
        )
    if watch:
        raise typer.Exit(watch_status(loaded, console_for_output(), every))
    seen = StatusReader(loaded).read()
    if as_json:
        print_json(seen.as_dict())
    else:
        print_status(console_for_output(), seen)


@app.command()
@honest
def monitor(run: RunDir, every: Every = 5.0) -> None:
    """A run, live on a terminal, with keys to see its tasks and their logs. Quitting does nothing to the run."""
    loaded = load_run(run)
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise InputError(
            "monitor needs a terminal",
            key="RUN",
            found="a pipe or a file",
            expected=f"`status {run} --watch` where there is none",
        )
    from slurm.watching.monitor import Monitor, ended
    from slurm.watching.status import StatusReader
    from slurm.watching.status_view import print_status

    app = Monitor(StatusReader(loaded, failures=MONITORED_FAILURES, tails=0), every)
    code = app.run()
    if app.status is not None:
        console = console_for_output()
        if ended(app.status):
            print_status(console, StatusReader(loaded).read())
        else:
            console.print(
                f"{app.status.name} goes on; see: python launch.py status {loaded.path}",
                highlight=False,
                soft_wrap=True,
            )
    raise typer.Exit(EXIT_INTERRUPTED if code is None else code)


@app.command()
@honest
def logs(
    run: RunDir,
    stage: Annotated[str | None, typer.Argument(metavar="STAGE", help="Only this stage.", show_default=False)] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only shards that failed.")] = False,
    lines: Annotated[int, typer.Option("--lines", help="Lines of each log.", min=1)] = LOG_LINES,
) -> None:
    """The end of each shard's newest log."""
    from slurm.watching.logs import select_logs, tail

    found = select_logs(load_run(run), stage, failed)
    for log in found:
        typer.echo(f"==> {log.stage} shard {log.shard}: {log.path}")
        typer.echo("\n".join(tail(log.path, lines)) + "\n")
    if not found:
        typer.echo("no shard failed" if failed else "no logs yet", err=True)


@app.command()
@honest
def queue(
    partition: Annotated[
        str | None, typer.Option("--partition", "-p", help="Only this partition.", show_default=False)
    ] = None,
    user: Annotated[str | None, typer.Option("--user", "-u", help="Only this user's jobs.", show_default=False)] = None,
    me: Annotated[bool, typer.Option("--me", help="Only my jobs.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
    every: Every = 10.0,
    as_json: AsJson = False,
) -> None:
    """The cluster: what is free in each partition, who runs and waits, why, expected starts, my fair share."""
    from slurm.watching.cluster_queue import read_cluster
    from slurm.watching.cluster_view import cluster_tables, watch_cluster

    if me and user is not None:
        raise InputError("one of the two", key="--me", found=f"--me --user {user}", expected="--me, or --user NAME")
    if watch and as_json:
        raise InputError(
            "one of the two", key="--watch", found="--watch --json", expected="--json alone, as often as you like"
        )
    whose = getpass.getuser() if me else user
    if watch:
        read_cluster(partition, whose)  # what is wrong with the question is said at once
        watch_cluster(lambda: read_cluster(partition, whose), console_for_output(), every)
    seen = read_cluster(partition, whose)
    if as_json:
        print_json(seen.as_dict())
    else:
        console_for_output().print(cluster_tables(seen))


@app.command()
@honest
def runs(root: Root = Path("runs"), as_json: AsJson = False) -> None:
    """The runs below a folder: state, age, stage at work, rows; the newest first."""
    from slurm.watching.runs import RunsReader, runs_table

    entries = RunsReader(root).read()
    if as_json:
        print_json([entry.as_dict() for entry in entries])
    elif entries:
        runs_table(entries, console_for_output())
    else:
        typer.echo(f"no runs in {root}", err=True)


@app.command()
@honest
def exporter(
    root: Root = Path("runs"),
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; the default is seen from this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free one.")] = 9877,
    every: Annotated[
        float, typer.Option("--every", min=1.0, help="Seconds between two looks at Slurm and the runs.")
    ] = 30.0,
    cluster: Annotated[
        bool | None, typer.Option("--cluster/--no-cluster", help="Default: where there is a Slurm.")
    ] = None,
) -> None:
    """Prometheus metrics of the queue and of the runs below a folder, until SIGTERM or Ctrl-C."""
    from slurm.watching.cluster_queue import read_cluster
    from slurm.watching.exporter import Gatherer, cluster_metrics, run_metrics, serve
    from slurm.watching.runs import RunsReader

    reader = RunsReader(root)
    sources: dict[str, Callable[[], Iterable[Metric]]] = {"runs": lambda: run_metrics(reader.read())}
    if cluster or (cluster is None and shutil.which("sinfo") is not None):
        sources["cluster"] = lambda: cluster_metrics(read_cluster())
    serve(Gatherer(sources), host, port, every, lambda opened: typer.echo(f"http://{host}:{opened}/metrics", err=True))
