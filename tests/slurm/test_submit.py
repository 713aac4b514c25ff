"""The sbatch text and the pure parts of submission; the rest is tests/cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.plan import Run
from slurm.submit import StageJobs, _dependency, blocks, clean_environment, make_executor, parse_array_limit, scripts

GOLDEN = Path(__file__).parent / "golden_sbatch.txt"
CLUSTER = {
    "kind": "slurm",
    "partition": "main",
    "account": "team",
    "constraint": "a100",
    "array_parallelism": 8,
    "setup": ["module load cuda"],
    "srun_args": ["--container-image=ours"],
    "extra": {"mail-type": "FAIL"},
    "stages": {"generate": {"cpus": 16, "memory_gib": 128, "gpus": 1, "minutes": 240}},
}


def test_the_script_is_this_text(make_run: Callable[..., Run]) -> None:
    run = make_run(cluster=CLUSTER)
    text = make_executor(run, "generate", "afterok:11:12").script("0-2,7")
    for found, shown in ((str(run.path), "RUN"), (sys.executable, "PYTHON")):
        text = text.replace(found, shown)
    assert text == GOLDEN.read_text()


def test_scripts_of_the_whole_dag_wait_for_each_other(make_run: Callable[..., Run]) -> None:
    texts = scripts(make_run(cluster={"kind": "slurm"}, generate__shards=9), limit=4)
    assert list(texts) == ["sample", "generate", "merge", "train", "evaluate", "report"]
    assert "--dependency" not in texts["sample"] and "#SBATCH --array=0-1%64" in texts["sample"]
    assert "afterok:$SAMPLE" in texts["generate"] and "--array=0-3%64" in texts["generate"]
    assert "--array" not in texts["merge"] and "%A" not in texts["merge"]
    assert all("--kill-on-invalid-dep=yes" in text and "--requeue" in text and "--signal=USR2@120" in text for text in texts.values())


def test_arrays_are_cut_so_that_no_id_reaches_the_limit() -> None:
    assert blocks(set(range(10)), 4) == {0: {0, 1, 2, 3}, 4: {4, 5, 6, 7}, 8: {8, 9}}
    assert blocks({3, 4, 9}, 4) == {0: {3}, 4: {4}, 8: {9}}
    assert blocks({5}, 1001) == {0: {5}}
    assert blocks(set(), 4) == {}


def test_the_cluster_says_how_long_arrays_may_be() -> None:
    text = "MaxArraySize            = 1001\nMaxJobCount = 10000\nSchedulerParameters     = bf_interval=1,max_array_tasks=500,bf_continue\n"
    assert parse_array_limit(text) == 500
    assert parse_array_limit("MaxArraySize            = 30001\nSchedulerParameters     = (null)\n") == 30001
    assert parse_array_limit("") == 1001


def test_a_job_waits_for_all_arrays_and_not_for_the_good_end_of_a_bad_one() -> None:
    assert _dependency([StageJobs()]) is None
    assert _dependency([StageJobs(fresh=["5", "6"]), StageJobs(old={"3": False})]) == "afterok:5,afterok:6,afterok:3"
    assert _dependency([StageJobs(fresh=["5"], old={"3": True})]) == "afterok:5,afterany:3"


def test_a_job_inherits_nothing_of_the_allocation_but_how_to_reach_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SBATCH_PARTITION", "SUBMITIT_EXECUTOR", "SLURM_CPU_BIND"):
        monkeypatch.setenv(name, "old")
    monkeypatch.setenv("SLURM_CONF", "/etc/ours.conf")
    with clean_environment():
        left = {name for name in os.environ if name.startswith(("SLURM_", "SBATCH_", "SUBMITIT_"))}
        assert left == {"SLURM_CONF"}
    assert os.environ["SLURM_CPU_BIND"] == "old"
