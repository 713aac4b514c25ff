"""Parsing replies in the forms that models write."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routenator.evaluation.parse import Reply, parse_reply

CALL = '{"name": "search", "arguments": {"q": "a {b} \\"c\\""}}'
PARSED = Reply("search", {"q": 'a {b} "c"'})


@pytest.mark.parametrize(
    "text",
    [
        CALL,
        f"  {CALL}\n",
        f"```json\n{CALL}\n```",
        f"Sure! Here is the call:\n{CALL}\nAnything else?",
        f"<tool_call>\n{CALL}\n</tool_call>",
        f"[{CALL}]",
        '{"type": "function", "function": ' + CALL + "}",
        f"{{not json}} {CALL}",
        '{"thought": {"a": 1}} ' + CALL,
        CALL.replace("arguments", "parameters"),
        json.dumps({"name": "search", "arguments": json.dumps({"q": 'a {b} "c"'})}),
        CALL + ' {"name": "other", "arguments": {}}',
    ],
)
def test_a_call_is_found_whatever_surrounds_it(text: str) -> None:
    assert parse_reply(text) == PARSED


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("I cannot do that.", "no_json"),
        ('{"name": "search", "arguments": {"q": "cut o', "no_json"),
        ("{'name': 'search', 'arguments': {'q': 1}}", "no_json"),
        ('{"answer": 42}', "no_call"),
        ('{"name": "search"}', "no_call"),
        ('{"name": 3, "arguments": {}}', "no_call"),
        ('{"name": "search", "arguments": ["q"]}', "no_call"),
        ('{"name": "search", "arguments": "q"}', "no_call"),
    ],
)
def test_a_reply_without_a_call_says_why(text: str, problem: str) -> None:
    assert parse_reply(text) == Reply(problem=problem)


@given(st.text(alphabet='{}[]":,\\ aname\n', max_size=60))
def test_any_text_is_a_call_or_has_a_problem(text: str) -> None:
    found = parse_reply(text)
    assert (found.problem is None) == (found.name is not None and found.arguments is not None)


@given(
    st.text(max_size=20),
    st.dictionaries(st.text(max_size=8), st.text(max_size=20) | st.integers() | st.none(), max_size=4),
    st.text(max_size=20),
)
def test_every_call_survives_prose_without_braces(name: str, arguments: dict[str, object], prose: str) -> None:
    around = prose.replace("{", "").replace("}", "")
    assert parse_reply(around + json.dumps({"name": name, "arguments": arguments}) + around) == Reply(name, arguments)


def test_very_deep_nesting_does_not_crash() -> None:
    assert parse_reply('{"a":' * 5000).problem == "no_json"
