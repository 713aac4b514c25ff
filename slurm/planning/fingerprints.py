"""Hashes everything a stage's output depends on. The hash names the stage's directory, so it decides what is reused."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jobs.entry import STAGE_PACKAGE
from jobs.plan import Part
from jobs.stages import DATA_STAGES, STAGES
from routenator.config import RunConfig
from routenator.domain.loader import stated_calls
from routenator.domain.nocall import package_files
from routenator.files import digest
from routenator.models import model_identity
from routenator.routes import ROUTES
from routenator.sampling import GENERATOR


def stage_versions(package: str = STAGE_PACKAGE) -> dict[str, int]:
    """Return each stage module's ``VERSION``, which its author raises when the same input gives a different output."""
    return {stage: _version(f"{package}.{stage}") for stage in STAGES}


def _version(module: str) -> int:
    """Read ``VERSION`` from a module's source. Importing it would require the packages that the stage runs on."""
    found = find_spec(module)
    assert found is not None and found.origin is not None, module
    for line in ast.parse(Path(found.origin).read_text(encoding="utf-8")).body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "VERSION":
            return int(ast.literal_eval(line.value))
        if isinstance(line, ast.ImportFrom) and line.module and "VERSION" in {alias.name for alias in line.names}:
            return _version(line.module)
    raise AttributeError(f"{module} has no VERSION")


def shard_counts(config: RunConfig) -> dict[str, int]:
    """Return the number of shards of each stage."""
    return {name: stage.shards(config) if stage.shards is not None else 1 for name, stage in STAGES.items()}


# Keys that determine how many rows of each stratum are requested: sample's fingerprint includes their result instead,
# and shortfall's those that it uses.
_REQUEST_KEYS = ("oversample", "routes", "acceptance", "confidence", "oversample_limit", "refill")


def acceptance_key(config: RunConfig, domain_sha256: str, versions: Mapping[str, int]) -> str:
    """Hash what acceptance depends on: the domain, generation, checks and deduplication, but not size or seed.

    Runs with the same key can plan from each other's measured acceptance.
    """
    value = _hashed(config)

    def but(section: str, *keys: str) -> dict[str, Any]:
        return {key: item for key, item in value[section].items() if key not in keys}

    return digest(
        {
            "domain": domain_sha256,
            "versions": {stage: versions[stage] for stage in DATA_STAGES},
            "sample": but("sample", "shards"),
            "generate": but("generate", "shards", "chunk_rows", *_REQUEST_KEYS),
            "generator": _engine(value["model"]["generator"]),
            "vision": _vision(value["model"]),
            "checks": value["checks"],
            "merge": {key: item for key, item in value["merge"].items() if key.startswith("near_")} | _ambiguity(value),
        }
    )


def calls_key(config: RunConfig) -> dict[str, Any]:
    """Return what rows without a call or with several depend on, besides the domain's files; {} if there are none.

    The style of prompt counts: only prompts that show the API's tools can hide one.
    """
    folder, given = Path(config.domain), config.dataset
    stated = given.calls if given.calls is not None else stated_calls(folder)
    if not any(weight for number, weight in stated.items() if number != 1):
        return {}
    return {
        "calls": given.calls,
        "no_call": given.no_call,
        "prompt": config.train.prompt,
        "queries": package_files(folder / "templates"),
    }


