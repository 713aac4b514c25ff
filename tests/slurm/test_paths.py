"""Where a run may be: anywhere but in a folder that Slurm, Python or a container cannot name."""

from __future__ import annotations

import glob
from pathlib import Path

import pytest

import jobs.merge
from jobs.task import Task
from routenator.errors import InputError
from routenator.generation.vllm_engine import plain_folder
from slurm.planning.planner import make_plan
from slurm.preflight.checks import preflight
from slurm.submission.options import srun_command
from tests.jobs import world
from tests.slurm.conftest import make_config

ODD = """a b 'c' "d" $HOME [0-3] ü *"""


def test_C2_the_stages_work_in_a_folder_of_any_name(tmp_path: Path) -> None:
    """Polars takes a file's path for a pattern, so a run below a folder ``[0-3]`` had no rows."""
    run = world.make_run(tmp_path / ODD, shards=2, dataset={"size": 40})
    world.generate(run, [world.candidate(request) for request in world.sample(run)])
    jobs.merge.run(Task(run, "merge", 0))
    assert Task(run, "merge", 0).is_done()


def test_C2_a_model_in_a_folder_of_any_name_is_loaded(tmp_path: Path) -> None:
    """vLLM takes a model's path for a pattern: "Cannot find any model weights"."""
    model = tmp_path / ODD
    model.mkdir()
    (model / "model.safetensors").touch()
    plain = plain_folder(str(model), tmp_path)
    # As vLLM looks for weights.
    found = glob.glob(f"{plain}/*.safetensors")  # noqa: PTH207
    assert [Path(path).resolve() for path in found] == [model / "model.safetensors"]
    assert plain_folder("org/name", tmp_path) == "org/name"


@pytest.mark.parametrize("character", ["%", "\\", "\n", ":"])
@pytest.mark.parametrize("key", ["root", "run_dir"])
def test_C3_a_path_that_cannot_be_quoted_is_refused_before_anything_is_written(
    character: str, key: str, tmp_path: Path
) -> None:
    """In a root with ``%j`` tasks failed with signal 53, and stray folders appeared."""
    path = tmp_path / "here" / f"a{character}j"
    plan = make_plan(make_config(tmp_path, cluster={"kind": "slurm"}, **{key: str(path)}))
    with pytest.raises(InputError, match="this path cannot be used") as refused:
        preflight(plan)
    assert (refused.value.key, refused.value.found) == (key, repr(character))
    assert str(path) in str(refused.value.file) and refused.value.expected == f"a path without {character!r}"
    assert not (tmp_path / "here").exists()


def test_C3_what_a_container_cannot_mount_is_refused(tmp_path: Path) -> None:
    box = {"kind": "pyxis", "image": "image"}
    odd = {"root": str(tmp_path / "a 'b' [c]"), "cache": str(tmp_path / 'd "e" $f')}
    config = make_config(tmp_path, cluster={"kind": "slurm", "container": box}, **odd)
    command = srun_command(config, "sample", [config.root, config.cache])
    quoted = f"--container-mounts={config.root}:{config.root},{config.cache}:{config.cache}".replace("'", "'\"'\"'")
    assert f"'{quoted}'" in command
    config = make_config(tmp_path, cluster={"kind": "slurm", "container": box}, cache=str(tmp_path / "a,b"))
    with pytest.raises(InputError, match="separates the mounts of a container"):
        preflight(make_plan(config))
