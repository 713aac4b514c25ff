"""How a server starts, ends and fails. tests/test_end_to_end.py has vLLM's own; here is a stand-in for it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.routenator.handoff import save_trained, stand_in_vllm

pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """An adapter, and an environment in which vLLM is the stand-in."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{stand_in_vllm(tmp_path / 'path')}:{ROOT}",
        "MARKS": str(tmp_path / "marks"),
        "TMPDIR": str(tmp_path),
        "http_proxy": "http://127.0.0.1:9",  # of a cluster; it leads nowhere
        "no_proxy": "",
        "NO_PROXY": "",
    }
    yield save_trained(tmp_path), environment


def start(adapter: Path, environment: dict[str, str], *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "launch.py"), "serve", str(adapter), *options],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip


def lines_of(process: subprocess.Popen[str]) -> dict[str, str]:
    """What a server says once it is ready: the curl and the Python line."""
    assert process.stdout is not None
    found: dict[str, str] = {}
    while len(found) < 2:
        line = process.stdout.readline()
        assert line, process.communicate()
        if line.startswith(("curl", "python")):
            found[line.split()[0]] = line.strip()
    return found


def engine_of(environment: dict[str, str]) -> int:
    return int(Path(environment["MARKS"]).read_text().split()[0])


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.usefixtures("interruptible")
def test_the_lines_work_as_they_are_and_ctrl_c_leaves_nothing_behind(world: tuple[Path, dict[str, str]]) -> None:
    adapter, environment = world
    process = start(adapter, environment, "--port", "0")
    lines = lines_of(process)
    answer = subprocess.run(lines["curl"], shell=True, env=environment, capture_output=True, text=True, check=True)
    request = json.loads(answer.stdout)  # the stand-in sends it back
    assert request["model"] == "tuned" and request["tools"][0]["function"]["name"] == "search"
    command = Path(environment["MARKS"]).read_text()
    url = lines["curl"].split()[2]
    header = Path(lines["curl"].split("-H @")[1].split()[0])
    key = header.read_text().split()[-1]
    assert header.stat().st_mode & 0o777 == 0o600 and len(key) >= 32
    # Anyone can read a command line.
    assert "http://127.0.0.1:" in url and not any(key in text for text in (command, *lines.values()))
    assert (
        "--served-model-name tuned" in command
        and "--tool-call-parser hermes" in command
        and "--host 127.0.0.1" in command
    )
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(urllib.request.Request(url, b"{}", {"Authorization": "Bearer none"}), timeout=60)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 0 and said.endswith("stopped\n") and gone(engine_of(environment))
    assert not list(adapter.parent.glob("routenator-serve-*")) and not list(adapter.parent.glob("rn-*"))


@pytest.mark.parametrize("how", ["exits", "hangs"])
def test_a_dead_engine_ends_the_server_with_the_end_of_its_log(world: tuple[Path, dict[str, str]], how: str) -> None:
    adapter, environment = world
    process = start(adapter, {**environment, "STAND_IN": how}, "--port", "0")
    lines_of(process)
    os.kill(engine_of(environment), signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode == 1
    assert ("the server died (exit code 1)" if how == "exits" else "the server's engine is dead") in said
    assert "server.log ends with" in said


def test_what_cannot_be_served_is_said_in_a_sentence(world: tuple[Path, dict[str, str]]) -> None:
    adapter, environment = world
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start(adapter, environment, "--port", str(port))
        _, said = process.communicate()
        assert process.returncode == 2 and "cannot listen on this port" in said and f"{port} (Address already" in said
    for how, code, expected in (("dies", 1, "no memory left"), ("late", 2, "taken just now")):
        process = start(adapter, {**environment, "STAND_IN": how}, "--port", "0")
        _, said = process.communicate()
        assert process.returncode == code and expected in said
    card = json.loads((adapter / "routenator.json").read_text())
    for change, expected in (
        ({"tool_call_parser": None}, "--tool-parser"),
        ({"method": "prompt"}, "no learned prompts"),
    ):
        (adapter / "routenator.json").write_text(json.dumps({**card, **change}))
        process = start(adapter, environment)
        _, said = process.communicate()
        assert process.returncode == 2 and expected in said
