"""Checks that a run on a real Slurm yields the same bytes while its tasks, nodes and controller are killed.

    python benchmarks/chaos.py --shards 200 --faults 100 --seed 0

Starts its own test cluster (``launch.py devcluster``; needs root and Slurm's packages) and makes a data set with the
real stages sample, generate (heuristic route) and merge: once undisturbed, and once with faults, calling ``retry`` as
often as needed. Then it compares all files. Pauses in the stages (``chaos_stages``) make sure that faults hit running
tasks; stand-ins for squeue, sacct and sbatch (``chaos_answers``) fail and lie. Exits with 1 if a row is lost,
duplicated or different, or if a shard was submitted while it was at work.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos_accounting import attempts, batch_ends, doubled
from chaos_answers import Answers
from chaos_faults import Chaos
from chaos_stages.common import MINES, PAUSE

from jobs.plan import Plan, Run
from jobs.task import done_shards, read_receipt
from routenator.config import RunConfig
from routenator.files import sha256_file, write_json
from routenator.models import cache_folder
from slurm.devcluster.cluster import DevCluster, down, up
from slurm.devcluster.releases import SYSTEM, find_release
from slurm.planning.planner import make_plan, materialise
from slurm.submission.options import SubmitError
from slurm.submission.submit import submit_missing

HERE = Path(__file__).resolve().parent
PACKAGE = "chaos_stages"
STAGES = ("sample", "generate", "merge")
NODES = 4
AT_ONCE = 12
CHUNKS = 8  # of a generate shard
CHUNK_ROWS = 4
OVERSAMPLE = 1.25  # the heuristic route's default
LOOK_S = 0.2
STALL_S = 10.0  # inject a fault after this long even without progress
RETRY_EVERY_S = 8.0  # how often the simulated user calls `retry`
_ROW = "  {:<44}{:>12}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=200, help="shards of generate")
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slurm", default=SYSTEM, help="version of Slurm, as of `launch.py devcluster up`")
    parser.add_argument("--pause", type=float, default=0.25, help="seconds that a task sleeps after each chunk")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds after which a run counts as hanging")
    parser.add_argument("--json", type=Path, help="write the result here too")
    return parser.parse_args()


def make_config(root: Path, shards: int) -> RunConfig:
    small = {"cpus": 1, "memory_gib": 0.4, "minutes": 30}
    return RunConfig.model_validate(
        {
            "name": "chaos",
            "domain": str(HERE.parent / "tests" / "domains" / "tiny"),
            "root": str(root),
            "dataset": {"size": int(shards * CHUNKS * CHUNK_ROWS / OVERSAMPLE)},
            "sample": {"shards": max(shards // 25, 2)},
            "generate": {"shards": shards, "chunk_rows": CHUNK_ROWS, "routes": {"heuristic": 1}},
            "model": {"generator": {"model": "none"}, "trainee": "none", "embedder": "none"},
            "cluster": {
                "kind": "slurm",
                "array_parallelism": AT_ONCE,
                "signal_delay_s": 30,
                "stages": dict.fromkeys(STAGES, small),
            },
        }
    )


def make_run(config: RunConfig) -> Run:
    """A run of the first three stages."""
    plan: Plan = make_plan(config)
    return materialise(plan.model_copy(update={"stages": {stage: plan.stages[stage] for stage in STAGES}}))


def compile_once(folder: Path) -> None:
    """Run a shard from the checkout to compile its kernels for both runs, so that neither run's time includes it."""
    run = make_run(make_config(folder / "warm", 1))
    tasks = "(('sample', 2), ('generate', 1))"
    code = f"import jobs.entry as e; [e.run_task({str(run.path)!r}, s, range(n)) for s, n in {tasks}]"
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(HERE.parent)}, check=True)


def done_count(run: Run) -> int:
    return sum(len(done_shards(run.stage_dir(stage), entry.shards)) for stage, entry in run.plan.stages.items())


class Hang(Exception):
    """A run did not finish within its time limit."""


