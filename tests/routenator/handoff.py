"""An adapter's folder with all but weights, and a stand-in for vLLM's server."""

from __future__ import annotations

from pathlib import Path

from routenator.chat.templates import choose_template
from routenator.training.adapter import AdapterCard
from tests.routenator.tiny_model import TOOLS, byte_tokenizer, save_random_adapter, save_tiny_model

# A stand-in for vLLM's server: starts an "engine" that writes its id, and is healthy as long as that lives.
SERVER = """
import http.server, os, subprocess, sys
from pathlib import Path
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
port, key = int(sys.argv[sys.argv.index("--port") + 1]), os.environ["VLLM_API_KEY"]
if os.environ.get("STAND_IN") == "dies":
    sys.exit("no memory left")
if os.environ.get("STAND_IN") == "late":
    sys.exit("OSError: [Errno 98] address already in use")
engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
Path(os.environ["MARKS"]).write_text(f"{engine.pid} {' '.join(sys.argv)}")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if engine.poll() is None else 503)
        self.end_headers()
        if engine.poll() is not None and os.environ.get("STAND_IN") != "hangs":
            os._exit(1)
    def do_POST(self):
        self.send_response(200 if self.headers["Authorization"] == f"Bearer {key}" else 401)
        self.end_headers()
        self.wfile.write(self.rfile.read(int(self.headers["Content-Length"])))
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def stand_in_vllm(folder: Path) -> Path:
    """Write the stand-in as a package ``vllm``; the folder belongs on the path."""
    package = folder / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    for place in (package, package.parent, package.parent.parent):
        (place / "__init__.py").write_text("")
    (package / "api_server.py").write_text(SERVER)
    return folder


def save_adapter(folder: Path) -> Path:
    """Write ``folder/adapter``, and beside it a base model with nothing but its tokenizer."""
    base, adapter = folder / "base", folder / "adapter"
    byte_tokenizer().save_pretrained(base)
    (base / "config.json").write_text("{}")
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}')
    _card(base).write(adapter, choose_template("compact", byte_tokenizer(), several=True))
    return adapter


def save_trained(folder: Path, head_dim: int = 16) -> Path:
    """Write ``folder/adapter``, strong and of random weights, and its base model, both as training writes them.

    Args:
        head_dim: vLLM on a CPU has no kernel for heads of less than 32.
    """
    base, adapter = save_tiny_model(folder / "base", head_dim=head_dim), folder / "adapter"
    save_random_adapter(base, adapter)
    _card(base).write(adapter, choose_template("compact", byte_tokenizer(), several=True))
    return adapter


def _card(base: Path) -> AdapterCard:
    return AdapterCard(
        domain="d",
        base_model=str(base),
        prompt="compact",
        tools=TOOLS,
        tool_call_parser="hermes",
        method="lora",
        steps=1,
    )
