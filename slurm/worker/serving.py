"""Serves a trained model inside a job: ``python -m slurm.worker.serving FOLDER``.

The folder, on a file system that the login node sees too, holds what to serve (``serving.json``) and the server's state
(``state.json``), its log, and the files that clients read. The server listens on the node's loopback address: users
reach it by ssh, and nobody else's process on another machine can.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from routenator.errors import RoutenatorError
from routenator.handoff.server import Address, asked_to_stop, serve
from routenator.handoff.trained import open_trained
from slurm.worker.array_task import say
from slurm.worker.server_state import ServerState, Serving

# Slurm may send its warning up to a minute early.
_SLACK_S = 60.0


def main(folder: Path) -> int:
    """Serve until a signal, and record the server's state. Returns the exit code."""
    asked = Serving.read(folder)
    node, began = os.environ.get("SLURMD_NODENAME") or socket.gethostname(), time.monotonic()

    def note(state: str, **more: Any) -> None:
        ServerState(state, node, **more).write(folder)

    def ready(address: Address) -> None:
        note("ready", port=address.port)
        say(f"serving on port {address.port} of {node}")

    note("loading")
    try:
        with asked_to_stop() as stop:
            model = open_trained(Path(asked.adapter), Path(asked.cache), asked.base)
            serve(
                model,
                folder,
                port=asked.port,
                query=asked.query,
                ready=ready,
                stop=stop,
                parser=asked.parser,
                dtype=asked.dtype,
            )
    except RoutenatorError as error:
        note("ended", reason=str(error))
        say(f"error: {error}")
        return error.exit_code
    reason = _reason(stop.by, time.monotonic() - began, asked)
    note("ended", reason=reason)
    say(f"stopped: {reason}")
    return 0


def _reason(number: signal.Signals, seconds: float, asked: Serving) -> str:
    if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        return "the job was cancelled or preempted"
    if seconds >= asked.limit_s - asked.lead_s - _SLACK_S:
        return f"the job's time limit of {asked.limit_s / 60:g} minutes was near"
    return f"Slurm sent its warning signal ({number.name}): the job is being preempted, or somebody sent it by hand"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
