"""Measures the scheduler layer's overhead on a real Slurm: submitting, starting tasks, and reading a run's status.

    python benchmarks/scheduling.py --shards 1000 10000 --tasks 48 --peer-python PATH

Starts its own test cluster (``launch.py devcluster``) and measures there, in the same run: ``submit`` against bare
arrays of ``true`` with one task per shard, both inside a process with all imports done and as a whole command; our
empty tasks against bare arrays of ``true`` and of ``python -c pass``; ``status`` of that many shards; and datatrove's
SlurmPipelineExecutor, if ``--peer-python`` names an interpreter that has it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.start import STARTS, in_turn
from jobs.plan import Run
from jobs.task import Receipt, done_shards, receipt_path
from routenator.config import RunConfig
from routenator.files import write_json
from slurm.devcluster.cluster import down, up
from slurm.planning.planner import make_plan, materialise
from slurm.submission import executor
from slurm.submission.options import ask_limits
from slurm.submission.sbatch import Accepted
from slurm.submission.submissions import load_submissions
from slurm.submission.submit import submit_missing
from slurm.watching.status import StatusReader

HERE = Path(__file__).resolve().parent
PACKAGE = "empty_stages"
NODES = 4
ARRAY_LIMIT = 1001  # Slurm's default MaxArraySize: ids 0 to 1000
LIMIT_S = 300.0  # limit of each wait
SETTLE_S = 0.5  # the controller is still busy for a moment after the last job is gone
GOAL_SUBMIT = 1.3
GOAL_STATUS_S = 2.0
_SEEDS = itertools.count(1)
_LINE = "  {:<58}{:>10}  {}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--shards", type=int, nargs="+", default=[1000, 10_000], help="sizes to submit; `status` is asked at the last"
    )
    parser.add_argument("--tasks", type=int, default=48, help="empty tasks that are really run")
    parser.add_argument("--at-once", type=int, default=8, help="of them at once")
    parser.add_argument(
        "--repeat", type=int, default=5, help="submissions of each kind, taken in turn; the median counts"
    )
    parser.add_argument("--peer-python", type=Path, help="interpreter of an environment that has datatrove")
    parser.add_argument("--json", type=Path, help="write the result here too")
    return parser.parse_args()


def make_run(root: Path, name: str, shards: int, at_once: int, per_task: int | None = None) -> Run:
    """Make a run of one empty stage, whose stage folder no other run shares.

    Args:
        per_task: shards per task; None: as the program chooses.
    """
    config = RunConfig.model_validate(
        {
            "name": name,
            "seed": next(_SEEDS),
            "domain": str(HERE.parent / "tests" / "domains" / "tiny"),
            "root": str(root),
            "sample": {"shards": shards},
            "model": {"generator": {"model": "none"}, "trainee": "none", "embedder": "none"},
            "cluster": {
                "kind": "slurm",
                "array_parallelism": at_once,
                "signal_delay_s": 30,
                "stages": {"sample": {"cpus": 1, "memory_gib": 0.4, "minutes": 30, "shards_per_task": per_task}},
            },
        }
    )
    plan = make_plan(config)
    return materialise(plan.model_copy(update={"stages": {"sample": plan.stages["sample"]}}))


def run_command(*command: str, **more: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def launch_command(name: str, run: Run, *arguments: str, **more: Any) -> tuple[str, float, float]:
    """Run a command of launch.py; return its output, wall seconds, and CPU seconds, Slurm's clients included."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    text = run_command(sys.executable, str(HERE.parent / "launch.py"), name, str(run.path), *arguments, **more)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return text, seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def partition(state: str) -> None:
    """Set the partition's state. ``down`` accepts jobs but starts none, so that only the submission is measured."""
    run_command("scontrol", "update", "partitionname=main", f"state={state}")


