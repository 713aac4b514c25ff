"""Commands about this machine: weights, what is installed, a cluster to test on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routenator.files import check_writable
from slurm.commands.shared import AsJson, Cache, console_for_output, honest, print_json

app = typer.Typer()
models_app = typer.Typer(help="Weights that come as Python packages.", no_args_is_help=True)
devcluster_app = typer.Typer(help="A Slurm of several nodes on this machine, to test on.", no_args_is_help=True)


@models_app.command("prepare")
@honest
def models_prepare(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Default: all.", show_default=False)] = None,
    cache: Cache = Path(".cache"),
) -> None:
    """Check packaged weights and turn them into model folders, once."""
    from routenator.models import PACKAGED, PREFIX, resolve_model

    check_writable(cache, "--cache")
    for name in names or sorted(PACKAGED):
        typer.echo(resolve_model(PREFIX + name.removeprefix(PREFIX), cache))


@app.command()
@honest
def doctor(as_json: AsJson = False) -> None:
    """What this machine and its cluster have, what is missing, and how to mend it. Exit code 1 if something needed is
    missing.
    """
    from slurm.preflight.doctor import examine, print_findings

    findings = examine()
    if as_json:
        print_json([finding.as_dict() for finding in findings])
    else:
        print_findings(console_for_output(), findings)
    raise typer.Exit(1 if any(finding.level == "error" for finding in findings) else 0)


Root = Annotated[
    Path | None, typer.Option("--root", help="The cluster's folder; short. Default: below the temporary folder.")
]


@devcluster_app.command("up")
@honest
def devcluster_up(
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="How many nodes.")] = 2,
    accounting: Annotated[
        bool, typer.Option("--accounting/--no-accounting", help="With slurmdbd and MariaDB, so that sacct works.")
    ] = True,
    root: Root = None,
) -> None:
    """Start it, and print what to export to use it."""
    from slurm.devcluster.cluster import default_root, up

    check_writable(root or default_root(), "--root")
    cluster = up(root or default_root(), nodes, accounting=accounting)
    typer.echo(
        f"{cluster.nodes} nodes are idle; runs with cluster=devcluster fit them, once this is exported:", err=True
    )
    typer.echo(f"export SLURM_CONF={cluster.slurm_conf}")
    typer.echo(f"end them with: python launch.py devcluster down --root {cluster.root}", err=True)


@devcluster_app.command("down")
@honest
def devcluster_down(root: Root = None) -> None:
    """End it with all its jobs, and remove its folder. No other Slurm is touched."""
    from slurm.devcluster.cluster import default_root, down

    typer.echo("ended" if down(root or default_root()) else "no test cluster runs from this folder")