def follow(run: Run, chaos: Chaos | None, faults: int, limit_s: float) -> dict[str, Any]:
    """Submit a run and wait until it is done; ``retry`` what is lost.

    Faults are tied to the run's progress, not to time, so that a fast machine gets as many as a slow one.

    Returns:
        Seconds, retries that submitted something, refused retries (the controller was down), and held tasks released.
    """
    began = last_look = time.monotonic()
    total = sum(entry.shards for entry in run.plan.stages.values())
    submit_missing(run, PACKAGE)
    retries = refused = released = 0
    last_fault = began
    while (done := done_count(run)) < total:
        now = time.monotonic()
        if now - began > limit_s:
            raise Hang(f"{total - done} of {total} shards are missing after {limit_s:g} s; see {run.path}")
        if chaos is not None:
            behind = chaos.injected < faults * min(1.0, done / (0.9 * total))
            if chaos.injected < faults and (behind or now - last_fault > STALL_S):
                chaos.inject()
                last_fault = now
        if now - last_look > RETRY_EVERY_S:
            last_look = now
            try:
                # In the undisturbed run too: a retry while all is well must do nothing.
                if made := submit_missing(run, PACKAGE):
                    retries += 1
                    what = ", ".join(f"{item.stage} {item.shards}" for item in made)
                    print(f"  {now - began:6.0f} s  {done} of {total} shards; retry: {what[:90]}", flush=True)
            except SubmitError as error:
                refused += 1
                print(f"  {now - began:6.0f} s  retry refused: {str(error).splitlines()[0][:110]}", flush=True)
            if chaos is not None:
                released += release_held(chaos.answers)
        time.sleep(LOOK_S)
    return {
        "seconds": round(time.monotonic() - began, 1),
        "retries": retries,
        "retries_refused": refused,
        "tasks_released": released,
    }


def release_held(answers: Answers) -> int:
    """Release the tasks that Slurm holds after a failed launch, as ``status`` advises, and return their number.

    The real commands are asked, so that lies laid for the product's own calls are left to it.
    """
    environment = os.environ | answers.plain
    command = ["squeue", "--noheader", "--array", "--format=%i|%r"]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = (line.partition("|") for line in answer.stdout.splitlines())
    held = [job for job, _, reason in lines if reason == "launch failed requeued held"]
    if not held or subprocess.run(["scontrol", "release", *held], env=environment, check=False).returncode:
        return 0
    return len(held)


def content(run: Run) -> dict[str, str]:
    """Map each output to the sha256 of its bytes on disk, after checking it against the receipt.

    Outputs are keyed by role, because file names contain a random token.
    """
    found = {}
    for stage, entry in run.plan.stages.items():
        for index in range(entry.shards):
            receipt = read_receipt(run.stage_dir(stage), index)
            assert receipt is not None
            for role, file in receipt.files.items():
                digest = sha256_file(run.stage_dir(stage) / file["name"])
                assert digest == file["sha256"], f"{file['name']} differs from its receipt"
                found[f"{stage} {index} {role}"] = digest
    return found


def rows(run: Run) -> tuple[int, int, int]:
    """Count generate's rows: wanted, missing among 0..n-1, and duplicates."""
    import pyarrow.parquet as pq

    counts: Counter[int] = Counter()
    for index in range(run.plan.stages["generate"].shards):
        receipt = read_receipt(run.stage_dir("generate"), index)
        assert receipt is not None
        counts.update(pq.read_table(receipt.path(run.stage_dir("generate")), columns=["index"])["index"].to_pylist())
    wanted = sum(
        receipt.rows
        for k in range(run.plan.stages["sample"].shards)
        if (receipt := read_receipt(run.stage_dir("sample"), k))
    )
    return wanted, len(set(range(wanted)) - set(counts)), sum(count - 1 for count in counts.values())


def strays(run: Run) -> int:
    """Count the stages' files that no receipt names: left-overs of killed attempts."""
    count = 0
    for stage, entry in run.plan.stages.items():
        directory = run.stage_dir(stage)
        receipts = [read_receipt(directory, index) for index in range(entry.shards)]
        named = {file["name"] for receipt in receipts if receipt for file in receipt.files.values()}
        for path in directory.rglob("*"):
            name = path.relative_to(directory).as_posix()
            count += path.is_file() and name not in named and not name.endswith((".receipt.json", "README.md"))
    return count


