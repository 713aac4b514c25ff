"""The evaluate stage on a tiny model, with real Ray and real embeddings."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import jobs.evaluate
from jobs.nodes import own_address, task_nodes
from jobs.outputs import attempt_folder, commit_folder
from jobs.plan import Run
from jobs.task import Task, read_receipt
from routenator.chat.templates import choose_template
from routenator.domain.calls import Call, calls_text
from routenator.errors import CorruptShardError, StageError
from routenator.files import read_json, write_json
from routenator.nodes import ALONE, Nodes
from routenator.training.adapter import AdapterCard
from tests.conftest import ROOT
from tests.jobs.world import make_run
from tests.routenator.tiny_model import TOOLS, byte_tokenizer, save_tiny_model

EVALUATE = {"engine": "transformers", "workers": 2, "max_new_tokens": 6, "bootstrap": 50}


def trained(folder: Path, model: Path, **evaluate: Any) -> Run:
    """A run whose train stage is done, with a new PEFT adapter, which changes nothing."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    models = {"generator": {"model": str(model)}, "trainee": str(model), "embedder": "package:all-minilm-l6-v2"}
    run = make_run(folder, model=models, evaluate={**EVALUATE, **evaluate})
    task = Task(run, "train", 0)
    out = attempt_folder(task)
    get_peft_model(
        AutoModelForCausalLM.from_pretrained(model), LoraConfig(r=2, target_modules=["q_proj"])
    ).save_pretrained(out / "adapter")
    card = AdapterCard(
        domain="tiny", base_model=str(model), prompt="compact", tools=TOOLS,
        tool_call_parser="hermes", method="lora", steps=1,
    )  # fmt: skip
    card.write(out / "adapter", choose_template("compact", byte_tokenizer(), several=True))
    commit_folder(task, out, ["adapter"], rows=1, metrics={})
    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.mark.slow
def test_without_a_golden_set_rows_of_the_validation_split_are_scored_and_called_synthetic(
    model: Path, tmp_path: Path
) -> None:
    run = trained(tmp_path, model, before=False, baselines=False)
    run.golden_file.write_text("# none yet\n")
    examples = run.stage_dir("merge") / "dataset"
    examples.mkdir(parents=True)
    calls = [calls_text([Call("book", {"city": city})]) for city in ("Porto", "Bergen")]
    queries = pl.DataFrame({"query": ["a table in porto", "book bergen"], "calls": calls, "hidden": [None, None]})
    queries.write_parquet(examples / "validation.parquet")
    task = Task(run, "evaluate", 0)
    jobs.evaluate.run(task)
    scores = read_json(task.dir / "scores.json")
    assert scores["queries"] == "synthetic hold-out" and scores["after"]["n"] == 2
    predictions = (task.dir / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["query"] for line in predictions] == ["a table in porto", "book bergen"]


@pytest.mark.slow
def test_scores_before_and_after_and_every_prediction(model: Path, tmp_path: Path) -> None:
    run = trained(tmp_path, model)
    examples = run.stage_dir("merge") / "dataset"
    examples.mkdir(parents=True)
    calls = calls_text([Call("search", {})])
    pl.DataFrame({"query": ["find a poster"], "calls": [calls]}).write_parquet(examples / "train.parquet")
    task = Task(run, "evaluate", 0)
    jobs.evaluate.run(task)
    scores = read_json(task.dir / "scores.json")
    assert list(scores["baselines"]) == ["majority", "keywords", "nearest"]
    # One training example: all three can only answer with its call.
    assert {side["confusion"]["counts"][1][0] for side in scores["baselines"].values()} == {
        scores["after"]["per_function"]["book"]["n"]
    }
    assert (scores["before"]["prompt"], scores["after"]["prompt"]) == ("tools", "compact")
    for side in ("before", "after"):
        assert scores[side]["n"] == 5
        assert scores[side]["function_f1_macro"].keys() == {"value", "low", "high"}
        assert scores[side]["queries_per_second"] > 0
        assert 0 < scores[side]["latency"]["p50"] <= scores[side]["latency"]["p95"] < scores[side]["seconds"]
        assert scores[side]["confusion"]["labels"][:2] == ["search", "book"]
    assert scores["paired"]["exact_match"]["p_value"] == 1.0
    rows = [json.loads(line) for line in (task.dir / "predictions.jsonl").read_text().splitlines()]
    golden = [json.loads(line) for line in run.golden_file.read_text().splitlines()]
    assert [(row["query"], row["gold"]) for row in rows] == [(row["query"], [row["call"]]) for row in golden]
    assert all(isinstance(row[side]["reply"], str) for row in rows for side in ("before", "after"))
    receipt = read_receipt(task.dir, 0)
    assert receipt is not None
    assert receipt.rows == 5
    assert receipt.metrics["queries"] == 10
    run.publish("evaluate")
    assert read_json(run.path / "scores.json") == scores
    assert sorted(path.name for path in task.dir.iterdir()) == [
        f"evaluate-{task.token}",
        "predictions.jsonl",
        "scores.json",
        "shard-00000.receipt.json",
    ]
    jobs.evaluate.run(Task(run, "evaluate", 0))  # does nothing: it would leave a folder of its own
    assert len(list(task.dir.glob("evaluate-*"))) == 1


