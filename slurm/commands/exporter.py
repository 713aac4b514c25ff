"""The command `exporter`: serves metrics for Prometheus."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from routenator.terminal import put
from slurm.commands.shared import Root, with_exit_codes
from slurm.watching.cluster_queue import read_cluster
from slurm.watching.exporter import Gatherer, cluster_metrics, run_metrics, serve
from slurm.watching.runs import RunsReader

if TYPE_CHECKING:
    from prometheus_client import Metric

app = typer.Typer()


@app.command()
@with_exit_codes
def exporter(
    root: Root = Path("runs"),
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on. The default is reachable only from this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0: any free one.")] = 9877,
    every: Annotated[
        float, typer.Option("--every", min=1.0, help="Seconds between queries of Slurm and the runs.")
    ] = 30.0,
    cluster: Annotated[
        bool | None, typer.Option("--cluster/--no-cluster", help="Include the cluster. Default: if there is a Slurm.")
    ] = None,
) -> None:
    """Serve Prometheus metrics of the queue and of runs.

    Covers all runs in a folder; runs until SIGTERM or Ctrl-C.
    """
    reader = RunsReader(root)
    sources: dict[str, Callable[[], Iterable[Metric]]] = {"runs": lambda: run_metrics(reader.read())}
    if cluster or (cluster is None and shutil.which("sinfo") is not None):
        sources["cluster"] = lambda: cluster_metrics(read_cluster())
    serve(Gatherer(sources), host, port, every, lambda opened: put(f"http://{host}:{opened}/metrics", err=True))
