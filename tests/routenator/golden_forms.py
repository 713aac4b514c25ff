"""Queries and calls in the forms that other programs write, for the tests of imports."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from routenator.authoring.goldenset import Imported, import_golden
from routenator.authoring.records import Source
from routenator.domain.domain import Domain

BOOK = {"name": "book", "arguments": {"city": "Oslo", "people": 2}}


SEARCH = {"name": "search", "arguments": {"content_type": "logo", "extracted_prompt": "red kite"}}


EXPECTED = [{"query": "a table for two in Oslo", "call": BOOK}, {"query": "logo with a red kite", "call": SEARCH}]


def openai(query: str, *calls: dict[str, Any]) -> dict[str, Any]:
    said = [
        {"id": "1", "type": "function", "function": {**one, "arguments": json.dumps(one["arguments"])}} for one in calls
    ]
    answer = {"role": "assistant", "tool_calls": said} if said else {"role": "assistant", "content": "Hello!"}
    return {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": query}, answer], "tools": []}


def legacy_openai(query: str, call: dict[str, Any]) -> dict[str, Any]:
    parts = [{"type": "text", "text": query}]
    said = {"role": "assistant", "content": None, "function_call": {**call, "arguments": json.dumps(call["arguments"])}}
    return {"messages": [{"role": "user", "content": parts}, said]}


def sharegpt(query: str, *calls: dict[str, Any]) -> dict[str, Any]:
    said = [{"from": "function_call", "value": json.dumps(one)} for one in calls]
    turns = [{"from": "human", "value": query}, *(said or [{"from": "gpt", "value": "Hello!"}])]
    return {"conversations": [*turns, {"from": "observation", "value": "{}"}, {"from": "gpt", "value": "Done."}]}


def tags(calls: Sequence[dict[str, Any]], dump: Callable[[Any], str] = json.dumps) -> str:
    return "\n".join(f"<tool_call>\n{dump(one)}\n</tool_call>" for one in calls) or "Hello!"


def hermes(query: str, *calls: dict[str, Any]) -> dict[str, Any]:
    system = {"from": "system", "value": "You may call <tools>[]</tools>"}
    return {"conversations": [system, {"from": "human", "value": query}, {"from": "gpt", "value": tags(calls)}]}


def old_hermes(query: str, *calls: dict[str, Any]) -> dict[str, Any]:
    """With calls as Python literals, as the first releases of the data have them."""
    turns = [{"from": "human", "value": query}, {"from": "gpt", "value": tags(calls, str)}]
    return {"conversations": turns}


def chatml(query: str, *calls: dict[str, Any]) -> dict[str, Any]:
    turns = (("system", "s"), ("user", query), ("assistant", tags(calls)))
    return {"text": "\n".join(f"<|im_start|>{role}\n{content}<|im_end|>" for role, content in turns)}


def xlam(query: str, *calls: dict[str, Any]) -> dict[str, Any]:
    return {"id": 7, "query": query, "tools": "[]", "answers": json.dumps(calls)}


def golden(query: str, *calls: dict[str, Any]) -> dict[str, Any]:
    return {"query": query, "call": calls[0]} if len(calls) == 1 else {"query": query, "calls": list(calls)}


def write(file: Path, rows: Sequence[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


def imported(
    file: Path, domain: Domain | None = None, form: str | None = None
) -> tuple[Imported, list[dict[str, Any]]]:
    out = file.with_name("out.jsonl")
    made = import_golden([Source(file, domain.functions if domain else None)], out, form)
    rows = read(out)
    assert len(rows) == made.written
    return made, rows


def _as_xlam(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [xlam(row["query"], *([row["call"]] if "call" in row else row["calls"])) for row in rows]
