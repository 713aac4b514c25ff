"""``kind: ceiling``: trains on real labelled queries by cross-validation, as an upper bound.

Every query is scored once, by a model that was not trained on it. The text of real queries never leaves ROOT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from routenator.domain.golden import load_golden
from routenator.domain.loader import load_domain
from routenator.evaluation.embed import remembering
from routenator.evaluation.metrics import score
from routenator.evaluation.paired import read_verdicts
from routenator.evaluation.pooled import outcomes
from routenator.files import canonical_json, digest, read_json, sha256_file, write_json
from routenator.models import model_identity
from slurm.experiments.child import MODULE
from slurm.experiments.collect import RESAMPLES, Result, by_query, publishable
from slurm.experiments.config import CEILING, Arm, Experiment, run_config
from slurm.experiments.fold import DONE, FoldJob
from slurm.experiments.planned import arm_domain, work_folder
from slurm.planning.planner import golden_source, with_absolute_paths

# Settings that change a fold's outcome, and training settings that do not. All queries are scored, so `limit` does not.
_TRAIN_FREE = ("save_steps", "log_steps")
_EVALUATE = ("engine", "max_new_tokens")


@dataclass(frozen=True)
class Fold:
    """One fold of one seed."""

    job: FoldJob
    folder: Path
    measures: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"seed-{self.job.seed}-fold-{self.job.fold}"

    def missing(self) -> dict[str, Path]:
        """Return its folder, unless it is done."""
        return {} if (self.folder / DONE).is_file() else {"fold": self.folder}

    def command(self, folder: Path) -> list[str]:
        """Return the command that runs it."""
        write_json(self.folder / "job.json", self.job.model_dump(mode="json"))
        return [*MODULE, "slurm.experiments.fold", str(self.folder)]

    def failure(self) -> str | None:
        """Return None: the reason is in its log."""
        return None

    def summary(self) -> str:
        """Describe its outcome in one line."""
        done = read_json(self.folder / DONE)
        return (
            f"{done['train']:,} queries to train on, {done['held_out']:,} held out, loss {done['training']['loss']:.3f}"
        )


def folds_of(experiment: Experiment) -> list[Fold]:
    """Return all folds of all seeds.

    Raises:
        InputError: the config, the domain or the labelled file is invalid.
    """
    composed, _ = run_config(experiment, None, {} if experiment.golden is None else {"golden": experiment.golden})
    config = with_absolute_paths(composed)
    domain, golden = arm_domain(
        experiment.name, CEILING, Arm(), Path(config.domain), golden_source(config), Path(config.root)
    )
    functions = load_domain(domain).functions
    load_golden(golden, functions)
    train = {key: value for key, value in config.train.model_dump(mode="json").items() if key not in _TRAIN_FREE}
    evaluate = {key: getattr(config.evaluate, key) for key in _EVALUATE}
    api = canonical_json([function.tool() for function in functions.values()])
    trainee = model_identity(config.model.trainee)
    folds = []
    for seed in experiment.seeds:
        for fold in range(experiment.folds):
            job = FoldJob(
                config=config, domain=str(domain), golden=str(golden), folds=experiment.folds, fold=fold, seed=seed
            )
            key = digest([train, evaluate, trainee, api, sha256_file(golden), experiment.folds, fold, seed])
            place = work_folder(experiment, config.root) / "folds" / f"seed-{seed}-fold-{fold}-{key}"
            folds.append(Fold(job, place, tuple(experiment.measures)))
    return folds


def read_folds(folds: Sequence[Fold]) -> list[Any]:
    """Return a result for each seed whose folds are all done; scores the folds' predictions together."""
    by_seed: dict[int, list[Fold]] = {}
    for fold in folds:
        by_seed.setdefault(fold.job.seed, []).append(fold)
    return [_read(many) for many in by_seed.values() if not any(fold.missing() for fold in many)]


def _read(folds: Sequence[Fold]) -> Any:
    job = folds[0].job
    functions = load_domain(job.domain).functions
    golden = load_golden(Path(job.golden), functions)
    place = {example.query: number for number, example in enumerate(golden)}
    said = {
        place[query]: verdict
        for fold in folds
        for query, verdict in read_verdicts(
            fold.folder / "predictions.jsonl", golden, functions, job.config.evaluate.match
        )
    }
    places = sorted(said)
    verdicts = [said[number] for number in places]
    embed = remembering(job.config.model.embedder, job.config.cache)
    found = outcomes(verdicts, functions, embed)
    done = [read_json(fold.folder / DONE) for fold in folds]
    training = {key: fmean(one["training"][key] for one in done) for key in ("loss", "steps", "tokens_per_second")}
    value = {
        "arm": CEILING,
        "seed": job.seed,
        "folds": len(folds),
        "functions": len(functions),
        "data": {"counts": {"final": round(fmean(one["train"] for one in done))}, "acceptance": None},
        "training": {
            **training,
            "steps": round(training["steps"]),
            "seconds": fmean(one["training"]["train_seconds"] for one in done),
        },
        "scores": publishable(score(verdicts, functions, embed, resamples=RESAMPLES, seed=job.seed)),
        "queries": by_query(places, golden, found),
    }
    return Result(CEILING, job.seed, [golden[number] for number in places], found, value)