def bare_array(folder: Path, tasks: int, limit: int, at_once: int, command: str) -> float:
    """Submit ``command`` as plain arrays with this many tasks and the same resources; return the seconds it took."""
    script = folder / "bare.sh"
    script.write_text(f"#!/bin/bash\nsrun {command}\n")
    began = time.perf_counter()
    for start in range(0, tasks, limit):
        count = min(limit, tasks - start)
        run_command(
            "sbatch",
            f"--array=0-{count - 1}%{at_once}",
            "--cpus-per-task=1",
            "--mem=410M",
            "--time=30",
            "--output=/dev/null",
            str(script),
        )
    return time.perf_counter() - began


def clear() -> None:
    """Cancel all of this cluster's jobs and wait until they are gone."""
    subprocess.run(["scancel", "--user", run_command("id", "-un").strip()], check=False)
    wait(lambda: not run_command("squeue", "--noheader").strip())
    time.sleep(SETTLE_S)


def wait(condition: Callable[[], bool], pause_s: float = 0.2) -> float:
    """Wait until a condition holds; return the seconds it took."""
    began = time.perf_counter()
    while not condition():
        if time.perf_counter() - began > LIMIT_S:
            raise RuntimeError(f"timed out after {LIMIT_S:g} s")
        time.sleep(pause_s)
    return time.perf_counter() - began


def peer(python: Path, folder: Path, tasks: int, at_once: int) -> tuple[float, float]:
    """Submit tasks with datatrove; return its own seconds, without imports, and those of the whole command."""
    (folder / "out").mkdir(parents=True)
    environment = os.environ | {"PEER_OUT": str(folder / "out")}
    began = time.perf_counter()
    text = run_command(
        str(python),
        str(HERE / "scheduling_peer.py"),
        str(folder / "logs"),
        str(tasks),
        str(at_once),
        str(ARRAY_LIMIT),
        env=environment,
    )
    return float(json.loads(text.splitlines()[-1])["seconds"]), time.perf_counter() - began


