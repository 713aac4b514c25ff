"""From an API's description to a data set without an edit: ``domain init``, ``domain check``, ``run --until merge``.

    python -m benchmarks.door SOURCE... [--rows 300]

Each source is what ``domain init`` takes: a file, an http address, or mcp:COMMAND. Prints for each how many functions
became part of the domain, how many rows were asked for and accepted, and seconds; fails if a source does not give all
rows with at least 95% accepted, every function called and every call valid.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from routenator.dataset.files import split_files
from routenator.domain.calls import read_calls
from routenator.domain.functions import check_call, load_functions
from routenator.files import read_json

ROOT = Path(__file__).resolve().parents[1]
LEAST_ACCEPTED = 0.95


class Result(NamedTuple):
    """What came of one source.

    Attributes:
        tools: functions of the source that were considered; ``functions``: those of the domain.
        accepted: share of the candidates that pass the checks.
        seconds: of init, check and run.
        faults: what is not as it should be.
    """

    source: str
    tools: int
    functions: int
    rows: int
    accepted: float
    seconds: tuple[float, float, float]
    faults: list[str]


def main() -> int:
    """Try each source, print a table, return 1 if one has a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--keep", type=Path, help="folder for the domains and runs; default: one that is removed")
    options = parser.parse_args()
    print(f"{'source':34} {'tools':>6} {'functions':>9} {'rows':>5} {'accepted':>8}   init check   run (s)")
    faults = 0
    with tempfile.TemporaryDirectory() as scratch:
        for number, source in enumerate(options.sources):
            found = attempt(source, (options.keep or Path(scratch)) / f"api{number}", options.rows)
            seconds = "".join(f"{part:6.0f}" for part in found.seconds)
            print(
                f"{source[-34:]:34} {found.tools:6} {found.functions:9} {found.rows:5} {found.accepted:8.1%} {seconds}",
                flush=True,
            )
            for fault in found.faults:
                print(f"    FAULT: {fault}", flush=True)
            faults += len(found.faults)
    return int(faults > 0)


def attempt(source: str, folder: Path, rows: int) -> Result:
    """Make a domain of a source and a data set of it."""
    domain, runs = folder / "domain", folder / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    made, first = command("domain", "init", source, str(domain), "--json")
    if made.returncode:
        return Result(source, 0, 0, 0, 0.0, (first, 0.0, 0.0), [made.stderr.strip()[-500:]])
    answer = json.loads(made.stdout)
    checked, second = command("domain", "check", str(domain))
    run, third = command(
        "run",
        str(domain / "run.yaml"),
        f"dataset.size={rows}",
        f"root={runs}",
        f"cache={folder}/cache",
        "--until",
        "merge",
    )
    faults = [] if checked.returncode == 0 else [f"check: {checked.stderr.strip()[-300:]}"]
    faults += [f"run: {run.stderr.strip()[-300:]}"] if run.returncode else []
    tools = len(answer["functions"]) + len(answer["left_out"])
    if run.returncode:
        return Result(source, tools, len(answer["functions"]), 0, 0.0, (first, second, third), faults)
    counts, more = judged(domain, next(path for path in runs.iterdir() if (path / "plan.json").is_file()), rows)
    accepted = counts["accepted"] / max(1, counts["generated"])
    return Result(
        source, tools, len(answer["functions"]), counts["final"], accepted, (first, second, third), faults + more
    )  # fmt: skip


def judged(domain: Path, run: Path, rows: int) -> tuple[dict[str, Any], list[str]]:
    """The counts of a run's merge, and what is wrong with its rows."""
    folder = (run / "dataset").resolve()
    counts = read_json(folder.parent / "merge.json")["counts"]
    functions = load_functions(domain / "functions.json")
    files = [file for split in ("train", "validation") for file in split_files(folder, split)]
    calls = [call for text in pl.read_parquet(files)["calls"] for call in read_calls(text)]
    called = Counter(call.name for call in calls)
    invalid = [call for call in calls if check_call(functions[call.name], call.arguments)]
    silent = [name for name in functions if not called[name]]
    faults = []
    if counts["final"] != rows:
        faults.append(f"{counts['final']} rows, not {rows}")
    if counts["accepted"] < LEAST_ACCEPTED * counts["generated"]:
        faults.append(f"accepted {counts['accepted']} of {counts['generated']}: {counts['rejected']}")
    if silent and rows >= 3 * len(functions):
        faults.append(f"{len(silent)} functions are never called: {', '.join(silent[:5])}")
    if invalid:
        faults.append(f"{len(invalid)} calls are invalid: {invalid[0]}")
    return counts, faults


def command(*arguments: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run a command of launch.py; return what it gave, and seconds."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "launch.py", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )  # fmt: skip
    return done, time.perf_counter() - begin


if __name__ == "__main__":
    sys.exit(main())
