"""Fingerprints, reuse, and the run directory."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.plan import Run
from jobs.stages import DATA_STAGES, SECOND_ROUND, STAGES, up_to
from jobs.task import Task, missing_shards
from routenator.errors import InputError
from slurm.planning.fingerprints import stage_fingerprints
from slurm.planning.planner import (
    check_run_dir,
    make_plan,
    materialise,
    planned_run,
    with_absolute_paths,
)
from tests.slurm.conftest import PACKAGE, make_config

VERSIONS = dict.fromkeys(STAGES, 1)


def changed(tmp_path: Path, **changes: Any) -> set[str]:
    """Return the stages whose fingerprint changes with this change of the config."""
    before = stage_fingerprints(make_config(tmp_path), "domain", "golden", VERSIONS)
    after = stage_fingerprints(make_config(tmp_path, **changes), "domain", "golden", VERSIONS)
    return {stage for stage in STAGES if before[stage] != after[stage]}


ALL = set(STAGES)
CASES: list[tuple[dict[str, Any], set[str]]] = [
    ({"seed": 4}, ALL),
    ({"dataset__size": 77}, ALL),
    ({"sample__shards": 9}, ALL),
    ({"generate__oversample": {"text": 3.0}}, ALL),
    ({"generate__routes": {"heuristic": 1}}, ALL),
    ({"generate__chunk_rows": 8}, ALL - {"sample"}),
    ({"generate__shards": 9}, ALL - {"sample"}),
    ({"checks": {"grounding": 0.5}}, ALL - {"sample"}),
    ({"model__generator": {"model": "org/other"}}, ALL - {"sample"}),
    ({"model__generator": {"model": "org/generator", "guided": False}}, ALL),  # other templates serve
    ({"generate__refill": 0.5}, ALL - {"sample", "generate"}),
    ({"generate__confidence": 0.5}, ALL - {"sample", "generate"}),
    ({"dataset__validation_share": 0.3}, ALL - {"sample", "generate", *SECOND_ROUND}),
    ({"merge": {"formats": ["bfcl"]}}, ALL - {"sample", "generate", *SECOND_ROUND}),
    ({"merge": {"ambiguity": 0.9}}, ALL - {"sample", "generate"}),
    ({"merge": {"ambiguity_neighbours": 3}}, set()),  # irrelevant while ambiguity is off
    ({"train": {"epochs": 1}}, {"train", "evaluate", "report"}),
    ({"model__trainee": "org/other"}, {"train", "evaluate", "report"}),
    ({"model__embedder": "org/other"}, {"evaluate", "report"}),
    ({"evaluate": {"limit": 5}}, {"evaluate", "report"}),
    ({"name": "renamed"}, {"report"}),
    ({"evaluate": {"workers": 7}}, set()),
    ({"evaluate": {"match": "own"}}, set()),
    ({"evaluate": {"match": "berkeley"}}, {"evaluate", "report"}),
    ({"model__generator": {"model": "org/generator", "engines": 3}}, set()),
    ({"cluster": {"kind": "slurm", "partition": "gpu"}}, set()),
    ({"root": "elsewhere"}, set()),
    ({"cache": "elsewhere"}, set()),
]


@pytest.mark.parametrize(("changes", "expected"), CASES, ids=[next(iter(changes)) for changes, _ in CASES])
def test_a_change_reaches_the_stages_that_depend_on_it(
    tmp_path: Path, changes: dict[str, Any], expected: set[str]
) -> None:
    assert changed(tmp_path, **changes) == expected


def test_a_report_depends_on_the_stages_that_it_shows(tmp_path: Path) -> None:
    """Two runs of one config, to the end and until the data set, share their stages, but not the page about them."""
    config = make_config(tmp_path)
    whole, data = make_plan(config).stages, make_plan(config, stages=up_to("merge")).stages
    assert list(data) == ["sample", "generate", "merge", "report"]
    assert {name for name in data if data[name].fingerprint != whole[name].fingerprint} == {"report"}
    assert make_plan(config, stages=up_to("merge")).stages == data
    assert up_to("train") == ("sample", "generate", *SECOND_ROUND, "merge", "train", "report")
    assert up_to("generate") == ("sample", "generate") and up_to("report") == tuple(STAGES)


def test_a_second_round_is_planned_at_once_and_changes_nothing_before_it(tmp_path: Path) -> None:
    """What is missing is known only after the first round, and a plan never changes: a run ended with 998 of 1,000."""
    one = make_plan(make_config(tmp_path, generate__shards=9)).stages
    two = make_plan(make_config(tmp_path, generate__shards=9, generate__refill=0.25)).stages
    assert tuple(two) == tuple(STAGES) and set(STAGES) - set(one) == set(SECOND_ROUND)
    assert {name for name in one if one[name] == two[name]} == {"sample", "generate"}
    assert (two["shortfall"].shards, two["refill"].shards) == (1, 3)
    data = make_plan(make_config(tmp_path, generate__shards=9, generate__refill=0.25), stages=DATA_STAGES).stages
    assert data == {name: one[name] for name in DATA_STAGES}, "a pilot has one round, like a run without a second"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("model__trainee", {"train", "evaluate", "report"}),
        ("model__embedder", {"evaluate", "report"}),
        ("model__generator", ALL - {"sample"}),
    ],
)
def test_other_weights_in_the_same_folder_are_another_model(tmp_path: Path, key: str, expected: set[str]) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()

    def prints() -> dict[str, str]:
        value: Any = {"model": str(folder)} if key == "model__generator" else str(folder)
        return stage_fingerprints(make_config(tmp_path, **{key: value}), "domain", "golden", VERSIONS)

    (folder / "model.safetensors").write_bytes(b"before")
    before = prints()
    (folder / "model.safetensors").write_bytes(b"after.")
    os.utime(folder / "model.safetensors", (0, 0))  # timestamps of file systems are coarse
    after = prints()
    assert {stage for stage in STAGES if before[stage] != after[stage]} == expected
    folder = folder.rename(tmp_path / "moved")
    assert prints() == after


def test_domain_golden_and_version_reach_what_depends_on_them(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    base = stage_fingerprints(config, "domain", "golden", VERSIONS)

    def differs(*arguments: Any) -> set[str]:
        other = stage_fingerprints(config, *arguments)
        return {stage for stage in STAGES if other[stage] != base[stage]}

    assert differs("other", "golden", VERSIONS) == ALL
    assert differs("domain", "other", VERSIONS) == ALL - {"sample", "generate"}
    assert differs("domain", "golden", {**VERSIONS, "train": 2}) == {"train", "evaluate", "report"}


def plan_of(config: Any) -> Any:
    return make_plan(config, ["launch.py", "run"], package=PACKAGE)


def test_the_run_directory_holds_plan_config_code_and_domain(make_run: Callable[..., Run], tmp_path: Path) -> None:
    from routenator.compose import load_config

    run = make_run()
    assert {path.name for path in run.path.iterdir()} == {"plan.json", "config.yaml", "code", "domain"}
    assert {path.name for path in (run.path / "code").iterdir()} == {"routenator", "jobs", "slurm"}
    compiled = [file for folder in (run.path / "code").rglob("__pycache__") for file in folder.iterdir()]
    assert {file.suffix for file in compiled} <= {".nbi", ".nbc"}
    assert (run.path / "domain" / "golden.jsonl").read_bytes() == (tmp_path / "domain" / "golden.jsonl").read_bytes()
    again = load_config(run.path / "config.yaml")
    assert plan_of(again).fingerprint == run.plan.fingerprint
    assert run.stage_dir("train") == tmp_path / "runs" / "stages" / f"train-{run.plan.stages['train'].fingerprint}"
    assert not list((tmp_path / "runs").glob(".*")), "a temporary folder was left"


def test_a_golden_file_of_its_own_goes_into_the_snapshot(make_run: Callable[..., Run], tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text("{}\n")
    run = make_run(golden=str(other))
    assert run.golden_file.read_text() == "{}\n"
    assert run.plan.golden_sha256 != make_run().plan.golden_sha256


def commit(run: Run, stage: str, index: int) -> None:
    task = Task(run, stage, index)
    path = task.output(".txt")
    path.write_text("x")
    assert task.commit({"data": path}, rows=1)


def test_changed_training_reuses_the_data(make_run: Callable[..., Run], tmp_path: Path) -> None:
    run = make_run()
    for stage, entry in run.plan.stages.items():
        for index in range(entry.shards):
            commit(run, stage, index)

    def unfinished(**changes: Any) -> set[str]:
        other = planned_run(plan_of(make_config(tmp_path, **changes)))
        return {stage for stage in other.plan.stages if missing_shards(other, stage)}

    assert not unfinished()
    assert unfinished(train={"epochs": 1}) == {"train", "evaluate", "report"}
    (tmp_path / "domain" / "template.txt").write_text("changed")
    assert unfinished() == set(run.plan.stages)


def test_notes_beside_the_golden_set_change_nothing(make_run: Callable[..., Run], tmp_path: Path) -> None:
    before = make_run().plan
    (tmp_path / "domain" / "README.md").write_text("notes")
    assert plan_of(make_config(tmp_path)).fingerprint == before.fingerprint


def test_materialise_again_changes_nothing_and_shows_what_is_done(make_run: Callable[..., Run]) -> None:
    run = make_run()
    before = (run.path / "plan.json").read_bytes()
    commit(run, "merge", 0)
    assert not (run.path / "dataset").is_symlink()
    again = make_run()
    assert again.path == run.path and (run.path / "plan.json").read_bytes() == before
    assert (run.path / "dataset").is_symlink()


def test_two_commands_at_once_make_one_run(toys: Path, tmp_path: Path) -> None:
    plan = plan_of(make_config(tmp_path))
    runs: list[Run] = []
    threads = [threading.Thread(target=lambda: runs.append(materialise(plan))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(runs) == 4 and len({run.path for run in runs}) == 1
    assert Run.load(runs[0].path).plan.fingerprint == plan.fingerprint
    assert not list((tmp_path / "runs").glob(".*"))


def test_a_run_directory_of_another_plan_is_refused(make_run: Callable[..., Run], tmp_path: Path, toys: Path) -> None:
    run_dir = str(tmp_path / "mine")
    make_run(run_dir=run_dir)
    assert check_run_dir(plan_of(make_config(tmp_path, run_dir=run_dir)))
    with pytest.raises(InputError, match=r"another plan[\s\S]*differs in train"):
        check_run_dir(plan_of(make_config(tmp_path, run_dir=run_dir, train={"epochs": 1})))
    (tmp_path / "domain" / "x.txt").write_text("x")
    with pytest.raises(InputError, match="the domain's files"):
        check_run_dir(plan_of(make_config(tmp_path, run_dir=run_dir)))


def test_a_folder_of_something_else_is_refused(tmp_path: Path, toys: Path) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    plan = plan_of(make_config(tmp_path, run_dir=str(folder)))
    assert not check_run_dir(plan)
    (folder / "chapter1.tex").touch()
    with pytest.raises(InputError, match="not a run"):
        materialise(plan)
    assert [path.name for path in folder.iterdir()] == ["chapter1.tex"]


def test_relative_paths_mean_the_folder_they_were_given_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    config = with_absolute_paths(
        make_config(tmp_path, root="runs", cache="~/weights", model__trainee="models/mine", model__embedder="org/name")
    )
    assert config.root == str(tmp_path / "runs") and config.cache == str(Path.home() / "weights")
    assert config.model.trainee == str(tmp_path / "models" / "mine") and config.model.embedder == "org/name"


def test_a_missing_golden_file_is_named(tmp_path: Path, toys: Path) -> None:
    with pytest.raises(InputError, match="golden file is missing"):
        plan_of(make_config(tmp_path, golden=str(tmp_path / "none.jsonl")))


def test_plans_are_json(make_run: Callable[..., Run]) -> None:
    run = make_run()
    value = json.loads((run.path / "plan.json").read_text())
    assert value["stages"]["generate"]["shards"] == 3 and value["version"] and value["created"].endswith("Z")


def test_the_acceptance_key_keeps_its_name_on_disk(make_run: Callable[..., Run]) -> None:
    run = make_run()
    written = json.loads((run.path / "plan.json").read_text())
    assert written["likeness"] == run.plan.acceptance_key != ""
    assert "acceptance_key" not in written
