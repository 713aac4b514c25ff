"""Golden sets from other tools' files: each format read and recognised, what is left out counted, bad files refused.

All samples are made by hand, in the shape that the formats' documentation gives.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import launch
from routenator.authoring.formats import FORMATS
from routenator.authoring.goldenset import Imported, import_golden
from routenator.authoring.records import Source
from routenator.chat.replies import Reply
from routenator.dataset import export
from routenator.domain.calls import Call
from routenator.domain.domain import Domain
from routenator.domain.functions import Function
from routenator.domain.golden import load_golden
from routenator.domain.loader import with_statistics
from routenator.errors import InputError
from routenator.evaluation.verdict import judge_reply
from routenator.population.fit import fit
from tests.conftest import TINY
from tests.routenator.test_dataset_export import ARGUMENTS, QUERIES, examples

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
    made = import_golden(Source(file, domain.functions if domain else None), out, form)
    rows = read(out)
    assert len(rows) == made.written
    return made, rows


@pytest.mark.parametrize(
    ("make", "form"),
    [
        (golden, "golden"),
        (openai, "openai"),
        (legacy_openai, "openai"),
        (sharegpt, "sharegpt"),
        (hermes, "hermes"),
        (old_hermes, "hermes"),
        (chatml, "hermes"),
        (xlam, "xlam"),
    ],
)
@pytest.mark.parametrize("layout", ["lines", "list", "indented"])
def test_each_form_of_json_is_recognised_and_read(
    tiny: Domain, tmp_path: Path, make: Callable[..., dict[str, Any]], form: str, layout: str
) -> None:
    rows = [make(row["query"], row["call"]) for row in EXPECTED]
    file = write(tmp_path / "in", rows)
    if layout != "lines":
        file.write_text(json.dumps(rows, indent=1 if layout == "indented" else None))
    made, found = imported(file, tiny)
    assert (made.format, found, made.left.places) == (form, EXPECTED, {})
    assert len(load_golden(tmp_path / "out.jsonl", tiny.functions)) == 2


@pytest.mark.parametrize("make", [golden, openai, sharegpt, hermes, chatml, xlam])
def test_queries_of_no_call_and_of_several_are_kept_and_the_rest_is_counted(
    tiny: Domain, tmp_path: Path, make: Callable[..., dict[str, Any]]
) -> None:
    """Queries of no call and of several were left out: 45% of the Berkeley leaderboard's single-turn entries."""
    refused = {"name": "book", "arguments": {"city": 3}}
    rows = [
        make("one", BOOK),
        make("hello"),
        make("both", BOOK, SEARCH),
        make("twice", BOOK, BOOK),
        make("other", {"name": "serch", "arguments": {}}),
        make("refused", refused),
        make("one of them refused", BOOK, refused),
        make("ONE!", SEARCH),
        make("  ", BOOK),
    ]
    made, found = imported(write(tmp_path / "in", rows), tiny)
    kept = [golden("one", BOOK), golden("hello"), golden("both", BOOK, SEARCH), golden("twice", BOOK, BOOK)]
    assert found == kept
    counts = {"unknown function": 1, "schema": 2, "duplicate": 1, "no query": 1}
    assert made.left.counts() == counts and next(iter(made.left.counts())) == "schema"
    assert made.left.places["schema"] == ["line 6", "line 7"]
    read_again = load_golden(tmp_path / "out.jsonl", tiny.functions)
    assert [example.as_json() for example in read_again] == kept
    assert [example.labels for example in read_again] == [("book",), ("none",), ("book", "search"), ("book", "book")]
    # Without a domain nothing is known of its functions.
    made, found = imported(write(tmp_path / "in", rows))
    assert [row["query"] for row in found] == [
        "one", "hello", "both", "twice", "other", "refused", "one of them refused"
    ]  # fmt: skip