def measure_submit(folder: Path, shards: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure ours, bare and the peer in turn, with nothing running."""
    seconds: dict[str, list[float]] = {}
    value: dict[str, Any] = {"shards": shards, "repeat": options.repeat}
    runs = folder / "runs"
    partition("down")
    began = time.perf_counter()
    ask_limits()  # once in the life of a process
    value["limits"] = round(time.perf_counter() - began, 4)
    for number in range(options.repeat):
        for kind, per_task in (("ours", None), ("single", 1)):
            run = make_run(runs, f"{kind}-{shards}-{number}", shards, options.at_once, per_task)
            began = time.perf_counter()
            with timed_commands() as commands:
                made = submit_missing(run, PACKAGE)
            seconds.setdefault(kind, []).append(time.perf_counter() - began)
            seconds.setdefault(f"{kind}_sbatch", []).append(sum(commands))
            value[f"{kind}_arrays"] = len(made)
            value[f"{kind}_tasks"] = sum(len(item.tasks()) for item in made)
            value[f"{kind}_files"] = sum(1 for path in (run.path / "logs").rglob("*") if path.is_file())
            clear()
        run = make_run(runs, f"command-{shards}-{number}", shards, options.at_once)
        _, whole, cpu = launch_command("retry", run)
        seconds.setdefault("command", []).append(whole)
        seconds.setdefault("command_cpu", []).append(cpu)
        clear()
        seconds.setdefault("bare", []).append(bare_array(folder, shards, ARRAY_LIMIT - 1, options.at_once, "true"))
        clear()
        if options.peer_python:
            inside, whole = peer(options.peer_python, folder / f"peer-{shards}-{number}", shards, options.at_once)
            seconds.setdefault("peer", []).append(inside)
            seconds.setdefault("peer_command", []).append(whole)
            clear()
    partition("up")
    value |= {name: round(statistics.median(found), 4) for name, found in seconds.items()}
    return value | {"bare_arrays": -(-shards // (ARRAY_LIMIT - 1)), "ratio": round(value["ours"] / value["bare"], 2)}


@contextlib.contextmanager
def timed_commands() -> Iterator[list[float]]:
    """Record the seconds of each call of sbatch."""
    found: list[float] = []
    plain = executor.submit

    def timed(*args: Any, **kwargs: Any) -> Accepted:
        began = time.perf_counter()
        try:
            return plain(*args, **kwargs)
        finally:
            found.append(time.perf_counter() - began)

    executor.submit = timed
    try:
        yield found
    finally:
        executor.submit = plain


def measure_tasks(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds per task, from the submission of empty tasks to the end of the last."""
    tasks, at_once = options.tasks, options.at_once
    value: dict[str, Any] = {"tasks": tasks, "at_once": at_once}

    def gone() -> bool:
        return not run_command("squeue", "--noheader").strip()

    for name, command in (
        ("true", "true"),
        ("python", f"{sys.executable} -c pass"),
        ("imports", f"{sys.executable} -c 'import slurm.worker.array_task'"),
    ):
        value[name] = round(bare_array(folder, tasks, tasks, at_once, command) + wait(gone), 2)
    run = make_run(folder / "runs", "tasks", tasks, at_once)
    began = time.perf_counter()
    submit_missing(run, PACKAGE)
    wait(gone)
    value["ours"] = round(time.perf_counter() - began, 2)
    if len(done_shards(run.stage_dir("sample"), tasks)) != tasks:
        raise RuntimeError(f"not all tasks are done; see {run.path}/logs")
    if options.peer_python:
        out = folder / "peer-tasks" / "out"
        began = time.perf_counter()
        peer(options.peer_python, folder / "peer-tasks", tasks, at_once)
        wait(lambda: len(list(out.iterdir())) == tasks)
        value["peer"] = round(time.perf_counter() - began, 2)
        clear()
    return value


def measure_start(repeat: int = 7) -> dict[str, float]:
    """CPU seconds until Python has imported what a task, `retry` and `status` need, and of Python alone.

    The best of several runs.
    """
    return {name: round(min(in_turn(repeat, (code, HERE.parent))[0]), 3) for name, code in STARTS.items()}


def measure_status(folder: Path, shards: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure ``status`` of a run that is nine tenths done while the rest waits.

    Calls of Slurm's clients are counted by a shim on PATH.
    """
    run = make_run(folder / "runs", f"status-{shards}", shards, options.at_once)
    directory = run.stage_dir("sample")
    partition("down")
    submit_missing(run, PACKAGE)
    job = load_submissions(run)[0].job
    for index in range(shards * 9 // 10):
        file = {"name": f"shard-{index:05d}.00000000.txt", "sha256": "0" * 64, "bytes": 1}
        receipt = Receipt(
            "sample", index, 1, 1.0, "n1", 1, f"{job}_{index}", "2025-01-01T00:00:00Z", {"data": file}, {}
        )
        receipt_path(directory, index).write_text(json.dumps(receipt._asdict()))
    shim, calls = folder / "shim", folder / "calls"
    shim.mkdir()
    for name in ("squeue", "sacct", "scontrol", "sinfo"):
        (shim / name).write_text(f'#!/bin/sh\necho {name} >> {calls}\nexec {shutil.which(name)} "$@"\n')
        (shim / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{shim}{os.pathsep}{os.environ['PATH']}"}
    text, command, cpu = launch_command("status", run, "--json", env=environment)
    stage = json.loads(text)["stages"][0]
    reader = StatusReader(run)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        reader.read()
        times.append(round(time.perf_counter() - began, 3))
    clear()
    partition("up")
    return {
        "shards": shards,
        "done": stage["done"],
        "pending": stage["pending"] + stage["stuck"],
        "command": round(command, 2),
        "command_cpu": round(cpu, 2),
        "read_first": times[0],
        "read_again": min(times[1:]),
        "calls": calls.read_text().split(),
    }


def show_submit(item: dict[str, Any]) -> None:
    bare, shards = item["bare"], item["shards"]

    def line(text: str, seconds: float, more: str = "") -> None:
        print(_LINE.format(text, f"{seconds:.3f} s", f"{seconds / bare:.2f}x{more}"), flush=True)

    print(f"\nto submit {shards:,} shards, median of {item['repeat']}; in a process that has imported what it needs")
    line(f"bare: {item['bare_arrays']} x sbatch --array of true, {shards:,} tasks", bare)
    for kind, text in (("ours", "ours"), ("single", "ours, one shard a task")):
        missed = f"  (goal {GOAL_SUBMIT}x missed)" if item[kind] > GOAL_SUBMIT * bare else ""
        arrays = f"{item[f'{kind}_arrays']} array{'s' if item[f'{kind}_arrays'] > 1 else ''}"
        line(f"{text}: {arrays}, {item[f'{kind}_tasks']:,} tasks, {item[f'{kind}_files']} files", item[kind], missed)
        line("  of it sbatch", item[f"{kind}_sbatch"])
    line("  once a process: the cluster's limits, by scontrol", item["limits"])
    if "peer" in item:
        line("datatrove", item["peer"])
    print("as whole commands")
    line(f"ours: launch.py retry RUN ({item['command_cpu']:.2f} s of CPU)", item["command"])
    if "peer" in item:
        line("datatrove: a script that imports and runs it", item["peer_command"])


def show_tasks(tasks: dict[str, Any]) -> None:
    print(f"\n{tasks['tasks']} empty tasks, {tasks['at_once']} at once, from the submission to the end of the last")
    names = {
        "true": "bare: true",
        "python": "bare: python -c pass",
        "imports": "bare: python -c 'import slurm.worker.array_task'",
        "ours": "ours: an empty stage, with receipt",
        "peer": "datatrove: an empty step",
    }
    for name, text in names.items():
        if name in tasks:
            print(_LINE.format(text, f"{tasks[name]:.2f} s", f"{tasks[name] / tasks['true']:.2f}x"), flush=True)


def show_start(start: dict[str, float]) -> None:
    print("\nPython and its imports, CPU seconds, best of several")
    for name, text in (
        ("python", "python -c pass"),
        ("task", "a task until its stage begins: slurm.worker.start"),
        ("submitit", "submitit's own start of a task: submitit.core._submit"),
        ("retry", "launch.py retry until it submits"),
        ("status", "launch.py status until it reads"),
    ):
        print(_LINE.format(text, f"{start[name]:.3f} s", ""), flush=True)


def show_status(status: dict[str, Any]) -> None:
    print(f"\nstatus of {status['shards']:,} shards ({status['done']:,} done, {status['pending']:,} waiting)")
    met = "" if status["command"] <= GOAL_STATUS_S else f"(goal {GOAL_STATUS_S:g} s missed)"
    what = f"launch.py status, the whole command ({status['command_cpu']:.2f} s of CPU)"
    print(_LINE.format(what, f"{status['command']:.2f} s", met))
    print(
        _LINE.format(
            "within a watcher: first / again", f"{status['read_first']:.2f} s", f"{status['read_again']:.2f} s"
        )
    )
    print(_LINE.format("calls of Slurm's clients", len(status["calls"]), ", ".join(status["calls"])), flush=True)


def main() -> int:
    options = arguments()
    # Turn SIGTERM into an exception, so that the cluster is stopped, too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if options.peer_python is None:
        print(
            "NO PEER WAS MEASURED: give --peer-python PATH, an interpreter of an environment with datatrove", flush=True
        )
    folder = Path(tempfile.mkdtemp(prefix="scheduling-"))
    try:
        cluster = up(folder / "dc", NODES, max_array_size=ARRAY_LIMIT)
        os.environ["SLURM_CONF"] = str(cluster.slurm_conf)
        os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parent)])
        result: dict[str, Any] = {"submit": []}
        for shards in options.shards:
            result["submit"].append(measure_submit(folder, shards, options))
            show_submit(result["submit"][-1])
        for name, measured, shown in (
            ("status", lambda: measure_status(folder, options.shards[-1], options), show_status),
            ("start", measure_start, show_start),
            ("tasks", lambda: measure_tasks(folder, options), show_tasks),
        ):
            result[name] = measured()
            shown(result[name])
    finally:
        down(folder / "dc")
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        write_json(options.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
