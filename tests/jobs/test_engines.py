"""Several engines in a generate task, and one over two devices: the same rows, and an end as soon as one of them dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

import jobs.generate
from jobs.chunks import open_shard
from jobs.engines import release_pool
from jobs.plan import Run
from jobs.task import Receipt, Task, read_receipt
from routenator.errors import StageError
from routenator.generation.engine import release_engine
from tests.jobs.world import make_run, sample
from tests.routenator.tiny_model import save_tiny_model
from tests.routenator.tiny_vision import TOKENS, save_tiny_vision_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"), head_dim=32)


def sampled(folder: Path, model: Path, route: str = "text", **engine: Any) -> Run:
    """A run of 48 requests to a model, in six chunks; for the vision route of all routes, with a model that is shown the images."""
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
    run = Run(run.path, run.plan.model_copy(update={"config": config}))
    (run.path / "plan.json").write_text(run.plan.model_dump_json())
    sample(run)
    return run


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
def test_two_engines_write_the_rows_of_one(tmp_path: Path, model: Path) -> None:
    two, receipt = generate(sampled(tmp_path / "two", model, engines=2))
    release_pool()
    one, single = generate(sampled(tmp_path / "one", model, engines=1))
    assert len(one) == 48 and one == two
    for numbers, engines in ((receipt.metrics, 2), (single.metrics, 1)):
        assert numbers["engines"] == engines and numbers["chunks"] == 6 and numbers["engine_start_seconds"] > 0
        assert numbers["prompt_tokens_per_second"] > numbers["tokens_per_second"] > 0
    assert receipt.metrics["tokens"] == single.metrics["tokens"] > 0


@pytest.mark.slow
def test_a_killed_engine_ends_the_task_at_once_and_what_was_made_stays(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = sampled(tmp_path, model, engine="transformers", engines=2)
    killed: list[float] = []

    def kill_one(self: Task, done: int, total: int, **more: Any) -> None:
        if not killed:
            os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
            killed.append(time.monotonic())

    with monkeypatch.context() as patch:
        patch.setattr(Task, "progress", kill_one)
        with pytest.raises(StageError, match=r"engine-\d, one of 2 of this task, was ended by SIGKILL"):
            generate(run)
    assert time.monotonic() - killed[0] < 10 and not multiprocessing.active_children()
    kept = {path: path.stat().st_mtime_ns for path in Task(run, "generate", 0).work_dir.glob("*.parquet")}
    assert 0 < len(kept) < 6
    made: list[Path] = []
    make = jobs.generate.use_pool

    def seen(*arguments: Any) -> Any:
        pool = make(*arguments)
        inner = pool.make
        monkeypatch.setattr(pool, "make", lambda orders: (made.extend(order.path for order in orders), inner(orders))[1])
        return pool

    monkeypatch.setattr(jobs.generate, "use_pool", seen)
    rows, _ = generate(run)
    assert len(rows) == 48 and len(made) == 6 - len(kept) and not set(made) & set(kept)


@pytest.mark.slow
def test_an_engine_that_does_not_start_says_why_in_the_tasks_name(tmp_path: Path) -> None:
    empty = tmp_path / "model"
    empty.mkdir()
    (empty / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(StageError, match="does not start: "):
        generate(sampled(tmp_path, empty, engine="transformers", engines=2))


@pytest.mark.slow
def test_an_engine_over_two_devices_says_when_one_dies(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = sampled(tmp_path, model, tensor_parallel_size=2)
    killed: list[float] = []
    others: list[psutil.Process] = []

    def kill_a_part(self: Task, done: int, total: int, **more: Any) -> None:
        if not killed:
            (engine,) = multiprocessing.active_children()
            parts = [child for child in psutil.Process(engine.pid).children() if "tracker" not in " ".join(child.cmdline())]
            assert len(parts) == 2, "one process a device"
            parts[1].kill()
            killed.append(time.monotonic())
            others.extend([psutil.Process(engine.pid), parts[0]])

    with monkeypatch.context() as patch:
        patch.setattr(Task, "progress", kill_a_part)
        with pytest.raises(StageError, match="the engine of model0 failed: "):
            generate(run)
    assert time.monotonic() - killed[0] < 60
    assert not psutil.wait_procs(others, timeout=30)[1], "what is left of the engine ends too"


@pytest.mark.slow
def test_a_vision_language_model_is_shown_the_images(tmp_path: Path) -> None:
    model = save_tiny_vision_model(tmp_path / "model")
    run = sampled(tmp_path, model, "vision", guided=False)
    rows, receipt = generate(run)
    shown = [row for row in rows if row["route"] == "vision"]
    asked = [row for row in rows if row["route"] != "heuristic"]
    assert 3 < len(shown) < len(asked) < len(rows)
    assert {row["generator"] for row in asked} == {model.name}
    assert all(row["completion_tokens"] > 0 for row in asked) and sum(bool(row["raw"]) for row in shown) > len(shown) / 2
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
