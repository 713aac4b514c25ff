"""The command `serve`: a trained model behind OpenAI's API, on this machine or as a job."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from jobs.plan import Run
from routenator.config import RunConfig
from routenator.domain.golden import load_golden
from routenator.domain.loader import load_domain
from routenator.errors import InputError, StageError
from routenator.handoff.server import HOST, Address, asked_to_stop
from routenator.handoff.server import serve as serve_model
from routenator.terminal import put
from routenator.trust import user_name
from slurm.commands.shared import Cache, Overrides, with_exit_codes
from slurm.commands.trained import Base, Found, Trained, find_trained
from slurm.submission.options import resources
from slurm.submission.serving import LIKE, cluster_of, for_server, submit_server
from slurm.watching.serving import ServerJob
from slurm.worker.server_state import ServerState, Serving

app = typer.Typer()
_PORT = 8000  # on this machine; a node is shared, so a job takes any free one


@app.command()
@with_exit_codes
def serve(
    run: Trained,
    overrides: Overrides = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=0,
            max=65535,
            help=f"Port to listen on; 0: any free one. Default: {_PORT}; in a job, any free one.",
            show_default=False,
        ),
    ] = None,
    tool_parser: Annotated[
        str | None,
        typer.Option("--tool-parser", help="vLLM's parser of calls. Default: the adapter's.", show_default=False),
    ] = None,
    base: Base = None,
    cache: Cache = Path(".cache"),
    detach: Annotated[
        bool, typer.Option("--detach", help="On Slurm: leave the server running, until its time limit or `cancel`.")
    ] = False,
) -> None:
    """Serve a trained model behind OpenAI's API.

    On this machine or, if the run's cluster is Slurm, as a job. Needs a key of its own; runs until SIGTERM or Ctrl-C.
    """
    found = find_trained(run, base, cache)
    config = _config(found, overrides or [])
    if config is not None and config.cluster.kind == "slurm":
        assert found.run is not None
        serving = Serving(
            adapter=str(found.model.adapter), base=base, cache=str(found.cache), query=_example(found.run),
            port=port or 0, parser=tool_parser, dtype=found.settings.dtype,
        )  # fmt: skip
        _as_job(found.run, for_server(config), serving, detach)
        return
    if detach:
        raise InputError("a server on this machine ends with its command", key="--detach", expected="a Slurm cluster")
    folder = Path(tempfile.mkdtemp(prefix="routenator-serve-"))
    try:
        put(f"starting vLLM; its log is {folder}/server.log", err=True)
        chosen = _PORT if port is None else port
        with asked_to_stop() as stop:
            serve_model(
                found.model,
                folder,
                port=chosen,
                query=_example(found.run),
                ready=_tell,
                stop=stop,
                parser=tool_parser,
                dtype=found.settings.dtype,
            )
        put("stopped", err=True)
    except StageError:
        raise  # the message names the log
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _config(found: Found, overrides: list[str]) -> RunConfig | None:
    """The config that says where to serve; None for an adapter's folder, which has none."""
    if found.run is not None:
        return cluster_of(found.run, overrides)
    if overrides:
        raise InputError(
            "an adapter's folder has no cluster", key="KEY=VALUE", found=overrides[0], expected="a run directory"
        )
    return None


def _as_job(run: Run, config: RunConfig, serving: Serving, detach: bool) -> None:
    """Serve in a job, which ends with this command unless it is detached."""
    run.check_own()  # its setup lines run as this user
    with asked_to_stop() as stop:
        submission, folder = submit_server(run, config, serving)
        put(f"submitted job {submission.job}; Ctrl-C cancels it", err=True)
        job = ServerJob(submission, folder, lambda line: put(line, err=True))
        state = job.wait(stop)
        if state is not None:
            _tell_tunnel(Address(state.port, folder), state, config, submission.job)
            if detach:
                how = f"end it with: scancel {submission.job}"
                put(f"job {submission.job} serves until its time limit; {how}", err=True)
                return
            job.watch(stop)
    if problem := job.cancel():
        raise StageError(f"job {submission.job} may still run: {problem}; end it with: scancel {submission.job}")
    shutil.rmtree(folder, ignore_errors=True)
    put(f"stopped; job {submission.job} is cancelled", err=True)


def _example(run: Run | None) -> str:
    """A query for the example request: the first golden one, or the first of the hold-out that stood in for them."""
    if run is not None:
        golden = load_golden(run.golden_file, load_domain(run.domain_dir).functions, may_be_empty=True)
        if golden:
            return golden[0].asked
        predictions = run.path / "predictions.jsonl"
        if predictions.exists():
            with open(predictions, encoding="utf-8") as file:
                return str(json.loads(file.readline())["query"])
    return "what would you like to do?"


def _tell(address: Address) -> None:
    put(f"serving at {address.url}; Ctrl-C stops it. Try:\n\n{address.curl()}\n\n{address.python()}\n")


def _tell_tunnel(address: Address, state: ServerState, config: RunConfig, job: str) -> None:
    """Print how to reach a server that listens on its node's loopback address."""
    login, user = socket.getfqdn(), user_name(os.geteuid())
    # Without the first option ssh carries on if the port is taken here, and the key would go to whoever took it.
    forward = ["-N", "-o", "ExitOnForwardFailure=yes", "-L", f"{HOST}:{address.port}:{HOST}:{address.port}"]
    here = shlex.join(["ssh", *forward, state.node])
    there = shlex.join(["ssh", *forward, "-J", f"{user}@{login}", f"{user}@{state.node}"])
    copy = shlex.join(["scp", *(f"{user}@{login}:{file}" for file in (address.header, address.request)), "."])
    minutes = resources(config, LIKE).minutes
    put(
        f"serving on {state.node} at {address.url}, for {minutes} minutes from the job's start. A tunnel from this "
        f"machine, to be left open:\n\n{here}\n\nThen try:\n\n{address.curl()}\n\n{address.python()}\n\n"
        f"From your own machine, the tunnel, and the two files that the lines above read:\n\n{there}\n\n{copy}\n"
    )
    put(f"without ssh to nodes: srun --jobid={job} --overlap --pty bash, and try there", err=True)
