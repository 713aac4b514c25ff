"""Extracts the query from a model's reply."""

from __future__ import annotations

import re

from routenator.jsontext import BadJsonError, is_text, loads

_SPACES = re.compile(r"\s+")
_BULLET = re.compile(r"^(?:[-*•]|\d{1,2}[.)])\s+")
_PAIRS = {'"': '"', "'": "'", "“": "”", "‘": "’", "`": "`"}


def clean_query(reply: str, output: str, key: str) -> str | None:
    """Return the query in a reply.

    Args:
        reply: the model's text.
        output: "json": an object with the query under ``key``; "line": the first line with text.
        key: name in the object.

    Returns:
        The query without list markers, outer quotes and double spaces; "" if the reply is empty; None if it is not the
        JSON asked for, or no text.
    """
    if not is_text(reply):
        return None
    if output == "json":
        try:
            value = loads(reply)
        except BadJsonError:
            return None
        text = value.get(key) if isinstance(value, dict) else None
        if not isinstance(text, str):
            return None
    else:
        text = next((line for line in reply.splitlines() if line.strip()), "")
    text = _BULLET.sub("", _SPACES.sub(" ", text).strip())
    if len(text) >= 2 and _PAIRS.get(text[0]) == text[-1] and text[0] not in text[1:-1] and text[-1] not in text[1:-1]:
        text = text[1:-1].strip()
    return text