def model_places(model: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the places in a config's ``model`` section that name a model, each as a mapping and a key."""
    yield from ((model["generator"], "model"), (model, "trainee"), (model, "embedder"))
    if model["vision"]["engine"]:
        yield model["vision"]["engine"], "model"


def _hashed(config: RunConfig) -> dict[str, Any]:
    """Return the config for hashing, with models replaced by their identity."""
    value: dict[str, Any] = config.model_dump(mode="json")
    for section, key in model_places(value["model"]):
        section[key] = model_identity(section[key])
    return value


def _vision(model: Mapping[str, Any]) -> dict[str, Any]:
    vision: dict[str, Any] = model["vision"]
    return {**vision, "engine": _engine(vision["engine"]) if vision["kind"] == "vlm" else None}


def _engine(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return an engine's settings without the number of engines, which changes no row."""
    return {key: item for key, item in settings.items() if key != "engines"}


def _ambiguity(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the ambiguity check depends on; empty if it is off."""
    merge = value["merge"]
    if merge["ambiguity"] == "off":
        return {}
    return {
        **{key: merge[key] for key in ("ambiguity", "ambiguity_neighbours")},
        "embedder": value["model"]["embedder"],
    }


def stage_fingerprints(
    config: RunConfig,
    domain_sha256: str,
    golden_sha256: str,
    versions: Mapping[str, int],
    requested: Sequence[int] | None = None,
    base: Sequence[Part] = (),
    calls: Mapping[str, Any] | None = None,
    stages: Collection[str] = STAGES,
) -> dict[str, str]:
    """Return stage -> fingerprint, 12 hex digits.

    A stage that is not named here depends on the outputs it needs and on the config section of its name.

    Settings that change no output are excluded: the cluster, names of folders, ``evaluate.workers``, the number of
    engines, and how often and where training saves and logs.
    Shard counts are included although the rows do not depend on them, because the files do.

    Args:
        domain_sha256: hash of the domain's files without the golden set.
        golden_sha256: hash of the golden file.
        versions: versions of the stage modules.
        requested: rows of each stratum, if they do not follow from ``generate.oversample``.
        base: for a top-up, the parts it builds on.
        calls: what rows without a call or with several depend on, see ``calls_key``.
        stages: those of the run, which its report shows.
    """
    value = _hashed(config)
    generate, model = value["generate"], value["model"]
    train = {key: item for key, item in value["train"].items() if key not in ("save_steps", "log_steps", "tracker")}
    # At its default `match` is left out, as it was before the key existed.
    evaluate = {key: item for key, item in value["evaluate"].items() if (key, item) != ("match", "own")}
    del evaluate["workers"]
    prints: dict[str, str] = {}

    def add(stage: str, **inputs: Any) -> None:
        prints[stage] = digest({"stage": stage, "version": versions[stage], **inputs})

    add(
        "sample",
        generator=GENERATOR,
        seed=value["seed"],
        size=value["dataset"]["size"],
        sample=value["sample"],
        requests={"oversample": generate["oversample"]} if requested is None else {"requested": list(requested)},
        first=sum(part.rows for part in base),
        routes=generate["routes"],
        guided=[engine.guided for route in ROUTES if (engine := config.model.engine_for(route))],
        domain=domain_sha256,
        **calls or {},
    )
    add(
        "generate",
        sample=prints["sample"],
        generator=_engine(model["generator"]),
        vision=_vision(model),
        generate={key: item for key, item in generate.items() if key not in _REQUEST_KEYS},
        checks=value["checks"],
    )
    before = [stage.fingerprint for part in base for stage in part.candidates]
    merge = {
        key: item for key, item in value["merge"].items() if key != "spill_dir" and not key.startswith("ambiguity")
    }
    merge |= _ambiguity(value)
    add(
        "shortfall",
        generate=prints["generate"],
        requests={key: generate[key] for key in ("oversample", "confidence", "oversample_limit", "refill")},
        merge={key: item for key, item in merge.items() if key != "formats"},
        golden=golden_sha256,
    )
    add("refill", shortfall=prints["shortfall"], shards=shard_counts(config)["refill"])
    second = {"refill": prints["refill"]} if "refill" in stages else {}
    add(
        "merge",
        generate=prints["generate"],
        base=before,
        dataset=value["dataset"],
        merge=merge,
        golden=golden_sha256,
        **second,
    )
    add("train", merge=prints["merge"], train=train, trainee=model["trainee"])
    add("evaluate", train=prints["train"], evaluate=evaluate, golden=golden_sha256, embedder=model["embedder"])
    for stage, declared in STAGES.items():
        if stage not in prints and stage != "report":
            own = {stage: value[stage]} if stage in value else {}
            add(stage, **{need: prints[need] for need in declared.needs}, **own)
    add(
        "report",
        name=value["name"],
        **{stage: prints[stage] for stage in STAGES if stage in stages and stage != "report"},
    )
    return prints
