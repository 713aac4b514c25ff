"""Examples as tokens, and batches of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from routenator.chat.prompts import PromptFormat
from routenator.chat.templates import STYLES, Style
from routenator.domain.calls import Call, calls_text, read_calls
from routenator.errors import InputError
from routenator.training.tokens import IGNORED, LengthGrouped, collate, has_several, read_tokens, write_tokens
from tests.routenator.tiny_model import TOOLS, byte_tokenizer, example_rows, write_rows


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return byte_tokenizer()


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
        reply = f"<tool_call>\n{row['calls'][1:-1]}\n</tool_call></s>"
        assert tokenizer.decode([label for label in example["labels"] if label != IGNORED]) == reply


def test_an_example_that_is_too_long_is_refused_and_not_truncated(tokenizer: Any, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.parquet", example_rows(5))
    prompt = PromptFormat("compact", TOOLS, tokenizer)
    with pytest.raises(InputError, match=r"longer than train\.max_length") as caught:
        write_tokens([file], prompt, 120, tmp_path / "t")
    assert caught.value.key == "train.max_length"
    assert caught.value.file == str(file)
    longest = max(
        len(prompt.prompt_ids(row["query"])) + len(prompt.reply_ids(row["query"], read_calls(row["calls"])))
        for row in example_rows(5)
    )
    write_tokens([file], prompt, longest, tmp_path / "t")
    assert max(read_tokens(tmp_path / "t").lengths) == longest


def test_rows_of_no_call_of_several_and_with_hidden_functions_are_what_the_template_writes(
    tokenizer: Any, tmp_path: Path
) -> None:
    both = [Call("search", {"content_type": "t", "extracted_prompt": "a"}), Call("ping", {"host": "b"})]
    rows = [
        {"query": "hello", "calls": "[]", "reply": "Sorry, I cannot do that.", "hidden": None},
        {"query": "ping b", "calls": "[]", "reply": "I have no such function.", "hidden": ["ping"]},
        {"query": "find a, then ping b", "calls": calls_text(both), "reply": None, "hidden": None},
    ]
    file = write_rows(tmp_path / "a.parquet", rows)
    assert has_several([file]) and not has_several([write_rows(tmp_path / "b.parquet", rows[:2])])
    prompt = PromptFormat("tools", TOOLS, tokenizer)
    write_tokens([file], prompt, 4096, tmp_path / "t")
    data = read_tokens(tmp_path / "t")
    texts = [tokenizer.decode(data[number]["input_ids"]) for number in range(3)]
    assert texts[0].endswith("<s>user\nhello</s>\n<s>assistant\nSorry, I cannot do that.</s>")
    assert '"ping"' not in texts[1] and '"search"' in texts[1] and '"ping"' in texts[0]
    blocks = "\n".join(f"<tool_call>\n{calls_text([call])[1:-1]}\n</tool_call>" for call in both)
    assert texts[2].endswith(f"<s>assistant\n{blocks}</s>")


@pytest.mark.parametrize("style", ["compact", "tools"])
def test_the_prompt_states_the_rows_day(style: Style, tokenizer: Any, tmp_path: Path) -> None:
    """Data sets of earlier versions have no column `today`."""
    calls = calls_text([Call("ping", {"host": "b"})])
    old = {"query": "ping b", "calls": calls, "reply": None, "hidden": None}
    texts = []
    for rows in ([old], [{**old, "today": None}], [{**old, "today": "2026-03-03"}]):
        file = write_rows(tmp_path / "a.parquet", rows)
        write_tokens([file], PromptFormat(style, TOOLS, tokenizer), 4096, tmp_path / "t")
        texts.append(tokenizer.decode(read_tokens(tmp_path / "t")[0]["input_ids"]))
    assert texts[0] == texts[1] == texts[2].replace("Today is Tuesday, 2026-03-03. ", "")
    assert "Today is Tuesday, 2026-03-03. ping b" in texts[2]


def test_an_empty_training_set_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    write_rows(tmp_path / "a.parquet", [])
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
