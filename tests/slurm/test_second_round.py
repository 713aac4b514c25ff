"""The second round of a run on real stages: what was asked is delivered, and nothing happens where nothing is missing.

A quickstart that asked for 1,000 rows ended with 998. Uses no model, except to show that none is loaded.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import jobs.refill
import jobs.shortfall
from jobs.entry import run_task
from jobs.plan import Run
from jobs.shortfall import at_most
from jobs.stages import SECOND_ROUND, STAGES, up_to
from jobs.task import Task, read_receipt
from routenator.errors import RoutenatorError
from routenator.files import read_json
from routenator.sampling.acceptance import HOPELESS_AFTER
from slurm.planning.planner import make_plan, materialise
from slurm.planning.topup import look, plan_topup, topup_path
from slurm.watching.status import StatusReader
from slurm.watching.status_view import remarks
from tests.jobs import world
from tests.slurm.test_topup import SIZE, dataset_digests, finish, loop_config, made, read_json_strata, summary

DATA = tuple(stage for stage in up_to("merge") if stage != "report")
FIRST = {"shards": 3, "chunk_rows": 16, "routes": {"heuristic": 1}, "oversample": {"heuristic": 2.5}}


def second(folder: Path, **changes: Any) -> Run:
    """The run of ``one``, whose first round leaves out more than ten rows of 100, with a second round."""
    generate = {**FIRST, "refill": 1, **changes}
    return finish(materialise(make_plan(loop_config(folder, generate=generate), stages=DATA)))


def rows_of(run: Run) -> pl.DataFrame:
    folder = run.stage_dir("merge") / "dataset"
    return pl.concat([pl.read_parquet(folder / f"{split}.parquet") for split in ("train", "validation")])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rounds")


@pytest.fixture(scope="module")
def one(folder: Path) -> Run:
    return made(loop_config(folder, generate=FIRST))


@pytest.fixture(scope="module")
def two(folder: Path, one: Run) -> Run:
    return second(folder)


def test_a_run_ends_with_the_rows_that_were_asked(one: Run, two: Run) -> None:
    before, after = summary(one)["counts"], summary(two)["counts"]
    assert before["missing"] > 10 and (after["final"], after["missing"]) == (SIZE, 0)
    key = ("function", "category", "route", "template", "length", "language")
    quotas = {tuple(row[name] for name in key): row["quota"] for row in read_json_strata(two)}
    assert Counter(rows_of(two).select(key).rows()) == quotas
    first, further = summary(two)["rounds"]
    assert (first["name"], further["name"]) == ("first run", "second round")
    assert first["final"] == before["final"] and further["final"] == before["missing"]
    assert further["requested"] <= first["requested"]


def test_the_first_round_stays_as_it_is(one: Run, two: Run) -> None:
    """Its stages are those of the run with one round, and so are its rows; those of the second round are new."""
    for stage in ("sample", "generate"):
        assert one.plan.stages[stage].fingerprint == two.plan.stages[stage].fingerprint
    before, after = (rows_of(run).drop("group").sort("index") for run in (one, two))
    asked = summary(one)["counts"]["requested"]
    assert after.filter(pl.col("index") < asked).equals(before)
    assert after.filter(pl.col("index") >= asked).height == SIZE - before.height


def test_shards_change_nothing(folder: Path, two: Run) -> None:
    other = second(folder, shards=7)
    assert (other.plan.stages["refill"].shards, two.plan.stages["refill"].shards) == (7, 3)
    assert dataset_digests(other) == dataset_digests(two)


def test_status_says_what_was_missing(two: Run) -> None:
    status = StatusReader(two).read()
    said = next(line for line in remarks(status) if line.startswith("shortfall: "))
    short = summary(two)["rounds"][1]
    assert f"; {short['requested']} more requests" in said and " rows missing in " in said


def test_where_nothing_is_missing_the_second_round_does_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data set is that of one round to the byte; the merge does not even decide again."""
    plenty = {**FIRST, "oversample": {"heuristic": 12}}
    alone = made(loop_config(folder, generate=plenty))
    assert summary(alone)["deficits"] == []
    run = materialise(make_plan(loop_config(folder, generate={**plenty, "refill": 1}), stages=DATA))
    finish_until(run, "merge")
    receipt, again = (read_receipt(run.stage_dir(stage), 0) for stage in SECOND_ROUND)
    assert receipt is not None and again is not None and (receipt.rows, again.rows) == (0, 0)
    assert receipt.metrics["note"] == "every quota is met; nothing more is requested"
    monkeypatch.setattr("jobs.merge.decided", None)
    run_task(run.path, "merge", [0])
    assert dataset_digests(run) == dataset_digests(alone)
    names = ("merge.json", "acceptance.json")
    here, there = ([read_json(one.stage_dir("merge") / name) for name in names] for one in (run, alone))
    assert here == there