def test_only_the_first_exchange_of_a_dialogue_counts(tmp_path: Path) -> None:
    user, said = {"role": "user", "content": "hi"}, openai("q", BOOK)["messages"][2]
    asked = {"role": "assistant", "content": "Where?"}
    result = {"role": "tool", "content": "{}", "tool_call_id": "1"}
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
    rows = [
        {"messages": [{**user, "content": "first"}, asked, said, result, said, user, said]},
        {"messages": [user, asked, user, said]},
        {"messages": [user, user, said]},
        {"messages": [user]},
        {"messages": [said]},
        {"messages": [image, said]},
        {"messages": [user, {"role": "assistant", "tool_calls": [{"function": {"name": "book", "arguments": "{"}}]}]},
        {"messages": [user, {"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}]},
    ]
    made, found = imported(write(tmp_path / "in", rows))
    assert found == [{"query": "first", "call": BOOK}]
    places = {reason: [int(place.split()[1]) for place in places] for reason, places in made.left.places.items()}
    assert places == {
        "dialogue": [2, 3],
        "no answer": [4],
        "no query": [5],
        "not only text": [6],
        "unreadable call": [7, 8],
    }


@pytest.mark.parametrize("name", ["openai", "axolotl", "llamafactory", "bfcl"])
def test_every_text_format_of_a_data_set_made_here_is_read_back(tiny: Domain, tmp_path: Path, name: str) -> None:
    for suffix, line in export.FORMATS[name].lines.items():
        (tmp_path / f"train{suffix}").write_text(
            "".join(text + "\n" for text in examples().select(line(tiny.tools())).to_series()), encoding="utf-8"
        )
    made, found = imported(tmp_path / f"train{next(iter(export.FORMATS[name].lines))}")
    assert made.format == {"openai": "openai", "axolotl": "openai", "llamafactory": "sharegpt", "bfcl": "bfcl"}[name]
    assert [(row["query"], row["call"]["name"]) for row in found] == [
        (query, call) for query, (call, _) in zip(QUERIES, ARGUMENTS, strict=True)
    ]
    assert [row["call"]["arguments"] for row in found] == [arguments for _, arguments in ARGUMENTS]


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
    data = Path(pytest.importorskip("bfcl_eval").__file__).parent / "data"
    if not (data / "possible_answer").is_dir():
        pytest.skip("the installed package has no data")
    for name, questions in (("simple_python", 60), ("live_multiple", 60)):
        file = tmp_path / f"{name}.json"
        source = data / f"BFCL_v4_{name}.json"
        lines = source.read_text(encoding="utf-8").splitlines()[:questions]
        file.write_text("\n".join(lines), encoding="utf-8")
        import_golden(Source(file, answers=data / "possible_answer" / source.name), tmp_path / "out.jsonl")
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


def test_a_table_has_arguments_as_json_or_a_column_each(tiny: Domain, tmp_path: Path) -> None:
    for separator in ",;\t":
        text = io.StringIO()
        table = csv.writer(text, delimiter=separator)
        table.writerow(["Text", "intent", "city", "people", "content_type", "extracted_prompt"])
        table.writerow(["a table for two in Oslo", "book", "Oslo", "2", "", ""])
        table.writerow(["logo with\na red kite", "search", "", "", "logo", "red kite"])
        table.writerow(["hello", "", "", "", "", ""])
        table.writerow(["many in Oslo", "book", "Oslo", "many", "", ""])
        file = tmp_path / "in"
        file.write_bytes(text.getvalue().encode("utf-8-sig"))
        made, found = imported(file, tiny)
        assert (made.format, found[0]) == ("csv", EXPECTED[0]) and found[1]["call"] == SEARCH
        assert made.left.places == {"no answer": ["line 5"], "schema": ["line 6"]}
        _, found = imported(file)
        assert found[0]["call"]["arguments"] == {"city": "Oslo", "people": "2"}
    cells = [
        ["query", "function", "arguments"],
        ["q", "book", json.dumps(BOOK["arguments"])],
        ["r", "book", "["],
        ["s", "x", ""],
    ]
    with file.open("w", newline="") as handle:
        csv.writer(handle).writerows(cells)
    made, found = imported(file)
    assert found == [golden("q", BOOK), golden("s", {"name": "x", "arguments": {}})]
    assert made.left.counts() == {"unreadable call": 1}


@pytest.mark.parametrize(
    ("schema", "cell", "value"),
    [
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "2", 2),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "null", None),
        ({"$ref": "#/$defs/count"}, "2", 2),
        ({"enum": [1, 2]}, "2", 2),
        ({"enum": [1, "auto", True]}, "1", 1),
        ({"enum": [1, "auto", True]}, "auto", "auto"),
        ({"enum": [True, False]}, "TRUE", True),
        ({"enum": ["1", "2"]}, "2", "2"),
        ({"type": ["string", "integer"]}, "2", "2"),
        ({"description": "anything"}, "2", "2"),
        ({"type": "array"}, "[1, 2]", [1, 2]),
        ({"type": "integer"}, "two", "two"),
    ],
)
def test_a_cell_of_a_table_has_the_type_that_its_schema_allows(
    tmp_path: Path, schema: dict[str, Any], cell: str, value: Any
) -> None:
    """Only a plain `type` was looked at, so with references, alternatives and lists of values numbers stayed text."""
    parameters = {"type": "object", "properties": {"n": schema}, "$defs": {"count": {"type": "integer"}}}
    with (tmp_path / "in.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([["query", "function", "n"], ["q", "f", cell]])
    source = Source(tmp_path / "in.csv", {"f": Function("f", "", parameters)})
    ((made,),) = (record.calls for record in FORMATS["csv"].read(source))
    assert made.arguments == {"n": value} and type(made.arguments["n"]) is type(value)


CONLL = """# id: 1
# text: wake me at six, tomorrow
# intent: alarm/set_alarm
1\twake\talarm/set_alarm\tO
2\tme\talarm/set_alarm\tO
3\tat\talarm/set_alarm\tB-datetime
4\tsix\talarm/set_alarm\tI-datetime
5\t,\talarm/set_alarm\tO
6\ttomorrow\talarm/set_alarm\tO

# id: 2
# text-en: unused
# text: umbrella weather in Oslo?
# intent: weather/find
1\tumbrella\tweather/find\tB-weather/attribute
2\tweather\tweather/find\tO
3\tin\tweather/find\tO
4\tOslo\tweather/find\tB-location
5\t?\tweather/find\tO

# id: 3
# text: six and seven
# intent: AddToPlaylist
1\tsix\tAddToPlaylist\tB-entity_name
2\tand\tAddToPlaylist\tO
3\tseven\tAddToPlaylist\tB-entity_name
"""


def test_conll_of_xsid(tmp_path: Path) -> None:
    for end in ("\n", "\r\n"):
        file = tmp_path / "in.conll"
        file.write_bytes(CONLL.replace("\n", end).encode())
        made, found = imported(file)
        assert (made.format, made.left.places) == ("xsid", {"two values": ["line 24"]})
        assert found == [
            golden("wake me at six, tomorrow", {"name": "set_alarm", "arguments": {"datetime": "at six"}}),
            golden(
                "umbrella weather in Oslo?",
                {"name": "find_weather", "arguments": {"attribute": "umbrella", "location": "Oslo"}},
            ),
        ]


def annotated(text: str, *entities: tuple[str, str]) -> dict[str, Any]:
    marks = [{"start": 0, "end": 0, "value": value, "entity": entity} for entity, value in entities]
    return {"text": text, "intent": "alarm_set", "entities": marks}


def test_json_of_hwu64_as_a_file_a_folder_and_in_rasas_form(tmp_path: Path) -> None:
    items = [
        annotated("wake me  at six", ("time", "six")),
        annotated("six or seven", ("time", "six"), ("time", "seven")),
    ]
    call = {"name": "alarm_set", "arguments": {"time": "six"}}
    for value in ({"test_data_annotation": items}, {"rasa_nlu_data": {"common_examples": items}}, items):
        (tmp_path / "in").write_text(json.dumps(value))
        made, found = imported(tmp_path / "in")
        assert made.format == "hwu64" and found == [golden("wake me at six", call)]
        assert made.left.counts() == {"two values": 1}
    folder = tmp_path / "testset"
    for name, text in (("alarm_set", "wake me"), ("alarm_query", "am I to wake")):
        (folder / name).mkdir(parents=True)
        (folder / name / f"{name}.json").write_text(json.dumps({"test_data_annotation": [annotated(text)]}))
    made, found = imported(folder)
    assert made.format == "hwu64" and [row["query"] for row in found] == ["am I to wake", "wake me"]


def test_one_file_of_snips(tmp_path: Path) -> None:
    value = {"RateBook": [{"data": [{"text": "rate "}, {"text": "Dune", "entity": "object_name"}]}]}
    (tmp_path / "validate_RateBook.json").write_text(json.dumps(value))
    made, found = imported(tmp_path / "validate_RateBook.json")
    assert made.format == "snips"
    assert found == [golden("rate Dune", {"name": "rate_book", "arguments": {"object_name": "Dune"}})]


DEEP = "[" * 100_000
BAD = [
    ("{nope\n", None, ["not JSON", "line 1"]),
    ('{"messages": []}\n{"messages"', None, ["not JSON", "line 2"]),
    ('[{"messages": []},\n\n {"messages": 3}]', None, ["not of this format", "line 3", '"role": "user"']),
    ('{"messages": 3}', None, ["cannot tell", "messages"]),
    ('{"conversations": null, "id": 1}', None, ["cannot tell", "conversations"]),
    (
        '{"query": "q", "answers": [{"name": "f", "arguments": {"a": 1, "a": 2}}]}',
        None,
        ["not JSON", "line 1", "twice"],
    ),
    ("""{"query": "q", "answers": "[{'name': 'f', 'arguments': {'a': 1, 'a': 2}}]"}""", None, ["1 unreadable call"]),
    ('[{"messages": []} {"messages": []}]', None, ["not JSON", "line 1"]),
    ('[{"messages": []},\n', None, ["not JSON", "a list that does not end"]),
    ('[{"messages": []}]\n[]', None, ["not JSON", "text after the list"]),
    (f'{{"messages": {DEEP}', None, ["not JSON", "nested deeper"]),
    (f'{{"query": "q", "answers": {"1" * 5000}}}', None, ["not JSON", "5,000 digits"]),
    ('{"query": "\\ud83d dog", "answers": []}', None, ["not JSON", "surrogate"]),
    ('{"query": 3, "answers": []}', None, ["not of this format", "line 1", '"answers"']),
    ('{"query": 3}', None, ["not of this format", "line 1"]),
    ('{"query": "q", "call": {"name": "a"}}', None, ["not of this format", "line 1, call"]),
    ('{"query": "q", "call": [], "calls": []}', None, ["not of this format", "line 1, call"]),
    ('{"query": "q", "calls": {"name": "a", "arguments": {}}}', None, ["not of this format", "line 1, calls"]),
    ('{"query": "q", "calls": [{"name": "a", "arguments": {}}, 3]}', None, ["not of this format", "line 1, calls"]),
    (json.dumps(golden("q", {**BOOK, "accepted": {"people": None}})), None, ["not of this format", "line 1, call"]),
    ('{"query": "q"}', None, ["no query to import", "1 no answer"]),
    ('{"id": "simple_0", "question": [[{"role": "user", "content": "q"}]]}', None, ["answers", "--answers"]),
    ('{"id": "simple_0", "question": "q"}', None, ["not of this format", "line 1"]),
    ('{"rasa_nlu_data": {"common_examples": [{"text": "q", "entities": []}]}}', None, ["common_examples[0]"]),
    ('{"text": "q", "intent": "a", "entities": [{"entity": "b"}]}', None, ["not of this format", "line 1"]),
    ('{"other": 1}', None, ["cannot tell", "found:    other", "--format", "xlam"]),
    ("3", None, ["cannot tell", "--format"]),
    ("[]", None, ["cannot tell", "--format"]),
    ("  \n", None, ["has no queries"]),
    ("some words of prose\n", None, ["cannot tell", "some words"]),
    ("some words of prose\n", "csv", ["no column of queries", "line 1", "some words"]),
    ("query,function,query\na,b,c\n", None, ["the same name", "query"]),
    ("query,function\na,b,c\n", None, ["longer than the header", "line 2", "3 cells"]),
    ('query,function\n"a,b\n', None, ["not CSV", "line 2"]),
    ("# intent: a\n1\tx\ta\n", None, ["no line of CoNLL", "line 2"]),
    ("# intent: a\n1\tx\ta\tI-b\n", None, ["begins nowhere", "line 2", "I-b after O"]),
    ("x", "xslam", ["no such format", "nearest:  xlam"]),
]


@pytest.mark.parametrize(("text", "form", "expected"), BAD, ids=range(len(BAD)))
def test_bad_files_are_refused_with_file_and_line(
    tmp_path: Path, text: str, form: str | None, expected: list[str]
) -> None:
    file, out = tmp_path / "in.any", tmp_path / "out.jsonl"
    file.write_text(text)
    result = CliRunner().invoke(
        launch.app, ["golden", "import", str(file), str(out), *(["--format", form] if form else [])]
    )
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit), result.output
    for part in (*expected, "found:", "expected:"):
        assert part in result.stderr
    assert not out.exists()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("text", [text for text, _, _ in BAD] + ["[[]]", "null", '{"messages": [{}]}', CONLL, "\0"])
def test_no_file_under_any_format_ends_in_a_traceback(tmp_path: Path, text: str, form: str) -> None:
    (tmp_path / "in").write_text(text)
    try:
        import_golden(Source(tmp_path / "in"), tmp_path / "out.jsonl", form)
    except InputError as error:
        assert error.key == "line 1" or error.found is not None


def test_what_is_missing_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.jsonl"):
        with pytest.raises(InputError) as caught:
            imported(path)
        assert caught.value.file == str(path)


def test_the_command_says_what_it_left_out(tmp_path: Path) -> None:
    file = write(tmp_path / "in", [xlam("one", BOOK), xlam("both", BOOK, SEARCH), xlam("other", {**BOOK, "name": "x"})])
    command = ["golden", "import", str(file), str(tmp_path / "out.jsonl"), "--domain", str(TINY)]
    result = CliRunner().invoke(launch.app, command)
    assert result.exit_code == 0, result.stderr
    assert "2 queries written" in result.stdout and "(read as xlam)" in result.stdout
    assert "left out: 1 unknown function (the domain has no such function): line 3" in result.stdout
    value = json.loads(CliRunner().invoke(launch.app, [*command, "--json"]).stdout)
    assert (value["format"], value["written"]) == ("xlam", 2)
    assert value["left_out"] == {"unknown function": 1}


def test_domain_fit_uses_the_calls_of_an_xlam_file(tiny: Domain, tmp_path: Path) -> None:
    """Its calls were not seen: functions were guessed, and the counts wrong."""
    rows = [golden(f"a table for two in Oslo {number}", BOOK) for number in range(12)]
    rows += [golden(f"logo with a red kite {number}", SEARCH) for number in range(4)]
    own = fit(tiny, write(tmp_path / "golden.jsonl", rows), min_count=2)
    also = [xlam("both", BOOK, SEARCH), xlam("hello"), xlam("other", {**BOOK, "name": "x"})]
    other = [*(xlam(row["query"], row["call"]) for row in rows), *also]
    found = fit(tiny, write(tmp_path / "xlam.jsonl", other), min_count=2)
    assert found.statistics == own.statistics and found.statistics["functions"] == {"search": 0.25, "book": 0.75}
    assert (found.labelled, found.guessed) == (16, 0)
    assert found.left_out == {"several calls": 1, "no call": 1, "unknown function": 1}
    assert "left out: 1 several calls (`calls` in statistics.yaml has no such queries)" in found.summary()
    with pytest.raises(InputError, match="no queries that can be counted"):
        fit(tiny, write(tmp_path / "xlam.jsonl", also))


def test_domain_fit_counts_the_number_of_calls_where_the_statistics_have_it(tiny: Domain, tmp_path: Path) -> None:
    rows = [golden(f"a table for two in Oslo {number}", BOOK) for number in range(12)]
    rows += [golden(f"hello {number}") for number in range(6)]
    rows += [golden(f"a table in Oslo, then a red kite {number}", BOOK, SEARCH) for number in range(6)]
    domain = with_statistics(tiny, {**tiny.statistics.model_dump(), "calls": {0: 0.1, 1: 0.8, 2: 0.1}})
    for file in (write(tmp_path / "golden.jsonl", rows), write(tmp_path / "xlam.jsonl", _as_xlam(rows))):
        found = fit(domain, file, min_count=2)
        assert found.statistics["calls"] == {0: 0.25, 1: 0.5, 2: 0.25}
        # Functions are counted over the queries of one call.
        assert found.statistics["functions"] == fit(tiny, file, min_count=2).statistics["functions"]
        assert (found.labelled, found.guessed, found.unsure, found.left_out) == (24, 0, 0, {})
    assert fit(tiny, file, min_count=2).left_out == {"no call": 6, "several calls": 6}


def _as_xlam(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [xlam(row["query"], *([row["call"]] if "call" in row else row["calls"])) for row in rows]
