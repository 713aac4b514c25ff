"""The real stages through a real Slurm: sample, generate (heuristic, no GPU), merge; what the command line does with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import yaml

from jobs.entry import run_task
from jobs.plan import Run
from jobs.task import read_receipt
from routenator.compose import load_config
from routenator.errors import InputError
from slurm import control
from slurm.devcluster import DevCluster
from slurm.plan import make_plan, materialise
from slurm.preflight import check_machine
from tests.cluster.conftest import slurm_profile, wait_for
from tests.conftest import ROOT, TINY

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def launch(*arguments: str, timeout: int = 240) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), *arguments], capture_output=True, text=True, timeout=timeout, cwd=ROOT, check=False
    )


@pytest.fixture
def config(cluster: DevCluster, tmp_path: Path) -> Path:
    file = tmp_path / "run.yaml"
    value = {
        "name": "dag",
        "domain": str(TINY),
        "root": str(tmp_path / "runs"),
        "model": "smollm2-135m",
        "dataset": {"size": 120},
        "sample": {"shards": 3},
        "generate": {"shards": 6, "chunk_rows": 8, "routes": {"heuristic": 1}},
        "cluster": slurm_profile(),
    }
    file.write_text(yaml.safe_dump(value))
    return file


@pytest.fixture
def submitted(config: Path) -> Iterator[Run]:
    """The run as ``launch.py run`` submits it; what is left of it is cancelled."""
    done = launch("run", str(config))
    assert done.returncode == 0, done.stderr
    run = Run.load(done.stdout.strip().splitlines()[-1])
    yield run
    control.cancel(run)


def test_the_data_set_is_made_without_a_driver(submitted: Run, config: Path) -> None:
    run = submitted
    status = wait_for(run, lambda seen: seen.stage("merge").state == "done" or seen.stage("generate").failed > 0)
    control.cancel(run)  # training is not what is tested here
    assert status.stage("merge").state == "done", status
    receipts = [read_receipt(run.stage_dir("generate"), index) for index in range(6)]
    jobs = {receipt.job.partition("_")[0] for receipt in receipts if receipt is not None and receipt.job}
    assert len(jobs) == 2, "six shards are two arrays where an array has at most four tasks"
    rows = (run.path / "dataset" / "train.jsonl").read_text().splitlines()
    assert rows and json.loads(rows[0])["messages"]

    # The shard count and the scheduler change nothing: one task after the other on this machine makes the same rows.
    alone = materialise(make_plan(load_config(config, ["sample.shards=1", "generate.shards=1", "cluster=local"])))
    for stage in ("sample", "generate", "merge"):
        run_task(alone.path, stage, [0])
    for split in ("train", "validation"):
        here, there = (pl.read_parquet(one.path / "dataset" / f"{split}.parquet").sort("index") for one in (alone, run))
        assert here.equals(there) and here.height > 0


def test_a_lost_shard_is_made_again_and_nothing_else(submitted: Run) -> None:
    run = submitted
    wait_for(run, lambda seen: seen.stage("merge").state == "done")
    control.cancel(run)
    wait_for(run, lambda seen: seen.state != "running")
    stage_dir = run.stage_dir("generate")
    kept = {index: (stage_dir / f"shard-{index:05d}.receipt.json").stat().st_mtime_ns for index in range(6) if index != 4}
    first = read_receipt(stage_dir, 4)
    assert first is not None
    (stage_dir / "shard-00004.receipt.json").unlink()
    done = launch("retry", str(run.path))
    assert done.returncode == 0 and "generate" in done.stdout and "--array=0 (shards from 4)" in done.stdout
    wait_for(run, lambda seen: seen.stage("generate").state == "done")
    control.cancel(run)
    second = read_receipt(stage_dir, 4)
    assert second is not None and second.attempt == 2 and second.files["data"]["sha256"] == first.files["data"]["sha256"]
    assert kept == {index: (stage_dir / f"shard-{index:05d}.receipt.json").stat().st_mtime_ns for index in kept}


def test_what_the_cluster_would_not_take_is_refused_before_anything_is_written(config: Path, tmp_path: Path) -> None:
    for override, said in (("cluster.partition=gpus", "partition"), ("cluster.stages.train.gpus=99", "cluster.stages.train")):
        done = launch("run", str(config), override)
        assert done.returncode == 2 and said in done.stderr, done.stderr
    assert not (tmp_path / "runs").exists()
    stages = {**slurm_profile()["stages"], "train": {"cpus": 99, "memory_gib": 0.25, "minutes": 5}}
    with pytest.raises(InputError, match="would not take the job of train"):
        check_machine(make_plan(load_config(config, [f"cluster.stages={json.dumps(stages)}"])))


def test_status_and_cancel_from_the_command_line(submitted: Run) -> None:
    done = launch("status", str(submitted.path), "--json")
    value = json.loads(done.stdout)
    assert value["kind"] == "slurm" and value["accounting"] is True
    assert sum(value["stages"][2][state] for state in ("done", "running", "pending")) == 1
    done = launch("cancel", str(submitted.path))
    assert done.returncode == 0 and "ended Slurm jobs" in done.stdout
    assert launch("cancel", str(submitted.path)).stdout == "nothing was running\n"


def test_doctor_knows_the_cluster(cluster: DevCluster) -> None:
    assert os.environ["SLURM_CONF"] == str(cluster.slurm_conf)
    findings = json.loads(launch("doctor", "--json").stdout)
    texts = [finding["text"] for finding in findings if finding["topic"] == "slurm"]
    assert any("cluster devcluster" in text and "up to 4 tasks" in text for text in texts)
    assert any("partition main" in text for text in texts) and "accounting answers" in texts
