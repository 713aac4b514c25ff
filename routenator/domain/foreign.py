"""Recognises files of functions that are not lists of OpenAI tools, and says how to convert them."""

from __future__ import annotations

import re
from typing import Any

from routenator.jsontext import BadJsonError, loads

OPENAI = '{"type": "function", "function": {"name": ..., "description": ..., "parameters": ...}}'
_OPENAPI = re.compile(r"""\A(?:#.*\n|---\n|\s)*["']?(openapi|swagger)["']?\s*:""")


def foreign_text(text: str) -> tuple[str, str] | None:
    """Name a file that is not JSON as a whole: its kind, and what to do. None if it is not recognised."""
    if _OPENAPI.match(text):
        return _OF_OPENAPI
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) > 1:
        try:
            first = loads(lines[0])
        except BadJsonError:
            return None
        kind, todo = foreign_value([first]) or ("JSON lines", f"one JSON list of {OPENAI}")
        return (kind if kind == "JSON lines" else f"JSON lines of {kind}"), todo
    return None


def foreign_value(value: Any) -> tuple[str, str] | None:
    """Name JSON that is not a list of OpenAI tools: its kind, and what to do. None if it is not recognised."""
    if isinstance(value, dict):
        if "openapi" in value or "swagger" in value:
            return _OF_OPENAPI
        inner = value.get("tools", value.get("functions"))
        if isinstance(inner, list) and inner:
            key = "tools" if "tools" in value else "functions"
            if _is_openai(inner[0]):
                return f"a mapping with OpenAI tools under {key}", "the list alone"
            return foreign_value(inner)
        return foreign_value([value])
    first = value[0] if isinstance(value, list) and value else None
    if _is_openai(first):
        return "one OpenAI tool, not a list", "a list of them: [...]"
    if not isinstance(first, dict):
        return None
    if isinstance(first.get("function"), list):
        return "entries of the Berkeley leaderboard", f"the items of each `function`, each once, as {OPENAI}"
    if not isinstance(first.get("name"), str):
        return None
    for key, kind in (("inputSchema", "MCP tools"), ("input_schema", "Anthropic tools")):
        if key in first:
            return kind, f"each as {OPENAI}, with its {key} as parameters"
    if first.get("type") == "function":
        return "flat tools of OpenAI's Responses API", f'each as {OPENAI}: all but "type" goes under "function"'
    if isinstance(first.get("parameters"), dict):
        if first["parameters"].get("type") == "dict":
            return (
                "functions of the Berkeley leaderboard",
                f'each as {OPENAI}, with the types "object", "number", "array"',
            )
        return "functions without the tool around them", f"each as {OPENAI}"
    return None


def _is_openai(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "function" and isinstance(value.get("function"), dict)


_OF_OPENAPI = ("an OpenAPI document", f"each operation as {OPENAI}, named by its operationId")
