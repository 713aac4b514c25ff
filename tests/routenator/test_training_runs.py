"""Training in real processes: DeepSpeed with two of them, stopping and resuming, and how failures are reported."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from routenator.errors import InputError, StageError
from routenator.evaluation.engines import EngineSpec, open_engine
from routenator.models import weights_identity
from routenator.nodes import Nodes
from routenator.training import checkpoints
from routenator.training.adapter import read_card
from routenator.training.job import TrainingJob, TrainingResult
from routenator.training.launch import StoppedError, launch
from tests.routenator.tiny_model import QUERIES, byte_tokenizer, make_job, save_tiny_model

pytestmark = pytest.mark.slow
TWO = {"processes": 2, "deepspeed": True, "batch_size": 2, "save_steps": 4, "epochs": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


def lines(job: TrainingJob) -> list[dict[str, Any]]:
    return [json.loads(line) for line in job.metrics_file.read_text().splitlines()]


def weights(job: TrainingJob) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(job.adapter / "adapter_model.safetensors")


def events(job: TrainingJob, tag: str) -> dict[int, float]:
    """Read a curve from TensorBoard's event files, as step -> value."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[int, float] = {}
    (file,) = job.events.glob(
        "events.*"
    )  # a second one, if opened in the same second, would have taken the first one's name
    data, start = file.read_bytes(), 0
    while start < len(data):  # length (8 bytes), its checksum (4), record, its checksum (4)
        length = int.from_bytes(data[start : start + 8], "little")
        event = Event.FromString(data[start + 12 : start + 12 + length])
        for value in event.summary.value:
            if value.tag == tag:
                assert event.step not in found, f"{tag} twice at {event.step}"
                found[event.step] = value.simple_value
        start += length + 16
    return found


def at_step(step: int, act: Callable[[], None]) -> Callable[[dict[str, Any]], None]:
    """Calls an action once, when the metrics of a given step arrive."""
    done = []

    def progress(line: dict[str, Any]) -> None:
        if line["step"] >= step and not done:
            done.append(True)
            act()

    return progress


@pytest.fixture(scope="module")
def undisturbed(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingJob, TrainingResult]:
    job = make_job(model, tmp_path_factory.mktemp("undisturbed"), **TWO)
    return job, launch(job, out=io.StringIO())


def test_two_processes_with_zero_2_train_a_4_bit_model(undisturbed: tuple[TrainingJob, TrainingResult]) -> None:
    job, result = undisturbed
    assert (result.finished, result.step, result.max_steps) == (True, 20, 20)  # 40 examples, 4 a step, 2 epochs
    assert result.metrics["processes"] == 2
    steps = [line for line in lines(job) if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 21))
    assert all(line.keys() >= {"loss", "grad_norm", "learning_rate", "tokens", "tokens_per_second"} for line in steps)
    assert (
        steps[-1]["loss"] < steps[0]["loss"] - 0.2
    )  # the base model is random and frozen, so there is little to learn
    # Each example is seen once per epoch, by either process.
    from routenator.training.tokens import read_tokens

    assert steps[-1]["tokens"] == 2 * sum(read_tokens(job.root / "train").lengths)
    assert result.metrics["eval_loss"] < steps[0]["loss"]
    assert 0 <= result.metrics["eval_exact"] <= result.metrics["eval_token_accuracy"] <= 1
    assert result.metrics["eval_token_accuracy"] > 0.1  # by chance: 1 / 259
    assert lines(job)[-1]["eval_token_accuracy"] == result.metrics["eval_token_accuracy"]
    curve = events(job, "train/loss")
    assert curve == {line["step"]: pytest.approx(line["loss"], abs=1e-6) for line in steps}
    assert events(job, "train/tokens_per_second").keys() == curve.keys()
    assert events(job, "eval/token_accuracy") == {20: pytest.approx(result.metrics["eval_token_accuracy"], abs=1e-6)}


