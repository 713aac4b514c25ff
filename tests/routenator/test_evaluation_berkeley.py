"""The rules of ``evaluate.match: berkeley``; tests/benchmarks/test_berkeley.py asks the leaderboard's checker."""

from __future__ import annotations

from typing import Any

import pytest

from routenator.chat.replies import Reply
from routenator.domain.calls import Call
from routenator.domain.functions import Function
from routenator.domain.golden import GoldenCall, GoldenExample
from routenator.evaluation.berkeley import refusal
from routenator.evaluation.verdict import Match, judge_reply

TEXT, COUNT, SHARE, FLAG = ({"type": name} for name in ("string", "integer", "number", "boolean"))
TEXTS = {"type": "array", "items": TEXT}
SHARES = {"type": "array", "items": SHARE}
OBJECTS = {"type": "array", "items": {"type": "object"}}
API = {
    "book": Function(
        "book",
        "",
        {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["New York", "Oslo"]}, "people": COUNT, "note": TEXT},
            "required": ["city"],
            "additionalProperties": False,
        },
        "city",
    )
}


@pytest.mark.parametrize(
    ("said", "right", "schema", "optional", "expected"),
    [
        ("newyork", ["New York"], TEXT, False, None),
        ("it's 5_30", ['It"s 5:30', "its 530", 'it"s 530'], TEXT, False, None),
        ("5:30", ["530"], TEXT, False, "value"),
        (5, ["5"], TEXT, False, "type"),
        (5, [5], TEXT, False, None),  # the right values' type does, too
        (6, [5], TEXT, False, "value"),
        ("Five", ["five"], COUNT, False, "value"),  # and is then compared as it is
        (5.0, [5], COUNT, False, "type"),
        (5, [5.0], SHARE, False, None),
        (5, [5], SHARE, False, None),
        (True, [1], COUNT, False, "type"),
        (True, [True], FLAG, False, None),
        (None, [5], COUNT, False, "type"),
        (["a b", "C"], [["A.B", "c"]], TEXTS, False, None),
        (["c", "a"], [["a", "c"]], TEXTS, False, "value"),
        ([1], [["1"]], TEXTS, False, "type"),
        ([1, 2], [[1.0, 2.0]], SHARES, False, "type"),
        ([1, 2], [[1, 2]], SHARES, False, None),
        ([["A"]], [[["a"]]], {"type": "array", "items": TEXTS}, False, "value"),
        ({"a": "X Y"}, [{"a": "xy"}], {"type": "object"}, False, None),
        ({"a": {"b": "X"}}, [{"a": {"b": "x"}}], {"type": "object"}, False, "value"),
        ({"a": 1, "b": 2}, [{"a": 1}], {"type": "object"}, False, "value"),
        ([{"a": "X"}], [[{"a": "x"}]], OBJECTS, False, None),
        ([{"a": "X"}, {}], [[{"a": "x"}]], OBJECTS, False, "value"),
        ("", ["km"], TEXT, True, None),
        (" ", [], TEXT, True, None),
        ("", ["km"], TEXT, False, "value"),
        ([], [["a"]], TEXTS, True, None),
        ([], [["a"]], TEXTS, False, "value"),
        ("", [None], TEXT, True, None),
        (0, [], COUNT, True, "value"),
    ],
)
def test_a_value_is_right_as_the_leaderboards_checker_says(
    said: Any, right: list[Any], schema: Any, optional: bool, expected: str | None
) -> None:
    assert refusal(said, right, schema, optional) == expected


@pytest.mark.parametrize(
    ("match", "said", "errors"),
    [
        ("own", {"city": "newyork", "people": 2}, (("not_in_enum", "city"),)),
        ("berkeley", {"city": "newyork", "people": 2}, ()),
        ("own", {"city": "New York", "people": 2.0}, ()),
        ("berkeley", {"city": "New York", "people": 2.0}, (("wrong_type", "people"),)),
        ("own", {"city": "New York", "people": 2, "note": ""}, (("unexpected_parameter", "note"),)),
        ("berkeley", {"city": "New York", "people": 2, "note": ""}, ()),
        ("berkeley", {"city": "New York", "people": 2, "note": "late"}, (("unexpected_parameter", "note"),)),
        (
            "berkeley",
            {"city": "Bergen", "other": ""},
            (("wrong_value", "city"), ("missing_parameter", "people"), ("unexpected_parameter", "other")),
        ),
    ],
)  # fmt: skip
def test_the_verdict_follows_the_rule_and_our_own_is_the_default(
    match: Match, said: dict[str, Any], errors: tuple[Any, ...]
) -> None:
    """`match: berkeley` did not exist: figures could not be compared with the leaderboard's."""
    example = GoldenExample("q", (GoldenCall("book", {"city": "New York", "people": 2}),))
    verdict = judge_reply(example, Reply((Call("book", said),)), API, match)
    assert (verdict.errors, verdict.exact) == (errors, not errors)
    (call,) = verdict.calls
    wrong = {name for kind, name in errors if kind != "unexpected_parameter"}
    assert call.matched == call.wanted - len(wrong)
    assert call.category_right == ("city" not in wrong)
    if match == "own":
        assert verdict == judge_reply(example, Reply((Call("book", said),)), API)


def test_calls_of_a_query_are_matched_by_the_rule() -> None:
    calls = tuple(GoldenCall("book", {"city": "New York", "note": note}) for note in ("at 5.30", "at 6.30"))
    reply = Reply(tuple(Call("book", {"city": "newyork", "note": note}) for note in ("at 630", "at 530")))
    assert judge_reply(GoldenExample("q", calls), reply, API, "berkeley").exact
    assert not judge_reply(GoldenExample("q", calls), reply, API).exact
