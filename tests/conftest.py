"""What all tests share."""

from __future__ import annotations

import gc
import os
import secrets
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from launch import app
from routenator.config import RunConfig
from routenator.domain.domain import Domain
from routenator.domain.loader import load_domain
from routenator.errors import InputErrors
from routenator.extras import MissingPackageError, is_installed
from slurm.planning.planner import compile_loops
from tests import pilots
from tests.snapshots import SharedCode
from tests.strangers import Stranger, second_user

# Ray reads these once, when it is imported, and vLLM imports Ray: in a run of the suite an engine's test may come
# before Ray's own.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
# Ray makes its workers so nice that beside other tests they would hardly run.
os.environ.setdefault("RAY_worker_niceness", "0")
# Workers that run side by side share the cores; threads that wait for each other by spinning would take them away.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in ("COLUMNS", "LINES"):  # of a terminal, which neither they nor what they start have
        os.environ.pop(name, None)

ROOT = Path(__file__).resolve().parent.parent
# `make test-python`: only the base dependencies are there, and tests of the others are skipped, not failed.
BASE_ONLY = os.environ.get("ROUTENATOR_TEST_BASE") == "1"
UMASK = os.umask(0o077)
os.umask(UMASK)
TINY = ROOT / "tests" / "domains" / "tiny"
# Files that take minutes, in the order in which workers take them: some that compute and some that wait for a cluster,
# in turn.
LONGEST = [
    "test_end_to_end",
    "cluster/test_misfortune",
    "cluster/test_dag",
    "jobs/test_engines",
    "cluster/test_survive",
    "cluster/test_other_versions",
    "slurm/test_experiment_runs",
    "cluster/test_queue",
    "routenator/test_training_runs",
    "cluster/test_experiment",
    "routenator/test_evaluation_runs",
    "benchmarks/test_scheduling",
    "jobs/test_generate",
    "cluster/test_watch",
    "routenator/test_generation_engine",
    "benchmarks/test_chaos",
    "jobs/test_evaluate",
    "jobs/test_train",
    "test_closed_loop",
]


@pytest.fixture(scope="session")
def tiny() -> Domain:
    """A small domain: `search` with a closed category, `book` with optional slots."""
    return load_domain(TINY)


@pytest.fixture(scope="session")
def shared_code(tmp_path_factory: pytest.TempPathFactory) -> SharedCode:
    """The copy of the code of all runs of toy stages."""
    return SharedCode(tmp_path_factory.mktemp("code"))


@pytest.fixture(scope="session")
def stranger() -> Iterator[Stranger]:
    """A second, unprivileged user of this machine."""
    if os.getuid() != 0 or shutil.which("useradd") is None:
        reason = "NOTHING WAS TESTED AGAINST A SECOND USER: only root can make one"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    with second_user() as user:
        yield user


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C reaches the processes that the test starts.

    A shell's background job begins with SIGINT ignored, and so would all that it starts. A handler, however, is not
    inherited: they begin with the default.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Start each test with the session's umask: a command on a run that a group shares narrows it for the process."""
    os.umask(UMASK)
    pilots.share()


def missing_module(error: BaseException | None) -> str | None:
    """Return the module that is not installed and that an exception comes from; None if it comes from anything else."""
    while error is not None:
        several = error.errors if isinstance(error, InputErrors) else [error]
        if all(isinstance(one, MissingPackageError) for one in several):
            return str(several[0]).partition("\n")[0]
        if isinstance(error, ModuleNotFoundError) and not is_installed(str(error.name).partition(".")[0]):
            return error.name
        error = error.__cause__ or error.__context__
    return None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if BASE_ONLY and report.failed and "ModuleNotFoundError: No module named" in str(report.longrepr):
        last = str(report.longrepr).strip().splitlines()[-1]
        report.outcome, report.longrepr = "skipped", (str(collector.path), 0, f"Skipped: {last}")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    missing = missing_module(call.excinfo.value) if BASE_ONLY and report.failed and call.excinfo else None
    if missing is not None:
        report.outcome, report.longrepr = "skipped", (str(item.path), 0, f"Skipped: needs {missing}")
    return report


def pytest_configure(config: pytest.Config) -> None:
    """Compile the loops before several workers do it at once."""
    if config.getoption("numprocesses", None):
        compile_loops(make_config())


def pytest_collection_finish() -> None:
    """Spare the garbage collector what was imported, and let it run more rarely: it took a tenth of the CPU time."""
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


@pytest.hookimpl(trylast=True)  # after deselection
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first, and of these the longest: of several workers, none is left with a long one at the end."""

    def file(item: pytest.Item) -> str:
        return item.path.relative_to(ROOT / "tests").with_suffix("").as_posix()

    slow = {file(item) for item in items if item.get_closest_marker("slow")}
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (file(item) not in slow, ranks.get(file(item), len(ranks))))


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
    """A valid config on the tiny domain, of one round; ``changes`` replace whole sections."""
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
    value = {**base, **changes}
    value["generate"] = {"refill": 0, **dict(value.get("generate", {}))}  # type: ignore[call-overload]
    return RunConfig.model_validate(value)
