"""Checks that reject a plan before anything is written. tests/test_bad_input.py tests them by the command line."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from jobs.disk import estimate_bytes
from jobs.stages import GIB
from jobs.task import Task
from routenator.compose import load_config
from routenator.errors import InputError, InputErrors
from routenator.files import check_writable
from slurm.planning.planner import make_plan, materialise
from slurm.preflight.checks import (
    check_disk,
    check_engines,
    check_machine,
    check_models,
)
from slurm.preflight.installed import check_installed
from tests.slurm.conftest import PACKAGE, make_config


def test_estimate_grows_with_rows_routes_and_formats(tmp_path: Path) -> None:
    small = estimate_bytes(make_config(tmp_path, dataset__size=1000), 2000)
    large = estimate_bytes(make_config(tmp_path, dataset__size=10_000), 2000)
    for stage in ("sample", "generate", "merge"):
        assert large[stage] == 10 * small[stage]
    heuristic = estimate_bytes(make_config(tmp_path, dataset__size=1000, generate__routes={"heuristic": 1}), 2000)
    assert heuristic["generate"] < small["generate"] and heuristic["merge"] == small["merge"]
    formats = estimate_bytes(make_config(tmp_path, dataset__size=1000, merge={"formats": ["openai", "bfcl"]}), 2000)
    assert formats["merge"] > small["merge"]


def test_too_little_disk_is_refused_with_both_numbers(tmp_path: Path, toys: Path) -> None:
    plan = make_plan(make_config(tmp_path, dataset__size=1_000_000), package=PACKAGE)
    check_disk(plan, 2000, lambda path: 10**15)
    with pytest.raises(InputError, match=r"1\.0 GiB free[\s\S]*GiB \(sample"):
        check_disk(plan, 2000, lambda path: GIB)
    small = make_plan(make_config(tmp_path, dataset__size=50), package=PACKAGE)
    with pytest.raises(InputError, match=r"5\.0 KiB free[\s\S]*expected: [1-9][\d.]* [MG]iB \(sample"):
        check_disk(small, 2000, lambda path: 5 * 1024)  # was: 0.0 GiB free, expected 0.0 GiB


def test_the_room_that_the_merge_keeps_free_is_part_of_what_a_run_needs(tmp_path: Path, toys: Path) -> None:
    """With 60 MiB free a run was submitted, and ended in `shortfall`, which asked for 0.3 GiB."""
    for spill, said in ((None, True), (str(tmp_path), False)):
        config = make_config(tmp_path, dataset__size=50, merge={"spill_dir": spill})
        with pytest.raises(InputError) as error:
            check_disk(make_plan(config, package=PACKAGE), 2000, lambda path: 0)
        assert ("scratch of merge 256.0 MiB" in str(error.value)) == said


def test_the_real_disk_is_asked(tmp_path: Path, toys: Path) -> None:
    with pytest.raises(InputError, match="not enough disk space"):
        check_disk(make_plan(make_config(tmp_path, dataset__size=10**12), package=PACKAGE), 2000)


def test_a_place_that_cannot_be_written_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b", "root")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="no permission to write here"):
        check_writable(tmp_path / "file" / "runs", "root")
    with pytest.raises(InputError, match="no permission"):
        check_writable(Path("/proc/runs"), "root")


def test_every_wrong_model_is_named(tmp_path: Path) -> None:
    config = make_config(tmp_path, model__trainee="package:smollm3", model__embedder=str(tmp_path / "none"))
    with pytest.raises(InputErrors) as caught:
        check_models(config)
    assert [error.key for error in caught.value.errors] == ["model.trainee", "model.embedder"]


def test_gpus_that_are_not_there_are_refused(tmp_path: Path, toys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    plan = make_plan(
        make_config(tmp_path, cluster={"parallel": 2, "stages": {"generate": {"gpus": 1}}}), package=PACKAGE
    )
    with pytest.raises(InputError, match=r"found:\s+0 GPUs\s+expected:\s+2"):
        check_machine(plan)
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'GPU 0: A'\necho 'GPU 1: B'\n")
    smi.chmod(0o755)
    check_machine(plan)


@pytest.mark.skipif(find_spec("swanlab") is not None, reason="swanlab is installed")
def test_what_is_missing_is_refused_where_tasks_run_by_this_interpreter(tmp_path: Path, toys: Path) -> None:
    """Only a tracker is missing in this environment; tests/test_dependencies.py has one that lacks more."""

    def check(**changes: Any) -> None:
        check_installed(make_plan(make_config(tmp_path, **changes), package=PACKAGE), [])

    for tracker in ("tensorboard", "none"):
        check(train__tracker=tracker)
    for cluster in ({"kind": "local"}, {"kind": "slurm", "setup": ["module load python"]}):
        with pytest.raises(InputError, match="pip install swanlab") as caught:
            check(train__tracker="swanlab", cluster=cluster)
        assert caught.value.key == "train.tracker"
    check(train__tracker="swanlab", cluster={"kind": "slurm", "python": "/opt/python"})
    check(train__tracker="swanlab", cluster={"kind": "slurm", "container": {"kind": "pyxis", "image": "ours.sqsh"}})


def test_only_what_is_still_to_be_done_is_asked_about(tmp_path: Path, toys: Path) -> None:
    """A stage that is done, in this or an earlier run, no longer needs packages."""
    config = make_config(tmp_path, train__tracker="none", model__trainee="package:smollm3")
    plan = make_plan(config, package=PACKAGE)
    with pytest.raises(InputError, match="no such packaged model"):
        check_installed(plan, [])
    run = materialise(plan)
    for stage in ("train", "evaluate"):
        task = Task(run, stage, 0)
        file = task.output(".txt")
        file.write_text("done")
        task.commit({"data": file}, rows=1, metrics={})
    check_installed(plan, [])


def test_slurm_needs_a_login_node(tmp_path: Path, toys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="no sbatch on this machine"):
        check_machine(make_plan(make_config(tmp_path, cluster={"kind": "slurm"}), package=PACKAGE))


def test_an_engine_wider_than_its_task_is_refused() -> None:
    config = load_config("creative", ["cluster=slurm", "cluster.stages.generate.gpus=2"])
    with pytest.raises(InputError) as caught:
        check_engines(config)
    assert caught.value.key == "model.generator.tensor_parallel_size" and "gpus=4" in str(caught.value)
    with pytest.raises(InputError, match=r"auto, at most 4, or cluster.stages.generate.gpus=5") as caught:
        check_engines(load_config("creative", ["cluster=slurm", "model=generic", "model.generator.engines=5"]))
    assert caught.value.key == "model.generator.engines"
    check_engines(load_config("creative", ["cluster=slurm"]))
