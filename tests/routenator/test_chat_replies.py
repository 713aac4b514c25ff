"""Parsing replies in the forms that models write."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routenator.chat.replies import Reply, parse_reply
from routenator.domain.calls import Call

CALL = '{"name": "search", "arguments": {"q": "a {b} \\"c\\""}}'
OTHER = '{"name": "other", "arguments": {}}'
PARSED = Reply((Call("search", {"q": 'a {b} "c"'}),))


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
        f"<tool_call>{CALL}",
        f"I will look.\n<tool_call>\n{CALL}\n</tool_call>\nDone.",
    ],
)
def test_a_call_is_found_whatever_surrounds_it(text: str) -> None:
    assert parse_reply(text) == PARSED


@pytest.mark.parametrize(
    "text",
    [
        f"<tool_call>\n{CALL}\n</tool_call>\n<tool_call>\n{OTHER}\n</tool_call>",
        f"<tool_call>{CALL}</tool_call><tool_call>{OTHER}",
        f"[{CALL}, {OTHER}]",
        f"{CALL}; {OTHER}",
        f"First {CALL}, then {OTHER}.",
    ],
)
def test_all_calls_of_a_reply_are_found_in_order(text: str) -> None:
    assert parse_reply(text) == Reply((*PARSED.calls, Call("other", {})))


@pytest.mark.parametrize(
    "text",
    [
        "I cannot do that.",
        '{"name": "search", "arguments": {"q": "cut o',
        "{'name': 'search', 'arguments': {'q': 1}}",
        '{"answer": 42}',
        '{"name": "search"}',
        '{"name": 3, "arguments": {}}',
        '{"name": "search", "arguments": ["q"]}',
        '{"name": "search", "arguments": "q"}',
    ],
)
def test_a_reply_without_a_call_is_words(text: str) -> None:
    assert parse_reply(text) == Reply()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("<tool_call>", "bad_block"),
        ('<tool_call>\n{"name": "search", "arguments": {"q": "cut o', "bad_block"),
        ('<tool_call>{"name": "search"}</tool_call>', "bad_block"),
        (f"<tool_call>{CALL}</tool_call><tool_call>nothing</tool_call>", "bad_block"),
        (f"<tool_call>{CALL} and more</tool_call>", "bad_block"),
        (f"<tool_call>[{CALL}]</tool_call>", "bad_block"),
    ],
)
def test_an_empty_reply_or_a_block_that_is_no_call_cannot_be_read(text: str, problem: str) -> None:
    assert parse_reply(text) == Reply(problem=problem)


@given(st.text(alphabet='{}[]":,\\ aname\n<tool_call>/', max_size=60))
def test_any_text_is_calls_or_words_or_has_a_problem(text: str) -> None:
    found = parse_reply(text)
    assert not (found.problem and found.calls)


@given(
    st.text(max_size=20),
    st.dictionaries(st.text(max_size=8), st.text(max_size=20) | st.integers() | st.none(), max_size=4),
    st.text(max_size=20),
)
def test_every_call_survives_prose_without_braces(name: str, arguments: dict[str, object], prose: str) -> None:
    around = prose.replace("{", "").replace("}", "")
    assert parse_reply(around + json.dumps({"name": name, "arguments": arguments}) + around) == Reply(
        (Call(name, arguments),)
    )


def test_very_deep_nesting_does_not_crash() -> None:
    assert parse_reply('{"a":' * 5000) == Reply()
    assert parse_reply("<tool_call>" + '{"a":' * 5000).problem == "bad_block"
