"""The parts of training, without training: checkpoints, cards, command lines and the loss."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from routenator.config import TrainConfig
from routenator.domain.calls import Call
from routenator.errors import InputError
from routenator.files import write_json
from routenator.nodes import Nodes
from routenator.training import checkpoints
from routenator.training.adapter import AdapterCard, base_model_of, is_adapter, read_card, read_template
from routenator.training.arguments import deepspeed_config
from routenator.training.group import STORE_VARIABLE, group_environment
from routenator.training.job import TrainingJob
from routenator.training.launch import environment
from tests.routenator.tiny_model import TOOLS, byte_tokenizer, make_job, save_tiny_model


def written(folder: Path, attempt: str, steps: int) -> Path:
    path = folder / attempt / f"checkpoint-{steps}"
    path.mkdir(parents=True)
    (path / "state").write_text(attempt)
    return path


def test_a_checkpoint_counts_only_after_the_rename(tmp_path: Path) -> None:
    work = tmp_path / "work"
    assert checkpoints.newest(work) is None
    half = written(tmp_path, "one", 10)
    assert checkpoints.newest(work) is None
    kept = checkpoints.keep(half, work)
    assert not half.exists()
    assert checkpoints.newest(work) == kept
    assert checkpoints.steps_of(kept) == 10


def test_the_newest_checkpoint_of_any_attempt_wins_and_older_ones_are_removed(tmp_path: Path) -> None:
    work = tmp_path / "work"
    for attempt, steps in (("one", 9), ("two", 100), ("one", 20)):
        checkpoints.keep(written(tmp_path, attempt, steps), work)
    newest = checkpoints.newest(work)
    assert newest is not None
    assert (newest.name, (newest / "state").read_text()) == ("checkpoint-100-two", "two")
    assert sorted(path.name for path in work.iterdir()) == ["checkpoint-100-two", "checkpoint-20-one"]
    (work / "notes").mkdir()
    assert checkpoints.newest(work) == newest


def card(**changes: Any) -> AdapterCard:
    fields = {
        "domain": "d",
        "base_model": "org/base",
        "prompt": "compact",
        "tools": TOOLS,
        "tool_call_parser": "hermes",
        "method": "qlora",
        "steps": 7,
    }
    return AdapterCard.model_validate({**fields, **changes})


def test_a_card_round_trips(tmp_path: Path) -> None:
    assert read_card(tmp_path) is None
    card().write(tmp_path, "{{ messages }}")
    assert read_card(tmp_path) == card()
    assert read_template(tmp_path, "compact") == "{{ messages }}"
    readme = (tmp_path / "README.md").read_text()
    assert yaml.safe_load(readme.split("---")[1])["base_model"] == "org/base"
    for part in ("- `search`", "--tool-call-parser hermes", "--chat-template FOLDER/chat_template.jinja"):
        assert part in readme


def test_a_card_of_another_format_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "routenator.json", {**card().model_dump(), "format": 99})
    with pytest.raises(InputError, match="prompts of another form"):
        read_card(tmp_path)
    write_json(tmp_path / "routenator.json", {**card().model_dump(), "prompt": "loud"})
    with pytest.raises(InputError, match="damaged") as caught:
        read_card(tmp_path)
    assert caught.value.key == "prompt"


def test_a_plain_adapter_names_its_base_model(tmp_path: Path) -> None:
    assert not is_adapter(tmp_path)
    write_json(tmp_path / "adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "org/base"})
    assert is_adapter(tmp_path)
    assert base_model_of(tmp_path) == "org/base"
    write_json(tmp_path / "adapter_config.json", {"peft_type": "LORA"})
    with pytest.raises(InputError, match="no base model"):
        base_model_of(tmp_path)


def test_processes_of_one_node_meet_through_a_file_and_talk_over_loopback(tmp_path: Path) -> None:
    places = [group_environment(local, 3, Nodes(), tmp_path) for local in range(3)]
    assert [place["RANK"] for place in places] == ["0", "1", "2"] == [place["LOCAL_RANK"] for place in places]
    assert {place["WORLD_SIZE"] for place in places} == {"3"}
    assert {place[STORE_VARIABLE] for place in places} == {str(tmp_path / "store")}
    assert {place["GLOO_SOCKET_IFNAME"] for place in places} == {"lo"}


def test_several_nodes_meet_at_the_first_nodes_address(tmp_path: Path) -> None:
    place = group_environment(1, 2, Nodes(count=2, index=1, address="n07", port=4711), tmp_path)
    assert (place["RANK"], place["WORLD_SIZE"], place["LOCAL_RANK"]) == ("3", "4", "1")
    assert (place["MASTER_ADDR"], place["MASTER_PORT"]) == ("n07", "4711")
    assert STORE_VARIABLE not in place


def test_processes_share_the_cores_and_inherit_no_other_launchers_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)  # other tests in this process may have set it
    monkeypatch.setenv("MASTER_PORT", "1")
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    env = environment(processes=3, cpu=True)
    assert env["OMP_NUM_THREADS"] == "2"
    for given, threads in (("4", "4"), ("64", "8"), ("0", "8"), ("4,2", "8")):
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        assert environment(processes=1, cpu=True)["OMP_NUM_THREADS"] == threads
    assert env["DS_ACCELERATOR"] == "cpu"
    assert "MASTER_PORT" not in env
    assert "RANK" not in env
    assert "DS_ACCELERATOR" not in environment(processes=1, cpu=False)


def test_a_job_round_trips(tmp_path: Path) -> None:
    job = make_job(tmp_path, tmp_path, method="lora")
    job.write()
    assert TrainingJob.read(job.file) == job


def test_deepspeed_config_has_the_zero_stage() -> None:
    assert deepspeed_config(TrainConfig(), cuda=True)["zero_optimization"]["stage"] == 2
    assert deepspeed_config(TrainConfig(zero_stage=3), cuda=True)["zero_optimization"][
        "stage3_gather_16bit_weights_on_model_save"
    ]
    assert deepspeed_config(TrainConfig(), cuda=False)["zero_optimization"]["overlap_comm"] is False


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.mark.slow
@pytest.mark.parametrize("keeps", [True, False])
def test_the_loss_equals_transformers_loss_on_the_answers(tiny_model: Path, keeps: bool) -> None:
    import torch

    from routenator.chat.prompts import PromptFormat
    from routenator.training.model import attach_adapter, load_base
    from routenator.training.tokens import IGNORED, collate
    from routenator.training.trainer import answer_logits, answer_loss

    config = TrainConfig(method="lora", bf16=False, deepspeed=False, lora_dropout=0.0, gradient_checkpointing=False)
    model = attach_adapter(load_base(str(tiny_model), config, "cpu", longest=100), config).eval()
    prompt = PromptFormat("compact", TOOLS, byte_tokenizer())
    rows = []
    for query in ("cats", "a much longer query about dogs"):
        question, answer = prompt.prompt_ids(query), prompt.reply_ids(query, [Call("search", {"content_type": query})])
        rows.append({"input_ids": question + answer, "labels": [IGNORED] * len(question) + answer})
    batch = collate(rows, padding=258)
    with torch.no_grad():
        theirs = model(**batch).loss
        logits, wanted = answer_logits(model, batch, keeps)
        assert torch.allclose(answer_loss(logits, wanted, None), theirs, rtol=1e-5)
        count = int((batch["labels"] != IGNORED).sum())
        assert torch.allclose(answer_loss(logits, wanted, 2 * count), theirs / 2, rtol=1e-5)


def test_an_answer_is_exact_if_all_its_own_tokens_are_predicted() -> None:
    import torch
    from transformers import EvalPrediction

    from routenator.training.tokens import IGNORED
    from routenator.training.trainer import accuracy, answer_counts

    found = torch.tensor([[3, 1, 2], [0, 4, 2], [4, 4, 4]])
    logits = torch.nn.functional.one_hot(found, 5).float()
    wanted = torch.tensor([[IGNORED, 1, 2], [0, 4, 1], [IGNORED, IGNORED, 4]])
    counts = answer_counts(logits, wanted)
    assert counts.tolist() == [[2, 2], [2, 3], [1, 1]]
    scores = accuracy(EvalPrediction(predictions=counts.numpy(), label_ids=wanted.numpy()))
    assert scores == {"token_accuracy": pytest.approx(5 / 6), "exact": pytest.approx(2 / 3)}


@pytest.mark.skipif(find_spec("wandb") is not None, reason="wandb is installed")
def test_a_tracker_that_is_not_installed_is_named(tmp_path: Path) -> None:
    from transformers import Trainer

    from routenator.training.trackers import add_tracker

    with pytest.raises(InputError, match="not installed") as caught:
        add_tracker(Trainer.__new__(Trainer), "wandb", tmp_path, tmp_path / "metrics.jsonl")
    assert (caught.value.key, caught.value.found) == ("train.tracker", "wandb")


@pytest.mark.slow
def test_a_layer_that_the_model_does_not_have_is_refused(tiny_model: Path) -> None:
    from routenator.training.model import attach_adapter, load_base

    config = TrainConfig(method="lora", lora_targets=["q_proj", "k_porj"], deepspeed=False)
    with pytest.raises(InputError) as caught:
        attach_adapter(load_base(str(tiny_model), config, "cpu", longest=100), config)
    assert (caught.value.key, caught.value.found, caught.value.nearest) == ("train.lora_targets", "k_porj", "k_proj")


@pytest.mark.slow
def test_evaluating_in_between_leaves_a_4_bit_model_trainable(tiny_model: Path) -> None:
    import torch

    from routenator.training.model import attach_adapter, load_base

    config = TrainConfig(deepspeed=False, gradient_checkpointing=False, lora_dropout=0.0)
    model = attach_adapter(load_base(str(tiny_model), config, "cpu", longest=100), config)
    ids = torch.arange(40).reshape(2, 20)
    model.eval()
    with torch.no_grad():
        before = model(input_ids=ids, labels=ids).loss
    model.train()
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    first = [p.grad for name, p in model.named_parameters() if "layers.0" in name and "lora_B" in name]
    assert first
    assert all(grad is not None and grad.abs().sum() > 0 for grad in first)
    assert torch.allclose(before, loss.detach(), rtol=1e-2)