def measure(cluster: DevCluster, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    mines = folder / "mines"
    mines.mkdir()
    os.environ |= cluster.environment | {MINES: str(mines), PAUSE: str(options.pause)}
    answers = Answers(folder / "answers")
    os.environ |= answers.environment
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    compile_once(folder)
    print("undisturbed run", flush=True)
    calm = make_run(make_config(folder / "calm", options.shards))
    before = follow(calm, None, 0, options.limit)
    print(f"  {before['seconds']:6.0f} s\nrun with faults, seed {options.seed}", flush=True)
    run = make_run(make_config(folder / "chaos", options.shards))
    chaos = Chaos(cluster, run, mines, answers, options.seed)
    with chaos:
        after = follow(run, chaos, options.faults, options.limit)
    one, two = content(calm), content(run)
    wanted, lost, twice = rows(run)
    return {
        "shards": options.shards,
        "seed": options.seed,
        "faults": chaos.injected,
        "by_kind": chaos.by_kind(),
        "calm": {**before, **attempts(calm)},
        "chaos": {**after, **attempts(run), **doubled(run, batch_ends(Path(cluster.root) / "log"))},
        "slurm": subprocess.run(["sbatch", "--version"], capture_output=True, text=True, check=True).stdout.split()[-1],
        "files_compared": len(one),
        "files_different": sum(one.get(name) != two.get(name) for name in one.keys() | two.keys()),
        "rows": wanted,
        "rows_lost": lost,
        "rows_twice": twice,
        "strays": strays(run),
    }


def show(result: dict[str, Any]) -> None:
    calm, chaos = result["calm"], result["chaos"]
    print(f"\nSlurm {result['slurm']}, {result['shards']} shards, {result['faults']} faults, seed {result['seed']}\n")
    for kind, count in result["by_kind"].items():
        print(_ROW.format(kind, count))
    print(_ROW.format("", "-----"))
    print(_ROW.format("faults", result["faults"]))
    print()
    print(_ROW.format("undisturbed, seconds", calm["seconds"]))
    print(_ROW.format("with faults, seconds", chaos["seconds"]))
    print(_ROW.format("overhead, times", f"{chaos['seconds'] / calm['seconds']:.2f}"))
    print(_ROW.format("calls of retry that submitted something", chaos["retries"]))
    print(_ROW.format("calls of retry refused, in doubt", chaos["retries_refused"]))
    print(_ROW.format("held tasks released, as status says", chaos["tasks_released"]))
    print(_ROW.format("starts of tasks, undisturbed / with faults", f"{calm['starts']} / {chaos['starts']}"))
    print(_ROW.format("shards submitted while at work", chaos["submitted_at_work"]))
    print(_ROW.format("the same, forgotten by a killed slurmctld", chaos["submitted_of_forgotten"]))
    print(_ROW.format("the same, ended before it was revived by one", chaos["submitted_of_revived"]))
    print(_ROW.format("jobs that ran and no submission names", chaos["jobs_started_unrecorded"]))
    print(_ROW.format("requeues by Slurm", chaos["requeues"]))
    for end, count in chaos["ends"].items():
        print(_ROW.format(f"  ended {end}", count))
    print(
        _ROW.format(
            "task seconds of starts that did not commit", f"{chaos['task_seconds_lost']} of {chaos['task_seconds']}"
        )
    )
    print(_ROW.format("files that no receipt names", result["strays"]))
    print()
    print(_ROW.format("rows", result["rows"]))
    print(_ROW.format("rows lost", result["rows_lost"]))
    print(_ROW.format("rows twice", result["rows_twice"]))
    print(_ROW.format("files compared", result["files_compared"]))
    print(_ROW.format("files that differ", result["files_different"]))


def main() -> int:
    options = arguments()
    # Turn SIGTERM into an exception, so that the cluster is stopped, too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    failed = True
    try:
        release = find_release(options.slurm, cache_folder(".cache"))
        cluster = up(folder / "dc", NODES, max_array_size=101, release=release)
        result = measure(cluster, folder, options)
        show(result)
        if options.json:
            write_json(options.json, result)
        wrong = ("rows_lost", "rows_twice", "files_different")
        doubled_work = result["chaos"]["submitted_at_work"] + result["chaos"]["jobs_started_unrecorded"]
        failed = doubled_work > 0 or any(result[name] for name in wrong)
    except Hang as hang:
        print(f"HANG: {hang}")
    finally:
        if failed and (folder / "dc" / "log").is_dir():
            shutil.copytree(folder / "dc" / "log", folder / "cluster-logs")
        down(folder / "dc")
        if failed:
            print(f"kept for inspection: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print("FAILED" if failed else "the data set is the same to the byte")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
