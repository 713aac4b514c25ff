"""Checks that the packages a run needs are installed, if its tasks use the same Python environment as this command."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial

from jobs.plan import Plan
from jobs.task import missing_shards
from routenator.config import ClusterConfig, RunConfig
from routenator.errors import InputError, InputErrors
from routenator.extras import require, require_engine, require_evaluation, require_training, require_vision
from routenator.generation.imaging import check_torchvision
from routenator.models import cache_folder, check_weights
from routenator.sampling.strata import Stratum
from routenator.validation.segments import require_segmenter
from slurm.planning.planner import planned_run


def shares_environment(cluster: ClusterConfig) -> bool:
    """Whether tasks use the interpreter of this command, i.e. neither another one nor a container is configured."""
    return cluster.python is None and cluster.container is None


def check_installed(plan: Plan, strata: Collection[Stratum]) -> None:
    """Run ``check_packages`` for the stages that still have shards to do.

    Skipped if tasks use another interpreter or a container, whose packages cannot be seen from here.

    Args:
        strata: the plan's strata.

    Raises:
        InputError / InputErrors: something is missing.
    """
    if not shares_environment(plan.config.cluster):
        return
    run = planned_run(plan)
    stages = {stage for stage in plan.stages if missing_shards(run, stage)}
    counts = plan.requested or [stratum.requested for stratum in strata]
    own = [stratum for stratum, count in zip(strata, counts, strict=True) if count]
    check_packages(plan.config, stages, {stratum.route for stratum in own}, {stratum.language for stratum in own})


def check_packages(
    config: RunConfig, stages: Collection[str], routes: Collection[str] = (), languages: Collection[str] = ()
) -> None:
    """Check that the packages and packaged weights that some stages need are installed here; report all missing ones.

    Args:
        stages: names of the stages.
        routes: routes that have rows, if ``generate`` is among the stages.
        languages: languages that have rows.

    Raises:
        InputError / InputErrors: something is missing; each error has the command that installs it.
    """
    errors: dict[str, InputError] = {}
    for check in _checks(config, stages, routes, languages):
        try:
            check()
        except InputError as error:
            errors.setdefault(str(error), error)
    if errors:
        found = list(errors.values())
        raise found[0] if len(found) == 1 else InputErrors(found)


def _checks(
    config: RunConfig, stages: Collection[str], routes: Collection[str], languages: Collection[str]
) -> Iterator[Callable[[], None]]:
    """Yield the checks for these stages; each raises an ``InputError`` if something is missing."""
    cache, model = cache_folder(config.cache), config.model

    def weights(source: str, key: str) -> Callable[[], None]:
        return partial(check_weights, source, cache, key)

    if not {"generate", "merge"}.isdisjoint(stages):
        yield from (partial(require_segmenter, language) for language in sorted(languages))
    if "generate" in stages:
        for route in sorted(routes):
            engine = model.engine_for(route)
            if engine is None:
                continue
            key = "model.vision.engine" if engine is not model.generator else "model.generator"
            yield partial(require_engine, engine.engine, guided=engine.guided, key=f"{key}.engine")
            yield weights(engine.model, f"{key}.model")
            if route == "vision" and model.vision.kind == "described":
                yield require_vision
            elif route == "vision":
                yield partial(require, "vision", "the vision route", ("PIL",), key="model.vision.kind")
                if engine.engine == "vllm":
                    yield check_torchvision
    if "merge" in stages and config.merge.ambiguity != "off":
        needed = ("torch", "transformers", "sentence_transformers")
        yield partial(require, "evaluate", "the check of ambiguity", needed, key="merge.ambiguity")
        yield weights(model.embedder, "model.embedder")
    if "train" in stages:
        yield partial(require_training, config.train.method, config.train.deepspeed, config.train.tracker)
        yield weights(model.trainee, "model.trainee")
    if "evaluate" in stages:
        yield partial(require_evaluation, config.evaluate.engine, guided=config.evaluate.guided)
        yield weights(model.trainee, "model.trainee")
        yield weights(model.embedder, "model.embedder")
