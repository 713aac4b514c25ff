"""`golden import` of tables, CoNLL, HWU64's JSON and SNIPS."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from routenator.authoring.formats import FORMATS
from routenator.authoring.records import Source
from routenator.domain.domain import Domain
from routenator.domain.functions import Function
from tests.routenator.golden_forms import BOOK, EXPECTED, SEARCH, golden, imported


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
