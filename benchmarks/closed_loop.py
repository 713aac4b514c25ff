"""Measures what the closed loop saves: requests by a flat factor or by a pilot's acceptance, and the top-ups needed.

    python benchmarks/closed_loop.py --domain creative --rows 10000 --pilot 2000

The real stages sample, generate (heuristic route, so no model) and merge. "short" counts rows that a stratum lacks of
its own quota.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from jobs.plan import Plan, Run

MOST_TOPUPS = 5


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark, print its table, and return the value that ``--json`` writes."""
    from jobs.stages import DATA_STAGES
    from routenator.compose import find_domain
    from slurm.planning.planner import make_plan
    from slurm.planning.topup import pilot_config

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domain", default="creative", help="a name below configs/domains, or a folder")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--pilot", type=int, default=1000, help="rows of the pilot")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    results = []
    with tempfile.TemporaryDirectory(prefix="closed-loop-") as folder:
        config = make_config(find_domain(options.domain), options.rows, Path(folder))
        pilot = finish(make_plan(pilot_config(config, options.pilot), stages=DATA_STAGES))
        print(
            f"{'requests by':<22} {'rows':>8} {'requests':>9} {'final':>8} {'short':>7} "
            f"{'strata short':>14} {'given up':>9}"
        )
        for name, acceptance in (("generate.oversample", None), ("measured acceptance", str(pilot.path))):
            generate = config.generate.model_copy(update={"acceptance": acceptance})
            run = finish(make_plan(config.model_copy(update={"generate": generate}), stages=DATA_STAGES))
            results += follow(name, run)
    report = {"domain": options.domain, "rows": options.rows, "pilot": options.pilot, "results": results}
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    return report


def make_config(domain: Path, rows: int, root: Path) -> Any:
    """Config of a run that uses only the heuristic route, without back-filling, so that shortfalls show."""
    from routenator.config import RunConfig

    return RunConfig.model_validate(
        {
            "name": "loop",
            "domain": str(domain),
            "root": str(root),
            "seed": 1,
            "dataset": {"size": rows},
            "generate": {"chunk_rows": 2048, "routes": {"heuristic": 1}},
            "merge": {"backfill": False},
            "model": {"generator": {"model": "none/none"}, "trainee": "none/none", "embedder": "none/none"},
        }
    )


def finish(plan: Plan) -> Run:
    """Run the plan's stages in this process."""
    from jobs.entry import run_task
    from slurm.planning.planner import materialise

    run = materialise(plan)
    for stage, entry in plan.stages.items():
        run_task(run.path, stage, range(entry.shards))
    return run


def follow(name: str, run: Run) -> list[dict[str, Any]]:
    """Follow a run and its top-ups, one row each, until nothing is short or the rest is given up."""
    from jobs.stages import DATA_STAGES
    from routenator.files import read_json
    from slurm.planning.topup import look, plan_topup, topup_path

    rows: list[dict[str, Any]] = []
    while True:
        need = look(run)
        counts = read_json(run.stage_dir("merge") / "merge.json")["counts"]
        row = {
            "by": name,
            "topups": len(rows),
            "wanted": counts["wanted"],
            "requested": counts["requested"],
            "final": counts["final"],
            "short": sum(need.wanted),
            "strata_short": len(need.short),
            "strata": len(need.strata),
            "given_up": len(need.hopeless),
        }
        rows.append(row)
        label = name if len(rows) == 1 else f"  with top-up {len(rows) - 1}"
        short = f"{row['strata_short']} of {row['strata']}"
        counts_text = f"{row['wanted']:>8,} {row['requested']:>9,} {row['final']:>8,} {row['short']:>7,}"
        print(f"{label:<22} {counts_text} {short:>14} {row['given_up']:>9}", flush=True)
        if not any(need.asked) or len(rows) > MOST_TOPUPS:
            return rows
        run = finish(plan_topup(run, need, topup_path(run), stages=DATA_STAGES))


if __name__ == "__main__":
    main()
