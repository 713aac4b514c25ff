"""From a config to an immutable plan, and from a plan to a run directory.

The run directory is built under another name and renamed when it is whole, so it is there with its plan or not at all.
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
from jobs.stages import STAGES
from routenator.compiled import is_ready, make_ready
from routenator.compose import write_config
from routenator.config import RunConfig
from routenator.domain.loader import domain_fingerprint
from routenator.errors import InputError
from routenator.files import canonical_json, digest, sha256_file, sha256_tree, write_atomic, write_json
from slurm.planning.fingerprints import acceptance_key, model_places, shard_counts, stage_fingerprints, stage_versions
from slurm.planning.measured import find, plan_requests

CODE = (routenator, jobs, slurm)
# Where a run is kept and what its inputs are called does not make it another run; the inputs' contents are in the
# hashes.
_NOT_IDENTITY = ("root", "run_dir", "domain", "golden")


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """The config with absolute paths, so that it means the same from any folder and on any node."""
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
    """The golden file that a config means."""
    return Path(config.golden) if config.golden else Path(config.domain) / "golden.jsonl"


def check_golden(file: Path, key: str = "golden") -> None:
    """Whether the golden file is there.

    Args:
        key: what named it.

    Raises:
        InputError: no.
    """
    if not file.is_file():
        raise InputError("the golden file is missing", file=file, key=key, expected="JSON lines of query and call")


def code_folders() -> dict[str, Path]:
    """Package name -> its folder, of the code that is running now."""
    return {module.__name__: Path(str(module.__file__)).resolve().parent for module in CODE}


def code_fingerprint() -> str:
    """Hash of the code that a run would take a snapshot of."""
    return digest({name: sha256_tree(folder) for name, folder in code_folders().items()})


@dataclass(frozen=True)
class TopUp:
    """What makes a plan a top-up of earlier runs.

    Attributes:
        base: their candidates, oldest first; folders relative to the new run directory.
        requested: rows to sample of each stratum; most are 0.
        acceptance: what the numbers were made of.
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
    """Resolve a config: fingerprints, requests, shard table, where outputs go. Reads the domain and the golden file,
    writes nothing.

    Args:
        config: as composed, its ``domain`` an existing folder.
        command: how it was asked for, kept as a note.
        package: where the stage modules are; another one only in tests.
        stages: those that the run shall have; a first part of all.
        topup: of a top-up only.

    Raises:
        InputError: the golden file is missing; ``generate.acceptance`` names nothing that was measured.
    """
    config = with_absolute_paths(config)
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
        # The resolved config names what was found, so that it means the same when it is run again.
        generate = config.generate.model_copy(update={"acceptance": str(file) if file else None})
        config = config.model_copy(update={"generate": generate})
    base = topup.base if topup else []
    prints = stage_fingerprints(config, domain_sha256, golden_sha256, versions, requested, base)
    shards = shard_counts(config)
    # The code is part of the plan's identity (a mended checkout makes a new run directory), but not of the stages':
    # what is done is kept.
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
    """The run of a plan, which may not have been written yet."""
    return Run(_run_path(plan.config, plan.fingerprint), plan)


def check_run_dir(plan: Plan) -> bool:
    """Whether the run directory is there already, with this plan.

    Raises:
        InputError: it holds something else.
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
                expected=f"plan {plan.fingerprint}; give another run_dir, or none",
            )
        return True
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(
            "the run directory holds something that is no run",
            file=path,
            key="run_dir",
            found="files without a plan.json",
            expected="a new or empty folder",
        )
    return False


def materialise(plan: Plan) -> Run:
    """Write the run directory, unless it is there with this plan; show what is done already.

    Raises:
        InputError: the directory belongs to another plan.
    """
    run = planned_run(plan)
    if not check_run_dir(plan):
        _write(run)
    for stage in run.plan.stages:
        publish_if_done(run, stage)
    return Run.load(run.path)


def _write(run: Run) -> None:
    plan, path = run.plan, run.path
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}"
    compile_loops(plan.config)
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
            # Two commands may write one plan at once; the first to rename wins, and both mean the same.
            if not check_run_dir(plan):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def compile_loops(config: RunConfig) -> None:
    """Compile the loops of this copy of the code, unless they are."""
    if not is_ready():
        print(
            "compiling the loops of generate, once for this copy of the code: about 20 seconds",
            file=sys.stderr,
            flush=True,
        )
        make_ready(config)


def copy_code(target: Path) -> None:
    """A snapshot of the code that is running now, with what is compiled (that costs many seconds) and the times of its
    sources.
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
            found="another content",
            expected="a file that stays as it is; plan again",
        )


def _run_path(config: RunConfig, fingerprint: str) -> Path:
    return Path(config.run_dir) if config.run_dir else Path(config.root) / f"{config.name}-{fingerprint}"


def _identity(config: RunConfig) -> dict[str, Any]:
    """The config without what does not make it another run; of measured acceptance the numbers count, which are in
    sample's fingerprint.
    """
    value = {key: item for key, item in config.model_dump(mode="json").items() if key not in _NOT_IDENTITY}
    value["generate"].pop("acceptance")
    return value


def _difference(old: Plan, new: Plan) -> str:
    """In words, where two plans differ."""
    before, after = (_identity(plan.config) for plan in (old, new))
    keys = [key for key in before if canonical_json(before[key]) != canonical_json(after[key])]
    if old.requested != new.requested:
        keys.append("the requests by measured acceptance")
    if old.domain_sha256 != new.domain_sha256:
        keys.append("the domain's files")
    if old.golden_sha256 != new.golden_sha256:
        keys.append("the golden file")
    return "differs in " + ", ".join(keys) if keys else "made by other code"


def checkout_commit() -> str | None:
    """Commit of the code that is running now, ``-dirty`` appended if files other than results differ; None if it is no
    checkout.
    """
    root = code_folders()["routenator"].parent
    try:
        head = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        )
        status = ["git", "-C", str(root), "status", "--porcelain", "--", ":(exclude)results"]
        changed = subprocess.run(status, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("-dirty" if changed.stdout.strip() else "")
