"""Views of a real cluster: status, monitor on a terminal, queue, exporter."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyte
import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobs.plan import Run
from slurm import control
from slurm.devcluster.cluster import DevCluster
from slurm.planning.planner import make_plan, materialise
from slurm.submission.submit import submit_missing
from slurm.watching.cluster_queue import read_cluster
from slurm.watching.runs import RunsReader
from slurm.watching.status import StatusReader
from tests.cluster.conftest import LIMIT_S, SMALL, ended, slurm_profile, wait_for
from tests.slurm.conftest import PACKAGE, STAGES_PATH, make_config

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
LAUNCH = [sys.executable, str(ROOT / "launch.py")]
COLOUR = re.compile(rb"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")


class Terminal:
    """A command on a terminal of 80 columns and 24 lines."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.screen = pyte.Screen(80, 24)
        self.raw = b""
        self.code: int | None = None
        self._stream = pyte.ByteStream(self.screen)
        self.pid, self._handle = pty.fork()
        if self.pid == 0:
            os.execvpe(LAUNCH[0], [*LAUNCH, *arguments], {**os.environ, "TERM": "xterm-256color", **environment})
        fcntl.ioctl(self._handle, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

    @property
    def text(self) -> str:
        return "\n".join(self.screen.display)

    def press(self, keys: str) -> None:
        os.write(self._handle, keys.encode())

    def until(self, condition: Callable[[str], bool]) -> str:
        """Read until the screen meets a condition."""
        deadline = time.monotonic() + LIMIT_S
        while not condition(self.text):
            assert self._read() and time.monotonic() < deadline, f"not on the screen:\n{self.text}"
        return self.text

    def end(self) -> int:
        """Read until the command ends; its exit code."""
        deadline = time.monotonic() + LIMIT_S
        while self._read():
            assert time.monotonic() < deadline, f"it does not end:\n{self.text}"
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def close(self) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._handle)

    def _read(self) -> bool:
        if select.select([self._handle], [], [], 0.2)[0]:
            try:
                data = os.read(self._handle, 65536)
            except OSError:  # the command is gone
                return False
            self.raw += data
            self._stream.feed(data)
        return True


@pytest.fixture
def terminals() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*arguments: str, **environment: str) -> Terminal:
        opened.append(Terminal(*arguments, **environment))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()


