"""Restricts replies to valid calls of an API, or to none: an xgrammar structural tag, as vLLM takes it.

Words are free until a ``<tool_call>`` begins. From there a reply can only continue as a call of one of the functions,
with arguments that their schema allows; after the block, words or another block may follow. Servers do the same on
request (vLLM: ``--tool-strict-level parameter``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from routenator.chat.prompts import PromptFormat
from routenator.chat.replies import CLOSE, OPEN
from routenator.chat.templates import tool_parser


def guide_of(form: PromptFormat) -> str | None:
    """The structural tag for replies in this form; None if its template writes calls without Hermes tags."""
    return structural_tag(form.tools) if tool_parser(form.template, form.tokenizer) == "hermes" else None


def structural_tag(tools: Sequence[Mapping[str, Any]]) -> str:
    """The structural tag, as JSON, of all calls of an API in Hermes form.

    Args:
        tools: the API as OpenAI tools.
    """
    tags = [
        {
            "type": "tag",
            "begin": f'{OPEN}\n{{"name": {json.dumps(tool["function"]["name"], ensure_ascii=False)}, "arguments": ',
            "content": {"type": "json_schema", "json_schema": tool["function"]["parameters"]},
            "end": f"}}\n{CLOSE}",
        }
        for tool in tools
    ]
    return json.dumps(
        {"type": "structural_tag", "format": {"type": "triggered_tags", "triggers": [OPEN], "tags": tags}}
    )
