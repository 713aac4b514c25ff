"""The command `hub`: pushes exports and data sets to a model hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routenator.handoff.hub import push as push_folder
from routenator.terminal import put
from slurm.commands.shared import with_exit_codes

app = typer.Typer()
hub_app = typer.Typer(help="Push exports and data sets to a model hub.", no_args_is_help=True)
app.add_typer(hub_app, name="hub")


@hub_app.command()
@with_exit_codes
def push(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="What `export` wrote, or RUN/dataset.", show_default=False)
    ],
    name: Annotated[str, typer.Argument(metavar="ORG/NAME", help="The repository.", show_default=False)],
    public: Annotated[bool, typer.Option("--public", help="Let everyone see it, if it is new.")] = False,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", help="The hub's address. Default: HF_ENDPOINT.", show_default=False)
    ] = None,
) -> None:
    """Push an exported model or a run's data set to a model hub, as one commit.

    A new repository is private. The token is that of `hf auth login` or HF_TOKEN.
    """
    put(push_folder(folder, name, public=public, endpoint=endpoint))
