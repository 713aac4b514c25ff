"""Everything that is checked before anything is written: domain, golden set, models, strata, resources, rights, disk."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from jobs.plan import Plan, Run
from routenator.config import RunConfig
from routenator.errors import InputError, InputErrors
from routenator.files import canonical_json, check_writable, nearest_folder
from slurm.planning.planner import check_run_dir, golden_source, missing_shards, planned_run
from slurm.submission.options import check_resources, resources

GIB = 1024**3
# Bytes a row on disk. Measured on the domain `creative` (5,000 rows, heuristic route): 23 a request, 133 a candidate,
# 55 an example in parquet and 300 a JSON line besides the API; doubled and more, because models' replies and other
# domains' arguments are longer.
REQUEST_BYTES = 60
CANDIDATE_BYTES = 500
EXAMPLE_BYTES = 600
PREDICTION_BYTES = 2000
# An adapter, its optimiser's state and three checkpoints of it; the trained model's size is not known before it is
# loaded.
TRAIN_BYTES = 2 * GIB
REPORT_BYTES = 20 * 1024**2
# Attempts that lose a race, chunks beside the shard they become, logs.
DISK_MARGIN = 1.5


def preflight(plan: Plan, *, submitting: bool = True) -> None:
    """Refuse what cannot work. Nothing is written.

    Args:
        submitting: whether this is the machine that the run shall start from; a plan can be made anywhere.

    Raises:
        InputError / InputErrors: with file, key, found, expected, nearest valid name.
    """
    config = plan.config
    check_resources(config)
    check_engines(config)
    tools_bytes = check_inputs(config)
    check_run_dir(plan)
    check_writable(Path(config.root), "root")
    check_writable(planned_run(plan).path, "run_dir")
    if (
        config.merge.spill_dir is not None and config.cluster.kind == "local"
    ):  # on a cluster it may be a disk that only the nodes have
        check_writable(Path(os.path.expandvars(config.merge.spill_dir)), "merge.spill_dir")
    check_disk(plan, tools_bytes)
    if submitting:
        check_machine(plan)
        check_tracker(plan)


def check_engines(config: RunConfig) -> None:
    """Whether a generate task has the GPUs over which its engines are split; on CPUs the processes share the cores.

    Raises:
        InputError: an engine is split over more GPUs than a task asks for.
    """
    gpus = resources(config, "generate").gpus
    vision = config.model.vision.engine
    for key, engine in (("model.generator", config.model.generator), ("model.vision.engine", vision)):
        if engine is None or not gpus:
            continue
        if engine.tensor_parallel_size > gpus:
            raise InputError(
                "an engine is split over more GPUs than its task asks for",
                key=f"{key}.tensor_parallel_size",
                found=engine.tensor_parallel_size,
                expected=f"at most {gpus}, or cluster.stages.generate.gpus={engine.tensor_parallel_size}",
            )
        needed = engine.tensor_parallel_size * (1 if engine.engines == "auto" else engine.engines)
        if needed > gpus:
            raise InputError(
                "engines need more GPUs than their task asks for",
                key=f"{key}.engines",
                found=engine.engines,
                expected=f"auto, at most {gpus // engine.tensor_parallel_size}, or cluster.stages.generate.gpus={needed}",
            )


def check_machine(plan: Plan) -> None:
    """Whether Slurm would take the jobs; for a local run, whether there are the GPUs that it asks for.

    Raises:
        InputError: no.
    """
    if plan.config.cluster.kind == "slurm":
        from slurm.submission.submit import check_cluster

        check_cluster(plan)
        return
    for stage in plan.stages:
        needed = resources(plan.config, stage).gpus * min(plan.config.cluster.parallel, plan.stages[stage].shards)
        if needed and needed > (found := gpu_count()):
            raise InputError(
                "this machine has too few GPUs", key=f"cluster.stages.{stage}.gpus", found=f"{found} GPUs",
                expected=f"{needed} (GPUs a task x tasks at once)",
            )  # fmt: skip


def check_tracker(plan: Plan) -> None:
    """Whether the tracker of training is installed; the jobs run by this machine's environment.

    Raises:
        InputError: no.
    """
    name, cluster = plan.config.train.tracker, plan.config.cluster
    if name == "none" or "train" not in plan.stages or cluster.container is not None:
        return
    modules = ("tensorboard", "tensorboardX") if name == "tensorboard" else (name,)
    if not any(find_spec(module) for module in modules):
        raise InputError(
            "this tracker is not installed",
            key="train.tracker",
            found=name,
            expected=f"pip install {modules[-1]}, or train.tracker=none",
        )


def gpu_count() -> int:
    """NVIDIA GPUs of this machine, as its driver lists them."""
    try:
        done = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())


def check_inputs(config: RunConfig) -> int:
    """Domain, golden set, models, and the data set's size against the strata.

    Returns:
        Bytes of the API as JSON; each row of the OpenAI format carries it.
    """
    from routenator.authoring.check import check_domain
    from routenator.domain.golden import load_golden
    from routenator.sampling.strata import build_strata

    domain = check_domain(config.domain)
    load_golden(golden_source(config), domain.functions)
    check_models(config)
    build_strata(domain, config)
    return len(canonical_json(domain.tools()).encode())


def check_models(config: RunConfig) -> None:
    """Each model of the config by name or path; all that are wrong are shown.

    Raises:
        InputError / InputErrors: unknown packaged model, path that does not exist.
    """
    from routenator.models import check_model

    sources = {"model.generator.model": config.model.generator.model, "model.trainee": config.model.trainee}
    sources["model.embedder"] = config.model.embedder
    if config.model.vision.engine is not None:
        sources["model.vision.engine.model"] = config.model.vision.engine.model
    errors: list[InputError] = []
    for key, source in sources.items():
        try:
            check_model(source, key=key)
        except InputError as error:
            errors.append(error)
    if errors:
        raise errors[0] if len(errors) == 1 else InputErrors(errors)


def estimate_bytes(config: RunConfig, tools_bytes: int, requested: Sequence[int] | None = None) -> dict[str, int]:
    """Bytes that each stage will write, roughly: rows times measured bytes a row.

    A request becomes a parquet row, then a candidate (its columns again, query and raw reply). Of the candidates
    ``dataset.size`` become examples: parquet, and one JSON line in each format, which repeats the API; the format for
    Parquet holds it once.

    Args:
        tools_bytes: bytes of the API as JSON.
        requested: rows of each stratum, where the plan has its own numbers.
    """
    size = config.dataset.size
    routes = config.generate.routes
    factors = config.generate.oversample
    used = (
        [factors.get(route, 1.0) for route, share in routes.items() if share > 0] if routes else list(factors.values())
    )
    requests = int(size * max(used, default=1.0)) if requested is None else sum(requested)
    formats = config.merge.formats
    example = EXAMPLE_BYTES * (1 + len(formats)) + tools_bytes * sum(name != "openai_parquet" for name in formats)
    return {
        "sample": requests * REQUEST_BYTES,
        "generate": requests * CANDIDATE_BYTES,
        "merge": size * example,
        "train": TRAIN_BYTES,
        "evaluate": PREDICTION_BYTES * 10_000,
        "report": REPORT_BYTES,
    }


def shard_bytes(run: Run, stage: str) -> int:
    """Bytes that one shard of a stage will write, by the same count as ``check_disk``."""
    tools = (run.domain_dir / "functions.json").stat().st_size
    return round(estimate_bytes(run.config, tools, run.plan.requested)[stage] / run.plan.stages[stage].shards)


def check_disk(
    plan: Plan, tools_bytes: int, free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free
) -> None:
    """Free space where the stages go, against the estimate for those that are not done.

    Args:
        free_bytes: free bytes of the file system that holds a path.

    Raises:
        InputError: there is too little.
    """
    estimate = estimate_bytes(plan.config, tools_bytes, plan.requested)
    missing = missing_shards(planned_run(plan))
    need = (
        sum(estimate[stage] * len(shards) / plan.stages[stage].shards for stage, shards in missing.items())
        * DISK_MARGIN
    )
    root = Path(plan.config.root)
    free = free_bytes(nearest_folder(root))
    if need > free:
        parts = ", ".join(f"{stage} {estimate[stage] / GIB:.1f}" for stage, shards in missing.items() if shards)
        raise InputError(
            "too little disk for the planned output",
            file=root,
            key="dataset.size",
            found=f"{free / GIB:.1f} GiB free",
            expected=f"{need / GIB:.1f} GiB ({parts}; times {DISK_MARGIN:g} for what is written beside it)",
        )
