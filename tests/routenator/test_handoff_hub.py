"""``hub push`` by huggingface_hub, against a stand-in for a hub on the loopback address."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from routenator.errors import InputError
from routenator.handoff.hub import kind_of
from tests.conftest import launch_here
from tests.routenator.handoff import save_adapter

TOKEN = "hf_testing"


@dataclass
class StandIn:
    """A stand-in for a hub: keeps the repositories that are made, and the files that are committed to them."""

    url: str = ""
    repositories: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandIn]:
    found = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self._say({"error": "Invalid credentials"}, 401)
            if self.path == "/api/validate-yaml":
                return self._say({"errors": [], "warnings": []})
            if self.path == "/api/repos/create":
                wanted = json.loads(body)
                name = f"{wanted['organization']}/{wanted['name']}"
                found.repositories[name] = wanted
                return self._say({"url": f"{found.url}/{name}", "name": name, "id": name})
            match = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)/(preupload|commit)/main", self.path)
            assert match, self.path
            if match[3] == "preupload":
                asked = [file["path"] for file in json.loads(body)["files"]]
                modes = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in asked]
                return self._say({"files": modes})
            lines = [json.loads(line) for line in body.splitlines()]
            kept = found.files.setdefault(f"{match[1]}/{match[2]}", {})
            for line in lines:
                if line["key"] == "file":
                    kept[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return self._say({"success": True, "commitUrl": f"{found.url}/{match[2]}/commit/0", "commitOid": "0" * 40})

        def _say(self, value: Any, status: int = 200) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """An adapter whose base is named by a hub id, as an export writes it."""
    adapter = save_adapter(tmp_path)
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    return adapter


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "README.md").write_text("---\npretty_name: t\n---\n")
    (folder / "train.parquet").write_bytes(b"rows")
    return folder


def test_a_model_and_a_data_set_arrive_whole_and_private(hub: StandIn, exported: Path, dataset: Path) -> None:
    model = launch_here("hub", "push", str(exported), "ours/router", "--endpoint", hub.url)
    assert model.returncode == 0 and model.stdout.strip().endswith("ours/router")
    assert hub.repositories["ours/router"]["visibility"] == "private"
    arrived = hub.files["models/ours/router"]
    assert arrived == {path.name: path.read_bytes() for path in exported.iterdir()} and len(arrived) == 5
    rows = launch_here("hub", "push", str(dataset), "ours/rows", "--public", "--endpoint", hub.url)
    assert rows.returncode == 0 and hub.repositories["ours/rows"]["visibility"] == "public"
    assert hub.repositories["ours/rows"]["type"] == "dataset"
    assert hub.files["datasets/ours/rows"]["train.parquet"] == b"rows"


def test_what_is_refused_sends_nothing(
    hub: StandIn, exported: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def push(folder: Path, name: str = "ours/name") -> str:
        done = launch_here("hub", "push", str(folder), name, "--endpoint", hub.url)
        assert done.returncode == 2
        return done.stderr

    (exported / "adapter_config.json").write_text('{"base_model_name_or_path": "/home/me/base"}')
    assert "loads only on this machine" in push(exported)
    assert "neither an exported model nor a data set" in push(tmp_path)
    assert "not the name of a repository" in push(dataset, "name")
    assert not hub.repositories
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "the hub refuses this token" in push(dataset) and not hub.repositories
    with pytest.raises(InputError, match="neither"):
        kind_of(tmp_path)


def test_a_hub_that_does_not_answer_is_said_in_a_line(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    done = launch_here("hub", "push", str(dataset), "ours/name", "--endpoint", "http://127.0.0.1:9")
    assert done.returncode == 1 and "the hub does not answer" in done.stderr
