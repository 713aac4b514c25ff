"""Configs of experiments, and the runs that they plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from launch import app
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from slurm.commands.runs import compose_plan
from slurm.experiments.config import load_experiment, run_config
from slurm.experiments.planned import entries_of
from tests.conftest import ROOT, TINY
from tests.slurm.experiments import world


def test_the_experiments_that_come_with_it_are_whole() -> None:
    for file in sorted((ROOT / "configs" / "experiments").glob("*.yaml")):
        experiment = load_experiment(file.stem)
        assert experiment.name == file.stem
        for arm in experiment.arms or [None]:  # type: ignore[list-item]
            run_config(experiment, arm, {"seed": 1})


@pytest.mark.slow
def test_methods_are_compared_on_one_data_set_and_epochs_on_that_of_sizes(tmp_path: Path) -> None:
    """Otherwise chance in the rows would be taken for a difference between methods or epochs."""
    root = [f"root={tmp_path}", "seeds=[1]"]
    methods = entries_of(load_experiment("methods", root))
    assert {entry.plan.config.train.method for entry in methods} == {"qlora", "lora", "prompt"}
    assert len({entry.plan.stages["merge"].fingerprint for entry in methods}) == 1
    assert len({entry.plan.stages["train"].fingerprint for entry in methods}) == 3
    merges = {
        entry.arm: entry.plan.stages["merge"].fingerprint for entry in entries_of(load_experiment("epochs", root))
    }
    sizes = {entry.arm: entry.plan.stages["merge"].fingerprint for entry in entries_of(load_experiment("sizes", root))}
    assert merges["plain-1"] == merges["plain-4"] == sizes["heuristic-only-1500"]
    assert merges["routed-1"] == merges["routed-4"] == sizes["routed-1500"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": {}}, "needs? some|no arms"),
        ({"kind": "ceiling"}, "has no arms"),
        ({"reference": "plian"}, "not one of the arms"),
        ({"seeds": [1, 1]}, "twice"),
        ({"set": {"seed": 3}}, "the experiment sets it"),
        ({"arms": {"plain": {"set": {"cluster": "slurm"}}}}, "the experiment sets it"),
        ({"arms": {"plain": {"derive": {"golden": "x.jsonl"}}}}, "an arm cannot set"),
        ({"fit": "first.jsonl"}, "needs kind: distribution"),
        ({"fit": "first.jsonl", "kind": "distribution", "reference": None}, "with the queries to compare with"),
        ({"measures": ["accuracy"]}, "function_f1_macro"),
        ({"question": None}, "question"),
    ],
)
def test_bad_configs_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_experiment(str(world(tmp_path, **changes)))


def test_unknown_names_get_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nearest: +train"):
        load_experiment(str(world(tmp_path)), ["trian.epochs=1"])
    with pytest.raises(InputError, match=r"nearest: +ablation-assistant"):
        load_experiment("ablation-asistant")
    experiment = load_experiment(str(world(tmp_path, set={"train.epoch": 1})))
    with pytest.raises(InputError, match=r"nearest: +epochs"):
        run_config(experiment, "plain", {})


def test_settings_reach_the_runs_and_arms_override_them(tmp_path: Path) -> None:
    file = world(tmp_path, set={"train.max_steps": 9, "train.learning_rate": 1e-5})
    experiment = load_experiment(str(file), ["dataset.size=30", "seeds=[4, 5]"])
    assert experiment.seeds == [4, 5]
    plain, _ = run_config(experiment, "plain", {})
    more, _ = run_config(experiment, "more", {})
    assert (plain.train.max_steps, more.train.max_steps) == (9, 3)
    assert plain.train.learning_rate == 1e-5 and plain.dataset.size == 30


def test_runs_of_one_command_share_a_copy_of_the_domain(tmp_path: Path) -> None:
    experiment = load_experiment(str(world(tmp_path)), ["seeds=[1, 2]"])
    entries = entries_of(experiment)
    assert [(entry.arm, entry.seed) for entry in entries] == [("plain", 1), ("more", 1), ("plain", 2), ("more", 2)]
    (domain,) = {entry.plan.config.domain for entry in entries}
    assert Path(domain).parent == tmp_path / "runs" / "domains"
    assert load_domain(domain).functions.keys() == load_domain(TINY).functions.keys()
    stages = [entry.plan.stages for entry in entries]
    assert stages[0]["merge"] == stages[1]["merge"] and stages[0]["train"] != stages[1]["train"]
    assert stages[0]["sample"] != stages[2]["sample"]
    assert list(entries[0].missing()) == ["sample", "generate", "merge", "train", "evaluate"]


@pytest.mark.parametrize("changes", [{}, {"kind": "distribution", "reference": None}])
def test_a_run_s_command_makes_the_run_that_was_planned(tmp_path: Path, changes: dict[str, Any]) -> None:
    entry = entries_of(load_experiment(str(world(tmp_path, **changes))))[0]
    config, *options = entry.command(tmp_path)[entry.command(tmp_path).index("run") + 1 :]
    until = options[options.index("--until") + 1] if options else None
    assert compose_plan(config, [], submitting=False, until=until).fingerprint == entry.plan.fingerprint


def test_a_dry_run_shows_what_was_asked_for_and_refuses_what_the_run_would(tmp_path: Path) -> None:
    def dry(*given: str) -> tuple[int, str]:
        result = CliRunner().invoke(
            app, ["experiment", str(tmp_path / "try.yaml"), "--dry-run", *given], env={"COLUMNS": "200"}
        )
        return result.exit_code, result.output

    world(tmp_path)
    before = sorted(tmp_path.iterdir())
    code, out = dry("seeds=[1, 2]", "dataset.size=30")
    assert code == 0 and out.count("dataset.size=30") == 4
    code, out = dry("--arm", "more")
    assert code == 0 and "name=try-more" in out and "name=try-plain" not in out
    code, out = dry("--arm", "moer")
    assert code == 2 and "nearest:  more" in out
    code, out = dry(f"golden={tmp_path / 'none.jsonl'}")
    assert code == 2 and "the golden file is missing" in out
    world(tmp_path, arms={"plain": {"derive": {"routes": {"heuristic": 1}}}})
    code, out = dry()
    assert code == 2 and "overrides the routes" in out
    assert sorted(tmp_path.iterdir()) == before


def test_a_run_may_end_before_the_report(tmp_path: Path) -> None:
    world(tmp_path)
    assert list(compose_plan(str(tmp_path / "base.yaml"), [], False, "merge").stages) == [
        "sample", "generate", "merge", "report",
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"nearest: +merge"):
        compose_plan(str(tmp_path / "base.yaml"), [], False, "merg")
