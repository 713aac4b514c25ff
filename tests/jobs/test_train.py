"""The train stage: its output, a second attempt, and resuming from a checkpoint."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import jobs.train
from jobs.entry import read_failure
from jobs.outputs import attempt_folder, commit_folder
from jobs.plan import Run
from jobs.task import Task, read_receipt
from routenator.chat.templates import choose_template
from routenator.errors import CorruptShardError, StageError
from routenator.training.adapter import base_model_of, read_card
from routenator.training.launch import StoppedError
from slurm.worker.array_task import requeue_mark, write_tasks
from slurm.worker.stage_task import StageTask
from tests.conftest import ROOT
from tests.jobs.world import make_run, merged
from tests.routenator.tiny_model import byte_tokenizer, save_tiny_model

TRAIN = {
    "prompt": "compact",
    "epochs": 1,
    "batch_size": 16,
    "deepspeed": False,
    "gradient_checkpointing": False,
    "learning_rate": 1e-2,
    "save_steps": 4,
}


def models(model: Path) -> dict[str, Any]:
    return {
        "generator": {"model": "package:smollm2-135m-instruct"},
        "trainee": str(model),
        "embedder": "package:all-minilm-l6-v2",
    }


def run_on(folder: Path, model: Path, **train: Any) -> Run:
    return merged(folder, train={**TRAIN, **train}, model=models(model))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.mark.slow
def test_an_adapter_and_its_curve_are_left_and_nothing_else(model: Path, tmp_path: Path) -> None:
    run = run_on(tmp_path, model)
    task = Task(run, "train", 0)
    jobs.train.run(task)
    receipt = read_receipt(task.dir, 0)
    assert receipt is not None
    names = sorted(path.name for path in task.dir.iterdir())
    assert names == ["adapter", "shard-00000.receipt.json", "tensorboard", f"train-{task.token}", "training.jsonl"]
    assert any(name.startswith("tensorboard") for name in receipt.files)
    card = read_card(task.dir / "adapter")
    assert card is not None
    assert (card.prompt, card.base_model, card.domain) == ("compact", str(model), run.config.domain)
    assert [tool["function"]["name"] for tool in card.tools] == ["search", "book"]
    # PEFT's name for the base model is a folder of this machine, which no other machine can resolve.
    assert base_model_of(task.dir / "adapter") == card.base_model
    assert "- `book`" in (task.dir / "adapter" / "README.md").read_text()
    template = (task.dir / "adapter" / "chat_template.jinja").read_text()
    assert template == choose_template("compact", byte_tokenizer(), several=False)
    steps = [json.loads(line) for line in (task.dir / "training.jsonl").read_text().splitlines()]
    assert steps[-1]["step"] == receipt.metrics["steps"] > 4
    assert receipt.metrics["eval_loss"] == steps[-1]["eval_loss"]
    assert receipt.rows == receipt.metrics["examples"] > 100
    run.publish("train")
    assert (run.path / "adapter" / "adapter_config.json").is_file()
    before = sorted((path, path.stat().st_mtime_ns) for path in task.dir.rglob("*"))
    jobs.train.run(Task(run, "train", 0))
    assert sorted((path, path.stat().st_mtime_ns) for path in task.dir.rglob("*")) == before


@pytest.mark.slow
def test_a_stopped_task_resumes_from_its_checkpoint(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Enough steps for the stop request to come before the end, even on a busy machine.
    run = run_on(tmp_path, model, epochs=2)
    task = Task(run, "train", 0)
    reached = []

    def progress(done: int, total: int, unit: str = "rows", doing: str = "", **more: float) -> None:
        if not doing and not reached:
            reached.append(done)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(task, "progress", progress)
    with pytest.raises(StoppedError, match="run it again to resume"):
        jobs.train.run(task)
    assert not task.is_done()
    assert len(list(task.work_dir.glob("checkpoint-*"))) == 1
    again = Task(run, "train", 0, attempt=2)
    jobs.train.run(again)
    receipt = read_receipt(task.dir, 0)
    assert receipt is not None
    assert receipt.metrics["resumed_from"] >= reached[0]
    steps = [json.loads(line) for line in (task.dir / "training.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps if "loss" in line] == list(range(1, receipt.metrics["steps"] + 1))
    assert not (task.dir / "shard-00000.work").exists()


def test_a_data_set_that_is_not_there_or_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="merge shard 0 is not done"):
        jobs.train.run(Task(make_run(tmp_path / "empty"), "train", 0))
    run = merged(tmp_path)
    file = run.stage_dir("merge") / "dataset" / "train.parquet"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CorruptShardError, match=r"train\.parquet"):
        jobs.train.run(Task(run, "train", 0))


def finished(task: Task, text: str) -> Path:
    folder = attempt_folder(task)
    (folder / "adapter").mkdir()
    (folder / "adapter" / "weights").write_text(text)
    return folder


def test_of_two_attempts_one_wins_whole(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    first, second = Task(run, "train", 0), Task(run, "train", 0, attempt=2)
    one, two = finished(first, "one"), finished(second, "two")
    assert commit_folder(first, one, ["adapter"], rows=1, metrics={})
    assert not commit_folder(second, two, ["adapter"], rows=1, metrics={})
    assert (first.dir / "adapter" / "weights").read_text() == "one"
    assert one.is_dir()
    assert not two.exists()


def test_outputs_are_shown_before_the_receipt_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If killed in between, a stage that is not done has complete links; it is never done without them."""
    run = make_run(tmp_path)
    task = Task(run, "train", 0)

    def killed(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(task, "commit", killed)
    with pytest.raises(KeyboardInterrupt):
        commit_folder(task, finished(task, "one"), ["adapter"], rows=1, metrics={})
    assert not task.is_done()
    assert (task.dir / "adapter" / "weights").read_text() == "one"
    again = Task(run, "train", 0)
    assert commit_folder(again, finished(again, "two"), ["adapter"], rows=1, metrics={})
    assert (task.dir / "adapter" / "weights").read_text() == "two"


def test_an_attempt_that_lost_while_it_trained_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_on(tmp_path, Path("org/model"))  # nothing is loaded
    winner = Task(run, "train", 0)

    def overtaken(*_: object, **__: object) -> None:
        commit_folder(winner, finished(winner, "won"), ["adapter"], rows=1, metrics={})
        shutil.rmtree(winner.work_dir)
        raise StageError("the work folder is gone")

    monkeypatch.setattr("jobs.train.launch", overtaken)
    jobs.train.run(Task(run, "train", 0))
    assert (winner.dir / "adapter" / "weights").read_text() == "won"


@pytest.mark.slow
def test_two_nodes_do_it_together(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under Slurm: the same task once per node (here both on this machine); the first commits."""
    run = merged(tmp_path, train={**TRAIN, "deepspeed": True, "zero_stage": 2, "max_steps": 3}, model=models(model))
    code = f"from pathlib import Path; from jobs.entry import run_task; run_task(Path({str(run.path)!r}), 'train', [0])"
    place = {"SLURM_NTASKS": "2", "SLURM_JOB_ID": "5", "SLURMD_NODENAME": "127.0.0.1"}
    other = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **place, "SLURM_PROCID": "1"}, cwd=ROOT)
    for name, value in {**place, "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    task = Task(run, "train", 0)
    try:
        jobs.train.run(task)
        assert other.wait(timeout=300) == 0
    finally:
        other.kill()
    receipt = read_receipt(task.dir, 0)
    assert receipt is not None
    assert receipt.metrics["processes"] == 2


# As sitecustomize.py, in the first moment of a training process: it continues when the pipe's other end is closed.
HELD = """import os, sys
if "routenator.training.worker" in sys.orig_argv:
    open(os.environ["GATE"]).read()
"""


@contextlib.contextmanager
def node(run: Run, index: int, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """One of two nodes of a job's train task, with its log in a file; as in a container, without Slurm's commands."""
    place = {"SLURM_NTASKS": "2", "SLURM_PROCID": str(index), "SLURM_JOB_ID": "5", "SLURMD_NODENAME": "127.0.0.1"}
    command = [sys.executable, "-u", "-m", "slurm.worker.start", str(run.log_dir("train")), "tasks.json"]
    environment = {**os.environ, **place, **variables, "PATH": os.fspath(Path(sys.executable).parent)}
    with open(log(run, index), "wb") as out:
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        if process.poll() is None:
            for member in (*psutil.Process(process.pid).children(recursive=True), process):
                member.kill()
        process.wait()


def log(run: Run, index: int) -> Path:
    return run.log_dir("train") / f"{index}.log"


def seen(run: Run, index: int, process: subprocess.Popen[bytes], look: Callable[[], Any]) -> Any:
    """Wait for what only a node that is still running shows."""
    for _ in range(3000):
        if found := look():
            return found
        assert process.poll() is None, log(run, index).read_text()
        time.sleep(0.1)
    raise AssertionError(log(run, index).read_text())


def workers(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children()
    return [child for child in children if "routenator.training.worker" in child.cmdline()]


@pytest.mark.slow
@pytest.mark.parametrize("late", [True, False])
def test_a_node_that_starts_while_the_first_one_requeues_is_no_failure(model: Path, tmp_path: Path, late: bool) -> None:
    """The first node is warned and leaves before the second comes, or while the process of the second starts."""
    run = run_on(tmp_path, model)
    write_tasks(run.log_dir("train"), "tasks.json", StageTask(run.path, "train", [0]), {0: [0]})
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    (tmp_path / "sitecustomize.py").write_text(HELD)
    held = {"GATE": str(gate), "PYTHONPATH": str(tmp_path)}
    with contextlib.ExitStack() as both:
        first = both.enter_context(node(run, 0))
        (worker,) = seen(run, 0, first, lambda: workers(first))
        assert list(run.stage_dir("train").glob("attempt-*/job.json"))
        if not late:
            second = both.enter_context(node(run, 1, **held))
            seen(run, 1, second, lambda: workers(second))
            closed = os.open(gate, os.O_WRONLY)  # returns when it reads
        first.send_signal(signal.SIGUSR2)
        worker.kill()
        assert first.wait() == 1
        assert (run.log_dir("train") / requeue_mark("5")).exists(), log(run, 0).read_text()
        assert not list(run.stage_dir("train").glob("attempt-*"))
        if late:
            second = both.enter_context(node(run, 1))
        else:
            os.close(closed)
        waits = "waiting for the first node" if late else "waiting for the scheduler"
        seen(run, 1, second, lambda: waits in log(run, 1).read_text())
        assert not workers(second)
    assert read_failure(run, "train", 0) is None