@pytest.mark.slow
def test_before_can_be_left_out_and_the_golden_set_limited(model: Path, tmp_path: Path) -> None:
    task = Task(trained(tmp_path, model, before=False, limit=2, workers=1, guided=True), "evaluate", 0)
    jobs.evaluate.run(task)
    scores = read_json(task.dir / "scores.json")
    assert scores["before"] is None
    assert scores["guided"]["n"] == 2 and scores["guided"]["prompt"] == "compact"
    assert read_receipt(task.dir, 0).metrics["queries"] == 4
    assert scores["after"]["n"] == 2
    assert "paired" not in scores
    assert "before" not in json.loads((task.dir / "predictions.jsonl").read_text().splitlines()[0])


@pytest.mark.slow
def test_an_adapter_that_is_not_there_or_damaged_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="train shard 0 is not done"):
        jobs.evaluate.run(Task(make_run(tmp_path / "empty"), "evaluate", 0))
    run = trained(tmp_path, model)
    file = run.stage_dir("train") / "adapter" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CorruptShardError, match="adapter_model"):
        jobs.evaluate.run(Task(run, "evaluate", 0))


def test_a_task_outside_slurm_or_alone_has_one_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    assert task_nodes(tmp_path) == ALONE
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert task_nodes(tmp_path) == ALONE


def test_nodes_meet_where_the_first_says_at_this_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SLURM_NTASKS": "2",
        "SLURM_JOB_ID": "77",
        "SLURM_RESTART_COUNT": "1",
        "SLURMD_NODENAME": "n1",
    }.items():
        monkeypatch.setenv(name, value)
    write_json(tmp_path / "meet-77-0.json", {"address": "n9", "port": 1, "secret": "old"})  # of an earlier start
    monkeypatch.setenv("SLURM_PROCID", "0")
    first = task_nodes(tmp_path)
    assert (first.count, first.index, first.address) == (2, 0, own_address())
    with socket.socket(socket.AF_INET6 if ":" in first.address else socket.AF_INET) as probe:
        probe.bind((first.address, first.port))  # an address of this machine, and a free port
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert task_nodes(tmp_path) == Nodes(2, 1, first.address, first.port, first.secret)
    assert len(first.secret) == 64
    assert (tmp_path / "meet-77-1.json").stat().st_mode & 0o077 == 0
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    monkeypatch.setattr("jobs.nodes._WAIT_S", 0.0)
    with pytest.raises(StageError, match="did not write its address"):
        task_nodes(tmp_path)


@pytest.mark.slow
def test_two_nodes_do_it_together(model: Path, tmp_path: Path) -> None:
    """As under Slurm: the same task once per node (here both on this machine); the first commits."""
    run = trained(tmp_path, model)
    code = (
        f"from pathlib import Path; from jobs.entry import run_task; run_task(Path({str(run.path)!r}), 'evaluate', [0])"
    )
    place = {"SLURM_NTASKS": "2", "SLURM_JOB_ID": "5", "SLURMD_NODENAME": "127.0.0.1"}
    nodes = [
        subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **place, "SLURM_PROCID": rank}, cwd=ROOT)
        for rank in "01"
    ]
    try:
        assert [node.wait(timeout=300) for node in nodes] == [0, 0]
    finally:
        for node in nodes:
            node.kill()
    receipt = read_receipt(run.stage_dir("evaluate"), 0)
    assert receipt is not None
    assert receipt.metrics["queries"] == 10
