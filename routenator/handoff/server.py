"""Serves a trained model behind OpenAI's API, by vLLM's server, on this machine's loopback address.

The server is a process group of its own, so that Ctrl-C reaches only us and all of it is stopped in order; it stops too
if we are killed. Anyone can read a command line, so the key goes to the server by its environment, and to clients by a
file that only its owner can read.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from routenator.config import Dtype
from routenator.errors import InputError, StageError
from routenator.evaluation.engines import max_lora_rank, merge_adapter
from routenator.extras import require_vllm
from routenator.files import write_json
from routenator.generation.vllm_engine import on_cpu, plain_folder, prepare_environment
from routenator.handoff.trained import TrainedModel
from routenator.training.adapter import TEMPLATE_FILE

HOST = "127.0.0.1"
NAME = "tuned"  # of the trained model, in requests
BASE_NAME = "base"  # of the base model, where the adapter is not merged into it
_PR_SET_PDEATHSIG = 1
_REPLY_TOKENS = 256  # a model that has learnt little may never stop writing
_POLL_S = 0.5
_STOP_S = 30.0  # from SIGTERM to SIGKILL
_SICK_S = 30.0  # without an answer of a server that has answered before
_LOG_LINES = 15  # shown of a server that died
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# In the log if another process took the port between our check and the server's.
_TAKEN = "address already in use"


@dataclass(frozen=True)
class Address:
    """Where a server listens.

    Attributes:
        port: on the loopback address.
        folder: holds what clients send: the header with the API key, and an example request.
    """

    port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/v1"

    @property
    def header(self) -> Path:
        """File of the header with the API key, as curl reads it."""
        return self.folder / "authorization"

    @property
    def request(self) -> Path:
        """File of an example request, as JSON."""
        return self.folder / "request.json"

    def curl(self) -> str:
        """A shell line that sends the example request."""
        words = ["curl", "-s", f"{self.url}/chat/completions", "-H", f"@{self.header}"]
        words += ["--noproxy", HOST]  # clusters set `http_proxy`, often for the loopback address too
        return shlex.join([*words, "-H", "Content-Type: application/json", "-d", f"@{self.request}"])

    def python(self) -> str:
        """A shell line that sends it by the ``openai`` client and prints the calls."""
        program = (
            "import json, openai; "
            f"key = open({str(self.header)!r}).read().split()[-1]; "
            f"client = openai.OpenAI(base_url={self.url!r}, api_key=key, "
            "http_client=openai.DefaultHttpxClient(trust_env=False)); "
            f"request = json.load(open({str(self.request)!r})); "
            "print(client.chat.completions.create(**request).choices[0].message.tool_calls)"
        )
        return shlex.join(["python", "-c", program])


def free_port(wanted: int) -> int:
    """Return the port if it is free, or any free one for 0.

    Raises:
        InputError: it is taken.
    """
    with socket.socket() as probe:
        # As servers do, so that a port that was closed just now counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as error:
            raise _taken(wanted, error.strerror or str(error)) from None
        return int(probe.getsockname()[1])


def _taken(port: int, why: str) -> InputError:
    return InputError(
        "cannot listen on this port", key="--port", found=f"{port} ({why})", expected="a free port; 0 takes any"
    )


def server_command(
    model: TrainedModel, weights: str, port: int, parser: str, *, merged: bool, dtype: Dtype = "auto"
) -> list[str]:
    """Return vLLM's command line for a model.

    Args:
        model: the trained model.
        weights: folder or hub id that vLLM loads: the base model, or the adapter merged into it.
        port: on the loopback address.
        parser: vLLM's name of the tool parser.
        merged: whether the adapter is in the weights.
        dtype: precision of the weights; ``auto``: that of their files.
    """
    adapter = [
        *("--served-model-name", BASE_NAME, "--lora-modules", f"{NAME}={model.adapter}"),
        *("--enable-lora", "--max-loras", "1", "--max-lora-rank", str(max_lora_rank(str(model.adapter)))),
    ]
    return [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", HOST, "--port", str(port)),
        *("--model", weights, "--max-model-len", "auto", "--dtype", dtype),
        *(["--served-model-name", NAME] if merged else adapter),
        *("--chat-template", str(model.adapter / TEMPLATE_FILE)),
        *("--enable-auto-tool-choice", "--tool-call-parser", parser),
        # Without it, sampling settings of the base model's folder would replace those of a request.
        *("--generation-config", "vllm"),
        *("--disable-access-log-for-endpoints", "/health"),
        *(["--enforce-eager"] if on_cpu() else []),
    ]


def example_request(model: TrainedModel, query: str) -> dict[str, object]:
    """Return the request for a query, as the API takes it."""
    return {
        "model": NAME,
        "messages": [{"role": "user", "content": query}],
        "tools": model.card.tools,
        "temperature": 0,
        "max_tokens": _REPLY_TOKENS,
    }


def serve(
    model: TrainedModel,
    folder: Path,
    *,
    port: int,
    query: str,
    ready: Callable[[Address], None],
    stop: Stop,
    parser: str | None = None,
    dtype: Dtype = "auto",
) -> None:
    """Serve a model until asked to stop.

    Args:
        model: the trained model.
        folder: for the server's log (``server.log``), the key and an example request.
        port: on the loopback address; 0: any free one.
        query: the query of the example request.
        ready: called once the server answers.
        stop: asks to stop.
        parser: vLLM's name of the tool parser, if the adapter's card names none.
        dtype: precision of the weights; ``auto``: that of the base model's files.

    Raises:
        InputError: the port is taken, vLLM is missing, or it cannot serve such an adapter.
        StageError: the server died.
    """
    require_vllm("serve")
    parser = parser or model.card.tool_call_parser
    if parser is None:
        raise InputError(
            "no known parser reads the calls that this model's chat template writes",
            key="--tool-parser",
            expected="the name of a tool parser of vLLM",
        )
    if model.card.method == "prompt":
        raise InputError("vLLM serves no learned prompts", file=model.adapter, found="prompt", expected="lora or qlora")
    chosen = free_port(port)
    scratch = Path(tempfile.mkdtemp(prefix="rn-"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        address, key = Address(chosen, folder), secrets.token_urlsafe(24)
        write_json(address.request, example_request(model, query))
        _write_private(address.header, f"Authorization: Bearer {key}\n")
        # As the evaluation does on this kind of machine, so that the server has the very weights that were scored.
        merged = on_cpu()
        weights = scratch / "merged"
        if merged:
            merge_adapter(model.base, str(model.adapter), weights, dtype=dtype)
        loaded = str(weights) if merged else plain_folder(model.base, scratch)
        command = server_command(model, loaded, chosen, parser, merged=merged, dtype=dtype)
        with _process(command, _environment(scratch, key), folder) as process:
            if _wait(process, address, stop, folder / "server.log"):
                ready(address)
                _watch(process, address, stop, folder / "server.log")
    finally:
        (folder / "authorization").unlink(missing_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)


def _write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read, also while it is being written."""
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)