def test_the_adapter_loads_in_plain_peft(undisturbed: tuple[TrainingJob, TrainingResult], model: Path) -> None:
    import torch
    from peft import PeftConfig, PeftModel
    from transformers import AutoModelForCausalLM

    job, _ = undisturbed
    base = AutoModelForCausalLM.from_pretrained(model)
    ids = torch.arange(12)[None]
    plain = base(input_ids=ids).logits
    tuned = PeftModel.from_pretrained(base, str(job.adapter))(input_ids=ids).logits
    assert not torch.allclose(plain, tuned, atol=1e-2)
    # As the config names it: a path of this machine would mean nothing on another.
    assert PeftConfig.from_pretrained(str(job.adapter)).base_model_name_or_path == "tiny"
    card = read_card(job.adapter)
    assert card is not None
    assert card.base_sha256 == weights_identity(job.base)
    assert (card.prompt, card.base_model, card.method, card.steps) == ("compact", "tiny", "qlora", 20)
    assert sorted(path.name for path in job.adapter.iterdir() if path.suffix in (".bin", ".md")) == ["README.md"]


def test_a_stopped_training_resumes_exactly(
    undisturbed: tuple[TrainingJob, TrainingResult], model: Path, tmp_path: Path
) -> None:
    first = make_job(model, tmp_path, "first", **TWO)
    with pytest.raises(StoppedError, match="SIGUSR2 at step"):
        launch(first, at_step(11, lambda: os.kill(os.getpid(), signal.SIGUSR2)), out=io.StringIO())
    checkpoint = checkpoints.newest(Path(first.checkpoints))
    assert checkpoint is not None
    reached = checkpoints.steps_of(checkpoint)
    assert 11 <= reached < 20  # in the second epoch
    assert len(list(Path(first.checkpoints).iterdir())) == 1
    second = make_job(model, tmp_path, "second", resume=checkpoint, **TWO)
    result = launch(second, out=io.StringIO())
    assert (result.finished, result.step) == (True, 20)
    seconds = [line["seconds"] for line in lines(second)]
    assert seconds == sorted(seconds)  # the first attempt's time is included
    assert result.metrics["train_seconds"] > next(line["seconds"] for line in lines(second) if line["step"] == reached)
    whole = undisturbed[0]
    assert [line["step"] for line in lines(second)] == [line["step"] for line in lines(whole)]
    for key in ("loss", "grad_norm", "eval_loss", "eval_token_accuracy", "eval_exact", "learning_rate", "tokens"):
        assert [line.get(key) for line in lines(second)] == [line.get(key) for line in lines(whole)], key
    for tag in ("train/loss", "train/grad_norm", "train/tokens", "eval/loss", "eval/exact"):
        assert events(second, tag) == events(whole, tag), tag
    for name, value in weights(whole).items():
        assert (weights(second)[name] == value).all(), name


def test_the_previous_signal_handler_is_called_once_the_checkpoint_is_written(model: Path, tmp_path: Path) -> None:
    job = make_job(model, tmp_path, epochs=30)
    seen: list[Path | None] = []

    def requeue(number: int, frame: Any) -> None:
        seen.append(checkpoints.newest(Path(job.checkpoints)))
        sys.exit(3)

    before = signal.signal(signal.SIGTERM, requeue)
    try:
        with pytest.raises(SystemExit):
            launch(job, at_step(2, lambda: os.kill(os.getpid(), signal.SIGTERM)), out=io.StringIO())
        assert signal.getsignal(signal.SIGTERM) is requeue
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(seen) == 1
    assert seen[0] is not None


def test_bad_input_found_by_a_worker_is_bad_input_here(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"longer than train\.max_length"):
        launch(make_job(model, tmp_path, max_length=64, **TWO), out=io.StringIO())


def children() -> list[Any]:
    return psutil.Process().children(recursive=True)


def listening(processes: list[Any]) -> set[str]:
    """Addresses on which these processes accept connections from other machines."""
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {place.laddr.ip for place in process.net_connections("tcp") if place.status == psutil.CONN_LISTEN}
    return {address for address in found if not ipaddress.ip_address(address).is_loopback}


