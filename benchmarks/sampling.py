"""The sample stage against its goals: requests per second on one core, speed-up over networkx, flat memory.

    python benchmarks/sampling.py --rows 1e6 1e7 1e8

Each size runs the real stage (``jobs.sample``: strata, permutation, walks, records, seeds, parquet, sha256, receipt) in
a process of its own that is pinned to one core. Two clocks are shown: CPU time is what the work costs a core; wall time
includes waiting for the disk and for other processes. The peer is the plain way, a weighted walk over a networkx graph,
one path after the other; it does nothing but the walk. A second walker caches each node's neighbours and their
cumulative weights, which takes networkx itself out of the loop.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

GOAL_RATE, GOAL_RATIO = 1_000_000, 20


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark, print its tables, and return the value that ``--json`` writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows",
        nargs="+",
        type=lambda text: int(float(text)),
        default=[100_000, 1_000_000],
        help="sizes, e.g. 1e6 1e7",
    )
    parser.add_argument("--domain", default="creative", help="a name below configs/domains, or a folder")
    parser.add_argument("--traversal", choices=("weighted", "coverage"), default="weighted")
    parser.add_argument("--peer-rows", type=int, default=20_000, help="paths that the networkx walker makes")
    parser.add_argument(
        "--work", type=Path, help="folder for the output, 20 bytes a row (default: the temporary folder)"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child is not None:
        result = measure(options.child, options.domain, options.traversal, options.work)
        print(json.dumps(result))
        return result
    peer, remembering = (
        networkx_rate(options.domain, options.peer_rows, remember=remember) for remember in (False, True)
    )
    print(
        f"networkx walk, {options.domain}: {peer:,.0f} paths a CPU second; neighbours remembered: {remembering:,.0f}",
        flush=True,
    )
    names = (
        "requests",
        "CPU s",
        "wall s",
        "a CPU second",
        "a wall second",
        "x networkx",
        "x remembering",
        "peak MiB",
        "bytes/row",
    )
    print(" ".join(f"{name:>13}" for name in names))
    sizes = []
    for rows in options.rows:
        result = run_child(rows, options)
        result["ratio"] = result["rows"] / result["cpu_s"] / peer
        sizes.append(result)
        cpu, wall = result["cpu_s"], result["wall_s"]
        cells = (
            f"{rows:,}",
            f"{cpu:.2f}",
            f"{wall:.2f}",
            f"{rows / cpu:,.0f}",
            f"{rows / wall:,.0f}",
            f"{result['ratio']:.1f}",
        )
        more = (f"{rows / cpu / remembering:.1f}", f"{result['peak_mib']:.0f}", f"{result['bytes'] / rows:.1f}")
        print(" ".join(f"{cell:>13}" for cell in (*cells, *more)), flush=True)
    report: dict[str, Any] = {
        "domain": options.domain,
        "traversal": options.traversal,
        "networkx_paths_per_s": peer,
        "remembering_paths_per_s": remembering,
        "sizes": sizes,
    }
    first, last = sizes[0], sizes[-1]
    if len(sizes) > 1:
        # What does not grow with the rows (starting, the domain) is in the smallest size; the rate between two sizes is
        # free of it.
        grown = [
            {
                "from": low["rows"],
                "to": high["rows"],
                "rate": (high["rows"] - low["rows"]) / (high["cpu_s"] - low["cpu_s"]),
                "rows": high["rows"] / low["rows"],
                "seconds": high["cpu_s"] / low["cpu_s"],
            }
            for low, high in itertools.pairwise(sizes)
        ]
        for step in grown:
            print(
                f"{step['from']:,} -> {step['to']:,}: {step['rows']:.1f} times the rows take "
                f"{step['seconds']:.1f} times the CPU time; "
                f"{step['rate']:,.0f} requests/CPU s between them"
            )
        print(f"peak memory: {first['peak_mib']:.0f} MiB -> {last['peak_mib']:.0f} MiB")
        report["growth"] = grown
    rate = last["rows"] / last["cpu_s"]
    print(
        f"goal of {GOAL_RATE:,} requests/s a core: {'met' if rate >= GOAL_RATE else 'missed'} ({rate:,.0f} of CPU time)"
    )
    print(
        f"goal of {GOAL_RATIO} times networkx: {'met' if last['ratio'] >= GOAL_RATIO else 'missed'} "
        f"({last['ratio']:.1f})"
    )
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    return report


def run_child(rows: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one size in a new process, so that its peak memory is its own."""
    command = [
        sys.executable,
        __file__,
        "--child",
        str(rows),
        "--domain",
        options.domain,
        "--traversal",
        options.traversal,
    ]
    if options.work:
        command += ["--work", str(options.work)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the run with {rows:,} rows failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(rows: int, domain: str, traversal: str, work: Path | None) -> dict[str, Any]:
    """Run the stage with one shard on one core, in this process."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
    import jobs.sample
    from jobs.task import Task, read_receipt

    folder = Path(tempfile.mkdtemp(prefix="sampling-", dir=work))
    try:
        run = make_run(folder, rows, domain, traversal)
        wall, cpu = time.perf_counter(), time.process_time()
        jobs.sample.run(Task(run, "sample", 0))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        receipt = read_receipt(run.stage_dir("sample"), 0)
        assert receipt is not None and receipt.rows == rows
        size = receipt.files["data"]["bytes"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": rows, "cpu_s": cpu, "wall_s": wall, "peak_mib": peak, "bytes": size}


def make_run(folder: Path, rows: int, domain: str, traversal: str = "weighted", shards: int = 1) -> Any:
    """Make a run directory whose sample stage makes exactly this many requests."""
    from jobs.plan import Plan, Run, StagePlan
    from jobs.stages import STAGES
    from routenator.compose import find_domain
    from routenator.config import RunConfig
    from routenator.files import write_atomic

    config = RunConfig.model_validate(
        {
            "name": "benchmark",
            "domain": str(find_domain(domain)),
            "dataset": {"size": rows},
            "sample": {"shards": shards, "traversal": traversal},
            "generate": {"oversample": {"heuristic": 1, "text": 1, "vision": 1}},
            "model": {"generator": {"model": "none"}, "trainee": "none", "embedder": "none"},
        }
    )
    run = folder / "run"
    shutil.copytree(config.domain, run / "domain")
    plan = Plan(
        fingerprint="0" * 12,
        created="2025-01-01T00:00:00Z",
        version="0",
        config=config,
        domain_sha256="0" * 64,
        golden_sha256="0" * 64,
        stages={
            name: StagePlan(fingerprint="0" * 12, dir=f"../{name}", shards=shards if name == "sample" else 1)
            for name in STAGES
        },
    )
    write_atomic(run / "plan.json", plan.model_dump_json())
    return Run.load(run)


def networkx_rate(name: str, rows: int, *, remember: bool) -> float:
    """Paths per CPU second of a weighted walk over a networkx graph, functions drawn by their shares.

    Args:
        remember: whether to cache each node's neighbours of a type.
    """
    import networkx

    from routenator.compose import find_domain
    from routenator.domain.loader import load_domain
    from routenator.sampling.shares import normalise
    from routenator.sampling.walk import Graph

    domain = load_domain(find_domain(name))
    graph, draw = networkx.DiGraph(), random.Random(0)
    graph.add_weighted_edges_from((edge.source, edge.target, edge.weight) for edge in domain.edges)
    kinds = {node.id: node.type for node in domain.nodes.values()}
    shares = normalise(domain.statistics.functions)
    walkers = {function: Graph(domain).walker(function) for function in shares}
    roots = {
        function: (
            [node for node in domain.nodes if kinds[node] == walker.path[0].type],
            list(itertools.accumulate(walker.roots.tolist())),
        )
        for function, walker in walkers.items()
    }

    def near(node: str, kind: str) -> tuple[list[str], list[float]]:
        found = [(other, edge["weight"]) for other, edge in graph[node].items() if kinds[other] == kind]
        return [other for other, _ in found], list(itertools.accumulate(weight for _, weight in found))

    look = functools.cache(near) if remember else near
    functions = draw.choices(list(shares), list(shares.values()), k=rows)
    started = time.process_time()
    for function in functions:
        walker = walkers[function]
        nodes, sums = roots[function]
        path = draw.choices(nodes, cum_weights=sums)
        for step in range(1, walker.steps):
            nodes, sums = look(path[walker.parents[step] or 0], walker.path[step].type)
            if not nodes:
                break
            path += draw.choices(nodes, cum_weights=sums)
    return rows / max(time.process_time() - started, 1e-6)  # a test's few rows may take no tick


if __name__ == "__main__":
    main()
