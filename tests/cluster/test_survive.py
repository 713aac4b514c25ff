"""Preemption and time-outs of the real generate and train stages: they resume, and end like an undisturbed run.

All runs of this module are started and disturbed concurrently; each test checks one of them.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.entry import run_task
from jobs.plan import Run
from jobs.task import Receipt, read_receipt
from routenator.config import RunConfig
from routenator.training import checkpoints
from slurm import control
from slurm.devcluster.cluster import DevCluster
from slurm.planning.planner import make_plan, materialise
from slurm.submission.submissions import load_submissions
from slurm.submission.submit import submit_missing
from tests.cluster.conftest import SMALL, slurm_profile, told, until, wait_for
from tests.conftest import TINY
from tests.routenator.tiny_model import save_tiny_model
from tests.slurm.conftest import STAGES_PATH

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

PACKAGE = "slowstages"
CHUNKS = 125
STEPS = 80


@dataclass
class Runs:
    """The runs of this module, by the disturbance."""

    preempted: Run
    timed_out: Run
    trained: Run
    undisturbed: Run


def make(
    folder: Path,
    name: str,
    model: Path,
    *,
    train: bool = False,
    nodes: int = 1,
    pause_s: float = 0.0,
    minutes: int = 5,
    **cluster: Any,
) -> Run:
    """A run of the real stages on the tiny domain, in its own root; with ``train``, it trains in two processes."""
    made = folder / f"{name}-made"
    stages = {
        **SMALL,
        "generate": {**SMALL["generate"], "minutes": minutes},
        "train": {**SMALL["train"], "nodes": nodes},
    }
    for stage in ("evaluate", "report") if train else ("train", "evaluate", "report"):
        stages[stage] = {**stages[stage], "extra": {"hold": True}}
    # The nodes share this machine's cores, and Slurm does not bind tasks to them.
    setup = ["export OMP_NUM_THREADS=1", f"export SLOW_CHUNK_S={pause_s}", f"export SLOW_MADE={shlex.quote(str(made))}"]
    value = {
        "name": name,
        "domain": str(TINY),
        "root": str(folder / name),
        "seed": 3,
        "dataset": {"size": 300},
        "generate": {"chunk_rows": 3, "routes": {"heuristic": 1}, "refill": 0},
        "train": {
            "prompt": "compact",
            "max_steps": STEPS,
            "batch_size": 2,
            "nodes": nodes,
            "processes": 2 // nodes,
            "deepspeed": False,
            "gradient_checkpointing": False,
            "save_steps": 10,
            "lora_r": 4,
        },
        "model": {
            "generator": {"model": "package:smollm2-135m-instruct"},
            "trainee": str(model),
            "embedder": "package:all-minilm-l6-v2",
        },
        "cluster": slurm_profile(stages=stages, setup=setup, **cluster),
    }
    return materialise(make_plan(RunConfig.model_validate(value), package=PACKAGE))


def urgent(*options: str) -> None:
    """A job that preempts others."""
    subprocess.run(
        ["sbatch", "--partition=urgent", "--output=/dev/null", *options, "--wrap=sleep 1"],
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def runs(cluster: DevCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("survive")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(STAGES_PATH))
        patch.setattr(sys, "path", [*sys.path, str(STAGES_PATH)])
        model = save_tiny_model(folder / "model")
        found = Runs(
            preempted=make(folder, "preempted", model, pause_s=0.1, partition="spare", extra={"nodelist": "n1"}),
            # The signal leaves it 20 to 50 seconds of its minute, and its chunks alone take 62.
            timed_out=make(
                folder, "timed-out", model, pause_s=0.5, minutes=1, signal_delay_s=10, extra={"nodelist": "n4"}
            ),
            trained=make(folder, "trained", model, train=True, nodes=2, partition="spare", extra={"exclude": "n1,n4"}),
            undisturbed=make(folder, "undisturbed", model, train=True, extra={"nodelist": "n4"}),
        )
        for run in (found.trained, found.undisturbed, found.timed_out, found.preempted):
            submit_missing(run, PACKAGE)
        work = found.preempted.stage_dir("generate") / "shard-00000.work"
        wait_for(found.preempted, lambda seen: len(list(work.glob("*.parquet"))) > 20 or seen.state == "failed")
        urgent("--nodelist=n1", "--exclusive")
        yield found
        for run in (found.preempted, found.timed_out, found.trained, found.undisturbed):
            control.cancel(run)


def done(run: Run, stage: str) -> Receipt:
    """Wait for the receipt of a stage's only shard."""
    status = wait_for(run, lambda seen: seen.stage(stage).state == "done" or seen.state == "failed")
    receipt = read_receipt(run.stage_dir(stage), 0)
    assert receipt is not None, told(status)
    return receipt


