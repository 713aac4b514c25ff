"""Our verdict on a call against the Berkeley Function-Calling Leaderboard's own checker, from the package bfcl-eval.

Only the checker is needed, so the package is installed without its dependencies (requirements/cpu.txt). The only thing
that the checker imports beyond the standard library is a table of models, for names with dots in them; an empty one
replaces it.
"""

from __future__ import annotations

import sys
import types
from collections import Counter
from typing import Any

import numpy as np
import pytest

from routenator.chat.replies import Reply
from routenator.domain.calls import Call
from routenator.domain.functions import Function
from routenator.domain.golden import GoldenCall, GoldenExample
from routenator.evaluation.verdict import judge_reply

pytest.importorskip("bfcl_eval")

PROPERTIES: dict[str, Any] = {
    "kind": {"type": "string", "enum": ["cat", "dog"]},
    "text": {"type": "string"},
    "count": {"type": "integer"},
    "share": {"type": "number"},
    "loud": {"type": "boolean"},
    "tags": {"type": "array", "items": {"type": "string"}},
}
API = {
    name: Function(
        name,
        "",
        {"type": "object", "properties": PROPERTIES, "required": ["kind"], "additionalProperties": False},
        "kind",
        "text",
    )
    for name in ("find", "make")
}
VALUES: dict[str, list[Any]] = {
    "kind": ["cat", "dog", "Cat", "cow"],
    "text": ["in a hat", "IN A  hat ", "on a mat"],
    "count": [1, 2],
    "share": [0.5, 1.5, 2],
    "loud": [True, False],
    "tags": [["a", "b"], ["A", "b"], ["b", "a"]],
}
WRONG: dict[str, list[Any]] = {
    "text": [7, True],
    "count": ["1", 1.5, True],
    "share": ["0.5"],
    "loud": ["true", 1],
    "tags": ["a", 3],
}
# Their error types -> ours.
KINDS = {
    "simple_function_checker:wrong_count": {"unparsable"},
    "simple_function_checker:wrong_func_name": {"wrong_function"},
    "simple_function_checker:missing_required": {"missing_parameter"},
    "simple_function_checker:missing_optional": {"missing_parameter"},
    "simple_function_checker:unexpected_param": {"unexpected_parameter"},
    "type_error:simple": {"wrong_type"},
    "type_error:nested": {"wrong_type"},
    "value_error:string": {"wrong_value", "not_in_enum"},
    "value_error:list/tuple": {"wrong_value"},
    "value_error:others": {"wrong_value"},
}


@pytest.fixture(scope="module")
def theirs() -> Any:
    """(function, golden arguments, reply) -> their verdict."""
    name = "bfcl_eval.constants.model_config"
    stub: Any = types.ModuleType(name)
    stub.MODEL_CONFIG_MAPPING = {}
    before = sys.modules.get(name)
    sys.modules[name] = stub
    try:
        from bfcl_eval.constants.enums import Language
        from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker
    finally:
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before

    names = {"number": "float"}

    def check(golden: GoldenExample, reply: Reply) -> dict[str, Any]:
        properties = {
            key: {**schema, "type": names.get(schema["type"], schema["type"])} for key, schema in PROPERTIES.items()
        }
        (call,) = golden.calls
        description = {
            "name": call.name,
            "parameters": {"type": "dict", "properties": properties, "required": ["kind"]},
        }
        said = [{name: arguments} for name, arguments in reply.calls]
        answer = [{call.name: {key: [value] for key, value in call.arguments.items()}}]
        found: dict[str, Any] = ast_checker([description], said, answer, Language.PYTHON, "simple", "any")
        return found

    return check


def calls(count: int, seed: int) -> list[tuple[GoldenExample, Reply]]:
    """Golden calls, each with a reply that has from none to several errors."""
    random = np.random.default_rng(seed)

    def one_of(values: list[Any]) -> Any:
        return values[int(random.integers(len(values)))]

    made = []
    for _ in range(count):
        present = ["kind", *(name for name in PROPERTIES if name != "kind" and random.random() < 0.5)]
        golden = {name: one_of(VALUES[name][:2]) for name in present}
        said = {name: one_of(VALUES[name]) if random.random() < 0.15 else value for name, value in golden.items()}
        for name in list(said):
            if name in WRONG and random.random() < 0.06:
                said[name] = one_of(WRONG[name])
            if random.random() < 0.05:
                del said[name]
        if random.random() < 0.1:
            said[one_of([*PROPERTIES, "colour"])] = "cat"
        name = "make" if random.random() < 0.08 else "find"
        reply = Reply(problem="bad_block") if random.random() < 0.05 else Reply((Call(name, said),))
        made.append((GoldenExample("q", (GoldenCall("find", golden),)), reply))
    return made


def test_our_verdict_on_a_call_equals_theirs(theirs: Any) -> None:
    seen: Counter[str] = Counter()
    for golden, reply in calls(4000, seed=3):
        ours, found = judge_reply(golden, reply, API), theirs(golden, reply)
        assert ours.exact == found["valid"], (golden, reply, ours.errors, found)
        if found["valid"]:
            seen["valid"] += 1
            continue
        # They stop at the first error; it must be one of ours.
        assert KINDS[found["error_type"]] & {kind for kind, _ in ours.errors}, (
            golden,
            reply,
            ours.errors,
            found,
        )
        seen[found["error_type"]] += 1
    assert seen["valid"] > 500
    assert {*KINDS} - {*seen} <= {"type_error:nested"}


@pytest.mark.parametrize(
    ("said", "gold"), [("NewYork", "New York"), ("rock-n-roll", "rock n roll"), ("5.30", "5:30".replace(":", ","))]
)
def test_they_ignore_spaces_and_some_punctuation_and_we_do_not(theirs: Any, said: str, gold: str) -> None:
    """The one rule that differs: they drop spaces and ``,./-_*^`` within texts; our values are words of the query."""
    golden, reply = (
        GoldenExample("q", (GoldenCall("find", {"kind": "cat", "text": gold}),)),
        Reply((Call("find", {"kind": "cat", "text": said}),)),
    )
    assert theirs(golden, reply)["valid"]
    assert judge_reply(golden, reply, API).errors == (("wrong_value", "text"),)
