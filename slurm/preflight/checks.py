"""Checks a plan before anything is written: domain, golden set, models, strata, resources, permissions, disk."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import NamedTuple

from jobs.disk import estimate_bytes, size
from jobs.plan import Plan
from jobs.task import missing_shards
from routenator.authoring.check import check_domain
from routenator.config import RunConfig
from routenator.dataset.spill import MARGIN
from routenator.domain.domain import Domain
from routenator.domain.golden import GoldenExample, check_shown, has_golden, load_golden
from routenator.embedders import embedder_warnings
from routenator.errors import InputError, InputErrors
from routenator.files import canonical_json, check_writable, nearest_folder
from routenator.models import check_model
from routenator.sampling.strata import Stratum, build_strata
from slurm.planning.planner import check_run_dir, golden_source, planned_run
from slurm.preflight.cluster import check_cluster
from slurm.preflight.installed import check_installed
from slurm.preflight.lengths import check_reply_lengths, check_row_lengths
from slurm.preflight.paths import check_paths
from slurm.submission.options import check_resources, resources

# Room for attempts that lose a race, chunks beside the shard they become, and logs.
DISK_MARGIN = 1.5


class Inputs(NamedTuple):
    """What a config names, as loaded."""

    domain: Domain
    golden: list[GoldenExample]
    strata: list[Stratum]


def preflight(plan: Plan, *, submitting: bool = True) -> list[str]:
    """Reject a plan that cannot work. Writes nothing.

    Args:
        submitting: whether the run is to be started from this machine; a plan can be made anywhere.

    Returns:
        Warnings.

    Raises:
        InputError / InputErrors: with file, key, found, expected, nearest valid name.
    """
    config = plan.config
    check_paths(plan)
    check_resources(config)
    check_engines(config)
    inputs = check_inputs(config)
    if "evaluate" in plan.stages:
        check_scored(config)
    planned_run(plan).check_own()
    check_run_dir(plan)
    check_writable(Path(config.root), "root")
    check_writable(planned_run(plan).path, "run_dir")
    if (
        config.merge.spill_dir is not None and config.cluster.kind == "local"
    ):  # on a cluster it may be a disk that only the nodes have
        check_writable(Path(os.path.expandvars(config.merge.spill_dir)), "merge.spill_dir")
    warnings = []
    if "train" in plan.stages and missing_shards(planned_run(plan), "train"):
        warnings = check_row_lengths(config, inputs.domain, inputs.golden)
    if "evaluate" in plan.stages and missing_shards(planned_run(plan), "evaluate"):
        warnings += check_reply_lengths(config, inputs.golden)
    languages = inputs.domain.statistics.languages
    if "merge" in plan.stages and config.merge.ambiguity != "off":
        warnings += embedder_warnings(config.model.embedder, languages, "merge.ambiguity")
    if "evaluate" in plan.stages:
        warnings += embedder_warnings(config.model.embedder, languages, "subprompt similarity")
    # Every row of the OpenAI format repeats the API.
    check_disk(plan, len(canonical_json(inputs.domain.tools()).encode()))
    if submitting:
        check_machine(plan)
        check_installed(plan, inputs.strata)
    return warnings


def check_engines(config: RunConfig) -> None:
    """Check that tasks of generate and refill have enough GPUs for their engines; on CPUs they share the cores.

    Raises:
        InputError: the engines need more GPUs than a task requests.
    """
    for stage in ("generate", "refill"):
        gpus = resources(config, stage).gpus
        vision = config.model.vision.engine
        for key, engine in (("model.generator", config.model.generator), ("model.vision.engine", vision)):
            if engine is None or not gpus:
                continue
            if engine.tensor_parallel_size > gpus:
                raise InputError(
                    "an engine is split over more GPUs than its task requests",
                    key=f"{key}.tensor_parallel_size",
                    found=engine.tensor_parallel_size,
                    expected=f"at most {gpus}, or cluster.stages.{stage}.gpus={engine.tensor_parallel_size}",
                )
            needed = engine.tensor_parallel_size * (1 if engine.engines == "auto" else engine.engines)
            if needed > gpus:
                raise InputError(
                    "the engines need more GPUs than their task requests",
                    key=f"{key}.engines",
                    found=engine.engines,
                    expected=f"auto, at most {gpus // engine.tensor_parallel_size}, "
                    f"or cluster.stages.{stage}.gpus={needed}",
                )


def check_machine(plan: Plan) -> None:
    """Check that Slurm would accept the jobs, or that this machine has the GPUs of a local run.

    Raises:
        InputError: it does not.
    """
    if plan.config.cluster.kind == "slurm":
        check_cluster(plan)
        return
    for stage in plan.stages:
        needed = resources(plan.config, stage).gpus * min(plan.config.cluster.parallel, plan.stages[stage].shards)
        if needed and needed > (found := gpu_count()):
            raise InputError(
                "this machine has too few GPUs", key=f"cluster.stages.{stage}.gpus", found=f"{found} GPUs",
                expected=f"{needed} (GPUs per task x tasks at once)",
            )  # fmt: skip


def gpu_count() -> int:
    """Return the number of NVIDIA GPUs that the driver lists."""
    try:
        done = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())


def check_inputs(config: RunConfig) -> Inputs:
    """Check domain, golden set, models, and the data set's size against the strata.

    Raises:
        InputError / InputErrors: one of them is invalid.
    """
    domain = check_domain(config.domain)
    golden = load_golden(golden_source(config), domain.functions, may_be_empty=True)
    check_shown(golden, config.train.prompt)
    check_models(config)
    return Inputs(domain, golden, build_strata(domain, config))


def check_scored(config: RunConfig) -> None:
    """Check that there are queries to score a model on: a golden set, or else a validation split.

    Raises:
        InputError: there are neither.
    """
    golden = golden_source(config)
    if not config.dataset.validation_share and not has_golden(golden):
        raise InputError(
            "there is no golden set, and no validation split to stand in for it",
            file=golden, key="dataset.validation_share", found=0, expected="a share above 0, or golden queries",
        )  # fmt: skip


def check_models(config: RunConfig) -> None:
    """Check each model of the config by name or path, and report all errors at once.

    Raises:
        InputError / InputErrors: unknown packaged model, or a path that does not exist.
    """
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


def check_disk(
    plan: Plan, tools_bytes: int, free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free
) -> None:
    """Check that there is enough free space for the stages that are not done.

    Args:
        free_bytes: returns the free bytes of the file system that holds a path.

    Raises:
        InputError: there is not.
    """
    estimate = estimate_bytes(plan.config, tools_bytes, plan.requested)
    run = planned_run(plan)
    missing = {stage: missing_shards(run, stage) for stage in plan.stages}
    need = (
        sum(estimate[stage] * len(shards) / plan.stages[stage].shards for stage, shards in missing.items())
        * DISK_MARGIN
    )
    parts = [f"{stage} {size(estimate[stage])}" for stage, shards in missing.items() if shards]
    # Both refuse to start with less beside their own arrays.
    if plan.config.merge.spill_dir is None and any(missing.get(stage) for stage in ("shortfall", "merge")):
        need += MARGIN
        parts.append(f"scratch of merge {size(MARGIN)}")
    root = Path(plan.config.root)
    free = free_bytes(nearest_folder(root))
    if need > free:
        raise InputError(
            "not enough disk space for the planned output",
            file=root,
            key="dataset.size",
            found=f"{size(free)} free",
            expected=f"{size(ceil(need))} ({', '.join(parts)}; stages times {DISK_MARGIN:g} for temporary files, logs)",
        )
