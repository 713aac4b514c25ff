"""What each stage's output depends on, hashed: the name of its directory, and so what is used again and what is made anew."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from jobs.entry import STAGE_PACKAGE
from jobs.plan import STAGES
from routenator.config import RunConfig
from routenator.files import digest


def stage_versions(package: str = STAGE_PACKAGE) -> dict[str, int]:
    """``VERSION`` of each stage's module: raised by its author when the same input gives another output."""
    return {stage: int(importlib.import_module(f"{package}.{stage}").VERSION) for stage in STAGES}


def shard_counts(config: RunConfig) -> dict[str, int]:
    """How many tasks each stage has; all but sample and generate have one."""
    counts = dict.fromkeys(STAGES, 1)
    counts["sample"] = config.sample.shards
    counts["generate"] = config.generate.shards
    return counts


def stage_fingerprints(config: RunConfig, domain_sha256: str, golden_sha256: str, versions: Mapping[str, int]) -> dict[str, str]:
    """Stage -> 12 hex digits.

    Left out is what changes no output: the cluster, names of folders, ``evaluate.workers``, how often training saves and logs.
    Shard counts are in, although the rows do not depend on them, because the files do.

    Args:
        domain_sha256: of the domain's files without the golden set.
        golden_sha256: of the golden file.
        versions: of the stages' modules.
    """
    value: dict[str, Any] = config.model_dump(mode="json")
    generate, model = value["generate"], value["model"]
    train = {key: item for key, item in value["train"].items() if key not in ("save_steps", "log_steps")}
    vision = model["vision"] if model["vision"]["kind"] == "vlm" else {**model["vision"], "engine": None}
    evaluate = {key: item for key, item in value["evaluate"].items() if key != "workers"}
    prints: dict[str, str] = {}

    def add(stage: str, **inputs: Any) -> None:
        prints[stage] = digest({"stage": stage, "version": versions[stage], **inputs})

    add(
        "sample",
        seed=value["seed"],
        size=value["dataset"]["size"],
        sample=value["sample"],
        oversample=generate["oversample"],
        routes=generate["routes"],
        domain=domain_sha256,
    )
    add(
        "generate",
        sample=prints["sample"],
        generator=model["generator"],
        vision=vision,
        generate=generate,
        checks=value["checks"],
    )
    add("merge", generate=prints["generate"], dataset=value["dataset"], merge=value["merge"], golden=golden_sha256)
    add("train", merge=prints["merge"], train=train, trainee=model["trainee"])
    add("evaluate", train=prints["train"], evaluate=evaluate, golden=golden_sha256, embedder=model["embedder"])
    add("report", name=value["name"], **{stage: prints[stage] for stage in STAGES if stage != "report"})
    return prints
