"""`golden import` of the Berkeley leaderboard's entries, with several right values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.berkeley import data_folder
from routenator.authoring.goldenset import import_golden
from routenator.authoring.records import Source
from routenator.chat.replies import Reply
from routenator.domain.calls import Call
from routenator.domain.domain import Domain
from routenator.domain.functions import Function
from routenator.domain.golden import load_golden
from routenator.errors import InputError
from routenator.evaluation.verdict import judge_reply
from tests.leaderboard import need_leaderboard
from tests.routenator.golden_forms import BOOK, golden, imported, read, write


def bfcl(folder: Path, truth: Sequence[Any], required: Sequence[str] = ("city",)) -> Path:
    (folder / "possible_answer").mkdir(exist_ok=True)
    function = {"name": "book", "parameters": {"type": "dict", "properties": {}, "required": list(required)}}
    asked = [{"role": "system", "content": "s"}, {"role": "user", "content": "query"}]
    rows = [
        {
            "id": f"simple_{number}",
            "question": [[*asked[:1], {**asked[1], "content": f"query {number}"}]],
            "function": [function],
        }
        for number in range(len(truth))
    ]
    answers = [{"id": f"simple_{number}", "ground_truth": one} for number, one in enumerate(truth)]
    write(folder / "possible_answer" / "questions.json", answers)
    return write(folder / "questions.json", rows)


def test_several_right_values_of_a_parameter_are_kept_and_scored_so(tmp_path: Path) -> None:
    """Of BFCL's possible answers only the first was right, so a reply with another right value counted as wrong."""
    truth = [{"book": {"city": ["Oslo", "Christiania"], "people": [2], "near": ["", "the harbour"]}}]
    made, found = imported(bfcl(tmp_path, [truth]))
    accepted = {"city": ["Christiania"], "near": ["the harbour"]}
    assert made.format == "bfcl"
    assert found == [{"query": "query 0", "call": {**BOOK, "accepted": accepted}}]
    properties: dict[str, Any] = {"city": {"type": "string"}, "people": {"type": "integer"}, "near": {"type": "string"}}
    schema = {"type": "object", "properties": properties, "required": ["city"], "additionalProperties": False}
    api = {"book": Function("book", "", schema)}
    (example,) = load_golden(tmp_path / "out.jsonl", api)

    def errors(**arguments: Any) -> tuple[tuple[str, str], ...]:
        verdict = judge_reply(example, Reply((Call("book", arguments),)), api)
        assert verdict.exact == (not verdict.errors)
        (call,) = verdict.calls
        assert not verdict.exact or call.matched == call.predicted == call.wanted == len(arguments)
        return verdict.errors

    assert errors(city="Oslo", people=2) == ()
    assert errors(city="christiania", people=2, near="the harbour") == ()
    assert errors(city="Bergen", people=2) == (("wrong_value", "city"),)
    assert errors(city="Oslo", people=2, near="the station") == (("unexpected_parameter", "near"),)
    assert errors(city="Christiania") == (("missing_parameter", "people"),)


def test_right_values_within_objects_and_lists_are_spelt_out(tmp_path: Path) -> None:
    truth = [
        {"book": {"city": [""], "room": [{"size": ["large", "L"], "view": ["", True]}], "days": [[{"day": [1, 2]}]]}}
    ]
    _, found = imported(bfcl(tmp_path, [truth]))
    rooms = [{"size": "large"}, {"size": "large", "view": True}, {"size": "L"}, {"size": "L", "view": True}]
    call = {"name": "book", "arguments": {"city": "", "room": rooms[0], "days": [{"day": 1}]}}
    assert found[0]["call"] == {**call, "accepted": {"room": rooms[1:], "days": [[{"day": 2}]]}}


def test_a_wrong_value_among_the_right_ones_is_refused(tiny: Domain, tmp_path: Path) -> None:
    file = write(tmp_path / "in", [golden("q", {**BOOK, "accepted": {"people": ["two"]}})])
    with pytest.raises(InputError) as caught:
        load_golden(file, tiny.functions)
    assert (caught.value.key, caught.value.found) == ("line 1, arguments.people", "two")
    made_of = [{"people": 3}, {"people": []}, [3]]
    for accepted in made_of:
        with pytest.raises(InputError, match="not other right values"):
            load_golden(write(tmp_path / "in", [golden("q", {**BOOK, "accepted": accepted})]), tiny.functions)


def test_questions_of_bfcl_without_a_call_or_with_several_are_kept_and_the_rest_is_counted(tmp_path: Path) -> None:
    one = {"book": {"city": ["Oslo"]}}
    many = {"book": {"room": [{str(number): ["", 1] for number in range(9)}]}}
    file = bfcl(tmp_path, [[one], [one, one], [many], [{"book": {"city": []}}], ["book()"], []])
    rows = read(file)
    dialogue = [[{"role": "user", "content": "a"}], [{"role": "user", "content": "b"}]]
    write(
        file,
        [*rows, {"id": "irrelevance_0", "question": rows[0]["question"]}, {"id": "simple_0", "question": dialogue}],
    )
    made, found = imported(file)
    oslo = {"name": "book", "arguments": {"city": "Oslo"}}
    assert found == [golden("query 0", oslo), golden("query 1", oslo, oslo), golden("query 5")]
    assert {reason: len(places) for reason, places in made.left.places.items()} == {
        "too many right values": 1,
        "no right value": 1,
        "unreadable call": 1,
        "duplicate": 1,
        "dialogue": 1,
    }


def test_the_leaderboards_own_entries_are_read_and_every_right_value_of_them_is_right(tmp_path: Path) -> None:
    need_leaderboard()
    data = data_folder()
    for name, questions in (("simple_python", 60), ("live_multiple", 60)):
        file = tmp_path / f"{name}.json"
        source = data / f"BFCL_v4_{name}.json"
        lines = source.read_text(encoding="utf-8").splitlines()[:questions]
        file.write_text("\n".join(lines), encoding="utf-8")
        import_golden([Source(file, answers=data / "possible_answer" / source.name)], tmp_path / "out.jsonl")
        rows = read(tmp_path / "out.jsonl")
        assert len(rows) > questions * 0.9 and any("accepted" in row["call"] for row in rows)
        truths = {row["id"]: row["ground_truth"] for row in read(data / "possible_answer" / source.name)}
        question = {row["question"][0][-1]["content"]: row["id"] for row in map(json.loads, reversed(lines))}
        api = {row["call"]["name"]: Function(row["call"]["name"], "", {"type": "object"}) for row in rows}
        checked = 0
        for row, example in zip(rows, load_golden(tmp_path / "out.jsonl", api), strict=True):
            (call,) = example.calls
            ((function, parameters),) = truths[question[row["query"]]][0].items()
            for parameter, values in parameters.items():
                for value in values:
                    if value == "" or isinstance(value, dict | list):
                        continue
                    reply = Reply((Call(function, {**call.arguments, parameter: value}),))
                    assert judge_reply(example, reply, api).exact, (example, parameter, value)
                    wrong = Reply((Call(function, {**call.arguments, parameter: f"not {value}"}),))
                    assert not judge_reply(example, wrong, api).exact
                    checked += 1
        assert checked > questions
