"""Training formats. A format is one entry of ``FORMATS``: file suffix -> a function of (example, tools) that returns a JSON-able row.

Arguments are kept as JSON text wherever the format allows it: JSON loaders that infer a schema would otherwise give every row the
parameters of all functions, filled with nulls, and fail on parameters of mixed types.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Callable[[dict[str, Any], list[dict[str, Any]]], dict[str, Any]]


@dataclass(frozen=True)
class Format:
    """One training format.

    Attributes:
        rows: suffix of the file -> how one example becomes one line of it. An example is a row of EXAMPLE_COLUMNS.
        description: one sentence for the data set's card.
        side_files: names of the data files -> further files (name -> text), e.g. a registration.
    """

    rows: dict[str, Row]
    description: str
    side_files: Callable[[Sequence[str]], dict[str, str]] = field(default=lambda names: {})


def _call(example: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    call = json.loads(example["call"])
    return call["name"], call["arguments"]


def _messages(example: dict[str, Any]) -> list[dict[str, Any]]:
    name, arguments = _call(example)
    function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
    call = {"id": f"call_{example['index']}", "type": "function", "function": function}
    return [{"role": "user", "content": example["query"]}, {"role": "assistant", "tool_calls": [call]}]


def openai_row(example: dict[str, Any], tools: list[dict[str, Any]]) -> dict[str, Any]:
    """OpenAI fine-tuning and TRL: ``messages`` and ``tools``."""
    return {"messages": _messages(example), "tools": tools}


def axolotl_row(example: dict[str, Any], tools: list[dict[str, Any]]) -> dict[str, Any]:
    """axolotl ``type: chat_template``: as OpenAI, with each tool's parameters as JSON text, which axolotl parses."""
    packed = [
        {**tool, "function": {**tool["function"], "parameters": json.dumps(tool["function"]["parameters"], ensure_ascii=False)}}
        for tool in tools
    ]
    return {"messages": _messages(example), "tools": packed}


def llamafactory_row(example: dict[str, Any], tools: list[dict[str, Any]]) -> dict[str, Any]:
    """LLaMA-Factory sharegpt: a human turn, a function_call turn, and the tools as JSON text."""
    name, arguments = _call(example)
    return {
        "conversations": [
            {"from": "human", "value": example["query"]},
            {"from": "function_call", "value": json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)},
        ],
        "tools": json.dumps([tool["function"] for tool in tools], ensure_ascii=False),
    }


def llamafactory_info(names: Sequence[str]) -> dict[str, str]:
    """LLaMA-Factory's dataset_info.json: one entry a file."""
    columns = {"messages": "conversations", "tools": "tools"}
    entries = {
        name.removesuffix(".llamafactory.jsonl"): {"file_name": name, "formatting": "sharegpt", "columns": columns}
        for name in sorted(names)
    }
    return {"dataset_info.json": json.dumps(entries, indent=2) + "\n"}


def _bfcl_id(example: dict[str, Any], tools: list[dict[str, Any]]) -> str:
    # BFCL takes the category from the id: one call out of one function is "simple", out of several "multiple".
    return f"{'simple' if len(tools) == 1 else 'multiple'}_{example['index']}"


_BFCL_TYPES = {"object": "dict", "number": "float"}


def _bfcl_schema(schema: Any) -> Any:
    """A JSON schema with BFCL's names of types."""
    if isinstance(schema, list):
        return [_bfcl_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    renamed = {key: _bfcl_schema(value) for key, value in schema.items()}
    if isinstance(schema.get("type"), str):
        renamed["type"] = _BFCL_TYPES.get(schema["type"], schema["type"])
    return renamed


def bfcl_row(example: dict[str, Any], tools: list[dict[str, Any]]) -> dict[str, Any]:
    """Berkeley Function-Calling Leaderboard: a question."""
    functions = [{**tool["function"], "parameters": _bfcl_schema(tool["function"]["parameters"])} for tool in tools]
    return {"id": _bfcl_id(example, tools), "question": [[{"role": "user", "content": example["query"]}]], "function": functions}


def bfcl_answer_row(example: dict[str, Any], tools: list[dict[str, Any]]) -> dict[str, Any]:
    """Berkeley Function-Calling Leaderboard: the possible answers to a question, one value for each parameter."""
    name, arguments = _call(example)
    return {"id": _bfcl_id(example, tools), "ground_truth": [{name: {key: [value] for key, value in arguments.items()}}]}


FORMATS: dict[str, Format] = {
    "openai": Format(
        {".jsonl": openai_row},
        "OpenAI fine-tuning and TRL: `messages` and `tools`, arguments as JSON text.",
    ),
    "axolotl": Format(
        {".axolotl.jsonl": axolotl_row},
        "axolotl with `type: chat_template`: as OpenAI, a tool's parameters as JSON text.",
    ),
    "llamafactory": Format(
        {".llamafactory.jsonl": llamafactory_row},
        "LLaMA-Factory's sharegpt with `function_call` turns; `dataset_info.json` registers the files.",
        llamafactory_info,
    ),
    "bfcl": Format(
        {".bfcl.jsonl": bfcl_row, ".bfcl_answers.jsonl": bfcl_answer_row},
        "Berkeley Function-Calling Leaderboard: questions, and possible answers beside them.",
    ),
}
