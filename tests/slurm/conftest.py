"""Fixtures for runs of toy stages: real plans, receipts, submitit tasks and drivers, stages controlled by files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.plan import Run
from routenator.config import RunConfig
from slurm.planning.planner import make_plan, materialise
from tests.snapshots import SharedCode

STAGES_PATH = Path(__file__).parent / "stages"
PACKAGE = "toystages"


def make_config(folder: Path, **changes: Any) -> RunConfig:
    """A valid config of one round, whose domain is two small files; only ``check_inputs`` would read them."""
    domain = folder / "domain"
    if not domain.exists():
        domain.mkdir(parents=True)
        (domain / "functions.json").write_text("[]")
        (domain / "golden.jsonl").write_text('{"query": "q", "call": {"name": "f", "arguments": {}}}\n')
    value: dict[str, Any] = {
        "name": "toy",
        "domain": str(domain),
        "root": str(folder / "runs"),
        "cache": str(folder / "cache"),
        "sample": {"shards": 2},
        "generate": {"shards": 3},
        "model": {"generator": {"model": "org/generator"}, "trainee": "org/trainee", "embedder": "org/embedder"},
        "cluster": {"kind": "local", "parallel": 2},
    }
    for key, item in changes.items():
        section, _, name = key.partition("__")
        if name:
            value.setdefault(section, {})[name] = item
        else:
            value[section] = item
    value["generate"] = {"refill": 0, **value["generate"]}
    return RunConfig.model_validate(value)


def run_script(text: str, folder: Path, srun: str, restarts: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a job's script without Slurm: stand-ins for srun (some lines of shell) and scontrol are on PATH."""
    folder.mkdir()
    for name, body in (("srun", srun), ("scontrol", 'echo scontrol "$@"')):
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    (folder / "slurm_script").write_text(text)
    environment = {
        "SLURM_JOB_ID": "5",
        "SLURM_ARRAY_JOB_ID": "4",
        "SLURM_ARRAY_TASK_ID": "1",
        "SLURM_RESTART_COUNT": str(restarts),
        "PATH": f"{folder}:{os.environ['PATH']}",
    }
    return subprocess.run(
        ["/bin/bash", folder / "slurm_script"], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of files that control toy shards; makes the toy stages importable here and in tasks."""
    control = tmp_path / "control"
    control.mkdir()
    monkeypatch.setenv("TOY_CONTROL", str(control))
    monkeypatch.setenv("PYTHONPATH", str(STAGES_PATH))
    monkeypatch.setattr(sys, "path", [*sys.path, str(STAGES_PATH)])
    return control


@pytest.fixture(autouse=True)
def one_copy(shared_code: SharedCode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all plans and runs of these tests share one copy of the code."""
    shared_code.use(monkeypatch)


@pytest.fixture
def make_run(
    toys: Path, tmp_path: Path, shared_code: SharedCode, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Run]:
    """Makes a run directory of toy stages; keywords change the config (``generate__shards=4``)."""
    shared_code.use(monkeypatch)

    def make(**changes: Any) -> Run:
        return materialise(make_plan(make_config(tmp_path, **changes), package=PACKAGE))

    return make
