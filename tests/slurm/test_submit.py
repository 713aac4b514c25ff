"""The sbatch script and the pure parts of submission; tests/cluster tests the rest."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jobs.plan import Run
from jobs.stages import STAGES
from routenator.errors import InputError
from slurm.control import describe
from slurm.local.driver import start_driver
from slurm.submission.executor import make_executor, scripts
from slurm.submission.options import Limits, job_name, parse_limits, shards_per_task
from slurm.submission.submissions import Submission
from slurm.submission.submit import StageJobs, _dependency, blocks, submit_missing
from slurm.submission.user_defaults import sbatch_environment
from tests.slurm.conftest import make_config, run_script

GOLDEN = Path(__file__).parent / "golden"
# Each case is the whole text of one stage's script. Where apptainer or pyxis are absent, as in CI, nothing more of them
# is tested.
GPUS = {"cpus": 16, "memory_gib": 128, "gpus": 4, "minutes": 240}
PROFILES: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "plain": ("merge", None, {"partition": "main"}),
    "gres_and_setup": (
        "generate",
        None,
        {
            "account": "team",
            "qos": "high",
            "constraint": "a100&nvlink",
            "gres": "gpu:a100:4",
            "exclusive": True,
            "requeue": False,
            "python": "/opt/venv/bin/python",
            "setup": ["module load cuda/12.4", "source /opt/venv/bin/activate"],
            "srun_args": ["--mpi=none"],
            "extra": {"mail-type": "FAIL", "reservation": "ours"},
            "stages": {"generate": GPUS},
        },
    ),
    "apptainer": (
        "generate",
        None,
        {
            "container": {
                "kind": "apptainer",
                "image": "/images/ours.sif",
                "mounts": ["/data:/data:ro"],
                "args": ["--no-home"],
            },
            "stages": {"generate": GPUS},
        },
    ),
    "pyxis": (
        "generate",
        None,
        {
            "container": {"kind": "pyxis", "image": "nvcr.io#nvidia/pytorch:25.01-py3", "mounts": ["/data:/data:ro"],
                          "args": ["--no-container-mount-home"]},
            "python": "/usr/bin/python3",
            "stages": {"generate": GPUS},
        },
    ),
    "several_nodes": ("train", None, {"signal_delay_s": 300, "stages": {"train": {**GPUS, "nodes": 2}}}),
    "array": ("sample", "0-2,7", {"array_parallelism": 8}),
}  # fmt: skip


@pytest.mark.parametrize("name", PROFILES)
def test_the_script_is_this_text(name: str, make_run: Callable[..., Run]) -> None:
    stage, array, cluster = PROFILES[name]
    nodes = cluster.get("stages", {}).get("train", {}).get("nodes", 1)
    run = make_run(cluster={"kind": "slurm", **cluster}, train__nodes=nodes)
    text = make_executor(run, stage, "afterok:11" if stage != "sample" else None, attempt=3 if array else 1).script(
        array
    )
    mark = job_name(run, stage).rpartition(".")[2]
    for found, shown in (
        (mark, "MARK"),
        (str(run.path), "RUN"),
        (run.config.root, "ROOT"),
        (run.config.cache, "CACHE"),
        (sys.executable, "PYTHON"),
    ):
        text = text.replace(found, shown)
    assert text == (GOLDEN / f"{name}.sh").read_text()


def test_no_two_runs_have_jobs_of_one_name(make_run: Callable[..., Run], tmp_path: Path) -> None:
    run = make_run()
    others = [make_run(seed=5), replace(run, path=tmp_path / "elsewhere" / run.path.name)]
    assert len({job_name(one, stage) for one in (run, *others) for stage in ("sample", "generate")}) == 6
    assert job_name(run, "sample").startswith("toy.sample.")


def test_the_plan_shows_what_is_submitted(make_run: Callable[..., Run]) -> None:
    run = make_run(cluster={"kind": "slurm"})
    shown = scripts(run, array=1001, tasks=4004)["generate"]
    assert shown == make_executor(run, "generate", "afterok:$SAMPLE").script("0-2")


def test_bash_takes_the_scripts() -> None:
    for file in GOLDEN.glob("*.sh"):
        subprocess.run(["bash", "-n", file], check=True)


@pytest.mark.parametrize(
    ("code", "began", "restarts", "asked", "requeued"),
    [
        (0, True, 0, False, False),
        (1, True, 0, False, False),
        (1, False, 0, False, True),
        (1, False, 3, False, False),
        (9, True, 7, True, True),
    ],
)
def test_a_script_requeues_what_was_not_started_or_asks_for_it(
    code: int, began: bool, restarts: int, asked: bool, requeued: bool, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    run = make_run(cluster={"kind": "slurm"})
    logs = run.log_dir("merge")
    logs.mkdir(parents=True)
    if began:
        (logs / f"5_0.attempt-{restarts + 1}.log").touch()
    if asked:
        (logs / "requeue-5").touch()
    done = run_script(make_executor(run, "merge", None).script(None), tmp_path / "batch", f"exit {code}", restarts)
    assert done.returncode == code and done.stdout == ("scontrol requeue 5\n" if requeued else "")
    assert not (logs / "requeue-5").exists()


def test_the_attempt_in_the_logs_name_counts_requeues(make_run: Callable[..., Run], tmp_path: Path) -> None:
    text = make_executor(make_run(cluster={"kind": "slurm"}), "sample", None, attempt=3).script("0-1")
    for restarts, number in ((0, 3), (2, 5)):
        done = run_script(text, tmp_path / str(restarts), 'echo "$3"', restarts)
        assert done.stdout.strip().endswith(f"/logs/sample/%A_%a_%t.attempt-{number}.log")


def test_scripts_of_the_whole_dag_wait_for_each_other(make_run: Callable[..., Run]) -> None:
    run = make_run(cluster={"kind": "slurm"}, generate__shards=9, generate__refill=0.25)
    texts = scripts(run, array=4, tasks=16)
    assert list(texts) == list(STAGES)
    assert "--dependency" not in texts["sample"] and "#SBATCH --array=0-1%64" in texts["sample"]
    assert "afterok:$SAMPLE" in texts["generate"] and "--array=0-3%64" in texts["generate"]
    assert "--array" not in texts["merge"] and "%A" not in texts["merge"]
    assert all(
        "--kill-on-invalid-dep=yes" in text and "--requeue" in text and "--signal=USR2@120" in text
        for text in texts.values()
    )


def test_arrays_are_cut_so_that_no_id_reaches_the_limit() -> None:
    assert blocks(set(range(10)), 4) == {0: {0, 1, 2, 3}, 4: {4, 5, 6, 7}, 8: {8, 9}}
    assert blocks({3, 4, 9}, 4) == {0: {3}, 4: {4}, 8: {9}}
    assert blocks({5}, 1001) == {0: {5}}
    assert blocks(set(), 4) == {}
    assert blocks({0, 1, 7, 8, 25}, 4, per_task=3) == {0: {0, 1, 7, 8}, 8: {25}}


def test_the_cluster_says_how_long_arrays_may_be() -> None:
    text = (
        "MaxArraySize            = 1001\nMaxJobCount = 8000\n"
        "SchedulerParameters     = bf_interval=1,max_array_tasks=500,bf_continue\n"
    )
    assert parse_limits(text) == Limits(array=500, jobs=8000) and parse_limits(text).tasks == 2000
    assert parse_limits("MaxArraySize            = 30001\nSchedulerParameters     = (null)\n").array == 30001
    assert parse_limits("") == Limits(array=1001, jobs=10_000) and parse_limits("").tasks == 2500


def test_a_job_waits_for_all_arrays_and_not_for_the_good_end_of_a_bad_one() -> None:
    assert _dependency([StageJobs()]) is None
    assert _dependency([StageJobs(fresh=["5", "6"]), StageJobs(old={"3": False})]) == "afterok:5,afterok:6,afterok:3"
    assert _dependency([StageJobs(fresh=["5"], old={"3": True})]) == "afterok:5,afterany:3"


def test_a_job_inherits_nothing_of_the_allocation_but_how_to_reach_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("SLURM_JOB_ID", "SBATCH_MEM_BIND", "SBATCH_TIMELIMIT", "SUBMITIT_EXECUTOR", "SLURM_CPU_BIND")
    for name in (*names, "SLURM_CLUSTERS", "SQUEUE_FORMAT"):
        monkeypatch.setenv(name, "old")
    monkeypatch.setenv("SLURM_CONF", "/etc/ours.conf")
    left = {name for name in sbatch_environment("") if name.startswith(("SLURM_", "SBATCH_", "SUBMITIT_", "SQUEUE_"))}
    assert left == {"SLURM_CONF"}


def test_many_shards_become_a_few_arrays(tmp_path: Path) -> None:
    config = make_config(tmp_path, cluster={"kind": "slurm", "array_parallelism": 10})
    assert shards_per_task(config, "generate", 200, 2500) == 1
    assert shards_per_task(config, "generate", 20_000, 2500) == 8, "three arrays of MaxArraySize 1001"
    assert shards_per_task(config, "sample", 40, 2500) == 1 and shards_per_task(config, "sample", 400, 2500) == 10
    asked = make_config(tmp_path, cluster={"kind": "slurm", "stages": {"generate": {"shards_per_task": 3}}})
    assert shards_per_task(asked, "generate", 5, 2500) == 3


def test_a_task_of_several_shards_has_one_id() -> None:
    item = Submission("slurm", "generate", "7", "6-8,11,24", offset=2, per_task=3, array=True)
    assert item.tasks() == {0: [6, 7, 8], 1: [11], 6: [24]}
    assert [item.task_id(shard) for shard in item.indices()] == ["7_0", "7_0", "7_0", "7_1", "7_6"]
    assert describe([item]) == ["generate  job 7 --array=0-1,6 (shards 3 per task, from 6)"]


def test_a_run_of_an_earlier_version_is_not_resumed(make_run: Callable[..., Run]) -> None:
    run = make_run()
    shutil.rmtree(run.path / "code" / "slurm" / "worker")
    for resume in (submit_missing, partial(start_driver, attached=False)):
        with pytest.raises(InputError, match="earlier version of the code"):
            resume(run)
