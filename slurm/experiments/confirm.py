"""Scores an experiment's trained models on a new golden set: do its findings hold for other people's queries?

A golden set that has influenced a decision, even just how much data to try next, no longer counts as held out. So the
same models are scored once more on another one. New queries that also occur in the experiment's own golden set or in a
model's training data are left out.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.task import read_receipt
from routenator.config import EvaluateConfig, Section
from routenator.dataset.files import split_files
from routenator.domain.golden import load_golden
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.evaluation.metrics import score
from routenator.evaluation.paired import read_verdicts
from routenator.evaluation.pooled import outcomes
from routenator.evaluation.run import evaluate_model
from routenator.files import digest, read_json, sha256_file, write_json
from routenator.normalform import normal_form
from slurm.experiments.child import MODULE, child
from slurm.experiments.collect import RESAMPLES, Reader, Result, by_query, data_of, publishable, training_of
from slurm.experiments.config import Experiment
from slurm.experiments.planned import Entry, entries_of, work_folder
from slurm.experiments.table import short_scores
from slurm.planning.planner import golden_source

SCORES = "scores.json"  # written last
_SIDE = "model"  # label of a single model in its predictions


class ConfirmJob(Section):
    """The instructions for the process that scores one model."""

    adapter: str
    domain: str
    golden: str
    cache: str
    embedder: str
    evaluate: EvaluateConfig


@dataclass(frozen=True)
class Confirmation:
    """One model of an experiment to be scored on another golden set.

    Attributes:
        entry: the run that trained it.
        golden: the other golden set.
        folder: folder of the results, named by a hash of what they depend on.
    """

    entry: Entry
    golden: Path
    folder: Path

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def ready(self) -> bool:
        """Whether the model is trained."""
        return read_receipt(self.entry.run.stage_dir("train"), 0) is not None

    def missing(self) -> dict[str, Path]:
        """Return its folder, unless it is done."""
        return {} if (self.folder / SCORES).is_file() else {"scores": self.folder}

    def command(self, folder: Path) -> list[str]:
        """Return the command that runs it."""
        run, config = self.entry.run, self.entry.plan.config
        job = ConfirmJob(
            adapter=str(run.stage_dir("train") / "adapter"),
            domain=config.domain,
            golden=str(self.golden),
            cache=config.cache,
            embedder=config.model.embedder,
            evaluate=config.evaluate,
        )
        write_json(self.folder / "job.json", job.model_dump(mode="json"))
        return [*MODULE, "slurm.experiments.confirm", str(self.folder)]

    def failure(self) -> str | None:
        """Return None: the reason is in its log."""
        return None

    def summary(self) -> str:
        """Describe its outcome in one line."""
        return short_scores(read_json(self.folder / SCORES), self.entry.measures)


def confirmations_of(experiment: Experiment, golden: Path) -> list[Confirmation]:
    """Pair every run of the experiment with the other golden set, whether or not it is trained.

    Raises:
        InputError: the experiment trains no arms, there is no such file, or it has calls outside an arm's API.
    """
    if experiment.kind != "arms":
        raise InputError(
            "this experiment keeps no models to score",
            key="--confirm",
            found=f"kind: {experiment.kind}",
            expected="kind: arms",
        )
    entries = entries_of(experiment)
    for domain in {entry.plan.config.domain for entry in entries}:
        load_golden(golden, load_domain(domain).functions)
    found, content = [], sha256_file(golden)
    for entry in entries:
        config = entry.plan.config
        settings = config.evaluate.model_dump(mode="json", include={"engine", "max_new_tokens"})
        key = digest([content, entry.plan.stages["train"].fingerprint, settings])
        place = work_folder(experiment, config.root) / "confirm"
        found.append(Confirmation(entry, golden.resolve(), place / f"{entry.name}-{key}"))
    return found


def read_confirmations(confirmations: Sequence[Confirmation]) -> tuple[list[Result], int]:
    """Return each model's result on the queries that are new to all models, and how many queries were left out.

    Raises:
        InputError: the golden file is not the one that they were scored on.
    """
    reader = Reader()
    known = set().union(*(_known(one.entry, reader) for one in confirmations))
    results, left_out = [], 0  # the latter is the same for every model: each was scored on the whole file
    for one in confirmations:
        config = one.entry.plan.config
        functions = reader.api(config.domain)
        golden = reader.gold(one.golden, config.domain)
        place = {example.query: number for number, example in enumerate(golden)}
        said = {
            place[query]: verdict
            for query, verdict in read_verdicts(
                one.folder / "predictions.jsonl", golden, functions, config.evaluate.match, side=_SIDE
            )
        }
        places = [number for number in sorted(said) if normal_form(golden[number].query) not in known]
        left_out = len(said) - len(places)
        verdicts = [said[number] for number in places]
        embed = reader.embedder(config.model.embedder, config.cache)
        found = outcomes(verdicts, functions, embed)
        value: dict[str, Any] = {
            "arm": one.entry.arm,
            "seed": one.entry.seed,
            "trained": f"train-{one.entry.plan.stages['train'].fingerprint}",
            "functions": len(functions),
            "data": data_of(one.entry),
            "training": training_of(one.entry),
            "scores": publishable(score(verdicts, functions, embed, resamples=RESAMPLES, seed=one.entry.seed)),
            "queries": by_query(places, golden, found),
        }
        results.append(Result(one.entry.arm, one.entry.seed, [golden[number] for number in places], found, value))
    return results, left_out


def _known(entry: Entry, reader: Reader) -> set[str]:
    """Return the normal forms of the queries that a run was trained on or first scored on."""
    import pyarrow.parquet as pq

    config = entry.plan.config
    folder = entry.run.stage_dir("merge") / "dataset"
    files = [file for split in ("train", "validation") for file in split_files(folder, split)]
    trained = (query for file in files for query in pq.read_table(file, columns=["query"])["query"].to_pylist())
    scored = (example.query for example in reader.gold(golden_source(config), config.domain))
    return {normal_form(query) for queries in (trained, scored) for query in queries}


def ask(folder: Path) -> None:
    """Score one model on all queries; a limit applies only to the experiment's own golden set."""
    job = ConfirmJob.model_validate(read_json(folder / "job.json"))
    config = job.evaluate.model_copy(update={"limit": 0})
    evaluate_model(
        job.adapter, job.domain, job.golden, folder, cache=Path(job.cache), config=config, embedder=job.embedder
    )


if __name__ == "__main__":
    sys.exit(child(ask))
