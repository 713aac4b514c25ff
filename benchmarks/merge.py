"""The merge at scale: duplicates, quotas, split and chat format of N candidates, compared with a copy by Polars.

    python benchmarks/merge.py --rows 50000000 --scratch /fast/disk
    python benchmarks/merge.py                                         # a smoke run

The scratch folder needs about 250 bytes per row, half of them for the input.

Each side runs in a process of its own, so that its peak memory (with that of Polars and Arrow, and pages of mapped
files) can be told apart. The peer is ``pl.scan_parquet(shards).sink_parquet(file)``: it reads and writes all columns
once. The scratch folder is emptied at the end.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that the program runs by its path, too

from benchmarks.candidates import FUNCTIONS, golden, strata, write_shards  # noqa: E402


def measure_peer(files: list[tuple[str, Path]], folder: Path) -> dict[str, Any]:
    """Copy the rows with Polars."""
    import polars as pl

    started = time.perf_counter()
    pl.scan_parquet([path for _, path in files]).sink_parquet(folder / "copy.parquet")
    return {"seconds": time.perf_counter() - started}


def measure_merge(
    files: list[tuple[str, Path]], folder: Path, rows: int, near: str, formats: list[str]
) -> dict[str, Any]:
    """The library's part of the merge stage: open, decide, write."""
    from routenator.dataset.decisions import Decision
    from routenator.dataset.merge import decide
    from routenator.dataset.sources import open_sources
    from routenator.dataset.writer import write_dataset

    tools = json.loads((ROOT / "configs/domains/creative/functions.json").read_text())
    output = folder / "dataset"
    output.mkdir()
    started = time.perf_counter()
    sources = open_sources(files)
    table = strata(rows)
    decisions = decide(sources, table, golden(), folder / "spill", near_duplicates=near)  # type: ignore[arg-type]
    decided = time.perf_counter()
    found, _ = write_dataset(
        sources,
        decisions,
        table,
        dict.fromkeys(FUNCTIONS, "content_type"),
        output,
        share=0.1,
        rows_per_file=1_000_000,
        formats=formats,
        tools=tools,
    )
    ended = time.perf_counter()
    return {
        "seconds": ended - started,
        "decide": decided - started,
        "write": ended - decided,
        "final": found.rows,
        "dropped": {decision.name.lower(): decisions.count(decision) for decision in Decision},
        "bytes": sum(path.stat().st_size for path in output.iterdir()),
    }


def in_process(side: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run one side in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.merge",
        "--side",
        side,
        "--rows",
        str(options.rows),
        "--scratch",
        str(options.scratch),
    ]
    command += ["--shards", str(options.shards), "--near", options.near, "--formats", *options.formats]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_side(options: argparse.Namespace) -> dict[str, Any]:
    shards = sorted((options.scratch / "shards").glob("*.parquet"))
    files = [(f"generate shard {number}", path) for number, path in enumerate(shards)]
    folder = options.scratch / options.side
    folder.mkdir()
    cpu = time.process_time()  # of all threads
    try:
        if options.side == "peer":
            found = measure_peer(files, folder)
        else:
            found = measure_merge(files, folder, options.rows, options.near, options.formats)
    finally:
        shutil.rmtree(folder)
    return {
        **found,
        "cpu_seconds": time.process_time() - cpu,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2,
    }


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=50)
    parser.add_argument("--near", choices=("off", "bag", "minhash"), default="bag")
    parser.add_argument("--formats", nargs="*", default=["openai_parquet"])
    parser.add_argument(
        "--scratch", type=Path, default=Path("runs/benchmark-merge"), help="a folder for input, spill and output"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", choices=("peer", "merge"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.scratch = options.scratch.absolute()
    if options.side:
        found = run_side(options)
        print(json.dumps(found))
        return found
    try:
        started = time.perf_counter()
        write_shards(options.scratch / "shards", options.rows, options.shards)
        made = time.perf_counter() - started
        size = sum(path.stat().st_size for path in (options.scratch / "shards").iterdir())
        peer, merge = in_process("peer", options), in_process("merge", options)
    finally:
        shutil.rmtree(options.scratch, ignore_errors=True)
    ratio, cpu_ratio = (merge[key] / peer[key] for key in ("seconds", "cpu_seconds"))
    found = {
        "rows": options.rows,
        "shards": options.shards,
        "near": options.near,
        "formats": options.formats,
        "input_bytes": size,
    }
    found |= {"made_seconds": made, "peer": peer, "merge": merge, "ratio": ratio, "cpu_ratio": cpu_ratio}
    print(
        f"{options.rows:,} candidates in {options.shards} shards, {size / 1e9:.2f} GB; near-duplicates: {options.near}"
    )
    print(f"{'':32}{'seconds':>10}{'rows/s':>14}{'CPU s':>10}{'peak GiB':>10}")
    for name, side in (("Polars scan -> sink", peer), ("merge", merge)):
        rate = options.rows / side["seconds"]
        print(f"{name:32}{side['seconds']:>10.1f}{rate:>14,.0f}{side['cpu_seconds']:>10.1f}{side['peak_gib']:>10.2f}")
    for part in ("decide", "write"):
        print(f"{'  ' + part:32}{merge[part]:>10.1f}{options.rows / merge[part]:>14,.0f}")
    print(
        f"final {merge['final']:,}; "
        + ", ".join(f"{name} {count:,}" for name, count in merge["dropped"].items() if count)
    )
    print(
        f"ratio {ratio:.2f} (goal: at most 3), of CPU seconds {cpu_ratio:.2f}, "
        f"peak {merge['peak_gib']:.2f} GiB (goal: under 4)"
    )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return found


if __name__ == "__main__":
    main()
