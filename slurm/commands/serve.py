"""The command `serve`: a trained model behind OpenAI's API."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from jobs.plan import Run
from routenator.domain.golden import load_golden
from routenator.domain.loader import load_domain
from routenator.errors import StageError
from routenator.handoff.server import Address
from routenator.handoff.server import serve as serve_model
from routenator.terminal import put
from slurm.commands.shared import Cache, with_exit_codes
from slurm.commands.trained import Base, Trained, find_trained

app = typer.Typer()


@app.command()
@with_exit_codes
def serve(
    run: Trained,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0: any free one.")] = 8000,
    tool_parser: Annotated[
        str | None,
        typer.Option("--tool-parser", help="vLLM's parser of calls. Default: the adapter's.", show_default=False),
    ] = None,
    base: Base = None,
    cache: Cache = Path(".cache"),
) -> None:
    """Serve a trained model behind OpenAI's API.

    Reachable only from this machine, with a key of its own; runs until SIGTERM or Ctrl-C.
    """
    found = find_trained(run, base, cache)
    folder = Path(tempfile.mkdtemp(prefix="routenator-serve-"))
    try:
        put(f"starting vLLM; its log is {folder}/server.log", err=True)
        serve_model(found.model, folder, port=port, query=_example(found.run), ready=_tell, parser=tool_parser)
        put("stopped", err=True)
    except StageError:
        raise  # the message names the log
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _example(run: Run | None) -> str:
    """A query for the example request: the first golden one."""
    if run is None:
        return "what would you like to do?"
    golden = load_golden(run.golden_file, load_domain(run.domain_dir).functions, may_be_empty=True)
    return golden[0].asked if golden else "what would you like to do?"


def _tell(address: Address) -> None:
    put(f"serving at {address.url}; Ctrl-C stops it. Try:\n\n{address.curl()}\n\n{address.python()}\n")
