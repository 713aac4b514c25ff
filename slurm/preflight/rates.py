"""Estimates what a run will take from what earlier runs took: the same stage, models, domain and cluster profile.

The receipts of finished shards say how long each took and for how much work. Model calls, training steps and scored
queries are known to grow with the work, and loading is known not to. Any other part may do either, so it gets two
bounds, and a pilot much smaller than the run gives a wide range.

How much the second round (refill) will request is not known beforehand: it is taken from earlier runs with the same
settings for requests, as a share of their first round.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jobs.plan import Plan, Run
from jobs.task import Receipt, read_receipt
from routenator.config import RunConfig
from routenator.domain.domain import Domain
from routenator.errors import InputError
from routenator.files import canonical_json
from routenator.routes import ROUTES
from routenator.sampling.strata import build_strata
from routenator.trust import is_own, named_group
from slurm.planning.planner import golden_source
from slurm.submission.options import resources
from slurm.submission.submissions import load_submissions

Range = tuple[float, float]
MARGIN = 1.25  # either way: two runs of the same work differ by this much with the load of a machine
_ALIKE = 2.0  # shards whose amounts of work differ by at most this factor are of one size
_RUNS = 20  # newest runs that are read
_SHARDS = 200  # receipts that are read of each run and stage


class Part(NamedTuple):
    """A part of a shard's time.

    Attributes:
        seconds: how long it took.
        amount: units of work.
        grows: whether it is known to grow with the work; otherwise it may also be the same for any amount.
    """

    seconds: float
    amount: float
    grows: bool = False


@dataclass(frozen=True)
class Estimate:
    """What a shard of a stage is expected to take.

    Attributes:
        seconds: lowest and highest.
        shards: earlier shards that it is based on.
        runs: names of the runs that made them.
    """

    seconds: Range
    shards: int
    runs: list[str]


class Round(NamedTuple):
    """What the second round of an earlier run requested, per request of its first round.

    Attributes:
        size: rows of the data set.
        requests: requests.
        replies: those of them that a model writes.
    """

    size: int
    requests: float
    replies: float


class Rates:
    """What earlier runs in the plan's folder of runs took.

    Args:
        plan: the plan of the run to come.
        domain: its domain.
    """

    def __init__(self, plan: Plan, domain: Domain) -> None:
        self._plan = plan
        self._domain = domain
        self._runs = _earlier_runs(Path(plan.config.root))

    def estimate(self, stage: str) -> Estimate | None:
        """Return what a shard of a stage is expected to take; None if no earlier run did the same."""
        amounts = self._second_round_amounts() if stage == "refill" else [self._amounts(stage)]
        # A second round does what the first does, mostly with few rows; its own shards are closest to it in size.
        found = self._measured(*(("refill", "generate") if stage == "refill" else (stage,)))
        ranges = [_seconds([parts for _, parts in found.values()], wanted) for wanted in amounts]
        known = [seconds for seconds in ranges if seconds is not None]
        if not found or not ranges or len(known) < len(ranges):
            return None
        return Estimate(
            (min(low for low, _ in known), max(high for _, high in known)),
            len(found),
            sorted({name for name, _ in found.values()}),
        )

    def second_rounds(self) -> list[Round]:
        """Return the second rounds of the earlier runs that are closest in size and request as this plan does."""
        key = _second_round_likeness(self._plan)
        found: dict[Path, Round] = {}
        for run in self._runs:
            if "refill" in run.plan.stages and _second_round_likeness(run.plan) == key:
                one = _second_round(run)
                if one is not None:
                    found.setdefault(run.stage_dir("shortfall"), one)
        size = self._plan.config.dataset.size
        distance = {path: abs(math.log(one.size / size)) for path, one in found.items()}
        nearest = min(distance.values(), default=0.0)
        return [one for path, one in found.items() if distance[path] <= nearest + math.log(_ALIKE)]

    def _measured(self, *stages: str) -> dict[Path, tuple[str, dict[str, Part]]]:
        """Return the parts of earlier shards that did what the first of these stages does, with their runs' names."""
        key = _likeness(self._plan.config, stages[0])
        found: dict[Path, tuple[str, dict[str, Part]]] = {}
        for run, stage in itertools.product(self._runs, stages):
            if stage in run.plan.stages and _likeness(run.config, stage) == key:
                for receipt in _receipts(run, stage):
                    path = run.stage_dir(stage) / str(receipt.shard)
                    found.setdefault(path, (run.path.name, _parts(receipt, run.config)))
        return found

    def _second_round_amounts(self) -> list[dict[str, float]]:
        """Return the amounts of work of each part of a refill shard, if the second round is as one of earlier runs."""
        first, _ = self._requests()
        shards, found = self._plan.stages["refill"].shards, []
        for one in self.second_rounds():
            replies = one.replies * first / shards
            # At least 1: a shard without requests takes its time, too.
            rows = max(1.0, one.requests * first / shards)
            found.append({"rows": rows, "replies": replies, "engine": float(replies > 0)})
        return found

    def _amounts(self, stage: str) -> dict[str, float]:
        """Return the amount of work of each part of an average shard of the plan; loading counts as 1."""
        config, shards = self._plan.config, self._plan.stages[stage].shards
        if stage in ("sample", "generate", "shortfall", "merge"):
            rows, replies = self._requests()
            if stage != "generate":
                return {"rows": rows / shards}
            return {"rows": rows / shards, "replies": replies / shards, "engine": float(replies > 0)}
        if stage == "train":
            train, steps = config.train, config.train.max_steps
            rows = config.dataset.size * (1 - config.dataset.validation_share) * train.epochs
            return {"load": 1.0, "examples": steps * _step_rows(config) if steps > 0 else rows}
        if stage == "evaluate":
            return {"load": 1.0, "queries": self._golden() * (1.0 + config.evaluate.before + config.evaluate.guided)}
        return {"rows": 1.0}

    def _requests(self) -> tuple[float, float]:
        """Return the plan's requests, and those of them that a model writes."""
        strata = build_strata(self._domain, self._plan.config, self._plan.requested)
        rows = sum(stratum.requested for stratum in strata)
        return float(rows), float(sum(row.requested for row in strata if not ROUTES[row.route].is_draft))

    def _golden(self) -> float:
        """Return the number of queries to score."""
        with open(golden_source(self._plan.config), "rb") as lines:
            number = sum(1 for line in lines if line.strip())
        if not number:  # the validation split stands in
            number = round(self._plan.config.dataset.size * self._plan.config.dataset.validation_share)
        limit = self._plan.config.evaluate.limit
        return float(min(number, limit) if limit else number)


