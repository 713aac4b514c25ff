"""`serve` as a job, on a real Slurm: with vLLM's own server, and with a stand-in for it where it has to end or fail."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from jobs.plan import Run
from slurm.devcluster.cluster import DevCluster
from tests.cluster.conftest import SMALL, slurm_profile, until
from tests.conftest import ROOT, TINY
from tests.routenator.handoff import save_trained, stand_in_vllm

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.usefixtures("interruptible")]
MINUTES = 30


@pytest.fixture
def trained(cluster: DevCluster, make_run: Callable[..., Run]) -> Run:
    """A run on the cluster that has an adapter."""
    stages = {**SMALL, "evaluate": {"cpus": 2, "memory_gib": 3, "minutes": MINUTES}}
    run = make_run(domain=str(TINY), cluster=slurm_profile(stages=stages))
    save_trained(run.path, head_dim=32)
    return run


class Serving:
    """The command `serve`, and what it has printed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def line(self, start: str) -> str:
        """Wait for a line that begins so."""

        def found() -> str | None:
            line = next((line for line in self.lines if line.startswith(start)), None)
            assert line is not None or self.process.poll() is None, self.lines
            return line

        return str(until(found, start))

    @property
    def job(self) -> str:
        return self.line("submitted job").split()[2].rstrip(";")

    def end(self, number: int | None = signal.SIGINT) -> int:
        if number is not None:
            self.process.send_signal(number)
        self.process.wait()
        self._reader.join()
        return self.process.returncode


@contextmanager
def serving(run: Run, *arguments: str, **environment: str) -> Iterator[Serving]:
    command = [sys.executable, str(ROOT / "launch.py"), "serve", str(run.path), *arguments]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            yield Serving(process)
        finally:
            process.kill()


def told(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def launch(*arguments: str) -> str:
    return told(sys.executable, str(ROOT / "launch.py"), *arguments)


def in_queue(job: str) -> bool:
    return job in told("squeue", "--noheader", "--format=%i", "--states=PENDING,RUNNING,COMPLETING").split()


def test_a_model_is_served_by_a_job_and_asked_by_the_openai_client(trained: Run) -> None:
    """The key is in no command line, no script and nothing that Slurm records; status shows the server."""
    with serving(trained) as served:
        client = shlex.split(served.line("python"))
        curl, tunnel = served.line("curl"), shlex.split(served.line("ssh"))
        port = re.search(r"http://127\.0\.0\.1:(\d+)/v1", client[2])
        assert port is not None
        node = tunnel[-1]
        assert re.fullmatch(r"n\d", node) and f"127.0.0.1:{port[1]}:127.0.0.1:{port[1]}" in tunnel
        assert any(line.startswith(f"starting on {node}") or "loading the model" in line for line in served.lines)
        # All nodes of this cluster are this machine, so the tunnel is not needed.
        program = client[2].replace(".tool_calls", ".model_dump_json()")
        answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stderr
        message = json.loads(answer.stdout)
        assert message["role"] == "assistant" and (message["content"] or message["tool_calls"])

        (folder,) = (trained.path / "serve").iterdir()
        key = (folder / "authorization").read_text().split()[-1]
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "authorization").stat().st_mode & 0o777 == 0o600
        script = next(folder.glob("*_submission.sh")).read_text()
        recorded = told("scontrol", "show", "job", "-dd", served.job) + told("sacct", "-j", served.job, "--json")
        running = told("ps", "-eo", "args")
        written = "".join(file.read_text() for file in folder.glob("*.json")) + (folder / "server.log").read_text()
        assert not any(key in text for text in (script, recorded, running, written, curl, *client))
        status = json.loads(launch("status", str(trained.path), "--json"))
        (server,) = status["servers"]
        assert server == {"job": served.job, "state": "ready", "reason": "", "node": node, "port": int(port[1])}
        assert f"serve: serving on port {port[1]} of {node}" in launch("status", str(trained.path))
        assert served.end() == 0 and served.lines[-1] == f"stopped; job {served.job} is cancelled"
        assert not in_queue(served.job) and not folder.exists()


def test_a_server_that_waits_or_has_to_end(trained: Run, tmp_path: Path) -> None:
    """Ctrl-C cancels the job; Slurm's warning and `cancel` end a server cleanly; one that dies says why."""
    stand_in = {"PYTHONPATH": str(stand_in_vllm(tmp_path / "path")), "MARKS": str(tmp_path / "marks")}
    subprocess.run(["scontrol", "update", "partitionname=gpu", "state=down"], check=True)
    try:
        with serving(trained, "cluster.partition=gpu", **stand_in) as served:
            assert "its partition is down (PartitionDown)" in served.line("queued: ")
            assert in_queue(served.job) and served.end() == 0
            assert not in_queue(served.job) and not list((trained.path / "serve").iterdir())
    finally:
        subprocess.run(["scontrol", "update", "partitionname=gpu", "state=up"], check=True)

    with serving(trained, **stand_in) as served:
        served.line("python")
        subprocess.run(["scancel", "--signal=USR2", served.job], check=True)
        assert served.end(None) == 1
        assert (
            f"error: the server of job {served.job} ended: Slurm sent its warning signal (SIGUSR2)" in served.lines[-1]
        )
        until(lambda: not in_queue(served.job), "the job's end")
        (folder,) = (trained.path / "serve").iterdir()
        assert not (folder / "authorization").exists()

    with serving(trained, "--detach", **stand_in) as served:
        assert served.end(None) == 0 and in_queue(served.job), served.lines
        done = launch("cancel", str(trained.path))
        assert f"stopped Slurm jobs {served.job}" in done
        until(lambda: not in_queue(served.job), "the job's end")
    assert json.loads(launch("status", str(trained.path), "--json"))["servers"] == []

    with serving(trained, **stand_in, STAND_IN="dies") as served:
        assert served.end(None) == 1
        assert any("no memory left" in line for line in served.lines), served.lines
    refused = subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), "serve", str(trained.path), "train.epochs=1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode == 2 and "a server takes only the cluster's keys" in refused.stderr
