"""The local driver on real tasks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs.entry import read_failure
from jobs.plan import Run
from jobs.stages import STAGES
from jobs.task import done_shards, read_receipt
from slurm import control
from slurm.local import processes
from slurm.local.driver import DriverRunningError, read_driver, start_driver
from slurm.submission.submissions import attempt_counts, load_submissions
from slurm.watching.status import StatusReader
from tests.slurm.conftest import PACKAGE

LIMIT_S = 180


@contextmanager
def driver(run: Run, attached: bool = True) -> Iterator[subprocess.Popen[bytes]]:
    """The run's driver; stopped with all its tasks whatever the test does."""
    process = start_driver(run, attached=attached, package=PACKAGE)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(LIMIT_S)
        processes.end(processes.RUN_VARIABLE, str(run.path), 1.0)


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.05)


def pickles(folder: Path) -> list[Path]:
    """Files that begin as Python's pickles of protocols 2 to 5 do, or are named so.

    Not in the snapshot of the code: numba keeps its compiled loops there, and whoever can write there need not pickle.
    """
    return [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and "code" not in path.parts
        and (
            path.suffix in (".pkl", ".pickle")
            or path.read_bytes()[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
        )
    ]


def test_runs_every_stage_and_publishes(make_run: Callable[..., Run]) -> None:
    run = make_run(generate__refill=0.25)
    with driver(run) as process:
        assert process.wait(LIMIT_S) == 0
    for stage in STAGES:
        assert done_shards(run.stage_dir(stage), 9) == set(range(run.plan.stages[stage].shards))
    assert (run.path / "dataset").resolve() == run.stage_dir("merge") / "dataset"
    receipt = read_receipt(run.stage_dir("generate"), 1)
    assert receipt is not None and receipt.attempt == 1 and (receipt.job or "").startswith("local-")
    status = StatusReader(run).read()
    assert status.state == "done" and status.stage("generate").rows == 30
    driver_words = read_driver(run)
    assert driver_words is not None and driver_words["state"] == "done" and not driver_words["alive"]
    assert not pickles(run.path.parent), "whoever could add a pickle would run code as this user"


@pytest.mark.slow
def test_tasks_run_the_snapshot_of_the_code(make_run: Callable[..., Run]) -> None:
    run = make_run()
    entry = run.path / "code" / "jobs" / "entry.py"
    text = entry.read_text().replace("module.run(task)", "print('from the snapshot', flush=True); module.run(task)")
    entry.unlink()  # other runs have it too
    entry.write_text(text)
    with driver(run) as process:
        assert process.wait(LIMIT_S) == 0
    logs = [path.read_text() for path in run.log_dir("merge").glob("*_log.out")]
    assert any("from the snapshot" in text for text in logs)


def test_failed_shard_does_not_stop_its_stage_but_the_next(make_run: Callable[..., Run], toys: Path) -> None:
    run = make_run()
    (toys / "generate-1.fail").touch()
    with driver(run) as process:
        assert process.wait(LIMIT_S) == 1
    assert done_shards(run.stage_dir("generate"), 3) == {0, 2}
    assert not done_shards(run.stage_dir("merge"), 1)
    failure = read_failure(run, "generate", 1)
    assert failure is not None and failure["kind"] == "ValueError" and "Traceback" in failure["trace"]
    status = StatusReader(run).read()
    assert status.state == "failed"
    [shown] = status.stage("generate").failures
    assert (
        shown.shard == 1
        and "told to fail at generate 1" in shown.reason
        and any("told to fail" in line for line in shown.tail)
    )
    assert status.stage("merge").state == "missing"

    (toys / "generate-1.fail").unlink()
    with driver(run) as process:
        assert process.wait(LIMIT_S) == 0
    counts = attempt_counts(load_submissions(run), "generate")
    assert counts == {0: 1, 1: 2, 2: 1}
    receipt = read_receipt(run.stage_dir("generate"), 1)
    assert receipt is not None and receipt.attempt == 2
    assert read_failure(run, "generate", 1) is None


def test_killed_task_is_named(make_run: Callable[..., Run], toys: Path) -> None:
    run = make_run()
    (toys / "sample-0.kill").touch()
    with driver(run) as process:
        assert process.wait(LIMIT_S) == 1
    [failure] = StatusReader(run).read().stage("sample").failures
    assert "it was killed" in failure.reason
    assert done_shards(run.stage_dir("sample"), 2) == {1}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("source /missing/activate", "exit code 1 of: source /missing/activate"),
        ("exit 0 # nothing to do", "ended the script, exit code 0"),
    ],
)
def test_D2_a_setup_line_that_fails_is_named_here_too(line: str, reason: str, make_run: Callable[..., Run]) -> None:
    """The task was said to have been killed, or to have run out of memory. A comment swallowed the task itself."""
    setup = ["[ -f /missing ] && source /missing", "false || true # a comment", line]
    run = make_run(cluster={"kind": "local", "setup": setup}, sample__shards=1)
    with driver(run) as process:
        assert process.wait(LIMIT_S) == 1
    [failure] = StatusReader(run).read().stage("sample").failures
    assert failure.reason == f"SetupError: cluster.setup: {reason}"


