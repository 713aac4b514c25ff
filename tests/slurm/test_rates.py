"""What a run is expected to take, judging by what earlier runs took."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from jobs.plan import Plan, Run
from jobs.task import Task
from routenator.domain.loader import load_domain
from routenator.sampling.strata import build_strata
from slurm.planning.planner import make_plan, materialise
from slurm.preflight.forecast import forecast, print_forecast
from slurm.preflight.rates import MARGIN, Part, Rates, bounds
from slurm.submission.submissions import Submission, append_submission
from tests.conftest import TINY, make_config

ROUTES = {"heuristic": 0.5, "text": 0.5}


def plan_of(folder: Path, size: int = 100, refill: float = 0.0, **changes: Any) -> Plan:
    """A plan whose runs are in this folder; a fifth of its rows or more are written by a model."""
    config = make_config(
        root=str(folder / "runs"),
        domain=str(TINY),
        dataset={"size": size},
        generate={"shards": 2, "routes": ROUTES, "refill": refill},
        **changes,
    )
    return make_plan(config)


def ran(plan: Plan, stage: str, seconds: float, metrics: dict[str, Any], rows: int = 100) -> Run:
    """Commit each shard of a stage as one that took this long."""
    run = materialise(plan)
    for shard in range(run.plan.stages[stage].shards):
        append_submission(run, Submission("local", stage, "1", str(shard)))
        task = Task(run, stage, shard)
        task.started -= seconds
        data = task.output(".bin")
        data.write_bytes(b"data")
        assert task.commit({"data": data}, rows=rows, metrics=metrics)
    return run


def requests(plan: Plan) -> tuple[int, int]:
    """Return a plan's requests, and those of them that a model writes."""
    strata = build_strata(load_domain(TINY), plan.config)
    return sum(row.requested for row in strata), sum(row.requested for row in strata if row.route == "text")


@pytest.mark.parametrize(
    ("parts", "amount", "expected"),
    [
        ([Part(10, 100, True)], 200, (20, 20)),
        ([Part(10, 100)], 200, (10, 20)),
        ([Part(10, 100)], 50, (5, 10)),
        ([Part(10, 100), Part(14, 100)], 100, (10, 14)),
        ([Part(1, 10), Part(10, 1000)], 1000, (10, 10)),  # the pilot says less than a run of this size
        ([Part(10, 100)], 0, (0, 0)),
        ([Part(0, 0)], 100, (0, 0)),
    ],
)
def test_a_part_is_scaled_from_the_shards_closest_in_size(
    parts: list[Part], amount: float, expected: tuple[float, float]
) -> None:
    low, high = bounds(parts, amount)
    assert low * MARGIN == pytest.approx(expected[0]) and high / MARGIN == pytest.approx(expected[1])


def test_generate_scales_replies_by_what_they_took_and_loads_the_engine_once_a_shard(tmp_path: Path) -> None:
    pilot = plan_of(tmp_path)
    metrics = {
        "tokens": 1000,
        "tokens_per_second": 10.0,
        "engine_seconds": 200.0,  # of two engines at once
        "engine_start_seconds": 30.0,
        "by_route": {"heuristic": {"requested": 60}, "text": {"requested": 40}},
    }
    run = ran(pilot, "generate", 131.0, metrics)
    plan = plan_of(tmp_path, size=1000)
    rows, replies = requests(plan)
    found = Rates(plan, load_domain(TINY)).estimate("generate")
    assert found is not None and found.runs == [run.path.name] and found.shards == 2
    asking = 100 / 40 * replies / 2
    # The second that is left of the pilot's shard may grow with its rows, or not.
    assert found.seconds[0] == pytest.approx((30 + asking + 1) / MARGIN, rel=0.01)
    assert found.seconds[1] == pytest.approx((30 + asking + rows / 2 / 100) * MARGIN, rel=0.01)


def test_training_and_evaluation_scale_with_steps_and_queries(tmp_path: Path) -> None:
    train = {"epochs": 1.0, "batch_size": 4}
    pilot = plan_of(tmp_path, train=train)
    ran(pilot, "train", 110.0, {"train_seconds": 100.0, "steps": 20, "resumed_from": 10})
    ran(pilot, "evaluate", 50.0, {"seconds_asking": 40.0, "queries": 10})
    plan = plan_of(tmp_path, size=1000, train={**train, "epochs": 2.0})
    rates = Rates(plan, load_domain(TINY))
    found = rates.estimate("train")  # ten steps of four examples took 100 s
    assert found is not None and found.seconds[0] == pytest.approx((10 + 900 * 2 * 100 / 40) / MARGIN, rel=0.01)
    golden = sum(1 for line in (TINY / "golden.jsonl").read_text().splitlines() if line.strip())
    found = rates.estimate("evaluate")
    assert found is not None and found.seconds[1] == pytest.approx((10 + 2 * golden * 4) * MARGIN, rel=0.01)


def second_round(plan: Plan, requests: int, replies: int, seconds: float, start: float = 0.0) -> None:
    """Commit the second round of a run whose first round had 200 requests."""
    ran(plan, "shortfall", 1.0, {"requested": 200}, rows=requests)
    by_route = {"heuristic": {"requested": requests - replies}, "text": {"requested": replies}} if requests else {}
    metrics = {"tokens": 10 * replies, "tokens_per_second": 10.0, "engine_start_seconds": start, "by_route": by_route}
    ran(plan, "refill", seconds, metrics, rows=requests)