def bounds(parts: Sequence[Part], amount: float) -> Range:
    """Return the lowest and highest seconds of a part for an amount of work, from earlier shards closest in size.

    Args:
        parts: the part in earlier shards, at least one.
        amount: the work to come.
    """
    if amount <= 0:
        return (0.0, 0.0)
    known = [part for part in parts if part.amount > 0]
    if not known:
        return (0.0, 0.0)
    distance = [abs(math.log(part.amount / amount)) for part in known]
    near = [part for part, far in zip(known, distance, strict=True) if far <= min(distance) + math.log(_ALIKE)]
    lows, highs = [], []
    for part in near:
        scaled = part.seconds * amount / part.amount
        lows.append(scaled if part.grows else min(part.seconds, scaled))
        highs.append(scaled if part.grows else max(part.seconds, scaled))
    return min(lows) / MARGIN, max(highs) * MARGIN


def _seconds(shards: Sequence[Mapping[str, Part]], wanted: Mapping[str, float]) -> Range | None:
    """Return the lowest and highest seconds for these amounts of work; None if a part of it was never measured."""
    names = set(itertools.chain.from_iterable(shards))
    # A part that the run needs and none of the shards had, such as text rows after a pilot of drafts alone.
    if any(amount and name not in names for name, amount in wanted.items()):
        return None
    ranges = [bounds([parts[name] for parts in shards if name in parts], wanted.get(name, 0.0)) for name in names]
    return sum(low for low, _ in ranges), sum(high for _, high in ranges)


