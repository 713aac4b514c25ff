"""The merge stage end to end, on real shards with receipts."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

import jobs.deciding
import jobs.merge
from jobs.inputs import read_strata
from jobs.scratch import Scratch
from jobs.task import Task, read_receipt, receipt_path
from routenator.dataset.files import split_files
from routenator.domain.calls import read_calls
from routenator.domain.domain import Domain
from routenator.errors import CorruptShardError, InputError, StageError
from routenator.files import read_json, sha256_file
from routenator.normalform import normal_form
from routenator.schemas import EXAMPLE_COLUMNS, arrow_schema
from tests.jobs.world import candidate, generate, make_run, merge, merged, sample


def distinct(row: dict[str, Any]) -> dict[str, Any]:
    """All queries differ, so that only quotas decide."""
    return {**row, "query": f"{row['query']} n{row['index']}"}


def dataset(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(folder / "dataset" / f"{split}.parquet") for split in ("train", "validation")])


def test_quotas_are_exact_when_all_is_accepted(tmp_path: Path) -> None:
    run = merged(tmp_path, distinct)
    folder = run.stage_dir("merge")
    counts = read_json(folder / "merge.json")["counts"]
    assert counts["final"] == counts["wanted"] == run.config.dataset.size == 200
    assert (counts["missing"], counts["backfilled"]) == (0, 0)
    strata = {row.stratum: row.quota for row in read_strata(run)}
    chosen = {row["index"] for row in dataset(folder).iter_rows(named=True)}
    requests = [row for path in Task(run, "merge", 0).input_files("sample") for row in pq.read_table(path).to_pylist()]
    assert Counter(row["stratum"] for row in requests if row["index"] in chosen) == strata
    # A stratum's first rows are kept.
    for number, quota in strata.items():
        indices = sorted(row["index"] for row in requests if row["stratum"] == number)
        assert [index in chosen for index in indices] == [True] * quota + [False] * (len(indices) - quota)


def test_schema_order_and_groups(tmp_path: Path) -> None:
    run = merged(tmp_path, distinct, dataset={"size": 300, "validation_share": 0.3})
    folder = run.stage_dir("merge")
    for split in ("train", "validation"):
        path = folder / "dataset" / f"{split}.parquet"
        assert pq.read_schema(path).equals(arrow_schema(EXAMPLE_COLUMNS))
        frame = pl.read_parquet(path)
        assert frame["index"].is_sorted()
        assert frame["split"].unique().to_list() == [split]
    frame = dataset(folder)
    assert frame.group_by("group").agg(pl.col("split").n_unique())["split"].to_list() == [1] * frame["group"].n_unique()
    assert frame.height == 300
    assert frame["words"].to_list() == [len(query.split()) for query in frame["query"]]
    for row in frame.iter_rows(named=True):
        (call,) = json.loads(row["calls"])
        assert list(call) == ["name", "arguments"]
        assert call["name"] == row["function"]


def test_nothing_is_lost(tmp_path: Path) -> None:
    """Each candidate is in the data set or in rejected.parquet, once, with the reason that merge.json counts."""

    def edit(row: dict[str, Any]) -> dict[str, Any]:
        if row["index"] % 10 == 3:
            return {**row, "accepted": False, "reason": "grounding", "detail": "says no dog"}
        if row["index"] == 4:
            return {**row, "query": None, "accepted": False, "reason": "no_image"}  # refused before there was a query
        if row["index"] == 20:
            return {**row, "query": "THANK you card: flowers!"}  # a golden query, but for case and punctuation
        return row

    run = merged(tmp_path, edit, shards=3)
    folder = run.stage_dir("merge")
    counts = read_json(folder / "merge.json")["counts"]
    rejected = pl.read_parquet(folder / "dataset" / "rejected.parquet")
    assert rejected.columns == ["index", "query", "reason", "detail"]
    everything = sorted([*rejected["index"], *dataset(folder)["index"]])
    assert everything == list(range(counts["requested"]))
    assert counts["generated"] == counts["requested"] - 1
    found = Counter(rejected["reason"])
    assert found == Counter(counts["rejected"]) + Counter(counts["dropped"])
    assert found["grounding"] == sum(index % 10 == 3 for index in range(counts["requested"]))
    assert found["no_image"] == 1
    assert found["golden_leak"] == 1
    assert found["duplicate"] > 0
    assert found["near_duplicate"] > 0
    assert counts["accepted"] == counts["generated"] - found["grounding"]
    assert None in rejected["query"].to_list()
    reasons = {row["index"]: row for row in rejected.iter_rows(named=True)}
    assert (reasons[3]["reason"], reasons[3]["detail"]) == ("grounding", "says no dog")
    assert (reasons[20]["reason"], reasons[20]["detail"]) == ("golden_leak", "same as a golden query")
    kept = {row["index"]: row["query"] for row in dataset(folder).iter_rows(named=True)} | {
        i: r["query"] for i, r in reasons.items()
    }
    for row in rejected.filter(pl.col("reason") == "duplicate").iter_rows(named=True):
        first = int(row["detail"].split()[1])
        assert first < row["index"]
        assert normal_form(kept[first]) == normal_form(row["query"])
    queries = [normal_form(query) for query in dataset(folder)["query"]]
    assert len(queries) == len(set(queries))
    golden = {normal_form(json.loads(line)["query"]) for line in run.golden_file.read_text().splitlines()}
    assert not golden & set(queries)


@pytest.mark.parametrize("near", ["bag", *(pytest.param(near, marks=pytest.mark.slow) for near in ("off", "minhash"))])
def test_the_shard_count_changes_no_byte(tmp_path: Path, near: str) -> None:
    folders = []
    for shards in (1, 7, 50):
        formats = ["openai", "openai_parquet", "bfcl"]
        run = merged(
            tmp_path / str(shards),
            shards=shards,
            dataset={"size": 200, "rows_per_file": 60},
            merge={"near_duplicates": near, "formats": formats},
        )
        folders.append(run.stage_dir("merge"))
    names = sorted(path.name for path in (folders[0] / "dataset").iterdir() if path.name != "README.md")
    assert len(names) > 12
    for name in (*(f"dataset/{name}" for name in names), "merge.json", "acceptance.json"):
        assert len({sha256_file(folder / name) for folder in folders}) == 1, name


def test_a_route_that_is_rejected_is_backfilled_from_others(tmp_path: Path) -> None:
    def edit(row: dict[str, Any]) -> dict[str, Any]:
        return {
            **distinct(row),
            "accepted": row["route"] != "vision",
            "reason": "length" if row["route"] == "vision" else None,
        }

    run = merged(tmp_path, edit)
    summary = read_json(run.stage_dir("merge") / "merge.json")
    short = [row for row in summary["deficits"] if row["route"] == "vision"]
    assert sum(row["quota"] for row in short) == sum(row["backfilled"] + row["missing"] for row in short)
    assert summary["counts"]["backfilled"] == sum(row["backfilled"] for row in summary["deficits"]) > 0
    routes = {row["name"]: row for row in summary["distribution"]["dimensions"]["route"]["rows"]}
    assert routes["vision"]["final"]["rows"] == 0
    assert routes["vision"]["target"] > 0
    without = merged(tmp_path / "without", edit, merge={"backfill": False})
    counts = read_json(without.stage_dir("merge") / "merge.json")["counts"]
    assert counts["backfilled"] == 0
    assert counts["missing"] == sum(row["quota"] for row in short)


@pytest.mark.parametrize("per_file", [1000, 60])
def test_a_data_set_with_messages_as_parquet_loads_by_its_card(tmp_path: Path, per_file: int) -> None:
    """The card's ``train*.parquet`` took in ``train.openai.parquet`` too, so nothing could be read."""
    from datasets import load_dataset

    formats = ["openai", "openai_parquet"]
    run = merged(tmp_path, distinct, dataset={"size": 200, "rows_per_file": per_file}, merge={"formats": formats})
    folder = run.stage_dir("merge") / "dataset"
    assert len(list(folder.glob("train*.openai.parquet"))) == (1 if per_file == 1000 else 4)
    loaded = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {*loaded} == {"train", "validation"}
    for split, rows in loaded.items():
        own = pl.concat(pl.read_parquet(file) for file in split_files(folder, split))
        assert rows["query"][:] == own["query"].to_list() and rows.column_names == own.columns


