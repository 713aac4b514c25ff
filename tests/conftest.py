"""What all tests share."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from launch import app
from routenator.config import RunConfig
from routenator.domain.domain import Domain
from routenator.domain.loader import load_domain

# Ray reads these once, when it is imported, and vLLM imports Ray: in a run of the suite an engine's test may come
# before Ray's own.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
# Workers that run side by side share the cores; threads that wait for each other by spinning would take them away.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in ("COLUMNS", "LINES"):  # of a terminal, which neither they nor what they start have
        os.environ.pop(name, None)

ROOT = Path(__file__).resolve().parent.parent
TINY = ROOT / "tests" / "domains" / "tiny"
# Groups of tests (files, or what a file's `xdist_group` says) in the order in which workers take them: what takes
# minutes, those that wait for a cluster between those that compute.
LONGEST = [
    "test_end_to_end",
    "cluster/test_dag",
    "cluster/test_misfortune",
    "vllm",
    "cluster/test_survive",
    "slurm/test_experiments",
    "cluster/test_queue",
    "cluster/test_experiment",
    "routenator/test_training_runs",
    "routenator/test_evaluation_runs",
    "benchmarks/test_scheduling",
    "cluster/test_watch",
    "jobs/test_evaluate",
    "benchmarks/test_chaos",
    "jobs/test_train",
    "test_closed_loop",
]


@pytest.fixture(scope="session")
def tiny() -> Domain:
    """A small domain: `search` with a closed category, `book` with optional slots."""
    return load_domain(TINY)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C reaches the processes that the test starts.

    A shell's background job begins with SIGINT ignored, and so would all that it starts. A handler, however, is not
    inherited: they begin with the default.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.hookimpl(wrapper=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """Order the tests, and say which of them belong to one worker where there are several (``make test``).

    A file's tests stay together, because they share its fixtures, unless the file marks them otherwise. Slow files come
    first, and of these the longest: then no worker is left with a long one at the end.
    """
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(_file(item)))
    slow = {_group(item) for item in items if item.get_closest_marker("slow")}

    def rank(item: pytest.Item) -> tuple[bool, int]:
        group = _group(item)
        return group not in slow, LONGEST.index(group) if group in LONGEST else len(LONGEST)

    items.sort(key=rank)
    return (yield)


def _file(item: pytest.Item) -> str:
    return item.path.relative_to(ROOT / "tests").with_suffix("").as_posix()


def _group(item: pytest.Item) -> str:
    marker = item.get_closest_marker("xdist_group")
    assert marker is not None
    return str(marker.args[0])


def launch_here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``launch.py ARGUMENTS`` in this process, which spares the start of another.

    What it says is shown with a failure.
    """
    result = CliRunner().invoke(app, list(arguments))
    sys.stdout.write(result.stdout[-4000:] + result.stderr[-4000:])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)


def make_config(**changes: object) -> RunConfig:
    """A valid config on the tiny domain; ``changes`` replace whole sections."""
    base: dict[str, object] = {
        "name": "test",
        "domain": str(TINY),
        "seed": 11,
        "dataset": {"size": 200},
        "model": {
            "generator": {"model": "package:smollm2-135m-instruct"},
            "trainee": "package:smollm2-135m-instruct",
            "embedder": "package:all-minilm-l6-v2",
        },
    }
    return RunConfig.model_validate({**base, **changes})