def test_the_second_round_is_expected_to_be_as_large_as_in_earlier_runs(tmp_path: Path) -> None:
    """Refill's range was that of all earlier ones, whatever they had to do: 1 to 90 s for a run without an engine."""
    domain = load_domain(TINY)
    plan = plan_of(tmp_path, refill=0.2)
    assert plan.stages["refill"].shards == 1
    assert Rates(plan, domain).second_rounds() == [] and Rates(plan, domain).estimate("refill") is None
    # A run that asks for more in the first place leaves less to the second round: it says nothing about this plan's.
    other = plan_of(tmp_path, refill=0.3, seed=1)
    second_round(other, 60, 40, 90.0, start=40.0)
    assert Rates(plan, domain).estimate("refill") is None
    second_round(plan_of(tmp_path, refill=0.2, seed=2), 0, 0, 60.0)
    found = Rates(plan, domain).estimate("refill")
    assert found is not None and found.seconds == pytest.approx((60 / MARGIN, 60 * MARGIN), rel=0.1)
    second_round(plan_of(tmp_path, refill=0.2, seed=3), 10, 0, 80.0)
    found = Rates(plan, domain).estimate("refill")
    assert found is not None and found.seconds[0] == pytest.approx(60 / MARGIN, rel=0.1)
    first = requests(plan)[0]
    assert found.seconds[1] == pytest.approx(80 * max(1, first * 10 / 200 / 10) * MARGIN, rel=0.1)
    text = StringIO()
    print_forecast(forecast(plan), Console(file=text, width=80))
    assert "2 runs like this requested between nothing and 5.0%" in " ".join(text.getvalue().split())
    second_round(plan_of(tmp_path, refill=0.2, seed=4), 40, 30, 170.0, start=40.0)
    found = Rates(plan, domain).estimate("refill")  # of 170 s 30 were for 30 replies, and 40 to load the engine
    assert found is not None and found.seconds[0] == pytest.approx(60 / MARGIN, rel=0.1)
    assert found.seconds[1] / MARGIN > 40 + first * 30 / 200 + 60


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"generator": {"model": "org/other"}, "trainee": "org/trainee", "embedder": "org/embedder"}},
        {"cluster": {"kind": "slurm", "partition": "gpu"}},
        {"cluster": {"kind": "local", "stages": {"generate": {"cpus": 9}}}},
    ],
    ids=["model", "cluster", "resources"],
)
def test_what_ran_otherwise_says_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    metrics = {"tokens": 0, "by_route": {"heuristic": {"requested": 60}, "text": {"requested": 40}}}
    ran(plan_of(tmp_path), "generate", 100.0, metrics)
    domain = load_domain(TINY)
    assert Rates(plan_of(tmp_path, size=1000), domain).estimate("generate") is not None
    assert Rates(plan_of(tmp_path, size=1000, **changes), domain).estimate("generate") is None


def test_a_pilot_of_drafts_says_nothing_of_a_model(tmp_path: Path) -> None:
    ran(plan_of(tmp_path), "generate", 10.0, {"tokens": 0, "by_route": {"heuristic": {"requested": 100}}})
    assert Rates(plan_of(tmp_path, size=1000), load_domain(TINY)).estimate("generate") is None


def test_plan_shows_what_to_expect_beside_the_limits(tmp_path: Path) -> None:
    """``plan`` said 28.5 node-hours, by the time limits, for a run that took nine minutes."""
    slurm = {"kind": "slurm", "stages": {"train": {"gpus": 4, "nodes": 2, "minutes": 600}}}
    train = {"epochs": 1.0, "batch_size": 4, "nodes": 2}
    text = StringIO()
    value = forecast(plan_of(tmp_path, cluster=slurm, train=train))
    print_forecast(value, Console(file=text, width=80))
    assert value["expected"] is None and "expected: unknown; no earlier run" in text.getvalue()
    ran(plan_of(tmp_path, cluster=slurm, train=train), "train", 110.0, {"train_seconds": 100.0, "steps": 12})
    value = json.loads(json.dumps(forecast(plan_of(tmp_path, size=200, cluster=slurm, train=train))))
    stage = next(item for item in value["stages"] if item["stage"] == "train")
    seconds = 10 + 180 * 100 / (12 * 8)
    assert stage["expected"]["hours"][1] * 3600 == pytest.approx(seconds * MARGIN, rel=0.01)
    assert stage["expected"]["gpu_hours"] == pytest.approx([8 * hours for hours in stage["expected"]["hours"]])
    assert stage["gpu_hours"] == 80 and value["expected"]["gpu_hours"] == stage["expected"]["gpu_hours"]
    assert value["expected"]["not_measured"] == ["sample", "generate", "merge", "evaluate", "report"]
    text = StringIO()
    print_forecast(value, Console(file=text, width=80))
    printed = " ".join(text.getvalue().split())
    assert "2.6-4.1 min" in printed and "0.35 to 0.55 GPU-hours" in printed
    assert "not known, and not included: sample" in printed
