"""Prompts and answers, token by token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from routenator.errors import InputError
from routenator.training.prompts import STYLES, PromptFormat, Style, call_text
from routenator.training.tokens import IGNORED, LengthGrouped, collate, read_tokens, write_tokens
from tests.routenator.tiny_model import TEMPLATE, TOOLS, byte_tokenizer, example_rows, write_rows


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return byte_tokenizer()


def test_a_call_is_json_with_parameters_in_the_schemas_order() -> None:
    text = call_text(
        "search", {"extracted_prompt": "thé", "content_type": "poster", "more": 1}, ["content_type", "extracted_prompt"]
    )
    assert text == '{"name": "search", "arguments": {"content_type": "poster", "extracted_prompt": "thé", "more": 1}}'


def test_the_compact_prompt_is_the_query_on_a_line(tokenizer: Any) -> None:
    prompt = PromptFormat("compact", TOOLS, tokenizer)
    assert tokenizer.decode(prompt.prompt_ids("  find \t cats ")) == "find cats\n"


def test_the_tools_prompt_shows_every_function_and_the_query(tokenizer: Any) -> None:
    text = PromptFormat("tools", TOOLS, tokenizer).prompt_text("find cats")
    assert text.startswith("<s>system\n")
    assert text.endswith("<s>user\nRequest: find cats\nCall:</s>\n<s>assistant\n")
    for tool in TOOLS:
        assert json.dumps(tool["function"], separators=(",", ":")) in text
    assert '{"name": "ping", "arguments": {"host": "..."}}' in text


@pytest.mark.parametrize("style", STYLES)
def test_the_loss_is_on_the_answer_alone(tokenizer: Any, style: Style, tmp_path: Path) -> None:
    prompt = PromptFormat(style, TOOLS, tokenizer)
    rows = example_rows(7)
    write_tokens(
        [write_rows(tmp_path / "a.parquet", rows[:4]), write_rows(tmp_path / "b.parquet", rows[4:])],
        prompt,
        4096,
        tmp_path / "t",
    )
    data = read_tokens(tmp_path / "t")
    assert len(data) == 7
    for number, row in enumerate(rows):
        example = data[number]
        question = prompt.prompt_ids(row["query"])
        assert len(example["input_ids"]) == len(example["labels"]) == data.lengths[number]
        for position, (token, label) in enumerate(zip(example["input_ids"], example["labels"], strict=True)):
            if position < len(question):
                assert token == question[position]
                assert label == IGNORED
            else:
                assert label == token
        assert (
            tokenizer.decode([label for label in example["labels"] if label != IGNORED]) == row["calls"][1:-1] + "</s>"
        )


def test_training_sees_the_tokens_that_the_chat_template_writes(tokenizer: Any) -> None:
    prompt = PromptFormat("tools", TOOLS, tokenizer)
    arguments = {"content_type": "poster", "extracted_prompt": "fox"}
    turn = [*prompt.messages("a fox"), {"role": "assistant", "content": call_text("search", arguments)}]
    whole = tokenizer(tokenizer.apply_chat_template(turn, tokenize=False), add_special_tokens=False)["input_ids"]
    ours = prompt.prompt_ids("a fox") + prompt.answer_ids("search", arguments)
    assert whole[: len(ours)] == ours
    assert tokenizer.decode(whole[len(ours) :]) == "\n"


def test_without_an_end_of_turn_in_the_template_the_answer_ends_with_the_end_of_text() -> None:
    bare = byte_tokenizer("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}")
    assert PromptFormat("tools", TOOLS, bare).end_ids == [bare.eos_token_id]
    assert PromptFormat("tools", TOOLS, byte_tokenizer(TEMPLATE)).end_ids == [bare.eos_token_id]


def test_an_example_that_is_too_long_is_refused_and_not_truncated(tokenizer: Any, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.parquet", example_rows(5))
    prompt = PromptFormat("compact", TOOLS, tokenizer)
    with pytest.raises(InputError, match=r"longer than train\.max_length") as caught:
        write_tokens([file], prompt, 120, tmp_path / "t")
    assert caught.value.key == "train.max_length"
    assert caught.value.file == str(file)
    longest = max(len(prompt.prompt_ids(row["query"])) + len(row["calls"]) - 2 + 1 for row in example_rows(5))
    write_tokens([file], prompt, longest, tmp_path / "t")
    assert max(read_tokens(tmp_path / "t").lengths) == longest


def test_an_empty_training_set_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("query", pa.string()), ("calls", pa.string())])
    pq.write_table(schema.empty_table(), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="no examples"):
        write_tokens([tmp_path / "a.parquet"], PromptFormat("compact", TOOLS, tokenizer), 99, tmp_path / "t")


def test_a_batch_is_padded_on_the_right_to_its_longest() -> None:
    batch = collate([{"input_ids": [1, 2, 3], "labels": [IGNORED, 2, 3]}, {"input_ids": [4], "labels": [4]}], padding=9)
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORED, 2, 3], [4, IGNORED, IGNORED]]


def test_the_order_is_a_function_of_seed_and_epoch_alone() -> None:
    import torch

    lengths = [(7 * number) % 50 + 1 for number in range(203)]
    first, second = LengthGrouped(lengths, 8, seed=1), LengthGrouped(lengths, 8, seed=1)
    one = list(first)
    torch.rand(5)  # advances the global generator, as dropout on the CPU does
    assert list(second) == one
    assert sorted(one) == list(range(203))
    first.set_epoch(1)
    assert list(first) != one
    assert sorted(first) == list(range(203))
    assert list(LengthGrouped(lengths, 8, seed=2)) != one


def test_grouping_by_length_pads_less_than_chance() -> None:
    lengths = [(37 * number) % 101 + 1 for number in range(400)]

    def padded(order: list[int]) -> int:
        return sum(max(lengths[i] for i in order[low : low + 8]) * 8 for low in range(0, len(order), 8))

    assert padded(list(LengthGrouped(lengths, 8, seed=1))) < 0.75 * padded(list(range(400)))


def test_two_processes_see_each_example_once_an_epoch() -> None:
    from accelerate.data_loader import BatchSamplerShard
    from torch.utils.data import BatchSampler

    lengths = [number % 13 + 1 for number in range(64)]
    seen = []
    for process in range(2):
        batches = BatchSampler(LengthGrouped(lengths, 16, seed=4), batch_size=8, drop_last=False)
        for batch in BatchSamplerShard(batches, num_processes=2, process_index=process):
            seen.extend(batch)
    assert sorted(seen) == list(range(64))
