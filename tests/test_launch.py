"""The command line, for users and scripts. See test_bad_input.py for bad input, test_end_to_end.py for the pipeline."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import launch
import routenator
from jobs.plan import Run
from routenator.authoring.snips import INTENTS
from slurm.commands.lazy import COMMANDS, load_command
from tests.conftest import ROOT, TINY
from tests.slurm.conftest import PACKAGE, make_run, toys

__all__ = ["make_run", "toys"]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Print tables as to a file; a pytest-xdist worker would set the terminal's width."""
    monkeypatch.delenv("COLUMNS", raising=False)


GO = (
    "import sys, typer; from jobs.plan import Run\n"
    "from slurm.commands.retry import go; from slurm.commands.shared import with_exit_codes\n"
    "try:\n    with_exit_codes(go)(Run.load(sys.argv[1]), sys.argv[2] == 'wait', sys.argv[3])\n"
    "except typer.Exit as end:\n    sys.exit(end.exit_code)"
)


def go(run: Run, wait: bool = True) -> subprocess.Popen[str]:
    """Run ``retry RUN`` on toy stages, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]])}
    return subprocess.Popen(
        [sys.executable, "-c", GO, str(run.path), "wait" if wait else "no-wait", PACKAGE],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(launch.app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def config_file(folder: Path, **changes: object) -> Path:
    file = folder / "run.json"
    value = {
        "name": "cli",
        "domain": str(TINY),
        "root": str(folder / "runs"),
        "cluster": "local",
        "model": "smollm2-135m",
        **changes,
    }
    file.write_text(json.dumps({"dataset": {"size": 100}, **value}))
    return file


def test_version() -> None:
    assert call("--version")[:2] == (0, routenator.__version__ + "\n")


def test_plan_writes_nothing_and_says_what_would_run(tmp_path: Path) -> None:
    file = config_file(tmp_path, generate={"shards": 3})
    code, out, _ = call("plan", str(file), "--json")
    assert code == 0
    value = json.loads(out)
    assert [(stage["stage"], stage["shards"], stage["to_do"]) for stage in value["stages"]][:3] == [
        ("sample", 1, 1),
        ("generate", 3, 3),
        ("shortfall", 1, 1),
    ]
    assert (
        value["node_hours"] == pytest.approx(sum(stage["node_hours"] for stage in value["stages"]))
        and value["node_hours"] > 0
    )
    code, out, _ = call("plan", str(file), "generate.shards=5")
    assert code == 0 and "generate" in out and "at most" in out
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_run_says_what_its_rows_do_not_reach(tmp_path: Path) -> None:
    file = str(config_file(tmp_path, dataset={"size": 10}, generate={"routes": {"heuristic": 1}}))
    _, out, _ = call("plan", file, "--json")
    notes = json.loads(out)["notes"]
    assert len(notes) == 1 and "too rare for a row of 10" in notes[0]
    code, out, err = call("run", file, "--no-wait", "--until", "merge")
    try:
        assert code == 0 and f"note: {notes[0]}\n" in err
    finally:
        assert call("cancel", out.strip().splitlines()[-1])[0] == 0


def test_plan_prints_the_scripts_of_a_cluster_from_any_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    file = str(config_file(tmp_path))
    code, _, err = call("plan", file, "--scripts")
    assert code == 2 and "a local run submits no scripts" in err
    code, out, _ = call("plan", file, "cluster=slurm", "--scripts", "--json")
    assert code == 0
    scripts = json.loads(out)["scripts"]
    assert scripts["sample"].startswith("#!/bin/bash") and "--dependency=" in scripts["report"]


def test_on_call_7_plan_takes_until_and_explains_the_words_in_its_scripts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``run --until`` could not be planned, and the scripts did not say what TASKS and $SAMPLE stand for."""
    monkeypatch.setenv("PATH", str(tmp_path))
    file = str(config_file(tmp_path))
    code, out, _ = call("plan", file, "--until", "merge", "--json")
    assert code == 0 and [stage["stage"] for stage in json.loads(out)["stages"]] == [
        "sample", "generate", "shortfall", "refill", "merge", "report",
    ]  # fmt: skip
    code, _, err = call("plan", file, "--until", "marge")
    assert code == 2 and "merge" in err
    code, out, _ = call("plan", file, "cluster=slurm", "--until", "merge", "--scripts")
    assert code == 0
    explained, _, scripts = out.partition("# ---- sample ----")
    assert " TASKS" in scripts and "# TASKS stands for the name of a file" in explained
    assert (
        "$SAMPLE" in scripts
        and "# $SAMPLE, $GENERATE, $SHORTFALL, $REFILL, $MERGE stand for the ids of that stage's jobs" in explained
    )
    assert "# each job's name gets a random ending when it is submitted" in explained


def test_commands_that_write_files_may_be_given_again(tmp_path: Path) -> None:
    benchmark = tmp_path / "benchmark"
    benchmark.mkdir()
    for intent in INTENTS:
        value = {intent: [{"data": [{"text": f"query of {intent}"}]}]}
        (benchmark / f"validate_{intent}.json").write_text(json.dumps(value), encoding="utf-8")
    first, second = str(tmp_path / "first.jsonl"), str(tmp_path / "second.jsonl")
    commands = [
        ["golden", "import", str(benchmark), first],
        ["golden", "split", str(TINY), str(TINY / "golden.jsonl"), first, second],
        [
            "domain",
            "fit",
            str(TINY),
            str(TINY / "golden.jsonl"),
            "--out",
            str(tmp_path / "statistics.yaml"),
            "--min-count",
            "1",
        ],
    ]
    for command in commands:
        written = []
        for _ in range(2):
            code, _, err = call(*command)
            assert code == 0, err
            written.append({file.name: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()})
        assert written[0] == written[1]
    code, _, err = call(
        "golden",
        "split",
        str(TINY),
        str(TINY / "golden.jsonl"),
        first,
        str(tmp_path / "benchmark" / ".." / "first.jsonl"),
    )
    assert code == 2 and "to the same file" in err
    code, _, err = call("golden", "import", str(benchmark), str(benchmark))
    assert code == 2 and "a folder has the name of the file to write" in err
    code, _, err = call("golden", "import", str(benchmark), str(Path(first) / "golden.jsonl"))
    assert code == 2 and "is not a folder" in err