def test_every_format_and_large_sets_in_several_files(tmp_path: Path) -> None:
    formats = ["openai", "axolotl", "llamafactory", "bfcl"]
    run = merged(tmp_path, distinct, dataset={"size": 200, "rows_per_file": 90}, merge={"formats": formats})
    folder = run.stage_dir("merge") / "dataset"
    train = sorted(path.name for path in folder.glob("train*.parquet"))
    assert train == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"] or len(train) == 3
    total = pl.read_parquet(folder / "train*.parquet").height
    for suffix in (".jsonl", ".axolotl.jsonl", ".llamafactory.jsonl", ".bfcl.jsonl", ".bfcl_answers.jsonl"):
        parts = sorted(folder.glob(f"train-*-of-?????{suffix}"))
        lines = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
        assert len(lines) == total, suffix
    info = read_json(folder / "dataset_info.json")
    assert {entry["file_name"] for entry in info.values()} == {
        path.name for path in folder.glob("*.llamafactory.jsonl")
    }
    receipt = read_receipt(run.stage_dir("merge"), 0)
    assert receipt is not None
    assert set(receipt.files) == {path.name for path in folder.iterdir() if path.name != "README.md"} | {
        "summary",
        "acceptance",
    }
    card = (folder / "README.md").read_text()
    assert all(name in card for name in formats)