def _earlier_runs(root: Path) -> list[Run]:
    """Return the newest runs of a folder whose records are trusted and can be read, newest first."""
    files = sorted(root.glob("*/plan.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    found: list[Run] = []
    for file in files[:_RUNS]:
        if is_own(file.parent, named_group()):
            try:
                found.append(Run.load(file.parent))
            except InputError:  # of another version
                continue
    return found


def _receipts(run: Run, stage: str) -> Iterator[Receipt]:
    """Yield receipts of the shards that a run made itself; others that it shows may be of another cluster profile."""
    folder = run.stage_dir(stage)
    if not folder.is_dir() or not is_own(folder, named_group()):
        return
    own = {shard for item in load_submissions(run) if item.stage == stage for shard in item.indices()}
    for shard in itertools.islice(sorted(own), _SHARDS):
        receipt = read_receipt(folder, shard)
        if receipt is not None:
            yield receipt


def _second_round(run: Run) -> Round | None:
    """Return what a run's second round requested; None if it has not been measured."""
    short = next(_receipts(run, "shortfall"), None)
    if short is None or not short.metrics.get("requested"):
        return None
    by_route = [receipt.metrics.get("by_route", {}) for receipt in _receipts(run, "refill")] if short.rows else []
    counts = {True: 0, False: 0}  # by whether a draft is enough
    for name, value in itertools.chain.from_iterable(routes.items() for routes in by_route):
        counts[ROUTES[name].is_draft] += value["requested"]
    total = sum(counts.values())
    if short.rows and not total:
        return None
    share = short.rows / short.metrics["requested"]
    return Round(run.config.dataset.size, share, share * counts[False] / total if total else 0.0)


def _step_rows(config: RunConfig) -> float:
    """Return the examples of an optimiser step."""
    train = config.train
    return float(train.batch_size * train.gradient_accumulation * train.processes * train.nodes)


def _parts(receipt: Receipt, config: RunConfig) -> dict[str, Part]:
    """Split a shard's seconds by what they were spent on."""
    metrics, seconds = receipt.metrics, receipt.seconds
    if receipt.stage in ("generate", "refill"):
        routes: Mapping[str, Any] = metrics.get("by_route", {})
        replies = sum(value["requested"] for name, value in routes.items() if not ROUTES[name].is_draft)
        # Of all engines together; without tokens (no engine, or empty replies) what the engines took, one by one.
        rate = metrics.get("tokens_per_second")
        asking = metrics["tokens"] / rate if rate else metrics.get("engine_seconds", 0.0)
        start = metrics.get("engine_start_seconds", 0.0)
        rest = max(0.0, seconds - asking - start)
        parts = {"rows": Part(rest, max(1, receipt.rows))}
        return parts | ({"replies": Part(asking, replies, True), "engine": Part(start, 1.0, True)} if replies else {})
    if receipt.stage == "train":
        steps = metrics["steps"] - metrics.get("resumed_from", 0)
        training = metrics["train_seconds"]
        return {
            "load": Part(max(0.0, seconds - training), 1.0, True),
            "examples": Part(training, steps * _step_rows(config), True),
        }
    if receipt.stage == "evaluate":
        asking = metrics["seconds_asking"]
        return {
            "load": Part(max(0.0, seconds - asking), 1.0, True),
            "queries": Part(asking, metrics["queries"], True),
        }
    return {"rows": Part(seconds, metrics.get("requested", receipt.rows))}


def _likeness(config: RunConfig, stage: str) -> str:
    """Return text that is equal for stages whose speed can be compared: the same task on the same kind of node."""
    asked = resources(config, stage).model_dump(exclude={"minutes", "shards_per_task"})
    cluster = config.cluster
    node = [cluster.kind, asked["partition"] or cluster.partition, cluster.constraint, cluster.gres, cluster.parallel]
    train, evaluate, model = config.train, config.evaluate, config.model
    wording = [model.generator.model_dump(), model.vision.model_dump(), config.checks.judge]
    what: dict[str, Any] = {
        "sample": config.sample.traversal,
        "generate": wording,
        "refill": wording,
        "shortfall": [config.merge.near_duplicates, config.merge.ambiguity != "off"],
        "merge": [config.merge.near_duplicates, config.merge.ambiguity != "off", sorted(config.merge.formats)],
        "train": [
            model.trainee,
            train.model_dump(
                include={
                    "method", "prompt", "batch_size", "gradient_accumulation", "processes", "nodes", "deepspeed",
                    "zero_stage", "bf16", "gradient_checkpointing", "lora_r", "lora_targets", "max_length",
                }
            ),
        ],
        "evaluate": [
            model.trainee,
            train.prompt,
            evaluate.model_dump(include={"workers", "engine", "dtype", "max_new_tokens", "before_prompt", "before"}),
        ],
    }  # fmt: skip
    return canonical_json([Path(config.domain).name, asked, node, what.get(stage)])


def _second_round_likeness(plan: Plan) -> str:
    """Return text that is equal for plans that leave about the same share of their rows to a second round."""
    config = plan.config
    generate = config.generate.model_dump(include={"routes", "oversample", "confidence", "oversample_limit", "refill"})
    checks, near = config.checks.model_dump(), config.merge.near_duplicates
    return canonical_json([Path(config.domain).name, generate, plan.acceptance is not None, checks, near])