def test_no_stranger_can_reach_the_processes_of_one_node(model: Path, tmp_path: Path) -> None:
    """torch's launcher opens a store on all addresses and unpickles what anybody puts into it."""
    seen: list[tuple[int, set[str]]] = []
    job = make_job(model, tmp_path, **{**TWO, "max_steps": 3})
    launch(job, at_step(1, lambda: seen.append((len(children()), listening(children())))), out=io.StringIO())
    assert seen[0][0] >= 2
    assert not seen[0][1]


def test_the_store_of_several_nodes_listens_on_the_first_nodes_address_alone(model: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", 0))
        port = probe.getsockname()[1]
    job = make_job(model, tmp_path, max_steps=3, processes=1)
    stores: list[set[str]] = []

    def look() -> None:
        found = [place.laddr for child in children() for place in child.net_connections("tcp")]
        stores.append({place.ip for place in found if place.port == port})

    out = io.StringIO()
    with ThreadPoolExecutor() as pool:
        # The other node comes before the first one has written the job.
        other = pool.submit(launch, job, nodes=Nodes(2, 1, "127.0.0.2", port), out=out)
        while "waiting for the first node" not in out.getvalue():
            assert not other.done()
            time.sleep(0.05)
        launch(job, at_step(1, look), nodes=Nodes(2, 0, "127.0.0.2", port), out=io.StringIO())
        assert other.result().finished
    assert stores == [{"127.0.0.2"}]


def test_a_killed_process_is_an_error_and_no_process_is_left(model: Path, tmp_path: Path) -> None:
    def kill_a_worker() -> None:
        lines = {child: child.cmdline() for child in children()}
        next(child for child, line in lines.items() if "routenator.training.worker" in line).kill()

    with pytest.raises(StageError, match="a training process was killed"):
        launch(make_job(model, tmp_path, **{**TWO, "epochs": 50}), at_step(1, kill_a_worker), out=io.StringIO())
    assert [child for child in children() if "routenator.training.worker" in child.cmdline()] == []


@pytest.mark.parametrize(
    "changes", [{"method": "prompt", "prompt_tokens": 4}, {"method": "lora", "bf16": False, "eval_steps": 5}]
)
def test_other_methods_in_one_process(tmp_path: Path, changes: dict[str, Any]) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    # With larger embeddings, this untrained model repeats its last token, and no learned prompt can make it say
    # anything else.
    model = save_tiny_model(tmp_path / "model", embedding=0.3)
    job = make_job(model, tmp_path, learning_rate=5e-2, epochs=2, **changes)
    result = launch(job, out=io.StringIO())
    steps = [line["loss"] for line in lines(job) if "loss" in line]
    assert result.finished
    assert steps[-1] < steps[0]
    assert len([line for line in lines(job) if "eval_loss" in line]) == (4 if "eval_steps" in changes else 1)
    adapter = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), str(job.adapter))
    assert adapter.peft_config["default"].peft_type.value == (
        "PROMPT_TUNING" if changes["method"] == "prompt" else "LORA"
    )
    # Evaluation can run it, although vLLM is requested and does not support learned prompts.
    spec = EngineSpec(
        str(model), str(job.adapter), "vllm" if changes["method"] == "prompt" else "transformers", 64, 16, threads=1
    )
    assert spec.engine == "transformers"
    engine = open_engine(spec)
    prompts = [byte_tokenizer()(query + "\n")["input_ids"] for query in QUERIES]
    assert engine.answer(prompts, adapted=True) != engine.answer(prompts, adapted=False)
    engine.close()


def test_an_orphaned_worker_exits_when_its_launcher_has_died(model: Path, tmp_path: Path) -> None:
    """The worker checks for its launcher at each step; here it is given the pid of a process that has ended."""
    import subprocess

    from routenator.training.job import LAUNCHER_VARIABLE
    from routenator.training.launch import command, environment

    job = make_job(model, tmp_path, epochs=500)
    job.root.mkdir()
    job.write()
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    env = environment(1, cpu=True) | {LAUNCHER_VARIABLE: str(gone.pid)}

    subprocess.run(command(job), env=env, check=True, timeout=300, capture_output=True)
    result = TrainingResult.model_validate_json(job.result_file.read_text())
    assert not result.finished
    assert checkpoints.newest(Path(job.checkpoints)) is not None