def test_openai_rows_hold_the_domains_tools(tmp_path: Path, tiny: Domain) -> None:
    run = merged(tmp_path, distinct)
    rows = [json.loads(line) for line in (run.path / "dataset" / "train.jsonl").read_text().splitlines()]
    frame = pl.read_parquet(run.path / "dataset" / "train.parquet")
    assert [row["messages"][0]["content"] for row in rows] == frame["query"].to_list()
    assert all(row["tools"] == tiny.tools() for row in rows)
    calls = [row["messages"][1]["tool_calls"][0]["function"] for row in rows]
    assert [[(call["name"], json.loads(call["arguments"]))] for call in calls] == list(map(read_calls, frame["calls"]))


def test_the_card_names_plan_config_and_generators(tmp_path: Path) -> None:
    card = (merged(tmp_path, distinct).path / "dataset" / "README.md").read_text()
    front = card.split("---\n")[1]
    assert "license: other" in front
    for text in (
        "`abcdef012345`",
        "package:smollm2-135m-instruct",
        "no vision-language model",
        '"oversample"',
        "| search | 60.0% |",
    ):
        assert text in card


def test_summary_for_the_report(tmp_path: Path) -> None:
    summary = read_json(merged(tmp_path, distinct).stage_dir("merge") / "merge.json")
    assert len(summary["examples"]) == 30
    assert {row["function"] for row in summary["examples"]} == {"search", "book"}
    assert len({row["route"] for row in summary["examples"]}) == 3
    assert summary["generators"] == {"heuristic": 200}
    assert set(summary["words"]) == {"search", "book"}
    assert summary["golden_words"]["search"]["rows"] == 3
    search = summary["positions"]["search"]
    assert sum(row["rows"] for row in search["rows"]) + search["absent"] == summary["words"]["search"]["rows"]
    assert search["measures"]["total_variation"]["value"] < 0.5


