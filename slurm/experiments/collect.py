"""Collects the results of an experiment's runs into one JSON value, results.json.

Golden sets must not be published, so it contains no query, reply or argument: of a single query only its position in
the golden file, and whether the reply was right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.task import read_receipt
from routenator.domain.functions import Function, load_functions
from routenator.domain.golden import GoldenExample, load_golden
from routenator.errors import InputError
from routenator.evaluation.embed import remembering
from routenator.evaluation.languages import Answered, by_language
from routenator.evaluation.metrics import Embed
from routenator.evaluation.paired import read_verdicts
from routenator.evaluation.pooled import Outcomes, Pooled, compare_arms, outcomes, pool, weighed
from routenator.evaluation.verdict import Verdict
from routenator.files import digest, read_json, sha256_file
from routenator.report.summary import METRICS
from slurm.experiments.config import Experiment
from slurm.experiments.planned import Entry
from slurm.planning.planner import golden_source

FORMAT = 1
RESAMPLES = 2000
_OTHER = "(other)"
_FEW = 5  # categories with fewer golden queries are pooled: rare values of an open slot are people's own words


@dataclass(frozen=True)
class Result:
    """The result of one finished run.

    Attributes:
        examples: the golden queries that it answered; they are only kept in memory.
        found: the outcome for each query.
        value: its part of results.json.
    """

    arm: str
    seed: int
    examples: list[GoldenExample]
    found: Outcomes
    value: dict[str, Any]

    @property
    def keys(self) -> list[str]:
        """What matches queries across arms."""
        return [example.query for example in self.examples]


class Reader:
    """Reads runs; domains, golden sets and embeddings that they share are read only once."""

    def __init__(self) -> None:
        self._functions: dict[str, dict[str, Function]] = {}
        self._golden: dict[str, list[GoldenExample]] = {}
        self._embed: dict[str, Embed] = {}

    def read(self, entry: Entry) -> Result:
        """Read a run whose stages are done.

        Raises:
            InputError: its golden file is not the one that it was scored on.
        """
        config, run = entry.plan.config, entry.run
        functions, golden = self.api(config.domain), self.gold(golden_source(config), config.domain)
        said: list[tuple[str, Verdict]] = read_verdicts(
            run.stage_dir("evaluate") / "predictions.jsonl", golden, functions, config.evaluate.match
        )
        place = {example.query: number for number, example in enumerate(golden)}
        places = [place[query] for query, _ in said]
        verdicts = [judged for _, judged in said]
        embed = self.embedder(config.model.embedder, config.cache)
        found = outcomes(verdicts, functions, embed)
        value = {
            "arm": entry.arm,
            "seed": entry.seed,
            "run": run.path.name,
            "overrides": [text for text in entry.overrides if not text.startswith(("domain=", "golden=", "root="))],
            "domain": Path(config.domain).name,
            "functions": len(functions),
            "stages": {stage: plan.fingerprint for stage, plan in entry.plan.stages.items()},
            "data": data_of(entry),
            "training": training_of(entry),
            "scores": publishable(read_json(run.stage_dir("evaluate") / "scores.json")["after"]),
            "queries": by_query(places, golden, found),
        }
        return Result(entry.arm, entry.seed, [golden[number] for number in places], found, value)

    def api(self, domain: str) -> dict[str, Function]:
        """Return the functions of a domain, by name."""
        if domain not in self._functions:
            self._functions[domain] = load_functions(Path(domain) / "functions.json")
        return self._functions[domain]

    def gold(self, file: Path, domain: str) -> list[GoldenExample]:
        """Return a golden set whose calls use this domain's API."""
        if str(file) not in self._golden:
            self._golden[str(file)] = load_golden(file, self.api(domain))
        return self._golden[str(file)]

    def embedder(self, name: str, cache: str) -> Embed:
        """Return a function that computes sentence embeddings, each text only once."""
        if name not in self._embed:
            self._embed[name] = remembering(name, cache)
        return self._embed[name]


def publishable(scores: dict[str, Any]) -> dict[str, Any]:
    """Return one side of scores.json with its rare categories pooled."""
    return {
        **scores,
        "per_category": _common(scores["per_category"]),
        "confusion_categories": _common_matrix(scores["confusion_categories"], scores["per_category"]),
    }


