"""The real stages through a real Slurm, as the command line runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
import yaml

from jobs.entry import run_task
from jobs.plan import Run
from jobs.stages import SECOND_ROUND, STAGES
from jobs.task import read_receipt
from routenator.compose import load_config
from routenator.errors import InputError
from slurm import control
from slurm.devcluster import faults
from slurm.devcluster.cluster import DevCluster
from slurm.planning.planner import make_plan, materialise
from slurm.preflight.checks import check_machine
from slurm.submission.queue import read_queue
from slurm.submission.submissions import load_submissions
from tests.cluster.conftest import SMALL, ended, slurm_profile, told, until, wait_for
from tests.conftest import ROOT, TINY, launch_here
from tests.routenator.tiny_model import save_tiny_model

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def launch(*arguments: str, timeout: int = 480) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=ROOT,
        check=False,
    )


def write_config(file: Path, **changes: Any) -> Path:
    value = {
        "name": "dag",
        "domain": str(TINY),
        "root": str(file.parent / "runs"),
        "cache": str(ROOT / ".cache"),
        "model": "smollm2-135m",
        "dataset": {"size": 120},
        "sample": {"shards": 3},
        "generate": {"shards": 6, "chunk_rows": 8, "routes": {"heuristic": 1}},
        "cluster": slurm_profile(),
        **changes,
    }
    file.write_text(yaml.safe_dump(value))
    return file


@pytest.fixture
def config(cluster: DevCluster, tmp_path: Path) -> Path:
    return write_config(tmp_path / "run.yaml")


@pytest.fixture
def submitted(config: Path) -> Iterator[Run]:
    """The run as submitted by ``launch.py run``; cancelled at the end."""
    done = launch("run", str(config))
    assert done.returncode == 0, done.stderr
    run = Run.load(done.stdout.strip().splitlines()[-1])
    yield run
    control.cancel(run)


def ours(run: Run, cluster: DevCluster) -> list[str]:
    """Command lines of processes that belong to a run but not to the cluster, i.e. were left where it was submitted."""
    inside = {process.pid for process in psutil.Process(cluster.pid).children(recursive=True)}
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if str(run.path) in line and process.pid not in inside and process.pid != os.getpid():
            found.append(line)
    return found


def test_the_whole_dag_with_models_on_several_nodes(cluster: DevCluster, tmp_path: Path) -> None:
    """Sample and generate arrays, merge, training by four processes on two nodes, evaluation by Ray over two nodes,
    report. The engines and the training are real, the model is tiny; ``tests/test_end_to_end.py`` has a larger one.
    """
    model = str(save_tiny_model(tmp_path / "model", head_dim=32))
    generator = {"model": model, "dtype": "bfloat16", "enforce_eager": True, "kv_cache_gib": 1, "max_tokens": 16}
    two = {"cpus": 2, "memory_gib": 1, "minutes": 15, "nodes": 2, "partition": "gpu", "gpus": 1}
    file = write_config(
        tmp_path / "run.yaml",
        model={"generator": generator, "trainee": model, "embedder": "package:all-minilm-l6-v2"},
        dataset={"size": 60, "validation_share": 0.2},
        sample={"shards": 2},
        generate={
            "shards": 2,
            "chunk_rows": 64,
            "routes": {"heuristic": 0.95, "text": 0.05},
            "oversample": {"heuristic": 1.25, "text": 1.2},
        },
        train={
            "prompt": "compact",
            "max_steps": 2,
            "batch_size": 2,
            "processes": 2,
            "nodes": 2,
            "gradient_checkpointing": False,
        },
        evaluate={"workers": 2, "max_new_tokens": 16, "bootstrap": 20, "limit": 3, "before": False},
        cluster=slurm_profile(
            stages={**SMALL, "generate": {"cpus": 2, "memory_gib": 1, "minutes": 15}, "train": two, "evaluate": two},
        ),
    )
    # Somebody else's Ray on the same host: it must outlive ours.
    other = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(900)", "raylet", "gcs_server", "ray::IDLE"]
    )
    try:
        done = launch("run", str(file))
        assert done.returncode == 0, done.stderr
        run = Run.load(done.stdout.strip().splitlines()[-1])
        jobs = {item.stage: item for item in load_submissions(run)}
        assert list(jobs) == list(STAGES) and jobs["generate"].depends == [jobs["sample"].job]
        queue = read_queue(jobs.values())
        assert any(entry.live for entry in queue.entries.values()), "the command returns long before the run is done"
        assert ours(run, cluster) == []
        status = wait_for(run, ended, limit_s=600)
        assert status.state == "done", told(status)
        assert other.poll() is None
    finally:
        other.kill()
    receipts = {stage: read_receipt(run.stage_dir(stage), 0) for stage in STAGES}
    assert all(receipt is not None and receipt.attempt == 1 for receipt in receipts.values())
    train, evaluate = receipts["train"], receipts["evaluate"]
    assert (
        train is not None
        and train.metrics["processes"] == 4
        and train.metrics["steps"] == 2
        and train.host in ("n3", "n4")
    )
    assert evaluate is not None and evaluate.metrics["queries"] == 3
    for stage in ("train", "evaluate"):
        assert {path.name for path in run.log_dir(stage).glob("*attempt*")} == {
            f"{jobs[stage].job}_{node}.attempt-1.log" for node in "01"
        }
    until(
        (run.path / "report" / "index.html").is_file, "the link to the report, which comes a little after its receipt"
    )
    until(lambda: not faults.tasks(cluster), "the last task's end, which comes a little after its receipt")

    # A lost stage is made again, and --wait stays to the end and shows the result.
    (run.stage_dir("report") / "shard-00000.receipt.json").unlink()
    done = launch("retry", str(run.path), "--wait")
    assert done.returncode == 0, done.stderr
    assert (
        "report" in done.stdout
        and "Function F1" in done.stdout
        and done.stdout.strip().splitlines()[-1] == str(run.path)
    )


def test_the_data_set_is_made_without_a_driver(submitted: Run, config: Path) -> None:
    run = submitted
    status = wait_for(run, lambda seen: seen.stage("merge").state == "done" or seen.stage("generate").failed > 0)
    control.cancel(run)  # training is not what is tested here
    assert status.stage("merge").state == "done", told(status)
    rows = (run.path / "dataset" / "train.jsonl").read_text().splitlines()
    assert rows and json.loads(rows[0])["messages"]

    # Neither the number of shards nor the scheduler matters: a local run, one task at a time, gives the same rows.
    alone = materialise(make_plan(load_config(config, ["sample.shards=1", "generate.shards=1", "cluster=local"])))
    for stage in ("sample", "generate", *SECOND_ROUND, "merge"):
        run_task(alone.path, stage, [0])
    for split in ("train", "validation"):
        here, there = (pl.read_parquet(one.path / "dataset" / f"{split}.parquet").sort("index") for one in (alone, run))
        assert here.equals(there) and here.height > 0

    # A lost shard is made again, and nothing else.
    wait_for(run, ended)
    stage_dir = run.stage_dir("generate")
    kept = {
        index: (stage_dir / f"shard-{index:05d}.receipt.json").stat().st_mtime_ns for index in range(6) if index != 4
    }
    first = read_receipt(stage_dir, 4)
    assert first is not None
    (stage_dir / "shard-00004.receipt.json").unlink()
    done = launch("retry", str(run.path))
    assert done.returncode == 0 and "generate" in done.stdout and "--array=4" in done.stdout
    wait_for(run, lambda seen: seen.stage("generate").state == "done")
    control.cancel(run)
    second = read_receipt(stage_dir, 4)
    assert (
        second is not None and second.attempt == 2 and second.files["data"]["sha256"] == first.files["data"]["sha256"]
    )
    assert kept == {index: (stage_dir / f"shard-{index:05d}.receipt.json").stat().st_mtime_ns for index in kept}


def test_what_the_cluster_would_not_take_is_refused_before_anything_is_written(config: Path, tmp_path: Path) -> None:
    for override, said in (
        ("cluster.partition=gpus", "partition"),
        ("cluster.stages.train.gpus=99", "cluster.stages.train"),
    ):
        done = launch_here("run", str(config), override)
        assert done.returncode == 2 and said in done.stderr, done.stderr
    assert not (tmp_path / "runs").exists()
    stages = {**slurm_profile()["stages"], "train": {"cpus": 99, "memory_gib": 0.25, "minutes": 5}}
    with pytest.raises(InputError, match="would reject the job of train"):
        check_machine(make_plan(load_config(config, [f"cluster.stages={json.dumps(stages)}"])))


def test_status_and_cancel_from_the_command_line(submitted: Run) -> None:
    done = launch_here("status", str(submitted.path), "--json")
    value = json.loads(done.stdout)
    assert value["kind"] == "slurm" and value["accounting"] is True
    assert sum(value["stages"][2][state] for state in ("done", "running", "ending", "pending")) == 1
    done = launch_here("cancel", str(submitted.path))
    assert done.returncode == 0 and "stopped Slurm jobs" in done.stdout
    # Slurm may list a task as running for some seconds after it was told to end it.
    until(lambda: launch_here("cancel", str(submitted.path)).stdout == "nothing was running\n", "all to have ended")


def test_doctor_knows_the_cluster(cluster: DevCluster) -> None:
    assert os.environ["SLURM_CONF"] == str(cluster.slurm_conf)
    findings = json.loads(launch_here("doctor", "--json").stdout)
    texts = [finding["text"] for finding in findings if finding["topic"] == "slurm"]
    assert any("cluster devcluster" in text and "up to 101 tasks" in text for text in texts)
    assert any("partition main" in text for text in texts) and "accounting answers" in texts