@pytest.fixture
def calls(tmp_path: Path, cluster: DevCluster, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Return the Slurm commands run since the last call: each is wrapped by a script that records it."""
    folder, notes = tmp_path / "clients", tmp_path / "calls"
    folder.mkdir()
    for name in ("squeue", "sacct", "sinfo", "sshare", "scontrol", "sstat", "sprio"):
        script = folder / name
        script.write_text(f'#!/bin/sh\necho {name} >> {notes}\nexec {shutil.which(name)} "$@"\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def since() -> list[str]:
        found = notes.read_text().split() if notes.exists() else []
        notes.unlink(missing_ok=True)
        return sorted(found)

    return since


def toy_run(folder: Path, **changes: Any) -> Run:
    """A run directory of toy stages in the module's folder."""
    return materialise(make_plan(make_config(folder, **changes), package=PACKAGE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The module's folder; makes the toy stages importable here and in tasks."""
    path = tmp_path_factory.mktemp("watched")
    (path / "control").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOY_CONTROL", str(path / "control"))
        patch.setenv("PYTHONPATH", str(STAGES_PATH))
        patch.setattr(sys, "path", [*sys.path, str(STAGES_PATH)])
        yield path


@pytest.fixture(scope="module")
def run(cluster: DevCluster, folder: Path) -> Iterator[Run]:
    """A long run: one shard was requeued, one of 40 failed, one keeps running, and later stages wait."""
    (folder / "control" / "sample-1.sleep").write_text("9")  # more than the three seconds that a task has after SIGTERM
    (folder / "control" / "generate-0.sleep").write_text("300")
    (folder / "control" / "generate-1.fail").touch()
    stages = {**SMALL, "generate": {**SMALL["generate"], "gpus": 1, "shards_per_task": 1}}
    run = toy_run(folder, cluster=slurm_profile(stages=stages), generate__shards=40)
    made = submit_missing(run, PACKAGE)
    wait_for(run, lambda seen: seen.stage("sample").fraction > 0.55)
    subprocess.run(["scontrol", "requeue", made[0].task_id(1)], check=True)
    # Accounting records a task's end a little after its receipt is written.
    wait_for(run, lambda seen: seen.stage("generate").done == 38 and seen.stage("generate").usage.attempts == 40)
    wait_for(run, lambda seen: seen.stage("generate").failed == 1 and seen.stage("generate").usage.wasted_attempts == 1)
    yield run
    control.cancel(run)
    wait_for(run, ended)


def test_one_call_a_refresh_whatever_is_asked(run: Run, folder: Path, calls: Callable[[], list[str]]) -> None:
    other = toy_run(folder, cluster=slurm_profile(), name="other", seed=5)
    submit_missing(other, PACKAGE)
    calls()
    reader = StatusReader(run)
    for _ in range(2):
        status = reader.read()
        assert calls() == ["sacct", "squeue"]
    generate = status.stage("generate")
    assert (generate.done, generate.running, generate.failed) == (38, 1, 1) and status.stage("merge").reasons == {
        "Dependency": 1
    }
    assert generate.usage.gpu_hours == pytest.approx(generate.usage.node_hours) and generate.usage.gpu_hours > 0
    (failure,) = generate.failures
    assert (failure.exit_code, failure.host) == ("exit 1", failure.host) and failure.host in ("n1", "n2", "n3", "n4")
    assert len(RunsReader(run.path.parent).read()) == 2
    assert calls() == ["sacct", "squeue"], "all runs together"
    read_cluster()
    assert calls() == ["sinfo", "squeue", "sshare"]
    control.cancel(other)
    wait_for(other, ended)


def test_what_was_requeued_is_counted_as_wasted(run: Run) -> None:
    usage = StatusReader(run).read().stage("sample").usage
    assert usage.requeued >= 1 and usage.wasted_attempts == usage.attempts - 2
    assert usage.wasted_node_hours is not None and 0 < usage.wasted_node_hours < usage.node_hours


def test_the_monitor_shows_a_failed_tasks_log_and_leaves_the_run_alone(
    run: Run, terminals: Callable[..., Terminal]
) -> None:
    terminal = terminals("monitor", str(run.path), "--every", "1")
    shown = terminal.until(lambda text: "generate" in text and "38/40" in text)
    assert "toy: running" in shown and "q quit" in shown and "pending" in shown
    terminal.press("\x1b[B")
    terminal.until(lambda text: "generate: 38 done, 1 running, 1 failed" in text)
    terminal.press("\r")
    terminal.until(lambda text: "ValueError: told to fail at generate 1" in text and "why" in text)
    terminal.press("\r")
    terminal.until(
        lambda text: "Traceback (most recent call last)" in text and "attempt-1.log" in text.replace("\n", "")
    )
    terminal.press("\x1b")
    terminal.until(lambda text: "esc back" in text and "Traceback" not in text)
    drawn = len(terminal.raw)
    terminal.press("\x1b")
    terminal.until(lambda text: "38/40" in text)
    assert b"\x1b[2J" not in terminal.raw[drawn:], "the screen is never cleared, so it does not flicker"
    terminal.press("q")
    assert terminal.end() == 130 and "keeps running" in terminal.text
    status = wait_for(run, lambda seen: True)
    assert status.stage("generate").running == 1 and status.state == "running"


def test_the_queue_tells_what_is_free_and_who_waits(run: Run) -> None:
    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*LAUNCH, "queue", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": "80"},
        )

    subprocess.run(["scontrol", "update", "nodename=n4", "state=drain", "reason=test"], check=True)
    try:
        value = json.loads(ask("--json").stdout)
    finally:
        subprocess.run(["scontrol", "update", "nodename=n4", "state=resume"], check=True)
    main = next(item for item in value["partitions"] if item["name"] == "main")
    assert main["default"] and main["nodes"]["drained"] == 1 and sum(main["nodes"].values()) == 4
    assert (main["cpus_total"], main["running"], main["pending"]) == (32, 1, 4)
    if main["gpus_total"]:
        assert main["gpus_total"] == {"fake": 16} and main["gpus_free"]["fake"] in (11, 12), (
            "one is in use, a node with four is drained"
        )
    (mine,) = value["users"]
    assert mine["tasks"] == {"running": 1, "pending": 4} and value["reasons"] == {"Dependency": 4}
    text = ask("--me", "--partition", "main").stdout
    assert "waits for an earlier stage (Dependency)" in text and "urgent" not in text
    assert max(len(line) for line in text.splitlines()) <= 80
    refused = ask("--partition", "mian")
    assert refused.returncode == 2 and "main" in refused.stderr


@pytest.mark.usefixtures("interruptible")
def test_the_queue_is_watched_until_interrupted(cluster: DevCluster, terminals: Callable[..., Terminal]) -> None:
    terminal = terminals("queue", "--watch", "--every", "0.5")
    terminal.until(lambda text: "main*" in text and "Ctrl-C quits" in text)
    terminal.press("\x03")
    assert terminal.end() == 130


def test_the_exporter_asks_by_the_clock_and_has_all_that_the_dashboard_shows(
    run: Run, calls: Callable[[], list[str]]
) -> None:
    calls()
    command = [*LAUNCH, "exporter", "--root", str(run.path.parent), "--port", "0", "--every", "3600"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        url = process.stderr.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        for _ in range(5):
            text = urllib.request.urlopen(url, timeout=60).read().decode()
        assert calls() == ["sacct", "sinfo", "squeue", "squeue", "sshare"], "once, though scraped five times"
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=180)
    assert code == 0
    families = {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in text_string_to_metric_families(text)
    }
    dashboard = (ROOT / "docs" / "grafana-dashboard.json").read_text()
    shown = set(re.findall(r"routenator_[a-z_]+", dashboard))
    assert shown and shown <= set(families), shown - set(families)
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families.values()
        for sample in family.samples
    }
    name = run.path.name
    assert found["routenator_run_state", name, "running"] == 1
    assert (
        found["routenator_stage_shards", name, "generate", "done"] == 38
        and found["routenator_stage_rows", name, "generate"] >= 380
    )
    assert found["routenator_stage_wasted_gpu_seconds_total", name, "generate"] >= 0
    assert (
        found["routenator_pending_tasks", "Dependency"] == 4
        and found["routenator_partition_nodes", "main", "down"] == 0
    )
    assert (
        found["routenator_exporter_errors_total", "runs"] == found["routenator_exporter_errors_total", "cluster"] == 0
    )


def test_the_monitor_ends_with_the_run_in_black_and_white(run: Run, terminals: Callable[..., Terminal]) -> None:
    terminal = terminals("monitor", str(run.path), "--every", "0.5", NO_COLOR="1")
    terminal.until(lambda text: "38/40" in text and "▸ sample" in text)
    control.cancel(run)
    assert terminal.end() == 1
    assert "generate shard 1 failed" in terminal.text
    assert not COLOUR.search(terminal.raw)
