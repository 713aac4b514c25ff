"""Several engines in a generate task, or one on two devices: the same rows, and all stop when one of them dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

import jobs.generate
from jobs.chunks import open_shard, write_chunk
from jobs.engines import lead_group, release_pool
from jobs.plan import Run
from jobs.task import Receipt, Task, read_receipt
from routenator.config import RunConfig
from routenator.errors import StageError
from routenator.generation.imaging import has_torchvision
from routenator.generation.loading import release_engine
from tests.jobs.world import make_run, sample
from tests.routenator.tiny_model import save_tiny_model
from tests.routenator.tiny_vision import TOKENS, save_tiny_vision_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"), head_dim=32)


def sampled(folder: Path, model: Path, route: str = "text", **engine: Any) -> Run:
    """A run of 48 requests to a model, in six chunks; for the vision route of all routes, with a model that is shown
    the images.
    """
    settings = {
        "model": str(model),
        "dtype": "bfloat16",
        "enforce_eager": True,
        "max_num_seqs": 8,
        "kv_cache_gib": 1,
        "max_tokens": 16,
        **engine,
    }
    models = {"generator": settings, "trainee": str(model), "embedder": "package:all-minilm-l6-v2"}
    vision = {"kind": "vlm", "engine": settings, "image_size": [112, 112]} if route == "vision" else {}
    routes = {"text": 1.0} if route == "text" else None
    run = make_run(folder, model={**models, "vision": vision}, dataset={"size": 24})
    config = run.config.model_copy(
        update={"generate": run.config.generate.model_copy(update={"routes": routes, "chunk_rows": 8})},
    )
    run = with_config(run, config)
    sample(run)
    return run


def with_config(run: Run, config: RunConfig) -> Run:
    run = Run(run.path, run.plan.model_copy(update={"config": config}))
    (run.path / "plan.json").write_text(run.plan.model_dump_json())
    return run


def with_engine(run: Run, **changes: Any) -> Run:
    """The same run with other engine settings."""
    model = run.config.model
    generator = model.generator.model_copy(update=changes)
    return with_config(run, run.config.model_copy(update={"model": model.model_copy(update={"generator": generator})}))


def generate(run: Run) -> tuple[list[dict[str, Any]], Receipt]:
    task = Task(run, "generate", 0)
    jobs.generate.run(task)
    receipt = read_receipt(task.dir, 0)
    assert receipt is not None
    return pq.read_table(receipt.path(task.dir)).to_pylist(), receipt


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Any:
    yield
    release_engine()
    release_pool()
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_two_engines_write_the_rows_of_one_and_a_dead_one_ends_the_task(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two, receipt = generate(sampled(tmp_path / "two", model, engines=2))
    run = sampled(tmp_path / "killed", model, engines=2)
    killed: list[float] = []

    def kill_one(self: Task, done: int, total: int, **more: Any) -> None:
        if done and not killed:
            os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
            killed.append(time.monotonic())

    with monkeypatch.context() as patch:
        patch.setattr(Task, "progress", kill_one)
        with pytest.raises(StageError, match=r"engine-\d, one of 2 of this task, was killed by SIGKILL"):
            generate(run)
    assert time.monotonic() - killed[0] < 60 and not multiprocessing.active_children()
    kept = set(Task(run, "generate", 0).work_dir.glob("*.parquet"))
    assert 0 < len(kept) < 6
    # The chunks of the two are kept, and one engine generates the rest.
    made: list[Path] = []

    def seen(path: Path, *rest: Any) -> None:
        made.append(path)
        write_chunk(path, *rest)

    monkeypatch.setattr(jobs.generate, "write_chunk", seen)
    resumed, _ = generate(with_engine(run, engines=1))
    assert len(made) == 6 - len(kept) and not set(made) & kept
    one, single = generate(sampled(tmp_path / "one", model, engines=1))
    assert len(one) == 48 and one == two == resumed
    for numbers, engines in ((receipt.metrics, 2), (single.metrics, 1)):
        assert numbers["engines"] == engines and numbers["chunks"] == 6
        assert numbers["prompt_tokens_per_second"] > numbers["tokens_per_second"] > 0
    assert receipt.metrics["engine_start_seconds"] > 0
    assert receipt.metrics["tokens"] == single.metrics["tokens"] > 0


def begin_task(connection: Connection) -> None:
    """A task with an engine that has a part."""
    task = os.getpid()
    engine = os.fork()
    if not engine:
        assert lead_group(task)
        connection.send([os.getpid(), subprocess.Popen(["sleep", "60"]).pid])
        time.sleep(60)
    os.waitpid(engine, 0)


@pytest.mark.slow
@pytest.mark.parametrize("dead", ["task", "engine"])
def test_no_part_of_an_engine_outlives_it_or_its_task(dead: str) -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    task = context.Process(target=begin_task, args=(there,))
    task.start()
    assert here.poll(180)
    engine, part = map(psutil.Process, here.recv())
    everyone = [engine, *engine.children()]
    assert part in everyone and len(everyone) == 3, "and a guard"
    os.kill(engine.pid if dead == "engine" else task.pid or 0, signal.SIGKILL)
    assert not psutil.wait_procs(everyone, timeout=60)[1]
    task.join(60)
    assert task.exitcode is not None


@pytest.mark.slow
def test_an_engine_that_does_not_start_says_why_in_the_tasks_name(tmp_path: Path) -> None:
    empty = tmp_path / "model"
    empty.mkdir()
    (empty / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    run = sampled(tmp_path, empty, engine="transformers", engines=2)
    one_chunk = run.config.generate.model_copy(update={"chunk_rows": 48})  # for which one process is started
    with pytest.raises(StageError, match="failed to start: "):
        generate(with_config(run, run.config.model_copy(update={"generate": one_chunk})))


@pytest.mark.slow
def test_an_engine_over_two_devices_says_when_one_dies(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = sampled(tmp_path, model, tensor_parallel_size=2)
    killed: list[float] = []
    others: list[psutil.Process] = []

    def kill_a_part(self: Task, done: int, total: int, **more: Any) -> None:
        if done and not killed:
            (engine,) = multiprocessing.active_children()
            parts = [child for child in psutil.Process(engine.pid).children() if "VLLM" in " ".join(child.cmdline())]
            assert len(parts) == 2, "one process a device"
            parts[1].kill()
            killed.append(time.monotonic())
            others.extend([psutil.Process(engine.pid), parts[0]])

    with monkeypatch.context() as patch:
        patch.setattr(Task, "progress", kill_a_part)
        with pytest.raises(StageError, match=f"the engine of {model.name} failed: "):
            generate(run)
    assert time.monotonic() - killed[0] < 60
    assert not psutil.wait_procs(others, timeout=60)[1], "the rest of the engine stops too"


@pytest.mark.slow
def test_a_vision_language_model_is_shown_the_images(tmp_path: Path) -> None:
    if not has_torchvision() and os.environ.get("CI") != "true":  # there it fails below, by find_torchvision
        pytest.skip("no torchvision could be installed (requirements/install.sh)")
    model = save_tiny_vision_model(tmp_path / "model")
    run = sampled(tmp_path, model, "vision", guided=False)
    rows, receipt = generate(run)
    shown = [row for row in rows if row["route"] == "vision"]
    asked = [row for row in rows if row["route"] != "heuristic"]
    assert 3 < len(shown) < len(asked) < len(rows)
    assert {row["generator"] for row in asked} == {model.name}
    assert (
        all(row["completion_tokens"] > 0 for row in asked) and sum(bool(row["raw"]) for row in shown) > len(shown) / 2
    )
    assert receipt.metrics["chunks"] == -(-len(rows) // 8) and receipt.metrics["engine_start_seconds"] > 0
    # Byte tokens: what is more than the text's bytes is the picture and the chat format.
    generator, composer = open_shard(Task(run, "generate", 0))
    requests = composer.details(jobs.generate.read_rows(Task(run, "generate", 0), 0, len(rows))).to_pylist()
    for row, request in zip(rows, requests, strict=True):
        if row["route"] == "vision":
            (message,) = generator._prompt(request).messages
            picture, text = message["content"]
            assert picture["type"] == "image_url"
            assert TOKENS <= row["prompt_tokens"] - len(text["text"].encode()) < TOKENS + 40
