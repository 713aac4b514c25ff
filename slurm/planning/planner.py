"""Resolves a config to an immutable plan, and writes a plan as a run directory.

The directory is built under a temporary name and renamed once complete, so it exists with its plan or not at all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jobs
import routenator
import slurm
from jobs.entry import STAGE_PACKAGE, publish_if_done
from jobs.plan import Measured, Part, Plan, Run, StagePlan
from jobs.stages import STAGES, planned_stages
from routenator.compiled import is_ready, make_ready
from routenator.compose import write_config
from routenator.config import RunConfig
from routenator.domain.fingerprint import domain_fingerprint
from routenator.errors import InputError
from routenator.files import canonical_json, digest, sha256_file, sha256_tree, write_atomic, write_json
from routenator.trust import make_folder
from slurm.planning.fingerprints import (
    acceptance_key,
    calls_key,
    model_places,
    shard_counts,
    stage_fingerprints,
    stage_versions,
)
from slurm.planning.measured import find, plan_requests

CODE = (routenator, jobs, slurm)
# Where a run is stored and what its inputs are called is not part of its identity; the inputs' contents are hashed.
_NOT_IDENTITY = ("root", "run_dir", "domain", "golden", "shared_group")


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """Return the config with absolute paths, so that it means the same from any folder and on any node."""
    value = config.model_dump(mode="json")

    def folder(source: str | None) -> str | None:
        return str(Path(source).expanduser().resolve()) if source else source

    for key in ("root", "cache", "domain", "golden", "run_dir"):
        value[key] = folder(value[key])
    if value["generate"]["acceptance"] != "auto":
        value["generate"]["acceptance"] = folder(value["generate"]["acceptance"])
    for section, key in model_places(value["model"]):
        if Path(section[key]).expanduser().is_dir():
            section[key] = folder(section[key])
    return RunConfig.model_validate(value)


def golden_source(config: RunConfig) -> Path:
    """Return the golden file of a config."""
    return Path(config.golden) if config.golden else Path(config.domain) / "golden.jsonl"


def check_golden(file: Path, key: str = "golden") -> None:
    """Check that the golden file exists.

    Args:
        key: the key or option that named it.

    Raises:
        InputError: it does not exist.
    """
    if not file.is_file():
        raise InputError("the golden file is missing", file=file, key=key, expected="JSON lines of query and call")


def code_folders() -> dict[str, Path]:
    """Return package name -> folder of the running code."""
    return {module.__name__: Path(str(module.__file__)).resolve().parent for module in CODE}


def code_fingerprint() -> str:
    """Hash the running code, which a new run would take a snapshot of."""
    return digest({name: sha256_tree(folder) for name, folder in code_folders().items()})


@dataclass(frozen=True)
class TopUp:
    """The parts of a plan that make it a top-up of earlier runs.

    Attributes:
        base: the earlier runs' candidates, oldest first; folders relative to the new run directory.
        requested: rows to request of each stratum; most are 0.
        acceptance: the measurement that the numbers are based on.
    """

    base: list[Part]
    requested: list[int]
    acceptance: Measured


def make_plan(
    config: RunConfig,
    command: Sequence[str] = (),
    package: str = STAGE_PACKAGE,
    *,
    stages: Collection[str] = STAGES,
    topup: TopUp | None = None,
) -> Plan:
    """Resolve a config to fingerprints, requests, shard table and output folders.

    Reads the domain and the golden file; writes nothing.

    Args:
        config: as composed; its ``domain`` is an existing folder.
        command: the command line, kept as a note.
        package: package of the stage modules; only tests use another one.
        stages: the run's stages, from the first up to some stage, perhaps with the report. A second round is left out
            if the config has none.
        topup: set for a top-up only.

    Raises:
        InputError: the golden file is missing, or ``generate.acceptance`` names a run without measured acceptance.
    """
    config = with_absolute_paths(config)
    stages = planned_stages(config, stages)
    golden = golden_source(config)
    check_golden(golden)
    domain_sha256 = domain_fingerprint(Path(config.domain))
    golden_sha256 = sha256_file(golden)
    versions = stage_versions(package)
    key = acceptance_key(config, domain_sha256, versions)
    measured, requested = (topup.acceptance, topup.requested) if topup else (None, None)
    if topup is None and config.generate.acceptance is not None:
        file = find(config, key)
        if file is not None:
            measured, requested = plan_requests(config, file)
        # Replace `auto` with what was found, so that the resolved config means the same when it is run again.
        generate = config.generate.model_copy(update={"acceptance": str(file) if file else None})
        config = config.model_copy(update={"generate": generate})
    base = topup.base if topup else []
    prints = stage_fingerprints(
        config, domain_sha256, golden_sha256, versions, requested, base, calls_key(config), stages
    )
    shards = shard_counts(config)
    # The code is part of the plan's identity (changed code gets a new run directory), but not of the stages' identity:
    # finished work is kept.
    fingerprint = digest(
        [
            _identity(config),
            domain_sha256,
            golden_sha256,
            code_fingerprint(),
            {stage: prints[stage] for stage in stages},
        ]
    )
    store = Path(config.root) / "stages"
    run_path = _run_path(config, fingerprint)
    return Plan(
        fingerprint=fingerprint,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        version=routenator.__version__,
        commit=checkout_commit(),
        command=list(command),
        config=config,
        domain_sha256=domain_sha256,
        golden_sha256=golden_sha256,
        stages={
            stage: StagePlan(
                fingerprint=prints[stage],
                dir=os.path.relpath(store / f"{stage}-{prints[stage]}", run_path),
                shards=shards[stage],
            )
            for stage in stages
        },
        acceptance_key=key,
        acceptance=measured,
        requested=requested,
        base=base,
    )


def planned_run(plan: Plan) -> Run:
    """Return the run of a plan; its directory may not exist yet."""
    return Run(_run_path(plan.config, plan.fingerprint), plan)


def check_run_dir(plan: Plan) -> bool:
    """Whether the run directory already exists with this plan.

    Raises:
        InputError: it contains something else.
    """
    path = _run_path(plan.config, plan.fingerprint)
    if (path / "plan.json").is_file():
        other = Run.load(path).plan
        if other.fingerprint != plan.fingerprint:
            raise InputError(
                "this run directory belongs to another plan",
                file=path,
                key="run_dir",
                found=f"plan {other.fingerprint} ({_difference(other, plan)})",
                expected=f"plan {plan.fingerprint}; set another run_dir, or none",
            )
        return True
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(
            "the run directory contains something that is not a run",
            file=path,
            key="run_dir",
            found="files without a plan.json",
            expected="a new or empty folder",
        )
    return False


def materialise(plan: Plan) -> Run:
    """Write the run directory unless it exists with this plan, and link the results of stages that are done.

    Raises:
        InputError: the directory belongs to another plan.
    """
    run = planned_run(plan)
    if not check_run_dir(plan):
        _write(run)
    run.check_own()
    for stage in run.plan.stages:
        make_folder(run.stage_dir(stage), plan.config.shared_group)
    for stage in run.plan.stages:
        publish_if_done(run, stage)
    return Run.load(run.path)


def _write(run: Run) -> None:
    plan, path = run.plan, run.path
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}"
    compile_loops(plan.config)
    make_folder(temporary, plan.config.shared_group)
    try:
        copy_code(temporary / "code")
        shutil.copytree(plan.config.domain, temporary / "domain", ignore=shutil.ignore_patterns(".*", "__pycache__"))
        shutil.copyfile(golden_source(plan.config), temporary / "domain" / "golden.jsonl")
        if plan.acceptance is not None:
            _copy_acceptance(plan.acceptance, temporary / "acceptance.json")
        write_atomic(temporary / "config.yaml", write_config(plan.config))
        write_json(temporary / "plan.json", plan.model_dump(mode="json", by_alias=True))
        try:
            temporary.rename(path)
        except OSError:
            # Two commands may write the same plan at once. rename(2) onto a non-empty folder fails, so the first one
            # wins, and both wrote the same content.
            if not check_run_dir(plan):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def compile_loops(config: RunConfig) -> None:
    """Compile the numba loops of this copy of the code, unless they are compiled already."""
    if not is_ready():
        print(
            "compiling the inner loops of generate, once per copy of the code: about half a minute",
            file=sys.stderr,
            flush=True,
        )
        make_ready(config)


def copy_code(target: Path) -> None:
    """Copy the running code, including numba's caches and the sources' times, by which the caches stay valid.

    Compiling again in each task would cost many seconds.
    """
    for name, folder in code_folders().items():
        shutil.copytree(folder, target / name, ignore=shutil.ignore_patterns("*.pyc", ".*"))


def _copy_acceptance(measured: Measured, target: Path) -> None:
    try:
        shutil.copyfile(measured.file, target)
        same = sha256_file(target) == measured.sha256
    except FileNotFoundError:
        same = False
    if not same:
        raise InputError(
            "the measured acceptance changed while the plan was made",
            file=measured.file,
            key="generate.acceptance",
            found="different content",
            expected="an unchanged file; plan again",
        )


def _run_path(config: RunConfig, fingerprint: str) -> Path:
    return Path(config.run_dir) if config.run_dir else Path(config.root) / f"{config.name}-{fingerprint}"


def _identity(config: RunConfig) -> dict[str, Any]:
    """Return the config without keys that are not part of a run's identity.

    Of measured acceptance only the resulting numbers count, and these are in sample's fingerprint.
    """
    value = {key: item for key, item in config.model_dump(mode="json").items() if key not in _NOT_IDENTITY}
    value["generate"].pop("acceptance")
    return value


def _difference(old: Plan, new: Plan) -> str:
    """Describe where two plans differ."""
    before, after = (_identity(plan.config) for plan in (old, new))
    keys = [key for key in before if canonical_json(before[key]) != canonical_json(after[key])]
    if old.requested != new.requested:
        keys.append("the requests from measured acceptance")
    if old.domain_sha256 != new.domain_sha256:
        keys.append("the domain's files")
    if old.golden_sha256 != new.golden_sha256:
        keys.append("the golden file")
    return "differs in " + ", ".join(keys) if keys else "made by different code"


def checkout_commit() -> str | None:
    """Return the commit of the running code, or None if it is not a checkout.

    ``-dirty`` is appended if files other than results differ.
    """
    root = code_folders()["routenator"].parent
    if not (root / ".git").exists():  # an installed package may lie within a checkout of something else
        return None
    try:
        head = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        )
        status = ["git", "-C", str(root), "status", "--porcelain", "--", ":(exclude)results"]
        changed = subprocess.run(status, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("-dirty" if changed.stdout.strip() else "")
