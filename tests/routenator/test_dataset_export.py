"""Tests of the training formats: rows are as their readers expect, and survive readers that infer a schema."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from routenator.config import MergeConfig
from routenator.dataset import export
from routenator.dataset.calls import call_parts, single_arguments
from routenator.dataset.files import SplitWriter, split_files
from routenator.dataset.writer import _kinds
from routenator.domain.calls import Call, read_calls
from routenator.domain.domain import Domain

ARGUMENTS: list[tuple[str, dict[str, Any]]] = [
    ("book", {"city": "Oslo", "people": 2}),
    ("search", {"content_type": "logo", "extracted_prompt": 'a "quoted" \\ back\nslash \u2764 \t'}),
    ("book", {"city": "S\u00e3o Paulo", "flags": [True, None, {"deep": 1.5}]}),
    ("search", {}),
]
QUERIES = ['table for "two" in Oslo \u2764', "a\\b\nc\td\x01e\u2028f", "plain", "\u65e5\u672c {braces} %s"]


def examples(rows: int = 4) -> pl.DataFrame:
    picked = [ARGUMENTS[number % 4] for number in range(rows)]
    arguments = [json.dumps(call, ensure_ascii=number % 2 == 0) for number, (_, call) in enumerate(picked)]
    frame = pl.DataFrame(
        {
            "index": pl.Series([17 + number for number in range(rows)], dtype=pl.Int64),
            "query": [QUERIES[number % 4] for number in range(rows)],
            "function": [name for name, _ in picked],
            "arguments": arguments,
            "group": pl.Series(range(rows), dtype=pl.UInt64),
            "words": pl.Series([1] * rows, dtype=pl.Int32),
        }
    )
    texts = {name: pl.lit("x") for name in ("category", "route", "template", "length", "language")}
    opened = pl.concat_str(pl.lit('[{"name": "'), "function", pl.lit('", "arguments": '), "arguments", pl.lit("}]"))
    text = pl.lit(None, dtype=pl.String)
    nothing = {"asked": pl.col("query"), "reply": text, "hidden": pl.lit(None, dtype=pl.List(pl.String)), "today": text}
    frame = frame.with_columns(calls=opened, number=pl.lit(1), **texts, **nothing)
    return frame.with_columns(parts=call_parts(frame, ["search", "book"]))


def lines(name: str, tools: list[dict[str, Any]], suffix: str | None = None) -> list[dict[str, Any]]:
    kinds = export.FORMATS[name].lines
    line = kinds[suffix or next(iter(kinds))](tools)
    return [json.loads(text) for text in examples().select(line).to_series()]


def check_messages(rows: Sequence[dict[str, Any]]) -> None:
    for number, row in enumerate(rows):
        user, assistant = row["messages"]
        assert (user["role"], user["content"]) == ("user", QUERIES[number % 4])
        (call,) = assistant["tool_calls"]
        assert (assistant["role"], call["type"], call["id"]) == ("assistant", "function", f"call_{17 + number}")
        name, arguments = ARGUMENTS[number % 4]
        assert call["function"]["name"] == name
        assert isinstance(call["function"]["arguments"], str)
        assert json.loads(call["function"]["arguments"]) == arguments


def test_arguments_are_found_without_parsing() -> None:
    frame = examples()
    found = frame.select("calls", "function").select(single_arguments(["book", "search", "other"])).to_series()
    assert found.to_list() == frame["arguments"].to_list()
    assert [read_calls(text) for text in frame["calls"]] == [[Call(*call)] for call in ARGUMENTS]


def test_openai(tiny: Domain) -> None:
    rows = lines("openai", tiny.tools())
    check_messages(rows)
    assert all(row["tools"] == tiny.tools() for row in rows)
    assert list(rows[0]["messages"][0]) == ["role", "content"]
    assert list(rows[0]["messages"][1]) == ["role", "tool_calls"]


def test_axolotl_stores_parameters_as_text_and_does_not_change_the_tools(tiny: Domain) -> None:
    tools = tiny.tools()
    rows = lines("axolotl", tools)
    check_messages(rows)
    assert [json.loads(tool["function"]["parameters"]) for tool in rows[0]["tools"]] == [
        tool["function"]["parameters"] for tool in tools
    ]
    assert tools == tiny.tools()


def test_llamafactory(tiny: Domain) -> None:
    for number, row in enumerate(lines("llamafactory", tiny.tools())):
        human, call = row["conversations"]
        assert human == {"from": "human", "value": QUERIES[number]}
        assert call["from"] == "function_call"
        name, arguments = ARGUMENTS[number]
        assert json.loads(call["value"]) == {"name": name, "arguments": arguments}
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
    questions, answers = lines("bfcl", tiny.tools()), lines("bfcl", tiny.tools(), ".bfcl_answers.jsonl")
    for number, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        assert question["id"] == answer["id"] == f"multiple_{17 + number}"
        assert question["question"] == [[{"role": "user", "content": QUERIES[number]}]]
        name, arguments = ARGUMENTS[number]
        assert answer["ground_truth"] == [{name: {key: [value] for key, value in arguments.items()}}]
    book = questions[0]["function"][1]
    assert book["parameters"]["type"] == "dict"
    assert book["parameters"]["properties"]["people"] == {"type": "integer"}


def test_bfcl_with_one_function_is_simple(tiny: Domain) -> None:
    found = examples().select(export.bfcl_line(tiny.tools()[:1])).to_series()
    assert json.loads(found[0])["id"] == "simple_17"


def test_bfcl_renames_types_but_not_parameters() -> None:
    schema = {
        "type": "object",
        "properties": {"type": {"type": "number"}, "items": {"type": "array", "items": {"type": "object"}}},
    }
    tools = [{"type": "function", "function": {"name": "f", "description": "", "parameters": schema}}]
    found = json.loads(examples().select(export.bfcl_line(tools)).to_series()[0])["function"][0]["parameters"]
    assert found["properties"]["type"] == {"type": "float"}
    assert found["properties"]["items"] == {"type": "array", "items": {"type": "dict"}}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, tiny: Domain) -> Path:
    """Every format, with 50 rows in three files each."""
    folder = tmp_path_factory.mktemp("formats")
    with SplitWriter(folder, "train", 50, 20, _kinds("train", list(export.FORMATS), tiny.tools())) as writer:
        writer.write(examples(50))
    return folder


def load(written: Path, suffix: str, cache: Path, kind: str = "json") -> list[dict[str, Any]]:
    """Rows as read by a loader that infers a schema (the one that TRL, axolotl and LLaMA-Factory use)."""
    from datasets import load_dataset

    files = [str(path) for path in split_files(written, "train", suffix)]
    assert len(files) == 3
    return list(load_dataset(kind, data_files=files, split="train", cache_dir=str(cache)))


@pytest.mark.parametrize("suffix", [".jsonl", ".axolotl.jsonl"])
def test_messages_of_several_files_load_as_a_dataset_and_lose_nothing(
    written: Path, tmp_path: Path, suffix: str
) -> None:
    rows = load(written, suffix, tmp_path)
    assert len(rows) == 50
    check_messages(rows)


def test_parquet_messages_load_as_a_dataset_and_lose_nothing(written: Path, tmp_path: Path, tiny: Domain) -> None:
    rows = load(written, ".openai.parquet", tmp_path, "parquet")
    assert len(rows) == 50
    check_messages(rows)
    assert all(json.loads(row["tools"]) == tiny.tools() for row in rows)  # no parameter of another function, no null
    user, assistant = rows[0]["messages"]
    assert (user["tool_calls"], assistant["content"]) == (None, None)
    with pq.ParquetFile(split_files(written, "train", ".openai.parquet")[0]) as file:
        tools = file.metadata.row_group(0).column(file.metadata.num_columns - 1)
    assert tools.total_uncompressed_size < 5 * len(
        json.dumps(tiny.tools())
    )  # in the dictionary and its statistics, not in 20 rows


def test_sharegpt_loads_as_a_dataset_and_loses_nothing(written: Path, tmp_path: Path) -> None:
    rows = load(written, ".llamafactory.jsonl", tmp_path)
    assert [json.loads(row["conversations"][1]["value"])["arguments"] for row in rows] == [
        ARGUMENTS[n % 4][1] for n in range(50)
    ]


def test_bfcl_lines_of_several_files_hold_every_row_once(written: Path) -> None:
    for suffix in (".bfcl.jsonl", ".bfcl_answers.jsonl"):
        rows = [
            json.loads(line) for path in split_files(written, "train", suffix) for line in path.read_text().splitlines()
        ]
        assert [row["id"] for row in rows] == [f"multiple_{17 + number}" for number in range(50)]


def test_every_format_of_the_config_exists() -> None:
    for name in export.FORMATS:
        assert MergeConfig(formats=[name]).formats == [name]
    with pytest.raises(ValueError, match="Input should be"):
        MergeConfig(formats=["parquet"])
    suffixes = [suffix for kind in export.FORMATS.values() for suffix in kind.suffixes]
    assert len(suffixes) == len(set(suffixes))


def test_near_duplicates_off_needs_no_quotes() -> None:
    assert MergeConfig(near_duplicates=False).near_duplicates == "off"
    with pytest.raises(ValueError, match="Input should be"):
        MergeConfig(near_duplicates=True)
