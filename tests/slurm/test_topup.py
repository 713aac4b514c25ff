"""The closed loop on real stages: a deficit, top-ups to every quota, plans from measured acceptance. Uses no model."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
import yaml

from jobs.entry import run_task
from jobs.plan import Run
from jobs.stages import DATA_STAGES
from jobs.task import read_receipt, receipt_path
from routenator.errors import CorruptShardError, InputError, StageError
from routenator.files import read_json, sha256_file, sha256_tree
from slurm.planning.measured import acceptance_note
from slurm.planning.planner import make_plan, materialise
from slurm.planning.topup import builds_on, given_up, look, pilot_config, plan_topup, topup_path
from tests.conftest import TINY, make_config

SIZE = 100


def write_domain(folder: Path, buckets: dict[str, list[int]]) -> Path:
    """The tiny domain with length buckets that are unevenly hard to meet."""
    shutil.copytree(TINY, folder)
    statistics = yaml.safe_load((folder / "statistics.yaml").read_text())
    statistics["length_buckets"] = buckets
    (folder / "statistics.yaml").write_text(yaml.safe_dump(statistics))
    # More phrasings, so that no stratum runs out of distinct queries.
    book = folder / "templates" / "heuristic" / "book.yaml"
    book.write_text(
        book.read_text().replace(
            "[book|reserve|", "[book|reserve|get|find|need|want|book me|find me|get me|i need|i want|"
        )
    )
    lexicon = folder / "lexicon.yaml"
    lexicon.write_text(
        lexicon.read_text().replace("[happy, calm, bright]", "[happy, calm, bright, dark, small, large, old, new]")
    )
    fragment = folder / "templates" / "heuristic" / "search.yaml"
    fragment.write_text(fragment.read_text().replace("i need it today", "i need it today please"))
    return folder


def loop_config(folder: Path, **changes: Any) -> Any:
    domain = folder / "domain"
    if not domain.exists():
        write_domain(domain, {"short": [1, 10], "long": [11, 40]})
    value: dict[str, Any] = {
        "domain": str(domain),
        "root": str(folder / "runs"),
        "dataset": {"size": SIZE},
        "sample": {"shards": 2, "tries": 3},
        "generate": {"shards": 3, "chunk_rows": 16, "routes": {"heuristic": 1}},
        "merge": {"backfill": False},
    }
    return make_config(**{**value, **changes})


def finish(run: Run) -> Run:
    """Run every stage of the plan here."""
    for stage, entry in run.plan.stages.items():
        run_task(run.path, stage, range(entry.shards))
    return run


def made(config: Any) -> Run:
    return finish(materialise(make_plan(config, stages=DATA_STAGES)))


def top_up(run: Run, shards: int | None = None, path: Path | None = None) -> Run:
    return finish(materialise(plan_topup(run, look(run), path or topup_path(run), stages=DATA_STAGES, shards=shards)))


def summary(run: Run) -> dict[str, Any]:
    value: dict[str, Any] = read_json(run.stage_dir("merge") / "merge.json")
    return value


def dataset_digests(run: Run) -> dict[str, str]:
    folder = run.stage_dir("merge") / "dataset"
    # The card names the plan.
    return {path.name: sha256_file(path) for path in folder.iterdir() if path.name != "README.md"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loop")


@pytest.fixture(scope="module")
def base(folder: Path) -> Run:
    return made(loop_config(folder))


@pytest.fixture(scope="module")
def filled(base: Run) -> tuple[Run, list[int]]:
    """A run topped up until every quota is met, and the missing rows before each round."""
    run, lacks = base, [sum(look(base).wanted)]
    while lacks[-1]:
        assert len(lacks) < 8, lacks
        run = top_up(run)
        lacks.append(sum(look(run).wanted))
    return run, lacks


def test_the_merge_measures_acceptance(base: Run) -> None:
    acceptance = read_json(base.stage_dir("merge") / "acceptance.json")
    counts = summary(base)["counts"]
    for name, total in (("requested", counts["requested"]), ("accepted", counts["accepted"])):
        assert sum(row[name] for row in acceptance["strata"]) == total
    surplus = counts["dropped"]["surplus"]
    assert sum(row["kept"] for row in acceptance["strata"]) == counts["final"] + surplus
    assert acceptance["routes"][0]["kept"] == counts["final"] + surplus
    assert (acceptance["likeness"], acceptance["size"]) == (base.plan.acceptance_key, SIZE)
    shares = [row["share"] for row in acceptance["strata"]]
    assert min(shares) < 0.4 and max(shares) > 0.8, "acceptance should be uneven"
    assert all(0 <= row["low"] < row["share"] for row in acceptance["strata"])


def test_topups_meet_every_quota_exactly(base: Run, filled: tuple[Run, list[int]]) -> None:
    run, lacks = filled
    assert lacks[0] > 10 and lacks[-1] == 0
    assert lacks == sorted(lacks, reverse=True)
    found = summary(run)
    assert found["deficits"] == []
    assert found["counts"]["final"] == found["counts"]["wanted"] == SIZE and found["counts"]["backfilled"] == 0
    rows = pl.concat(
        [pl.read_parquet(run.stage_dir("merge") / "dataset" / f"{split}.parquet") for split in ("train", "validation")]
    )
    key = ("function", "category", "route", "template", "length", "language")
    quotas = {tuple(row[name] for name in key): row["quota"] for row in read_json_strata(base)}
    assert Counter(rows.select(key).rows()) == quotas
    # The indices of all rounds are consecutive, each occurring once.
    rejected = pl.read_parquet(run.stage_dir("merge") / "dataset" / "rejected*.parquet")
    everything = sorted([*rows["index"], *rejected["index"]])
    assert everything == list(range(found["counts"]["requested"]))
    assert rows["query"].n_unique() == SIZE


def read_json_strata(run: Run) -> list[dict[str, Any]]:
    file = next(run.stage_dir("sample").glob("*.strata.json"))
    rows: list[dict[str, Any]] = read_json(file)
    return rows


def test_the_rounds_are_told_one_by_one(base: Run, filled: tuple[Run, list[int]]) -> None:
    run, lacks = filled
    rounds = summary(run)["rounds"]
    assert len(rounds) == len(lacks) == len(run.plan.base) + 1
    assert rounds[0]["requested"] == summary(base)["counts"]["requested"] == run.plan.base[0].rows
    assert sum(row["final"] for row in rounds) == SIZE
    assert all(row["requested"] >= row["accepted"] >= row["kept"] >= row["final"] for row in rounds)
    first, *later = [read_json(path / "acceptance.json") for path in (base.stage_dir("merge"), run.stage_dir("merge"))]
    assert "newest" not in first["strata"][0]
    assert sum(row["newest"]["requested"] for row in later[0]["strata"]) == rounds[-1]["requested"]


def test_a_topup_requests_only_what_is_missing(base: Run) -> None:
    need = look(base)
    run = top_up(base, path=base.path.parent / "asks")
    requests = pl.read_parquet(run.stage_dir("sample") / "*.parquet")
    assert requests.height == sum(need.asked)
    assert set(requests["stratum"]) == set(need.short)
    assert requests["index"].min() == run.plan.first == summary(base)["counts"]["requested"]
    before = pl.read_parquet(base.stage_dir("sample") / "*.parquet")
    assert not set(requests["seed"]) & set(before["seed"])


def test_one_and_five_shards_give_the_same_bytes(base: Run, tmp_path: Path) -> None:
    one = top_up(base, shards=1, path=base.path.parent / "one-shard")
    five = top_up(base, shards=5, path=base.path.parent / "five-shards")
    assert (one.plan.stages["generate"].shards, five.plan.stages["generate"].shards) == (1, 5)
    assert one.stage_dir("merge") != five.stage_dir("merge")
    assert dataset_digests(one) == dataset_digests(five)
    assert len(dataset_digests(one)) >= 4
    for name in ("merge.json", "acceptance.json"):
        assert sha256_file(one.stage_dir("merge") / name) == sha256_file(five.stage_dir("merge") / name)


def test_the_base_is_never_changed(folder: Path) -> None:
    run = made(loop_config(folder, seed=21))
    places = [run.path, *(run.stage_dir(stage) for stage in DATA_STAGES)]
    before = [sha256_tree(place) for place in places]
    made_now = top_up(run)
    assert builds_on(made_now, run) and not builds_on(run, made_now)
    assert [sha256_tree(place) for place in places] == before
    assert made_now.path.name == f"{run.path.name}-topup1" and topup_path(made_now).name == f"{run.path.name}-topup2"
    assert (made_now.path / "acceptance.json").read_bytes() == (run.stage_dir("merge") / "acceptance.json").read_bytes()
    # Repeating the command gives the same run.
    again = plan_topup(run, look(run), topup_path(run), stages=DATA_STAGES)
    assert again.stages == made_now.plan.stages


def test_with_measured_acceptance_a_second_run_meets_its_quotas_at_once(
    folder: Path, filled: tuple[Run, list[int]]
) -> None:
    generate = {
        "shards": 3,
        "chunk_rows": 16,
        "routes": {"heuristic": 1},
        "acceptance": "auto",
        "confidence": 0.999,
        "oversample_limit": 60,
    }
    config = loop_config(folder, seed=12, generate=generate)
    plan = make_plan(config, stages=DATA_STAGES)
    assert plan.acceptance is not None and plan.requested is not None
    said = acceptance_note("auto", plan)
    assert said is not None and plan.acceptance.file in said
    run = finish(materialise(plan))
    assert summary(run)["deficits"] == []
    assert summary(run)["counts"]["final"] == SIZE
    assert sum(plan.requested) == summary(run)["counts"]["requested"]
    # The acceptance used is in the plan and copied beside it, and repeating the command gives the same plan although
    # this run has measured acceptance too.
    assert sha256_file(run.path / "acceptance.json") == plan.acceptance.sha256
    assert make_plan(config, stages=DATA_STAGES).fingerprint == plan.fingerprint
    assert make_plan(run.config, stages=DATA_STAGES).fingerprint == plan.fingerprint


def test_auto_uses_only_a_matching_run(folder: Path, base: Run) -> None:
    def measured(**changes: Any) -> bool:
        generate = {"acceptance": "auto", "routes": {"heuristic": 1}}
        config = loop_config(folder, **{"seed": 5, **changes, "generate": {**generate, **changes.get("generate", {})}})
        return make_plan(config, stages=DATA_STAGES).acceptance is not None

    assert measured() and measured(dataset={"size": 700}) and measured(generate={"shards": 9})
    assert not measured(checks={"length": False})
    assert not measured(sample={"tries": 9})
    assert not measured(root=str(folder / "elsewhere"))
    plan = make_plan(
        loop_config(folder, root=str(folder / "elsewhere"), generate={"acceptance": "auto"}), stages=DATA_STAGES
    )
    assert plan.requested is None and plan.config.generate.acceptance is None
    assert "generate.oversample" in (acceptance_note("auto", plan) or "")


def test_a_run_or_a_file_can_be_named(folder: Path, base: Run) -> None:
    file = base.stage_dir("merge") / "acceptance.json"
    plans = [
        make_plan(loop_config(folder, seed=5, generate={"acceptance": str(source)}), stages=DATA_STAGES)
        for source in (base.path, file, file.parent)
    ]
    assert len({plan.fingerprint for plan in plans}) == 1 and plans[0].acceptance is not None
    assert plans[0].acceptance.file == str(file)
    with pytest.raises(InputError, match="no acceptance has been measured here"):
        make_plan(loop_config(folder, generate={"acceptance": str(folder / "nowhere")}))


def test_acceptance_of_another_domain_is_refused(folder: Path, tmp_path: Path, base: Run) -> None:
    file = tmp_path / "acceptance.json"
    file.write_text(
        (base.stage_dir("merge") / "acceptance.json").read_text().replace('"function": "', '"function": "other_')
    )
    with pytest.raises(InputError, match="measured on other functions and routes"):
        make_plan(loop_config(folder, generate={"acceptance": str(file)}))


def test_a_file_that_changes_between_plan_and_run_is_refused(folder: Path, tmp_path: Path, base: Run) -> None:
    file = tmp_path / "acceptance.json"
    shutil.copyfile(base.stage_dir("merge") / "acceptance.json", file)
    plan = make_plan(loop_config(folder, seed=77, generate={"acceptance": str(file)}), stages=DATA_STAGES)
    file.write_text(file.read_text() + "\n")
    with pytest.raises(InputError, match="changed while the plan was made"):
        materialise(plan)


def test_a_hopeless_stratum_is_named_and_not_requested(tmp_path: Path) -> None:
    write_domain(tmp_path / "domain", {"short": [1, 5], "long": [6, 40]})  # `book` cannot say its place in five words
    base = made(loop_config(tmp_path))
    probed = look(base)
    assert not probed.hopeless, "too few requests to decide"
    nothing = [
        n for n, row in enumerate(read_json(base.stage_dir("merge") / "acceptance.json")["strata"]) if not row["kept"]
    ]
    assert nothing and all(0 < probed.asked[number] <= max(20, 2 * probed.wanted[number]) for number in nothing)
    run = top_up(base)
    need = look(run)
    assert set(need.hopeless) & set(nothing)
    assert all(need.asked[number] == 0 and need.wanted[number] > 0 for number in need.hopeless)
    lost = list(given_up(run, need))
    assert len(lost) == len(need.hopeless)
    assert all(stratum.requested >= 20 and stratum.reasons and len(stratum.examples) == 2 for stratum in lost)
    book = next(stratum for stratum in lost if stratum.name.startswith("book / bistro") and "short" in stratum.name)
    assert book.reasons[0][0] == "length" and book.lacks > 0
    assert "not 1 to 5" in book.examples[0]["detail"] and book.examples[0]["query"]
    plan = make_plan(
        loop_config(tmp_path, seed=3, generate={"routes": {"heuristic": 1}, "acceptance": str(run.path)}),
        stages=DATA_STAGES,
    )
    assert "nothing survived there of: book" in (acceptance_note(str(run.path), plan) or "")
    measured = read_json(run.stage_dir("merge") / "acceptance.json")["strata"]
    assert plan.requested is not None
    for found, asked, row in zip(measured, plan.requested, read_json_strata(base), strict=True):
        if found["requested"] >= 20 and not found["kept"]:
            assert asked <= 2 * row["quota"], "as if nothing were known"


def test_backfilled_places_are_short_too(tmp_path: Path) -> None:
    generate = {"oversample": {"heuristic": 1.6}, "routes": {"heuristic": 1}}
    run = made(loop_config(tmp_path, sample={"tries": 2}, generate=generate, merge={"backfill": True}))
    counts = summary(run)["counts"]
    assert counts["backfilled"] > 0
    assert sum(look(run).wanted) == counts["backfilled"] + counts["missing"]


def test_a_base_shard_that_is_gone_is_named(tmp_path: Path) -> None:
    base = made(loop_config(tmp_path))
    run = materialise(plan_topup(base, look(base), topup_path(base), stages=DATA_STAGES))
    receipt_path(base.stage_dir("generate"), 1).unlink()
    for stage in ("sample", "generate"):
        run_task(run.path, stage, range(run.plan.stages[stage].shards))
    with pytest.raises(StageError, match=rf"generate of {base.path.name}, shard 1, is missing"):
        run_task(run.path, "merge", [0])


def test_a_changed_snapshot_and_an_unfinished_run_are_refused(tmp_path: Path) -> None:
    unfinished = materialise(make_plan(loop_config(tmp_path, seed=2), stages=DATA_STAGES))
    with pytest.raises(InputError, match="its merge is not done"):
        look(unfinished)
    with pytest.raises(InputError, match="its merge is not done"):
        make_plan(loop_config(tmp_path, generate={"acceptance": str(unfinished.path)}))
    base = made(loop_config(tmp_path))
    need = look(base)
    (base.domain_dir / "lexicon.yaml").write_text((base.domain_dir / "lexicon.yaml").read_text() + "other: [x]\n")
    with pytest.raises(InputError, match="snapshot of its domain was changed"):
        plan_topup(base, need, topup_path(base), stages=DATA_STAGES)
    # As an earlier version's snapshot of the domain.
    (base.domain_dir / "templates" / "heuristic" / "old.txt").write_text("---\nfunctions: [book]\n---\n{city}\n")
    with pytest.raises(InputError, match="cannot read the run's domain") as error:
        look(base)
    assert "old.txt" in str(error.value) and str(base.path / "code") in str(error.value)
    assert "convert" not in str(error.value), "a snapshot must stay as it is"


def test_candidates_of_an_earlier_version_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    """They were found out only by the merge of the top-up, when its rows had been generated."""
    base = made(loop_config(tmp_path))
    receipt = read_receipt(base.stage_dir("generate"), 0)
    assert receipt is not None
    file = receipt.path(base.stage_dir("generate"))
    old = pq.read_table(file).drop_columns(["calls"])
    file.chmod(0o644)
    pq.write_table(old, file)
    with pytest.raises(InputError, match="cannot read the run's candidates") as error:
        look(base)
    assert "no column calls" in str(error.value) and str(base.path / "code") in str(error.value)
    file.unlink()
    with pytest.raises(CorruptShardError, match=rf"generate of {base.path.name}, shard 0 .* cannot be read"):
        look(base)


def test_a_pilot_is_small_and_ends_with_merge(folder: Path) -> None:
    config = loop_config(folder, generate={"shards": 40, "chunk_rows": 16, "acceptance": "auto"})
    small = pilot_config(config, 60)
    assert (small.dataset.size, small.sample.shards, small.generate.shards) == (60, 1, 4)
    assert small.generate.acceptance is None and small.name == "test-pilot"
    plan = make_plan(small, stages=DATA_STAGES)
    assert (
        tuple(plan.stages) == DATA_STAGES
        and plan.acceptance_key == make_plan(config, stages=DATA_STAGES).acceptance_key
    )
    with pytest.raises(InputError, match="smaller than its run"):
        pilot_config(config, SIZE)


def test_nothing_is_submitted_if_every_missing_stratum_is_hopeless(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from launch import app

    write_domain(
        tmp_path / "domain", {"short": [1, 2], "long": [3, 40]}
    )  # no heuristic template says anything in two words
    run = made(
        loop_config(
            tmp_path, dataset={"size": 60}, generate={"oversample": {"heuristic": 20.0}, "routes": {"heuristic": 1}}
        )
    )
    need = look(run)
    assert set(need.short) == set(need.hopeless) and not any(need.asked)
    before = set(run.path.parent.iterdir())
    result = CliRunner().invoke(app, ["topup", str(run.path)])
    assert result.exit_code == 1
    assert (
        "given up: book" in result.output
        and "reasons: length" in result.output
        and result.output.count("example: '") == 2 * len(need.short)
    )
    assert "nothing was submitted" in result.output
    assert set(run.path.parent.iterdir()) == before