@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_a_corrupt_shard_is_named(tmp_path: Path, damage: str) -> None:
    run = make_run(tmp_path, 2)
    path = generate(run, [candidate(request) for request in sample(run)])[1]
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
    with pytest.raises(CorruptShardError, match="generate shard 1 "):
        jobs.merge.run(Task(run, "merge", 0))
    assert not (run.stage_dir("merge") / "dataset").exists()


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path, 2)
    generate(run, [candidate(request) for request in sample(run)])
    receipt_path(run.stage_dir("generate"), 1).unlink()
    with pytest.raises(StageError, match="generate shard 1 is not done"):
        jobs.merge.run(Task(run, "merge", 0))


def test_nothing_accepted_says_why(tmp_path: Path) -> None:
    def edit(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "accepted": False, "reason": "length" if row["index"] % 3 else "grounding"}

    with pytest.raises(StageError, match=r"none of \d+ candidates was accepted.*reasons: length \d+, grounding \d+"):
        merged(tmp_path, edit)


def test_all_queries_golden_says_so(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"reasons: golden_leak \d+"):
        merged(tmp_path, lambda row: {**row, "query": "Logo w/ a red kite"})


def test_done_is_done(tmp_path: Path) -> None:
    run = merged(tmp_path, distinct)
    folder = run.stage_dir("merge")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    merge(run)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before
    assert not list(folder.glob("*.work")) and not list(folder.glob("*.progress.json"))


def test_a_second_attempt_at_once_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that loses leaves the winner's files intact."""
    run = merged(tmp_path, distinct)
    folder = run.stage_dir("merge")
    receipt = read_receipt(folder, 0)
    assert receipt is not None
    late = Task(run, "merge", 0, attempt=2)
    looked = iter([False])  # it looked before the other one committed
    monkeypatch.setattr(late, "is_done", lambda: next(looked, True))
    jobs.merge.run(late)
    assert read_receipt(folder, 0) == receipt
    assert len(Task(run, "train", 0).input_files("merge", role="train.parquet")) == 1
    for role in receipt.files:
        Task(run, "train", 0).input_files("merge", role=role)  # each still has the receipt's sha256


