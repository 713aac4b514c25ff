"""JSON schemas as real APIs have them: values are made as a schema says, or the schema is refused by the check."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routenator.authoring.check import check_domain
from routenator.authoring.inspection import inspect_domain
from routenator.compose import probe_config
from routenator.dataset import export
from routenator.domain.calls import read_calls
from routenator.domain.domain import Domain
from routenator.domain.functions import check_call
from routenator.domain.golden import load_golden
from routenator.domain.kinds import BOOLEAN, INTEGER, LITERALS, NULLABLE, NUMBER, STRING, json_value
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.sampling.philox import row_seeds
from routenator.sampling.sampler import Sampler
from routenator.wording.composer import Composer
from routenator.wording.text import typed
from routenator.wording.writer import Writer
from tests.conftest import TINY

LISTED = [1, "auto", True, None, 2.5]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "tiny"))


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text, f"{old!r} is not in {file}"
    file.write_text(text.replace(old, new, 1))


def edit_tools(folder: Path, function: int, **changes: Any) -> None:
    """Change keys of a function of functions.json."""
    tools = json.loads((folder / "functions.json").read_text())
    tools[function]["function"].update(changes)
    (folder / "functions.json").write_text(json.dumps(tools))


def give_near(folder: Path, schema: Any, value: str | None = None, **more: Any) -> None:
    """Give the slot ``near`` of ``book`` a schema, and a grammar for its value."""
    tools = json.loads((folder / "functions.json").read_text())
    parameters = tools[1]["function"]["parameters"]
    parameters["properties"]["near"] = schema
    parameters.update(more)
    (folder / "functions.json").write_text(json.dumps(tools))
    if value is not None:
        replace(folder / "domain.yaml", '"[the station|the lake]"', json.dumps(value))


def calls(domain: Domain, function: str, count: int = 400) -> list[dict[str, Any]]:
    """Arguments of drawn calls."""
    writer = Writer(domain, tries=1)
    categories = np.array(domain.categories_of(function), dtype=object)
    numbers = np.arange(count)
    root = next(root for (name, _), root in writer.compiled.root.items() if name == function)
    drawn = writer.draw(function, row_seeds(7, numbers), categories[numbers % len(categories)], np.full(count, root))
    return [json.loads(text) for text in drawn.arguments.to_pylist()]


def said(error: pytest.ExceptionInfo[InputError], *parts: str) -> None:
    for part in parts:
        assert part in str(error.value), f"{part!r} is not in {error.value}"


@pytest.mark.parametrize(
    ("schema", "value", "made"),
    [
        (True, "[a|b]", ["a", "b"]),
        ({"description": "Anything."}, "[a|3]", ["a", "3"]),
        ({"type": ["integer", "null"]}, "[1|12|null]", [1, 12, None]),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "[1|null]", [1, None]),
        ({"type": ["string", "null"]}, "[null|7]", [None, "7"]),
        ({"anyOf": [{"type": "string", "maxLength": 9}, {"type": "null"}], "default": None}, "[a|null]", ["a", None]),
        ({"type": ["string", "integer"]}, "[a|3]", ["a", "3"]),
        ({"anyOf": [{"type": "integer"}, {"const": "all"}]}, "[3|all]", [3, "all"]),
        ({"oneOf": [{"type": "boolean"}, {"type": "integer"}]}, "[true|4|false]", [True, 4, False]),
        ({"enum": [1, 2, 3]}, "[1|3]", [1, 3]),
        ({"enum": ["1", "3"]}, "[1|3]", ["1", "3"]),
        ({"enum": LISTED}, "[1|auto|true|null|2.5]", LISTED),
        ({"const": 5}, "5", [5]),
        ({"const": True}, "yes", [True]),
        ({"oneOf": [{"const": 1, "title": "one"}, {"const": "b"}]}, "[1|b]", [1, "b"]),
        ({"allOf": [{"type": "number"}, {"minimum": 1}]}, "[1|2.5]", [1, 2.5]),
        ({"allOf": [{"enum": [1, 2, "x"]}, {"type": "integer"}]}, "[1|2]", [1, 2]),
        ({"$ref": "#/$defs/size", "description": "Which."}, "[2|4]", [2, 4]),
        ({"type": "string", "format": "date"}, "[2026-11-29|2028-02-29]", ["2026-11-29", "2028-02-29"]),
        ({"type": "string", "minLength": 3, "pattern": "^[a-z]+$"}, "[lake|park]", ["lake", "park"]),
    ],
)  # fmt: skip
def test_values_are_made_as_the_schema_says(copy: Path, schema: Any, value: str, made: list[Any]) -> None:
    """The check found no errors, and every row of such a slot was refused, e.g. for an enum without a type."""
    give_near(copy, schema, value, **{"$defs": {"size": {"enum": [2, 4]}}})
    domain = inspect_domain(copy).domain
    drawn = calls(domain, "book")
    assert [error for call in drawn for error in check_call(domain.functions["book"], call)] == []
    assert {json.dumps(call["near"]) for call in drawn if "near" in call} == {json.dumps(each) for each in made}


@pytest.mark.parametrize(
    ("schema", "value", "parts"),
    [
        ({"type": "null"}, "null", ["no value can be written for the slot near", "of type null"]),
        (False, None, ["no value satisfies"]),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, None, ["no value satisfies"]),
        ({"not": {"type": "null"}}, None, ["`not`"]),
        ({"type": "string", "anyOf": [{"if": {"minLength": 1}, "then": {"maxLength": 2}}]}, None, ["`if`"]),
    ],
)
def test_what_cannot_be_made_is_an_error_of_the_check(
    copy: Path, schema: Any, value: str | None, parts: list[str]
) -> None:
    """Such a slot passed the check, and then every row of it was refused."""
    give_near(copy, schema, value)
    with pytest.raises(InputError) as error:
        check_domain(copy)
    said(error, "functions.json", "[1].parameters.properties.near", *parts)


@pytest.mark.parametrize(
    ("form", "right", "wrong"),
    [
        ("date", ["2026-11-29", "2028-02-29"], ["2026-02-30", "29.11.2026", "20261129", "2026-11-29T09:00:00Z", ""]),
        ("date-time", ["2026-11-29T09:00:00Z", "2026-11-29T09:00:00.5+01:00", "2026-11-29T09:00:00"],
         ["2026-11-29", "2026-02-30T09:00:00Z", "2026-11-29T25:00:00Z", "tomorrow at nine"]),
        ("time", ["09:00:00Z", "09:00", "23:59:60Z"], ["9:00", "24:00", "09:00pm", "nine"]),
        ("email", ["a@example.org", "a.b+c@example"], ["a", "a@", "@b", "a b@c.org", "a@b@c", "a..b@c.org"]),
        ("uri", ["https://example.org/a?b=c", "mailto:a@b.c", "urn:x:y"], ["example.org", "//a", "http://a b", "1:x"]),
        ("uuid", ["123e4567-e89b-12d3-a456-426614174000"], ["123e4567e89b12d3a456426614174000", "x"]),
    ],
)  # fmt: skip
def test_formats_are_checked_where_arguments_are(copy: Path, form: str, right: list[str], wrong: list[str]) -> None:
    """The leap day that does not exist passed as a date: formats were not checked at all."""
    give_near(copy, {"type": "string", "format": form})
    book = load_domain(copy).functions["book"]
    for text in right:
        assert check_call(book, {"city": "Oslo", "near": text}) == [], text
    for text in wrong:
        assert [error.kind for error in check_call(book, {"city": "Oslo", "near": text})] == ["format"], text


def test_errors_within_an_argument_count(copy: Path) -> None:
    """A field that is unknown, or missing where the call has an argument of its name, was not an error."""
    inner = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    give_near(copy, {"type": "array", "items": {**inner, "additionalProperties": False}})
    book = load_domain_with_list(copy).functions["book"]
    for near, kind in (([{}], "missing"), ([{"city": "a", "odd": 1}], "unexpected"), ([{"city": 1}], "type")):
        assert [(e.kind, e.parameter) for e in check_call(book, {"city": "Oslo", "near": near})] == [(kind, "near")]


def load_domain_with_list(folder: Path) -> Domain:
    """The domain, with a list for ``near``."""
    item = {"fields": {"city": "a"}, "surface": "{city}"}
    replace(
        folder / "domain.yaml", '{value: "[the station|the lake]", excludes: [people]}', json.dumps({"items": item})
    )
    return load_domain(folder)


def test_a_list_that_no_slot_fills_is_no_error(copy: Path) -> None:
    give_near(copy, {"type": "string"}, **{"minProperties": 1})
    tools = json.loads((copy / "functions.json").read_text())
    tools[1]["function"]["parameters"]["properties"]["tags"] = {"type": "array", "items": True}
    (copy / "functions.json").write_text(json.dumps(tools))
    inspect_domain(copy)


@pytest.mark.parametrize("keyword", ["not", "if"])
def test_conditions_on_all_arguments_are_errors_of_the_check(copy: Path, keyword: str) -> None:
    give_near(copy, {"type": "string"}, **{keyword: {"required": ["near"]}})
    with pytest.raises(InputError) as error:
        check_domain(copy)
    said(error, "functions.json", f"[1].parameters.{keyword}", "no calls can be written for book")


@pytest.mark.parametrize(
    ("schema", "value", "parts"),
    [
        ({"type": "integer"}, "[3|three]", ["domain.yaml", "functions.book.slots.near.value", "three", "not of type"]),
        ({"type": "integer", "maximum": 9}, "[3|12]", ["domain.yaml", "12", "maximum"]),
        ({"type": "string", "maxLength": 4}, "{City} {mood}", ["nodes.csv", "node c_rome", "too long"]),
        ({"enum": ["Rome", "oslo"]}, "{City}", ["nodes.csv", "node c_oslo", "nearest:  oslo"]),
        ({"enum": ["two people", "six people"]}, "{Party}", ["nodes.csv", "node n_two", "a couple"]),
        ({"enum": ["happy", "calm"]}, "{mood}", ["lexicon.yaml", "mood", "bright"]),
        ({"type": "integer"}, "{City.size}", ["nodes.csv", "node c_rome", "not of type 'integer'"]),
        ({"type": "string", "format": "date"}, "[2026-11-29|2026-02-30]", ["domain.yaml", "2026-02-30", "date"]),
        ({"type": "string", "pattern": "^[A-Z]{3}$"}, "[ABC|Abc]", ["domain.yaml", "Abc", "does not match"]),
        ({"enum": [1, None]}, "[1|none]", ["domain.yaml", "none", "near"]),
    ],
)
def test_a_value_outside_its_schema_is_an_error_of_the_check(
    copy: Path, schema: Any, value: str, parts: list[str]
) -> None:
    """A label, an alias or a word outside an enum passed the check, and its rows were refused."""
    give_near(copy, schema, value)
    with pytest.raises(InputError) as error:
        check_domain(copy)
    said(error, "a value of the slot near of book violates its schema", *parts)


def test_drawn_calls_are_held_to_the_whole_schema(copy: Path) -> None:
    """Each value fits its parameter, but the call lacks what goes with it; the check found no errors."""
    give_near(copy, {"type": "string"}, dependentRequired={"near": ["people"]})
    check_domain(copy)
    with pytest.raises(InputError) as error:
        inspect_domain(copy)
    said(error, "calls of book that violate its schema", "heuristic/book.yaml", "book_plain", "dependency", "people")


@pytest.mark.parametrize(("opening", "warned"), [('book "', False), ('[book|book "]', True), ("[book|reserve]", None)])
def test_drawn_queries_are_held_to_the_checks(copy: Path, opening: str, warned: bool | None) -> None:
    """A grammar whose queries all fail is an error; one whose queries often fail gives a warning."""
    replace(copy / "templates/heuristic/book.yaml", "[book|reserve|i would like to book]", opening)
    if warned is False:
        with pytest.raises(InputError) as error:
            inspect_domain(copy)
        said(error, "no query for book passes the checks", "book_plain", "quotes", "an odd number of")
        return
    told = [each for each in inspect_domain(copy).warnings if "the checks reject" in each]
    assert len(told) == bool(warned) and all("heuristic/book_plain" in each and "quotes" in each for each in told)


def test_only_nodes_that_a_walk_reaches_must_fit(copy: Path) -> None:
    """No walk of ``book`` starts at ``birthday``, so its label is not one of its values."""
    give_near(copy, {"enum": ["dinner"]}, "{Intent}")
    check_domain(copy)


@pytest.mark.parametrize(
    "kind", [STRING, INTEGER, NUMBER, BOOLEAN, *(base | bits for base in range(4) for bits in (4, 8, 12))]
)
def test_the_check_reads_a_text_as_the_compiled_loop_writes_it(kind: int) -> None:
    assert (LITERALS, NULLABLE) == (4, 8)
    out = np.zeros(64, dtype=np.uint8)
    for text in ("", "a", "1", "-1", "+1", "007", "-0", "0", "1.5", "-1.50", "00.5", "1.", ".5", "1.2.3", "-", "1e5",
                 "null", "Null", "true", "TRUE", "yes", "Yes", "false", "no", "nul", "\u0663", 'a"b'):  # fmt: skip
        source = np.frombuffer(text.encode() or b"\0", dtype=np.uint8)
        end = typed(source, 0, len(text.encode()), kind, out, 0)
        written = json.loads(out[:end].tobytes())
        assert (type(written), written) == (type(json_value(text, kind)), json_value(text, kind)), text


@pytest.mark.parametrize(
    ("parameters", "parts"),
    [
        (True, ["[0].parameters", "True"]),
        (False, ["[0].parameters"]),
        ([], ["[0].parameters"]),
        ({"type": "array"}, ["[0].parameters", "an object"]),
        ({"type": "object", "properties": {"a": 5}}, ["invalid JSON schema", "[0].parameters"]),
        (
            {"properties": {"a": {"$ref": "#/components/schemas/X"}}},
            ["leads nowhere", "properties.a.$ref", "schemas/X"],
        ),
        (
            {"properties": {"a": {"$ref": "#/required"}}, "required": ["a"]},
            ["invalid JSON schema", "properties.a.$ref"],
        ),
        ({"properties": {"a": {"$ref": "#/x-of/y"}}, "x-of": {"y": {"type": "int"}}}, ["invalid JSON schema", "int"]),
        (
            {"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"$ref": "#/properties/a"}}},
            ["refers to itself"],
        ),
    ],
)
def test_schemas_that_are_none_are_refused_with_their_place(copy: Path, parameters: Any, parts: list[str]) -> None:
    """Some of these ended in a traceback, at once or when the first call was checked."""
    edit_tools(copy, 0, parameters=parameters)
    with pytest.raises(InputError) as error:
        load_domain(copy)
    said(error, "functions.json", *parts)


@pytest.mark.parametrize("parameters", [None, {}, {"type": "object"}, {"additionalProperties": False}])
def test_a_function_without_parameters_is_exported_with_empty_properties(copy: Path, parameters: Any) -> None:
    """LLaMA-Factory ended in a KeyError for ``parameters`` without ``properties``."""
    tools = json.loads((copy / "functions.json").read_text())
    tools.append({"type": "function", "function": {"name": "help", "description": None, "parameters": parameters}})
    (copy / "functions.json").write_text(json.dumps(tools))
    domain = load_domain(copy)
    tool = domain.tools()[-1]["function"]
    assert tool["description"] == ""
    assert (tool["parameters"]["type"], tool["parameters"]["properties"]) == ("object", {})
    assert check_call(domain.functions["help"], {}) == []
    for each in export.FORMATS.values():
        for line in each.lines.values():
            line(domain.tools())


@pytest.mark.parametrize("schema", [True, {"type": "boolean"}])
def test_a_boolean_schema_of_a_property_is_accepted(copy: Path, schema: Any) -> None:
    """``"flag": true`` is a legal property, and was a traceback."""
    tools = json.loads((copy / "functions.json").read_text())
    tools[1]["function"]["parameters"]["properties"]["flag"] = schema
    (copy / "functions.json").write_text(json.dumps(tools))
    domain = inspect_domain(copy).domain
    assert domain.tools()[1]["function"]["parameters"]["properties"]["flag"] == schema
    assert check_call(domain.functions["book"], {"city": "Oslo", "flag": True}) == []


def test_a_description_that_is_no_text_is_refused(copy: Path) -> None:
    edit_tools(copy, 0, description={"en": "Find"})
    with pytest.raises(InputError) as error:
        load_domain(copy)
    said(error, "functions.json", "[0].description", "text")


def numbered(folder: Path, values: Mapping[str, Any]) -> None:
    """Let the content types of ``search`` be the given values instead of names."""
    tools = json.loads((folder / "functions.json").read_text())
    kind = {"enum": list(values.values()), "x-role": "category"}
    tools[0]["function"]["parameters"]["properties"]["content_type"] = kind
    (folder / "functions.json").write_text(json.dumps(tools))
    statistics = folder / "statistics.yaml"
    for file in ("nodes.csv", "metadata.jsonl", "golden.jsonl"):
        text = (folder / file).read_text()
        for name, value in values.items():
            plain = json.dumps(value)
            text = text.replace(f",1,{name},", f",1,{plain},").replace(
                f'"category": "{name}"', f'"category": "{plain}"'
            )
            text = text.replace(f'"content_type": "{name}"', f'"content_type": {plain}')
        (folder / file).write_text(text)
    for name, value in values.items():
        replace(statistics, f"{name}: 0.", f"{json.dumps(value)}: 0.")


@pytest.mark.parametrize("values", [{"poster": 1, "logo": 2, "card": 30}, {"poster": 0.5, "logo": True, "card": False}])
def test_an_enum_of_any_type_can_be_the_category(copy: Path, values: dict[str, Any]) -> None:
    """``{1: 0.4}`` in the statistics was refused: a category had to be text."""
    numbered(copy, values)
    domain = inspect_domain(copy).domain
    assert list(domain.statistics.categories["search"]) == [json.dumps(value) for value in values.values()]
    config = probe_config(domain.path, 600)
    sampler = Sampler(domain, config)
    rows = Composer(domain, config, sampler.strata).details(sampler.requests(0, 600)).to_pylist()
    made = [(row["category"], read_calls(row["calls"])[0].arguments) for row in rows if row["function"] == "search"]
    assert {category for category, _ in made} == {json.dumps(value) for value in values.values()}
    for category, arguments in made:
        assert json.dumps(arguments["content_type"]) == category
        assert check_call(domain.functions["search"], arguments) == []


@pytest.mark.parametrize(
    ("key", "value", "expected"), [("topics", "x", "a list of texts"), ("nodes", [["s_dog"]], "a list of texts")]
)
def test_metadata_of_another_type_is_refused(copy: Path, key: str, value: Any, expected: str) -> None:
    lines = (copy / "metadata.jsonl").read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | {key: value})
    (copy / "metadata.jsonl").write_text("\n".join(lines))
    with pytest.raises(InputError) as error:
        load_domain(copy)
    said(error, "metadata.jsonl", f"line 2, {key}", expected)


def test_null_in_metadata_is_as_good_as_missing(copy: Path) -> None:
    """``"topics": null`` passed the check, and then no row of the vision route survived."""
    record = json.loads((copy / "metadata.jsonl").read_text().splitlines()[0]) | {"topics": None, "mood": None}
    (copy / "metadata.jsonl").write_text(json.dumps(record))
    found = load_domain(copy).records[record["id"]]
    assert "topics" not in found and "mood" not in found and found["keywords"]


def test_a_golden_value_outside_an_enum_of_several_types_is_named(copy: Path) -> None:
    """The valid values could not be sorted, which was a traceback."""
    give_near(copy, {"enum": [1, "lake", None]})
    call = {"name": "book", "arguments": {"city": "Oslo", "near": "lakes"}}
    (copy / "golden.jsonl").write_text(json.dumps({"query": "by the lake", "call": call}))
    with pytest.raises(InputError) as error:
        load_golden(copy / "golden.jsonl", load_domain(copy).functions)
    said(error, "golden.jsonl", "arguments.near", "nearest:  lake")
