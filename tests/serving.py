"""vLLM's OpenAI server with an adapter, for tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from routenator.handoff.server import free_port
from tests.processes import stop

NAME = "tuned"
_START_S = 900.0


@contextmanager
def served(base: Path, adapter: Path, folder: Path, *options: str) -> Iterator[str]:
    """Serve an adapter beside its base model, as docs/serving.md says; yields the URL.

    Args:
        folder: for the server's log.
    """
    from routenator.generation.vllm_engine import prepare_environment

    port = free_port(0)
    before = dict(os.environ)
    scratch = Path(tempfile.mkdtemp(prefix="rn-"))  # not below ``folder``: a socket's path is limited
    prepare_environment(scratch, cpu=True, kv_cache_gib=1.0)
    # With threads that wait for each other, a server on a busy machine writes less than a token a second.
    environment = {**os.environ, "VLLM_LOGGING_LEVEL": "INFO", "OMP_NUM_THREADS": "1"}
    os.environ.clear()
    os.environ.update(before)
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)),
        *("--model", str(base), "--dtype", "float32", "--max-model-len", "2048", "--enforce-eager"),
        *("--generation-config", "vllm"),
        *("--enable-lora", "--lora-modules", f"{NAME}={adapter}"),
        *("--chat-template", str(adapter / "chat_template.jinja")),
        *("--enable-auto-tool-choice", "--tool-call-parser", "hermes", *options),
    ]
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + _START_S
        while not _answers(f"{url}/health"):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "server.log").read_text()[-6000:]
            time.sleep(1.0)
        yield f"{url}/v1"
    finally:
        stop(process, 120)
        shutil.rmtree(scratch, ignore_errors=True)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except OSError:
        return False