def finish_until(run: Run, last: str) -> None:
    """Run the stages before one."""
    for stage, entry in run.plan.stages.items():
        if stage == last:
            return
        run_task(run.path, stage, range(entry.shards))


def test_no_model_is_loaded_where_nothing_is_missing(tmp_path: Path) -> None:
    """Rows that a model writes, and a model that is not there: only a round that needs it fails."""
    gone = {"generator": {"model": str(tmp_path / "gone"), "engine": "transformers"}}
    models = {**gone, "trainee": "org/none", "embedder": "org/none"}

    def refilled(folder: Path, refused: bool) -> Task:
        run = world.make_run(
            folder,
            planned=STAGES,
            model=models,
            dataset={"size": 60},
            generate={"routes": {"text": 1}, "oversample": {"text": 3}, "refill": 1},
        )
        rows = [world.candidate(row, generator="imitated") for row in world.sample(run)]
        names = [row["stratum"] for row in rows]
        fewest = min(names, key=names.count)
        assert names.count(fewest) < HOPELESS_AFTER
        for number, row in enumerate(rows):
            row["query"] += f" {number}"
            if refused and row["stratum"] == fewest:
                row |= {"accepted": False, "reason": "empty"}
        world.generate(run, rows)
        jobs.shortfall.run(Task(run, "shortfall", 0))
        return Task(run, "refill", 0)

    task = refilled(tmp_path / "full", False)
    jobs.refill.run(task)
    assert task.is_done()
    task = refilled(tmp_path / "short", True)
    with pytest.raises((RoutenatorError, OSError)):
        jobs.refill.run(task)
    assert not task.is_done()


def test_rows_that_the_merge_drops_are_asked_again_and_hopeless_strata_are_not(tmp_path: Path) -> None:
    """Rejected rows, duplicates and golden leaks leave a stratum short alike; one that yields nothing is given up."""
    run = world.make_run(
        tmp_path,
        planned=STAGES,
        dataset={"size": 200},
        generate={"routes": {"heuristic": 1}, "oversample": {"heuristic": 3}, "refill": 1},
    )
    rows = [world.candidate(row) for row in world.sample(run)]
    for number, row in enumerate(rows):
        row["query"] += f" {number}"
    asked = Counter(row["stratum"] for row in rows)
    (hopeless, _), *others = asked.most_common()
    duplicated, leaked = (number for number, _ in others[:2])
    golden = json.loads(run.golden_file.read_text().splitlines()[0])["query"]
    seen: Counter[int] = Counter()
    for row in rows:
        number = row["stratum"]
        seen[number] += 1
        if number == hopeless:
            row |= {"accepted": False, "reason": "empty"}
        elif number == duplicated and seen[number] > 1:
            row["query"] = f"the same words of {number}"
        elif number == leaked and seen[number] > 1:
            row["query"] = golden
    world.generate(run, rows)
    task = Task(run, "shortfall", 0)
    jobs.shortfall.run(task)
    (path,) = task.dir.glob("*.parquet")
    again = Counter(pl.read_parquet(path)["stratum"].to_list())
    receipt = read_receipt(task.dir, 0)
    assert receipt is not None and receipt.metrics["strata_given_up"] == 1
    assert asked[hopeless] >= 20 and again[hopeless] == 0
    assert again[duplicated] > 0 and again[leaked] > 0
    assert pl.read_parquet(path)["index"].to_list() == list(range(len(rows), len(rows) + receipt.rows))


def test_a_second_round_is_bounded(folder: Path, one: Run) -> None:
    assert at_most([6, 0, 3], 20) == [6, 0, 3]
    assert at_most([6, 0, 3], 6) == [4, 0, 2]
    run = second(folder, refill=0.05)
    receipt = read_receipt(run.stage_dir("shortfall"), 0)
    requested = summary(one)["counts"]["requested"]
    assert receipt is not None and receipt.rows == -(-requested // 20)
    assert "(generate.refill allows no more)" in receipt.metrics["note"]


def test_a_topup_reads_both_rounds(folder: Path) -> None:
    """Its indices follow those of the second round, and it has no second round of its own."""
    run = second(folder, refill=0.05)
    need = look(run)
    assert need.short
    topup = finish(materialise(plan_topup(run, need, topup_path(run), stages=("sample", "generate", "merge"))))
    assert set(topup.plan.stages) == {"sample", "generate", "merge"}
    assert [row["name"] for row in summary(topup)["rounds"]] == ["first run", "second round", "top-up 1"]
    assert summary(topup)["counts"]["final"] > summary(run)["counts"]["final"]
    assert topup.plan.first == summary(run)["counts"]["requested"]