def _environment(scratch: Path, key: str) -> dict[str, str]:
    before = dict(os.environ)
    try:
        prepare_environment(scratch, on_cpu(), kv_cache_gib=1.0)
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads would starve the server's own
        return {**os.environ, "VLLM_API_KEY": key, "VLLM_LOGGING_LEVEL": "INFO"}
    finally:
        os.environ.clear()
        os.environ.update(before)


class Stop(threading.Event):
    """Set once a signal has asked to stop; ``by`` is that signal."""

    by = signal.SIGTERM


@contextlib.contextmanager
def asked_to_stop() -> Iterator[Stop]:
    """Yield an event that Ctrl-C, SIGTERM, the end of the terminal, and a scheduler's warning signals set."""
    stop = Stop()

    def note(number: int, frame: FrameType | None) -> None:
        stop.by = signal.Signals(number)
        stop.set()

    before = {number: signal.signal(number, note) for number in _STOPPING}
    if before[signal.SIGHUP] == signal.SIG_IGN:  # by nohup, to outlive the terminal
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _process(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server in a session of its own; on exit all of its processes are gone."""
    prctl = ctypes.CDLL(None).prctl
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
            preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM),  # noqa: PLW1509  (only calls the kernel)
        )
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
        with contextlib.suppress(ProcessLookupError):  # its engine may outlive it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen[bytes], address: Address, stop: Stop, log: Path) -> bool:
    """Wait until the server answers; False if it is to stop first."""
    while not stop.wait(_POLL_S):
        if process.poll() is not None:
            text = _end_of(log)
            if _TAKEN in text:
                raise _taken(address.port, "taken just now")
            raise StageError(f"the server did not start (exit code {process.returncode}); {log} ends with:\n{text}")
        if _healthy(address):
            return True
    return False


def _watch(process: subprocess.Popen[bytes], address: Address, stop: Stop, log: Path) -> None:
    """Wait until the server is to stop, or is dead: its process, or the engine behind it."""
    last = time.monotonic()
    while not stop.wait(_POLL_S * 4):
        if process.poll() is not None:
            raise StageError(f"the server died (exit code {process.returncode}); {log} ends with:\n{_end_of(log)}")
        if _healthy(address):
            last = time.monotonic()
        elif time.monotonic() - last > _SICK_S:
            raise StageError(f"the server's engine is dead; {log} ends with:\n{_end_of(log)}")


def _healthy(address: Address) -> bool:
    """Whether the server says that its engine is alive."""
    connection = http.client.HTTPConnection(HOST, address.port, timeout=20)  # urllib would ask a proxy
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end_of(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_LOG_LINES:])
