"""Reads conversations: OpenAI ``messages``, ShareGPT ``conversations``, and Hermes' tags in either or as ChatML text.

Of each conversation the first exchange is taken: the first user message and what the assistant calls before the next
message of a user or a tool. System messages and tools are not part of a golden query.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from routenator.authoring.records import (
    LeftOutError,
    Record,
    Source,
    call_of,
    calls_of,
    json_values,
    wrong_shape,
)
from routenator.domain.golden import GoldenCall

_ROLES = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "model", "bing"), "assistant"),
    **dict.fromkeys(("function_call", "tool_call"), "call"),
    **dict.fromkeys(("tool", "function", "observation", "function_response", "tool_response", "ipython"), "tool"),
}
_TAG = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_CHATML = re.compile(r"<\|im_start\|>\s*(\w+)\s*\n(.*?)(?:<\|im_end\|>|\Z)", re.DOTALL)
HERMES_TAGS = ("<tool_call>", "<tools>")
CHATML = "<|im_start|>"
_SHAPE = (
    '{"messages": [{"role": "user", "content": ...}, {"role": "assistant", "tool_calls": [...]}]}, '
    '{"conversations": [{"from": "human", "value": ...}, ...]}, or {"text": "<|im_start|>..."}'
)


def read_conversations(source: Source) -> Iterator[Record]:
    """Yield the first exchange of each conversation.

    Raises:
        InputError: not JSON, or a value without messages.
    """
    for place, row in json_values(source.text, source.file, _SHAPE):
        turns = _turns(row)
        if turns is None:
            raise wrong_shape(source, place, row, _SHAPE)
        query = ""
        try:
            query, calls = _first_exchange(turns)
        except LeftOutError as left:
            yield Record(place, query, None, left.reason)
        else:
            yield Record(place, query, calls)


def _turns(row: Any) -> list[dict[str, Any]] | None:
    if not isinstance(row, dict):
        return None
    if isinstance(row.get("text"), str) and CHATML in row["text"]:
        return [{"role": role, "content": content} for role, content in _CHATML.findall(row["text"])]
    turns = row.get("messages", row.get("conversations"))
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return None
    return turns


def _first_exchange(turns: list[dict[str, Any]]) -> tuple[str, tuple[GoldenCall, ...] | None]:
    """The first user message, and its calls; None if nobody answers it."""
    roles = [_ROLES.get(str(turn.get("role", turn.get("from"))), "other") for turn in turns]
    if "user" not in roles:
        raise LeftOutError("no query")
    start = roles.index("user")
    query = _text(turns[start])
    if not query.strip():
        raise LeftOutError("no query")
    found: list[GoldenCall] = []
    answered, end = False, start + 1
    while end < len(turns) and roles[end] not in ("user", "tool"):
        if roles[end] in ("assistant", "call"):
            answered = True
            found.extend(_called(turns[end], roles[end]))
        end += 1
    if not answered:
        if "user" in roles[end:]:
            raise LeftOutError("dialogue")
        return query, None
    if not found and any(
        _called(turn, role) for turn, role in zip(turns[end:], roles[end:], strict=True) if role != "user"
    ):
        raise LeftOutError("dialogue")
    return query, tuple(found)


def _called(turn: dict[str, Any], role: str) -> list[GoldenCall]:
    """The calls of one message of the assistant."""
    if role == "call":
        return list(calls_of(_text(turn)))
    if role != "assistant":
        return []
    if turn.get("tool_calls"):
        calls = turn["tool_calls"]
        if not isinstance(calls, list):
            raise LeftOutError("unreadable call")
        return [call_of(call.get("function", call) if isinstance(call, dict) else call) for call in calls]
    if turn.get("function_call"):
        return [call_of(turn["function_call"])]
    return [call for inner in _TAG.findall(_text(turn)) for call in calls_of(inner)]


def _text(turn: dict[str, Any]) -> str:
    content = turn.get("content", turn.get("value"))
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise LeftOutError("no query")
    if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content):
        raise LeftOutError("not only text")
    return "\n".join(part["text"] for part in content)
