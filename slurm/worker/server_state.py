"""The files of a server that runs as a job: what it serves, and what it last said about itself."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from routenator.config import Dtype
from routenator.files import read_json, write_json

FOLDER = "serve"  # of a run, with a folder for each server
STAGE = "serve"  # of a server's job in the record of submissions
_REQUEST, _STATE = "serving.json", "state.json"


@dataclass(frozen=True)
class Serving:
    """What a job serves.

    Attributes:
        adapter: folder of the trained adapter.
        base: its base model, if not the one that the adapter names.
        cache: folder of prepared weights.
        query: of the example request.
        port: on the node's loopback address; 0: any free one.
        parser: vLLM's name of the tool parser, if not the adapter's.
        dtype: precision of the weights.
        limit_s: wall-clock limit of the job, seconds.
        lead_s: seconds between Slurm's warning signal and that limit.
    """

    adapter: str
    base: str | None
    cache: str
    query: str
    port: int
    parser: str | None
    dtype: Dtype
    limit_s: float = 0.0
    lead_s: float = 0.0

    def write(self, folder: Path) -> None:
        write_json(folder / _REQUEST, asdict(self))

    @staticmethod
    def read(folder: Path) -> Serving:
        value: dict[str, Any] = read_json(folder / _REQUEST)
        return Serving(**value)


@dataclass(frozen=True)
class ServerState:
    """The state of a job's server, as it last reported it.

    Attributes:
        state: loading, ready or ended.
        node: Slurm's name of the node.
        port: on the node's loopback address; 0 until it is known.
        reason: why it ended.
    """

    state: str
    node: str
    port: int = 0
    reason: str = ""

    def write(self, folder: Path) -> None:
        write_json(folder / _STATE, asdict(self))


def read_state(folder: Path) -> ServerState | None:
    """Return a server's state; None before it begins to load.

    Args:
        folder: of the server.
    """
    with contextlib.suppress(FileNotFoundError):
        value: dict[str, Any] = read_json(folder / _STATE)
        known = {field.name for field in fields(ServerState)}  # another version may have written more
        return ServerState(**{name: item for name, item in value.items() if name in known})
    return None
