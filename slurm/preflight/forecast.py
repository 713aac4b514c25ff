"""``launch.py plan``: forecasts what a run would do and cost, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.plan import Plan
from jobs.stages import STAGES
from jobs.task import missing_shards
from routenator.config import RunConfig
from routenator.domain.domain import Domain
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.files import nearest_folder
from routenator.sampling.feasible import notes
from routenator.trust import group_name, is_open
from slurm.planning.planner import planned_run
from slurm.preflight.rates import Estimate, Rates
from slurm.submission.executor import scripts
from slurm.submission.options import cluster_name, node_hours, planned_limits, resources
from slurm.submission.submissions import compact
from slurm.submission.user_defaults import user_defaults

if TYPE_CHECKING:
    from rich.console import Console


def forecast(plan: Plan) -> dict[str, Any]:
    """Return each stage's shards, resources and node-hours as JSON-compatible values; finished shards are free.

    ``node_hours`` and ``gpu_hours`` are upper bounds, by the time limits. ``expected`` holds the lowest and highest
    values, judging by what earlier runs took (``slurm.preflight.rates``); None where no earlier run did the same.
    ``hours`` are without waiting in the queue. ``second_rounds`` are the requests of earlier second rounds per request
    of the first round. ``notes`` are messages for the user.
    """
    run = planned_run(plan)
    domain = load_domain(plan.config.domain)
    rates = Rates(plan, domain)
    stages = []
    for stage, entry in plan.stages.items():
        asked = resources(plan.config, stage)
        todo = missing_shards(run, stage)
        hours = node_hours(plan.config.cluster, stage, len(todo))
        stages.append(
            {
                "stage": stage,
                "fingerprint": entry.fingerprint,
                "dir": str(run.stage_dir(stage)),
                "shards": entry.shards,
                "to_do": len(todo),
                "shards_to_do": compact(todo),
                "reused": not todo,
                "nodes": asked.nodes,
                "cpus": asked.cpus,
                "gpus": asked.gpus,
                "memory_gib": asked.memory_gib,
                "minutes": asked.minutes,
                "node_hours": hours,
                "gpu_hours": hours * asked.gpus,
                "expected": _expected(plan, stage, len(todo), rates.estimate(stage) if todo else None),
            }
        )
    return {
        "name": plan.config.name,
        "run": str(run.path),
        "exists": (run.path / "plan.json").is_file(),
        "fingerprint": plan.fingerprint,
        "cluster": plan.config.cluster.kind,
        "rows": plan.config.dataset.size,
        "requests": None if plan.requested is None else sum(plan.requested),
        "more_requests": plan.config.generate.refill if "refill" in plan.stages else 0,
        "second_rounds": [one.requests for one in rates.second_rounds()] if "refill" in plan.stages else [],
        "acceptance": None if plan.acceptance is None else plan.acceptance.file,
        "stages": stages,
        "node_hours": sum(stage["node_hours"] for stage in stages),
        "gpu_hours": sum(stage["gpu_hours"] for stage in stages),
        "expected": _total(stages),
        "user_defaults": _user_defaults(plan),
        "notes": feasibility(plan, domain),
    }


def _expected(plan: Plan, stage: str, shards: int, estimate: Estimate | None) -> dict[str, Any] | None:
    """Return what a stage's remaining shards are expected to take, each as [lowest, highest]; None if unknown."""
    if estimate is None:
        return None
    cluster, asked = plan.config.cluster, resources(plan.config, stage)
    at_once = cluster.parallel if cluster.kind == "local" else cluster.array_parallelism
    hours = [seconds / 3600 for seconds in estimate.seconds]
    return {
        "shard_seconds": [round(seconds, 1) for seconds in estimate.seconds],
        "hours": [value * -(-shards // at_once) for value in hours],
        "node_hours": [value * shards * asked.nodes for value in hours],
        "gpu_hours": [value * shards * asked.nodes * asked.gpus for value in hours],
        "from_shards": estimate.shards,
        "from_runs": estimate.runs,
    }


def _total(stages: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return what the measured stages are expected to take together; None if none was measured."""
    measured = [stage["expected"] for stage in stages if stage["expected"] is not None]
    if not measured:
        return None
    return {
        **{
            name: [sum(item[name][end] for item in measured) for end in (0, 1)]
            for name in ("hours", "node_hours", "gpu_hours")
        },
        "not_measured": [stage["stage"] for stage in stages if stage["to_do"] and stage["expected"] is None],
        "from_runs": sorted({name for item in measured for name in item["from_runs"]}),
    }


def _user_defaults(plan: Plan) -> list[dict[str, Any]]:
    """Return the shell's variables for sbatch, and the stages whose jobs take them."""
    if plan.config.cluster.kind == "local":
        return []
    return [asdict(item) for item in user_defaults(scripts(planned_run(plan), array=1, tasks=1))]


def feasibility(plan: Plan, domain: Domain) -> list[str]:
    """Return a message for each target that the plan has too few rows for, and for folders that others can write."""
    return [*notes(domain, plan.config, plan.requested), *exposure(plan.config)]


def exposure(config: RunConfig) -> list[str]:
    """Return a message if others may add files to the folder of runs, and one if a group shares it on purpose."""
    root = nearest_folder(Path(config.root))
    others = is_open(root)
    if config.shared_group:
        group = group_name(root.stat().st_gid)
        return [f"shared_group: whatever a member of the group {group} writes into {root} is trusted, and run, by all"]
    if others is None:
        return []
    mend = f"chmod {'o' if others == 'all users' else 'g'}-w {root}, or a root of your own"
    return [f"{others} may add files to {root}; what they plant there is refused when it is found: {mend}"]


def forecast_scripts(plan: Plan) -> dict[str, str]:
    """Return stage -> sbatch script of its first job.

    Raises:
        InputError: the run is local.
    """
    if plan.config.cluster.kind == "local":
        raise InputError(
            "a local run submits no scripts",
            key="cluster",
            found="local",
            expected="cluster=slurm, or your own profile",
        )
    limits = planned_limits(cluster_name(plan.config))
    return scripts(planned_run(plan), limits.array, limits.tasks)


def placeholders(plan: Plan) -> str:
    """Explain, as comments, the words in the scripts that stand for what is known only when a job is submitted."""
    stages = list(plan.stages)
    needed = [f"${stage.upper()}" for stage in stages if any(stage in STAGES[other].needs for other in stages)]
    lines = ["TASKS stands for the name of a file in RUN/logs/STAGE that says which task makes which shards"]
    if needed:
        lines.append(f"{', '.join(needed)} {'stand' if len(needed) > 1 else 'stands'} for the ids of that stage's jobs")
    lines.append("each job's name gets a random ending when it is submitted")
    lines.append("the rest is the text that sbatch gets; `run` keeps it as RUN/logs/STAGE/JOB_submission.sh")
    return "\n".join(f"# {line}" for line in lines)


def print_forecast(value: dict[str, Any], console: Console) -> None:
    """Print the forecast as a table."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    # Without the fingerprints, which --json has, it fits into 80 columns.
    columns = ["stage", "shards", "to do", "per task", "limit", "expected", "node-h"]
    has_gpus = any(stage["gpus"] for stage in value["stages"])
    for name in [*columns, "GPU-h"] if has_gpus else columns:
        left = name in ("stage", "per task")
        table.add_column(name, justify="left" if left else "right", no_wrap=name != "per task")
    for stage in value["stages"]:
        task = f"{stage['cpus']} cores, {stage['memory_gib']:g} GiB"
        if stage["gpus"]:
            task += f", {stage['gpus']} GPU"
        if stage["nodes"] > 1:
            task = f"{stage['nodes']} nodes of {task}"
        table.add_row(
            stage["stage"],
            str(stage["shards"]),
            "reused" if stage["reused"] else str(stage["to_do"]),
            task,
            f"{stage['minutes']} min",
            _span(stage["expected"]["shard_seconds"]) if stage["expected"] else "",
            f"{stage['node_hours']:,.1f}",
            *([f"{stage['gpu_hours']:,.1f}" if stage["gpus"] else ""] if has_gpus else []),
        )
    console.print(f"{value['name']}: {value['rows']:,} rows on cluster={value['cluster']}", highlight=False)
    console.print(table)
    console.print(
        f"at most {value['node_hours']:,.1f} node-hours and {value['gpu_hours']:,.1f} GPU-hours "
        "(shards to do x nodes x time limit)",
        highlight=False,
    )
    if any(stage["to_do"] for stage in value["stages"]):
        console.print(_expectation(value), highlight=False)
    if value["more_requests"]:
        console.print(
            f"refill requests at most {value['more_requests']:.0%} more, for strata short of their quota; "
            f"it ends at once where none is{_second_rounds(value['second_rounds'])}",
            highlight=False,
            soft_wrap=True,
        )
    for item in value["user_defaults"]:
        stages = ", ".join(item["stages"])
        used = f"--{item['option']} of {stages}" if stages else "not used; the profile or this program sets it"
        console.print(
            f"from your shell: {item['variable']}={item['value']} ({used})",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )
    console.print(
        f"run directory: {value['run']}" + (" (exists already)" if value["exists"] else ""),
        highlight=False,
        soft_wrap=True,
    )
    for note in value["notes"]:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)


def _expectation(value: dict[str, Any]) -> str:
    """Describe what the run is expected to take."""
    expected = value["expected"]
    if expected is None:
        return "expected: unknown; no earlier run in this folder did the same on the same kind of node"
    hours = " and ".join(
        f"{_numbers(expected[key])} {unit}"
        for key, unit in (("node_hours", "node-hours"), ("gpu_hours", "GPU-hours"))
        if key == "node_hours" or expected[key][1]
    )
    runs = expected["from_runs"]
    text = f"expected: {_span([hour * 3600 for hour in expected['hours']])} without waiting in the queue, {hours}"
    text += f" (by {'the run' if len(runs) == 1 else f'{len(runs)} runs, among them'} {runs[-1]})"
    lacking = expected["not_measured"]
    return f"{text}; not known, and not included: {', '.join(lacking)}" if lacking else text


def _second_rounds(shares: Sequence[float]) -> str:
    """Describe the second rounds of earlier runs."""
    if not shares:
        return ""
    low, high = (
        "nothing" if not end else f"{end:.1%}" if end >= 0.001 else "<0.1%" for end in (min(shares), max(shares))
    )
    runs = "an earlier run" if len(shares) == 1 else f"{len(shares)} runs"
    return f"; {runs} like this requested {low if low == high else f'between {low} and {high}'}"


def _numbers(ends: Sequence[float]) -> str:
    low, high = (f"{end:,.1f}" if end >= 10 else f"{end:.2f}" for end in ends)
    return low if low == high else f"{low} to {high}"


def _span(seconds: Sequence[float]) -> str:
    """Format a range of seconds in one unit: ``52-81 s``, ``3.1-4.8 min``, ``2.0-3.1 h``."""
    size, unit = next((item for item in ((3600, "h"), (60, "min")) if seconds[1] >= 2 * item[0]), (1, "s"))
    low, high = (f"{end / size:,.0f}" if end / size >= 10 else f"{end / size:.1f}" for end in seconds)
    return f"{low} {unit}" if low == high else f"{low}-{high} {unit}"