def test_bad_input_is_exit_2_on_stderr(tmp_path: Path) -> None:
    code, out, err = call("run", str(config_file(tmp_path)), "trian.epochs=1")
    assert code == 2 and out == "" and "error:" in err and "nearest:" in err
    code, out, err = call("status", str(tmp_path))
    assert code == 2 and "not a run directory" in err
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_failed_run_says_why_and_ends_with_its_directory(
    make_run: Callable[..., Run], toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    (toys / "generate-1.fail").touch()
    process = go(run)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    lines = out.strip().splitlines()
    assert lines[-1] == str(run.path)
    assert any("generate shard 1 failed" in line and "told to fail at generate 1" in line for line in lines)
    assert "launch.py retry" in out and "\x1b[" not in out

    code, out, _ = call("status", str(run.path), "--json")
    value = json.loads(out)
    assert code == 0 and value["state"] == "failed"
    assert [stage["state"] for stage in value["stages"]] == ["done", "failed", *["missing"] * 4]
    code, out, _ = call("status", str(run.path))
    assert code == 0 and "2 done, 1 failed" in out and "told to fail at generate 1" in out
    code, out, _ = call("logs", str(run.path), "--failed")
    assert code == 0 and out.count("==>") == 1 and "generate shard 1" in out and "ValueError" in out
    code, out, _ = call("logs", str(run.path), "sample")
    assert code == 0 and out.count("==>") == 2 and "toy sample 1" in out
    monkeypatch.chdir(run.path.parent.parent)
    code, out, err = call("logs", "sample")  # was taken for a run
    assert code == 0 and out.count("==>") == 2 and f"the newest run: runs/{run.path.name}" in err
    code, _, err = call("logs", str(run.path), "smaple")
    assert code == 2 and "nearest:  sample" in err
    assert call("cancel", str(run.path))[:2] == (0, "nothing was running\n")


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_stopping_ends_the_tasks_and_says_how_to_resume(
    make_run: Callable[..., Run], toys: Path, number: signal.Signals, expected: int
) -> None:
    from slurm.local import processes

    run = make_run()
    (toys / "generate-0.sleep").write_text("60")
    process = go(run)
    deadline = time.monotonic() + 180
    while not (run.stage_dir("generate") / "shard-00000.work" / "2").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    out, _ = process.communicate(timeout=180)
    assert process.returncode == expected
    assert f"launch.py retry {run.path}" in out and out.strip().splitlines()[-1] == str(run.path)
    assert not processes.with_variable(processes.RUN_VARIABLE, str(run.path))


def test_no_wait_returns_and_cancel_ends_it(make_run: Callable[..., Run], toys: Path) -> None:
    run = make_run()
    (toys / "sample-0.sleep").write_text("60")
    process = go(run, wait=False)
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 0 and out.strip().splitlines()[-1] == str(run.path)
    second = go(run, wait=False)
    out, _ = second.communicate(timeout=180)
    assert second.returncode == 1 and "is already running this run" in out
    assert call("cancel", str(run.path))[:2] == (0, "stopped the local driver and its tasks\n")
    value = json.loads(call("status", str(run.path), "--json")[1])
    assert value["state"] == "cancelled" and value["driver"]["state"] == "stopped"


def test_domain_check(tmp_path: Path) -> None:
    code, out, _ = call("domain", "check", str(TINY), "--json")
    assert code == 0 and json.loads(out)["facts"]["functions"] == 2
    code, _, err = call("domain", "check", str(tmp_path))
    assert code == 2 and "error:" in err


def test_doctor_says_what_there_is() -> None:
    code, out, _ = call("doctor", "--json")
    findings = json.loads(out)
    assert {finding["topic"] for finding in findings} == {
        "python",
        "packages",
        "machine",
        "gpu",
        "files",
        "slurm",
        "models",
    }
    assert code == (1 if any(finding["level"] == "error" for finding in findings) else 0)
    assert "Python 3." in call("doctor")[1]


def test_the_table_of_commands_says_what_the_commands_say() -> None:
    modules = sorted({module for module, _ in COMMANDS.values()})
    found = {}
    for module in modules:
        parent = typer.Typer()
        parent.add_typer(importlib.import_module(f"slurm.commands.{module}").app)
        for name, command in typer.main.get_group(parent).commands.items():
            assert command.help is not None
            found[name] = (module, command.help.splitlines()[0])
    assert found == COMMANDS
    assert all(load_command(name).name == name for name in COMMANDS)


def test_help_of_a_command_imports_its_module_alone() -> None:
    code = (
        "import sys, launch\ntry:\n    launch.app(['logs', '--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted(name for name in sys.modules if name.startswith('slurm.commands.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == str(
        [f"slurm.commands.{name}" for name in ("lazy", "main", "shared", "watch")]
    )