def test_setup_lines_reach_the_task(make_run: Callable[..., Run], toys: Path) -> None:
    other = toys.with_name("other")
    other.mkdir()
    (other / "sample-0.fail").touch()
    setup = ["if true; then\n  export X=1\nfi # a comment", f"export TOY_CONTROL={other} # another"]
    run = make_run(cluster={"kind": "local", "setup": setup}, sample__shards=1)
    with driver(run) as process:
        assert process.wait(LIMIT_S) == 1
    [failure] = StatusReader(run).read().stage("sample").failures
    assert "told to fail at sample 0" in failure.reason


@pytest.mark.slow
def test_stop_keeps_chunks_and_ends_every_process(make_run: Callable[..., Run], toys: Path) -> None:
    run = make_run()
    (toys / "generate-0.sleep").write_text("30")
    (toys / "generate-0.leak").touch()
    chunks = run.stage_dir("generate") / "shard-00000.work"
    with driver(run) as process:
        until((chunks / "3").exists, "some chunks")
        status = StatusReader(run).read()
        assert status.state == "running" and status.stage("generate").running >= 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 130
    assert not processes.with_variable(processes.RUN_VARIABLE, str(run.path))
    kept = sorted(path.name for path in chunks.iterdir())
    status = StatusReader(run).read()
    assert status.state == "cancelled" and status.stage("sample").state == "done"

    (toys / "generate-0.sleep").write_text(str(0.1 * len(kept) + 0.2))
    (toys / "generate-0.leak").unlink()
    with driver(run) as process:
        assert process.wait(LIMIT_S) == 0
    assert {(chunks / name).read_text() for name in kept} == {"1"}, "chunks of the first attempt were generated again"


@pytest.mark.slow
def test_task_leaves_no_process_behind(make_run: Callable[..., Run], toys: Path) -> None:
    run = make_run()
    (toys / "sample-1.leak").touch()
    with driver(run) as process:
        assert process.wait(LIMIT_S) == 0
        assert not processes.with_variable(processes.RUN_VARIABLE, str(run.path))


def test_second_driver_is_refused(make_run: Callable[..., Run], toys: Path) -> None:
    run = make_run()
    (toys / "sample-0.sleep").write_text("30")
    with driver(run), pytest.raises(DriverRunningError, match="is already running this run"):
        start_driver(run, attached=True, package=PACKAGE)


def test_attached_driver_stops_when_its_watcher_is_gone(make_run: Callable[..., Run], toys: Path) -> None:
    run = make_run()
    (toys / "sample-0.sleep").write_text("60")
    code = (
        "import sys, time; from jobs.plan import Run; from slurm.local.driver import start_driver\n"
        f"print(start_driver(Run.load({str(run.path)!r}), attached=True, package={PACKAGE!r}).pid, flush=True); "
        "time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ["PYTHONPATH"]])}
    import sys

    watcher = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
    assert watcher.stdout is not None
    pid = int(watcher.stdout.readline())
    until(lambda: bool(processes.with_variable(processes.RUN_VARIABLE, str(run.path))), "a task")
    watcher.kill()
    watcher.wait()
    watcher.stdout.close()
    until(lambda: processes.started(pid) is None, "the driver's end")
    assert json.loads((run.path / "driver.json").read_text())["state"] == "stopped"


def test_cancel_ends_driver_and_orphans_and_can_be_repeated(make_run: Callable[..., Run], toys: Path) -> None:
    run = make_run()
    (toys / "sample-0.sleep").write_text("60")
    with driver(run, attached=False) as process:
        until(lambda: bool(processes.with_variable(processes.RUN_VARIABLE, str(run.path))), "a task")
        ended = control.cancel(run)
        assert ended.driver and process.wait(LIMIT_S) == 130
        assert control.cancel(run) == control.Cancelled([], False, 0)
    with driver(run, attached=False) as process:
        until(lambda: bool(processes.with_variable(processes.RUN_VARIABLE, str(run.path))), "a task")
        process.kill()
        process.wait()
        ended = control.cancel(run)
        assert not ended.driver and ended.processes > 0
    assert not processes.with_variable(processes.RUN_VARIABLE, str(run.path))


@pytest.mark.slow
def test_task_at_its_time_limit_resumes_from_its_chunks(make_run: Callable[..., Run], toys: Path) -> None:
    run = make_run(cluster={"kind": "local", "signal_delay_s": 56, "stages": {"sample": {"minutes": 2}}})
    (toys / "sample-0.sleep").write_text("2")
    with driver(run) as process:
        until((run.stage_dir("sample") / "shard-00000.work" / "2").exists, "chunks")
        [task] = [
            item
            for item in processes.with_variable(processes.RUN_VARIABLE, str(run.path))
            if "slurm.worker.start" in item.cmdline()
        ]
        task.send_signal(signal.SIGUSR2)
        assert process.wait(LIMIT_S) == 0
    chunks = run.stage_dir("sample") / "shard-00000.work"
    assert {path.read_text() for path in chunks.iterdir()} == {"1", "2"}
    receipt = read_receipt(run.stage_dir("sample"), 0)
    assert receipt is not None and receipt.attempt == 2