def test_an_attempt_after_a_crash_starts_over(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    generate(run, [distinct(candidate(request)) for request in sample(run)])
    crashed = Task(run, "merge", 0)
    (crashed.work_dir / crashed.token / "dataset").mkdir(parents=True)
    (crashed.work_dir / crashed.token / "dataset" / "train.parquet").write_bytes(b"half")
    merge(run)
    assert dataset(run.stage_dir("merge")).height == 200
    assert not crashed.dir.joinpath("shard-00000.work").exists()
    shutil.rmtree(run.path)  # the stage store stands on its own
    assert dataset(crashed.dir).height == 200


class Killed(BaseException):
    """Stands for a SIGKILL: nothing of the attempt runs after it."""


@pytest.mark.parametrize("place", ["beside", "elsewhere"])
def test_an_attempt_that_was_killed_while_it_wrote_leaves_its_verdicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    spill = tmp_path / "spill"
    options = {"merge": {"spill_dir": str(spill)} if place == "elsewhere" else {}}
    whole = merged(tmp_path / "whole", distinct).stage_dir("merge")
    run = make_run(tmp_path, **options)
    generate(run, [distinct(candidate(request)) for request in sample(run)])

    def kill(*_: object, **__: object) -> None:
        raise Killed

    killed = Task(run, "merge", 0)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(jobs.merge, "write_dataset", kill)
        jobs.merge.run(killed)
    root = next(spill.iterdir()) if place == "elsewhere" else killed.work_dir
    assert len(list(root.glob("decisions-*"))) == 1
    assert list(root.glob("attempt-*"))
    with monkeypatch.context() as patch:
        patch.setattr(jobs.deciding, "decide", kill)  # must not be asked again
        merge(run)
    for name in ("dataset/train.jsonl", "dataset/train.parquet", "dataset/rejected.parquet", "merge.json"):
        assert sha256_file(run.stage_dir("merge") / name) == sha256_file(whole / name)
    assert not root.exists() and not killed.dir.joinpath("shard-00000.work").exists()


def test_a_dead_attempts_scratch_is_removed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    task = Task(make_run(tmp_path), "merge", 0)
    living = Scratch(task, None)
    folder = living.begin()
    dead = task.work_dir / "attempt-dead"
    dead.mkdir()
    (dead / "lock").touch()
    other = Scratch(Task(task.run, "merge", 0), None)
    mine = other.begin()
    assert folder.exists() and not dead.exists()
    other.end()
    assert folder.exists() and not mine.exists()
    living.end()
    assert not (task.dir / "shard-00000.work").exists()


def test_a_failure_of_its_own_leaves_no_spill(tmp_path: Path) -> None:
    def edit(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "accepted": False, "reason": "length"}

    with pytest.raises(StageError, match="reasons: length"):
        merged(tmp_path, edit, merge={"spill_dir": str(tmp_path / "spill")})
    assert not list((tmp_path / "spill").iterdir())
    assert not list(tmp_path.glob("runs/stages/merge-*/*.work"))


def test_a_spill_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((InputError, OSError), match="file"):
        merged(tmp_path, distinct, merge={"spill_dir": str(tmp_path / "file" / "spill")})


def test_too_little_room_is_told_with_figures(tmp_path: Path) -> None:
    from routenator.dataset.spill import check_spill

    check_spill(tmp_path, "merge.spill_dir", 1000, 0)
    with pytest.raises(
        InputError,
        match=r"(?s)not enough disk space for the merge.*key: *merge.spill_dir.*GiB free.*expected: *[0-9.]+ GiB",
    ):
        check_spill(tmp_path / "not yet there", "merge.spill_dir", 10**13, 500)


def test_near_leaks_have_a_reason_of_their_own(tmp_path: Path) -> None:
    golden = "Thank you card: flowers"

    def edit(row: dict[str, Any]) -> dict[str, Any]:
        return {
            **distinct(row),
            **(
                {"query": f"{golden} " * (row["index"] == 20) or "flowers card, thank you"}
                if row["index"] in (20, 21)
                else {}
            ),
        }

    run = merged(tmp_path, edit)
    rejected = pl.read_parquet(run.stage_dir("merge") / "dataset" / "rejected.parquet").filter(
        pl.col("index").is_in([20, 21])
    )
    assert rejected.select("reason", "detail").rows() == [
        ("golden_leak", "same as a golden query"),
        ("golden_near_leak", "nearly the same as a golden query"),
    ]


def test_the_card_tells_quotas_and_duplicates(tmp_path: Path) -> None:
    run = merged(tmp_path)
    counts = read_json(run.stage_dir("merge") / "merge.json")["counts"]
    card = (run.path / "dataset" / "README.md").read_text()
    assert counts["dropped"]["duplicate"] > 0
    assert f"| duplicate | {counts['dropped']['duplicate']:,} |" in card
    assert f"quotas met: {counts['strata_full']:,} of {counts['strata']:,} strata" in card


@pytest.mark.slow
def test_ambiguous_rows_are_dropped_with_their_neighbours_named(tmp_path: Path) -> None:
    """With real embeddings: rows that mean the same as another function's queries."""
    said: dict[str, list[str]] = {"search": [], "book": []}

    def swapped(request: dict[str, Any]) -> dict[str, Any]:
        row = distinct(request)
        said[row["function"]].append(row["query"])
        if row["function"] == "search" and row["index"] % 20 == 0 and said["book"]:
            row["query"] = f"{said['book'][-1]} please"
        return row

    run = merged(tmp_path, swapped, merge={"ambiguity": 1.0, "ambiguity_neighbours": 5})
    folder = run.stage_dir("merge")
    rejected = pl.read_parquet(folder / "dataset" / "rejected.parquet").filter(pl.col("reason") == "ambiguous")
    assert rejected.height == read_json(folder / "merge.json")["counts"]["dropped"]["ambiguous"] >= 3
    for row in rejected.iter_rows(named=True):
        assert row["query"].endswith("please")
        assert (
            row["detail"].startswith("5 of its 5 nearest queries belong to another function: row ")
            and row["detail"].count("(book)") == 3
        )