def _common(table: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    kept = {name: dict(row) for name, row in table.items() if row["n"] >= _FEW}
    rare = [row for name, row in table.items() if name not in kept]
    if rare:
        n = sum(row["n"] for row in rare)
        kept[_OTHER] = {"n": n, **{key: sum(row["n"] * row[key] for row in rare) / n for key in rare[0] if key != "n"}}
    return kept


def _common_matrix(matrix: Mapping[str, Any], table: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    def label(name: str) -> str:
        return _OTHER if name in table and table[name]["n"] < _FEW else name

    labels = list(dict.fromkeys(label(name) for name in matrix["labels"]))
    counts = [[0] * len(labels) for _ in labels]
    for gold, row in zip(matrix["labels"], matrix["counts"], strict=True):
        for said, count in zip(matrix["labels"], row, strict=True):
            counts[labels.index(label(gold))][labels.index(label(said))] += count
    return {"labels": labels, "counts": counts}


def by_query(places: list[int], golden: Sequence[GoldenExample], found: Outcomes) -> dict[str, list[Any]]:
    """Return each query's position in the golden file and whether the reply was right, but none of its text.

    Args:
        places: of the queries in ``golden``.
    """

    def listed(measure: str) -> list[float | None]:
        """Means over the calls of each query; of one call, 0 and 1 as integers."""
        pairs = zip(found.sums[measure].tolist(), found.counts[measure].tolist(), strict=True)
        means = [None if count == 0 else round(total / count, 4) for total, count in pairs]
        return [int(mean) if mean in (0.0, 1.0) and measure != "ss" else mean for mean in means]

    languages = [golden[place].language for place in places]
    return {
        "golden_index": places,
        **({"language": languages} if any(languages) else {}),
        "function_right": found.right.astype(int).tolist(),
        "category_right": listed("cta"),
        "ss": listed("ss"),
        "exact": listed("exact_match"),
        "unparsable": listed("unparsable"),
    }


def data_of(entry: Entry) -> dict[str, Any]:
    """Summarize the run's data set: rows at each step, rejections, and the distance from its own target."""
    merge = read_json(entry.run.stage_dir("merge") / "merge.json")
    counts = merge["counts"]
    return {
        "counts": counts,
        "acceptance": counts["accepted"] / counts["generated"] if counts["generated"] else None,
        "generators": merge["generators"],
    }


def training_of(entry: Entry) -> dict[str, Any]:
    """Return the metrics of the train stage's receipt: steps, loss, tokens per second, seconds of all attempts."""
    receipt = read_receipt(entry.run.stage_dir("train"), 0)
    if receipt is None:
        raise InputError(
            "the run's training is not done", file=entry.run.path, found="no receipt", expected="a run that is done"
        )
    return {**receipt.metrics, "seconds": receipt.metrics["train_seconds"]}


def pooled_of(results: Sequence[Result], experiment: Experiment, seed: int) -> dict[str, dict[str, Pooled]]:
    """Return measure -> arm -> mean over seeds, interval, and difference to the reference; omits missing measures."""
    import numpy as np

    number: dict[str, int] = {}
    for result in results:
        for key in result.keys:
            number.setdefault(key, len(number))
    found: dict[str, dict[str, Pooled]] = {}
    for measure in experiment.measures:
        arms: dict[str, list[Any]] = {}
        for name in experiment.rows:
            runs = [result for result in results if result.arm == name]
            statistics = [
                weighed(run.found, measure, np.array([number[key] for key in run.keys]), len(number)) for run in runs
            ]
            if runs and all(statistic is not None for statistic in statistics):
                arms[name] = statistics
        if arms:
            found[measure] = pool(arms, experiment.reference or "", len(number), resamples=RESAMPLES, seed=seed)
    return found


def verdicts_of(pooled: Mapping[str, Mapping[str, Pooled]], experiment: Experiment) -> list[dict[str, Any]]:
    """Compare the reference with each other arm: the measures by outcome, and a sentence."""
    reference = experiment.reference
    if reference is None:
        return []
    found = []
    for other in experiment.arms:
        if other != reference and any(reference in arms and other in arms for arms in pooled.values()):
            said = compare_arms(reference, other, pooled)
            found.append(
                {"reference": reference, "other": other, **said, "sentence": sentence(experiment, other, said)}
            )
    return found


def sentence(experiment: Experiment, other: str, said: Mapping[str, Sequence[str]]) -> str:
    """Describe a comparison in a sentence."""
    assert experiment.reference is not None

    def names(measures: Sequence[str]) -> str:
        return ", ".join(METRICS[measure] for measure in measures)

    parts = [
        f"better in {names(said['apart'])} with intervals that do not overlap" if said["apart"] else "",
        f"better in {names(said['better'])} by the interval of the difference" if said["better"] else "",
        f"worse in {names(said['worse'])} by the interval of the difference" if said["worse"] else "worse in none",
        f"no significant difference in {names(said['open'])}" if said["open"] else "",
    ]
    return (
        f"{experiment.title(experiment.reference)} against {experiment.title(other)}: "
        + "; ".join(filter(None, parts))
        + "."
    )


def results_of(experiment: Experiment, results: Sequence[Result], missing: Sequence[str]) -> dict[str, Any]:
    """Return the value of results.json.

    Args:
        missing: names of the runs that are not done.
    """
    seed = int(digest(experiment.name), 16)
    pooled = pooled_of(results, experiment, seed)
    arms = {
        name: [Answered(result.examples, result.found) for result in results if result.arm == name]
        for name in experiment.rows
    }
    languages = by_language(
        {name: runs for name, runs in arms.items() if runs},
        experiment.measures,
        experiment.reference,
        resamples=RESAMPLES,
        seed=seed,
    )
    return {
        "format": FORMAT,
        "name": experiment.name,
        "kind": experiment.kind,
        "question": experiment.question,
        "reference": experiment.reference,
        "curves": experiment.curves,
        "intervals": {
            "level": 0.95,
            "resamples": RESAMPLES,
            "seed": seed,
            "method": "percentile bootstrap over queries and seeds",
        },
        "arms": {
            name: {
                "title": experiment.title(name),
                "seeds": [result.seed for result in results if result.arm == name],
                "measures": {
                    measure: {
                        **arms[name].mean.as_dict(),
                        "runs": arms[name].runs,
                        "difference": None if (gap := arms[name].difference) is None else gap.as_dict(),
                    }
                    for measure, arms in pooled.items()
                    if name in arms
                },
            }
            for name in experiment.rows
        },
        "verdicts": verdicts_of(pooled, experiment),
        **({"languages": languages} if languages else {}),
        "runs": [result.value for result in results],
        "missing": list(missing),
    }


def golden_file(file: Path, root: Path) -> dict[str, Any]:
    """Identify a golden file: its path in ROOT/domains, or else only its name; sha256 and rows."""
    rows = sum(bool(line.strip()) for line in file.read_text(encoding="utf-8").split("\n"))
    domains = root.expanduser().resolve() / "domains"
    name = file.relative_to(domains) if file.is_relative_to(domains) else file.name
    return {"name": str(name), "sha256": sha256_file(file), "rows": rows}