def check_candidates(run: Run, undisturbed: Run) -> Receipt:
    """No chunk was generated twice, and the candidates equal those of an undisturbed run."""
    receipt = done(run, "generate")
    made = Counter((run.path.parent.parent / f"{run.config.name}-made").read_text().split())
    assert len(made) >= CHUNKS and set(made.values()) == {1}, "an attempt repeated the chunks of the one before"
    assert receipt.files["data"]["sha256"] == done(undisturbed, "generate").files["data"]["sha256"]
    logs = {path.name for path in run.log_dir("generate").glob("*_0.attempt-*.log")}
    assert logs == {f"{receipt.job}_0.attempt-{number}.log" for number in range(1, receipt.attempt + 1)}
    until(lambda: not list(run.stage_dir("generate").glob("*.work")), "the chunks' end, a little after the receipt")
    return receipt


def test_preempted_training_on_two_nodes_takes_the_steps_that_are_left(runs: Runs) -> None:
    run = runs.trained
    work = run.stage_dir("train") / "shard-00000.work"
    status = wait_for(run, lambda seen: checkpoints.newest(work) is not None or seen.state == "failed")
    newest, node = checkpoints.newest(work), node_of(run)
    assert newest is not None and node is not None, told(status)
    urgent(f"--nodelist={node}", "--exclusive")
    receipt, undisturbed = done(run, "train"), done(runs.undisturbed, "train")
    assert receipt.attempt >= 2 and undisturbed.attempt == 1
    assert receipt.metrics["steps"] == undisturbed.metrics["steps"] == STEPS
    assert receipt.metrics["resumed_from"] >= checkpoints.steps_of(newest) > 0 == undisturbed.metrics["resumed_from"]
    # Each attempt resumed exactly where the signal stopped the one before: no step was lost and none was repeated.
    made = [
        steps_in(run.log_dir("train") / f"{receipt.job}_0.attempt-{number}.log")
        for number in range(1, receipt.attempt + 1)
    ]
    assert sum(made) == STEPS and sum(made[:-1]) == receipt.metrics["resumed_from"], made
    assert receipt.metrics["processes"] == 2
    here, there = (
        [json.loads(line) for line in (one.stage_dir("train") / "training.jsonl").read_text().splitlines()]
        for one in (run, runs.undisturbed)
    )
    assert [line["step"] for line in here] == [line["step"] for line in there]
    losses = [[line["loss"] for line in lines if "loss" in line] for lines in (here, there)]
    assert losses[0] == pytest.approx(losses[1], abs=2e-2)
    stage = run.stage_dir("train")
    kept = {Path(next(iter(receipt.files.values()))["name"]).parts[0]}
    until(
        lambda: {path.name for path in stage.iterdir() if path.is_dir() and not path.is_symlink()} == kept,
        "the end of the checkpoints, a little after the receipt",
    )


def steps_in(log: Path) -> int:
    """The steps of one attempt at training."""
    return sum(": loss " in line for line in log.read_text().splitlines())


def node_of(run: Run) -> str | None:
    """The last node of the run's train job."""
    names = ",".join(item.name for item in load_submissions(run) if item.stage == "train")
    command = ["squeue", "--noheader", f"--name={names}", "--states=RUNNING", "--format=%N"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not text:
        return None
    hosts = subprocess.run(
        ["scontrol", "show", "hostnames", text], capture_output=True, text=True, check=True
    ).stdout.split()
    return hosts[-1]


def test_preempted_generation_goes_on_from_its_last_chunk(runs: Runs) -> None:
    assert check_candidates(runs.preempted, runs.undisturbed).attempt == 2


def test_generation_at_its_time_limit_goes_on_from_its_last_chunk(runs: Runs) -> None:
    assert check_candidates(runs.timed_out, runs.undisturbed).attempt >= 2


def test_the_cluster_gives_what_one_machine_does(runs: Runs, tmp_path: Path) -> None:
    value = runs.undisturbed.config.model_dump(mode="json") | {"root": str(tmp_path), "cluster": {"kind": "local"}}
    alone = materialise(make_plan(RunConfig.model_validate(value)))
    for stage in ("sample", "generate", "merge"):
        run_task(alone.path, stage, [0])
    for stage in ("generate", "merge"):
        first, second = done(runs.undisturbed, stage), read_receipt(alone.stage_dir(stage), 0)
        assert second is not None
        assert {role: file["sha256"] for role, file in first.files.items()} == {
            role: file["sha256"] for role, file in second.files.items()
        }
