"""Training formats: each row as its reader wants it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from routenator.config import MergeConfig
from routenator.dataset import export
from routenator.domain.load import Domain

ARGUMENTS = {"city": "Oslo", "people": 2}
EXAMPLE = {
    "index": 17,
    "query": 'table for "two" in Oslo \u2764',
    "call": json.dumps({"name": "book", "arguments": ARGUMENTS}),
    "split": "train",
}


def test_openai(tiny: Domain) -> None:
    row = export.openai_row(EXAMPLE, tiny.tools())
    user, assistant = row["messages"]
    assert user == {"role": "user", "content": EXAMPLE["query"]}
    (call,) = assistant["tool_calls"]
    assert (assistant["role"], call["type"], call["function"]["name"]) == ("assistant", "function", "book")
    assert isinstance(call["function"]["arguments"], str)
    assert json.loads(call["function"]["arguments"]) == ARGUMENTS
    assert row["tools"] == tiny.tools()


def test_openai_rows_load_as_a_dataset_and_lose_nothing(tiny: Domain, tmp_path: Any) -> None:
    from datasets import load_dataset

    other = {**EXAMPLE, "index": 18, "call": json.dumps({"name": "search", "arguments": {"content_type": "logo", "extracted_prompt": "a"}})}
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(export.openai_row(example, tiny.tools())) + "\n" for example in (EXAMPLE, other)))
    rows = load_dataset("json", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    calls = [row["messages"][1]["tool_calls"][0]["function"] for row in rows]
    assert [json.loads(call["arguments"]) for call in calls] == [ARGUMENTS, {"content_type": "logo", "extracted_prompt": "a"}]


def test_axolotl_packs_parameters_as_text_and_leaves_the_tools_alone(tiny: Domain) -> None:
    tools = tiny.tools()
    row = export.axolotl_row(EXAMPLE, tools)
    assert [json.loads(tool["function"]["parameters"]) for tool in row["tools"]] == [tool["function"]["parameters"] for tool in tools]
    assert tools == tiny.tools()


def test_llamafactory(tiny: Domain) -> None:
    row = export.llamafactory_row(EXAMPLE, tiny.tools())
    human, call = row["conversations"]
    assert human == {"from": "human", "value": EXAMPLE["query"]}
    assert call["from"] == "function_call"
    assert json.loads(call["value"]) == {"name": "book", "arguments": ARGUMENTS}
    assert [tool["name"] for tool in json.loads(row["tools"])] == ["search", "book"]


def test_llamafactory_registers_its_files() -> None:
    files = export.llamafactory_info(["validation.llamafactory.jsonl", "train.llamafactory.jsonl"])
    info = json.loads(files["dataset_info.json"])
    assert {name: entry["file_name"] for name, entry in info.items()} == {
        "train": "train.llamafactory.jsonl",
        "validation": "validation.llamafactory.jsonl",
    }
    assert info["train"]["columns"] == {"messages": "conversations", "tools": "tools"}


def test_bfcl_question_and_answer_belong_together(tiny: Domain) -> None:
    question, answer = export.bfcl_row(EXAMPLE, tiny.tools()), export.bfcl_answer_row(EXAMPLE, tiny.tools())
    assert question["id"] == answer["id"] == "multiple_17"
    assert question["question"] == [[{"role": "user", "content": EXAMPLE["query"]}]]
    assert answer["ground_truth"] == [{"book": {"city": ["Oslo"], "people": [2]}}]
    book = question["function"][1]
    assert book["parameters"]["type"] == "dict"
    assert book["parameters"]["properties"]["people"] == {"type": "integer"}


def test_bfcl_with_one_function_is_simple(tiny: Domain) -> None:
    assert export.bfcl_row(EXAMPLE, tiny.tools()[:1])["id"] == "simple_17"


def test_bfcl_renames_types_but_not_parameters() -> None:
    schema = {"type": "object", "properties": {"type": {"type": "number"}, "items": {"type": "array", "items": {"type": "object"}}}}
    tools = [{"type": "function", "function": {"name": "f", "description": "", "parameters": schema}}]
    found = export.bfcl_row(EXAMPLE, tools)["function"][0]["parameters"]
    assert found["properties"]["type"] == {"type": "float"}
    assert found["properties"]["items"] == {"type": "array", "items": {"type": "dict"}}


def test_every_format_of_the_config_is_there() -> None:
    for name in export.FORMATS:
        assert MergeConfig(formats=[name]).formats == [name]
    with pytest.raises(ValueError, match="Input should be"):
        MergeConfig(formats=["parquet"])
    suffixes = [suffix for kind in export.FORMATS.values() for suffix in kind.rows]
    assert len(suffixes) == len(set(suffixes))
