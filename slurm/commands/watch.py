"""Commands that show runs and the cluster, and cancel a run."""

from __future__ import annotations

import functools
import getpass
from typing import Annotated

import typer

from jobs.plan import Run
from jobs.stages import STAGES
from routenator.errors import InputError
from routenator.terminal import put
from slurm import control
from slurm.commands.shared import (
    RUNS,
    AnyRun,
    AsJson,
    Every,
    Patience,
    Root,
    RunDir,
    console_for_output,
    find_run,
    load_run,
    print_json,
    with_exit_codes,
)
from slurm.watching.cluster_queue import read_cluster
from slurm.watching.cluster_view import cluster_tables, watch_cluster
from slurm.watching.follow_log import describe_shard, follow_log, shard_to_follow
from slurm.watching.logs import select_logs, tail
from slurm.watching.patience import PATIENCE_MINUTES
from slurm.watching.runs import RunsReader, runs_table
from slurm.watching.status import StatusReader
from slurm.watching.status_view import print_status, watch_status

LOG_LINES = 40

app = typer.Typer()


@app.command()
@with_exit_codes
def status(
    run: AnyRun = None,
    as_json: AsJson = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay until the run ends; exit code 0: done, 1: not, 3: stuck.")
    ] = False,
    every: Every = 5.0,
    patience: Patience = PATIENCE_MINUTES,
) -> None:
    """Show a run's progress, and why shards failed.

    Shards, rows, throughput, ETA, resources used and wasted, and the end of each failed shard's log.
    """
    loaded = load_run(run)
    if watch and as_json:
        raise InputError(
            "these exclude each other", key="--watch", found="--watch --json", expected="--json, repeated as needed"
        )
    if watch:
        raise typer.Exit(watch_status(loaded, console_for_output(), every, patience))
    seen = StatusReader(loaded).read()
    if as_json:
        print_json(seen.as_dict())
    else:
        print_status(console_for_output(), seen)


@app.command()
@with_exit_codes
def cancel(run: RunDir) -> None:
    """Stop this run's jobs and processes.

    Touches no other run. Finished shards are kept; `retry` resumes the run.
    """
    loaded = Run.load(find_run(run))
    loaded.check_own()
    ended = control.cancel(loaded)
    parts = [f"Slurm jobs {', '.join(ended.jobs)}"] if ended.jobs else []
    parts += ["the local driver and its tasks"] if ended.driver else []
    parts += [f"{ended.processes} processes without a driver"] if ended.processes else []
    if parts:
        put(f"stopped {', '.join(parts)}")
    if ended.unseen:
        put(f"Slurm does not list these jobs, but was told to end them too: {', '.join(ended.unseen)}")
    if not parts and not ended.unseen:
        put("nothing was running")


@app.command()
@with_exit_codes
def logs(
    run: AnyRun = None,
    stage: Annotated[str | None, typer.Argument(metavar="STAGE", help="Only this stage.", show_default=False)] = None,
    shard: Annotated[
        int | None, typer.Option("--shard", min=0, help="Only this shard of STAGE.", show_default=False)
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only shards that failed.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print what is added, until the shard ends; exit code 1 if not done.")
    ] = False,
    lines: Annotated[int, typer.Option("--lines", help="Lines of each log.", min=1)] = LOG_LINES,
) -> None:
    """Print the end of each shard's latest log, or follow one.

    Of a shard that has not started it says why it waits. A stage alone means the newest run's.
    """
    if run is not None and stage is None and str(run) in STAGES:
        run, stage = None, str(run)
    loaded = load_run(run)
    _check_shard(loaded, stage, shard)
    if follow:
        if failed:
            raise InputError(
                "these exclude each other", key="--follow", found="--follow --failed", expected="STAGE --shard NUMBER"
            )
        name, number = shard_to_follow(loaded, stage, shard)
        write = functools.partial(put, end="")
        raise typer.Exit(follow_log(loaded, name, number, lines, write, functools.partial(put, err=True)))
    only = None
    if failed:
        only = {(item.stage, index) for item in StatusReader(loaded).read().stages for index in item.failed_shards}
    if stage is not None and shard is not None:
        only = {(stage, shard)} if only is None else only & {(stage, shard)}
    found = select_logs(loaded, stage, only)
    about = ""
    if stage is not None and shard is not None and not any(log.shard == shard for log in found):
        state = StatusReader(loaded).shard(stage, shard)
        about = describe_shard(stage, shard, state)
        # What its array's script wrote says nothing about a task that has not started.
        found = found if state.state == "failed" else []
    for log in found:
        put(f"==> {log.title}")
        put("\n".join(tail(log.path, lines)) + "\n")
    if about or not found:
        put(about or ("no shard failed" if failed else "no logs yet"), err=True)


def _check_shard(run: Run, stage: str | None, shard: int | None) -> None:
    if stage is not None and stage not in run.plan.stages:
        raise InputError("no such stage", key="STAGE", found=stage, valid=run.plan.stages)
    if shard is None:
        return
    if stage is None:
        raise InputError("of which stage?", key="--shard", found=shard, expected="STAGE --shard NUMBER")
    if shard >= run.plan.stages[stage].shards:
        raise InputError(
            "no such shard", key="--shard", found=shard, expected=f"0 to {run.plan.stages[stage].shards - 1}"
        )


@app.command()
@with_exit_codes
def queue(
    partition: Annotated[
        str | None, typer.Option("--partition", "-p", help="Only this partition.", show_default=False)
    ] = None,
    user: Annotated[str | None, typer.Option("--user", "-u", help="Only this user's jobs.", show_default=False)] = None,
    me: Annotated[bool, typer.Option("--me", help="Only your own jobs.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until Ctrl-C.")] = False,
    every: Every = 10.0,
    as_json: AsJson = False,
) -> None:
    """Show the cluster: what is free, who waits, and why.

    Free resources of each partition, users, expected starts, your fair share.
    """
    if me and user is not None:
        raise InputError(
            "these exclude each other", key="--me", found=f"--me --user {user}", expected="--me, or --user NAME"
        )
    if watch and as_json:
        raise InputError(
            "these exclude each other", key="--watch", found="--watch --json", expected="--json, repeated as needed"
        )
    whose = getpass.getuser() if me else user
    if watch:
        read_cluster(partition, whose)  # report a wrong partition now, not in the refreshing display
        watch_cluster(lambda: read_cluster(partition, whose), console_for_output(), every)
    seen = read_cluster(partition, whose)
    if as_json:
        print_json(seen.as_dict())
    else:
        console_for_output().print(cluster_tables(seen))


@app.command()
@with_exit_codes
def runs(root: Root = RUNS, as_json: AsJson = False) -> None:
    """List the runs in a folder, newest first.

    State, age, current stage and rows of each.
    """
    entries = RunsReader(root).read() if root != RUNS or root.is_dir() else []
    if as_json:
        print_json([entry.as_dict() for entry in entries])
    elif entries:
        runs_table(entries, console_for_output())
    else:
        put(f"no runs in {root}", err=True)
