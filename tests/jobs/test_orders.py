"""Lists and objects through the stages: the domain ``orders`` from requests to the merged data set."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import polars as pl

import jobs.generate
import jobs.sample
from jobs.task import Task
from routenator.domain.dates import asked
from routenator.domain.functions import check_call
from routenator.domain.loader import load_domain
from routenator.files import read_json
from tests.conftest import ROOT
from tests.jobs.world import make_run, merge

ORDERS = ROOT / "tests" / "domains" / "orders"


def test_calls_with_lists_and_objects_reach_the_data_set(tmp_path: Path) -> None:
    """Every row with a list or an object was refused as a violation of its schema."""
    run = make_run(tmp_path, domain=ORDERS, dataset={"size": 400})
    jobs.sample.run(Task(run, "sample", 0))
    jobs.generate.run(Task(run, "generate", 0))
    folder = merge(run)
    counts = read_json(folder / "merge.json")["counts"]
    assert counts["final"] == counts["wanted"] == 400 and counts["backfilled"] == 0
    rows = pl.concat([pl.read_parquet(folder / "dataset" / f"{split}.parquet") for split in ("train", "validation")])
    domain = load_domain(ORDERS)
    sizes: Counter[int] = Counter()
    for row in rows.iter_rows(named=True):
        (call,) = json.loads(row["calls"])
        assert check_call(domain.functions[call["name"]], call["arguments"]) == []
        values = list(call["arguments"].values())
        assert any(isinstance(value, dict) for value in values), "each function has a nested object"
        sizes[next(len(value) for value in values if isinstance(value, list))] += 1
    assert set(sizes) == {1, 2, 3, 4, 5}
    # The exports state each row's day as the prompt does.
    for split in ("train", "validation"):
        shown = pl.read_parquet(folder / "dataset" / f"{split}.parquet")
        lines = (folder / "dataset" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        said = [json.loads(line)["messages"][0]["content"] for line in lines]
        assert said == [asked(query, today) for query, today in shown.select("query", "today").iter_rows()]
        assert all(text.startswith("Today is ") for text in said)
    assert set(rows["function"]) == set(domain.functions)
