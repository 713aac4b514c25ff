"""domain init: one small API in every form becomes a domain that passes the check; bad input is refused, nothing is
half written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from routenator.authoring.door.connectors import Slot
from routenator.authoring.door.domainfiles import _said
from routenator.authoring.door.init import init_domain
from routenator.authoring.door.openapi import operation_name
from routenator.authoring.door.patterns import patterns
from routenator.authoring.door.phrases import phrases
from routenator.authoring.door.read import read_source
from routenator.authoring.door.sources import Sources
from routenator.authoring.door.tools import Tool
from routenator.authoring.drawn import draw_all
from routenator.domain.functions import Function, check_call, check_value
from routenator.domain.kinds import json_value
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from tests.routenator.door_documents import OPENAPI, TOOLS, documents, write_document


@pytest.mark.parametrize("form", list(documents()))
def test_every_form_is_found_out_and_read(form: str, tmp_path: Path) -> None:
    api = read_source(str(write_document(form, tmp_path)))
    assert form.partition(" ")[0] in api.form or form in ("MCP answer", "JSON lines")
    tools = {tool.name: tool for tool in api.tools}
    assert {"list_books", "add_book", "send_reminder"} <= set(tools)
    add = tools["add_book"].parameters
    assert add["required"] == ["title"] and add["properties"]["price"]["type"] == "number"
    assert tools["send_reminder"].parameters["properties"]["email"] == {"type": "string", "format": "email"}
    assert set(tools["list_books"].parameters["properties"]["shelf"]["enum"]) >= {"kitchen", "office"}


def test_an_operations_parameters_become_arguments_by_rule(tmp_path: Path) -> None:
    """Path, query and body parameters are arguments; headers of clients, credentials and read-only properties are not;
    an operation without a name gets one."""
    api = read_source(str(write_document("OpenAPI", tmp_path)))
    tools = {tool.name: tool for tool in api.tools}
    assert set(tools["list_books"].parameters["properties"]) == {"shelf", "limit", "only_unread"}
    assert tools["list_books"].parameters["required"] == ["shelf"]
    assert len(tools["list_books"].notes) == 2
    book = tools["add_book"].parameters["properties"]
    assert set(book) == {"title", "author", "bought_on", "price"}
    assert book["author"]["type"] == ["string", "null"] and book["price"]["exclusiveMinimum"] == 0
    assert tools["replace_books"].deprecated and "delete_book" in tools
    assert operation_name("get", "/pets/{petId}/photos") == "get_pet_photos"


@pytest.mark.parametrize("form", ["OpenAPI", "Gemini"])
def test_a_domain_of_a_document_passes_the_check_and_its_calls_are_valid(form: str, tmp_path: Path) -> None:
    out = tmp_path / "shelf"
    made = init_domain(str(write_document(form, tmp_path)), out)
    assert not made.warnings
    assert set(made.functions) == {tool["name"] for tool in TOOLS}
    domain = load_domain(out)
    said: set[str] = set()
    for function, _, _, drawn in draw_all(domain):
        assert drawn is not None
        for arguments, query in zip(drawn.arguments.to_pylist(), drawn.query.to_pylist(), strict=True):
            assert not check_call(domain.functions[function], json.loads(arguments)), query
        said.add(function)
    assert said == set(made.functions)
    assert {file.name for file in out.iterdir()} >= {
        "functions.json", "domain.yaml", "statistics.yaml", "golden.jsonl", "run.yaml", "README.md", "values",
        "templates",
    }  # fmt: skip
    if form == "OpenAPI":
        assert "deprecated" in made.left_out["replace_books"]


def test_every_file_says_what_it_is(tmp_path: Path) -> None:
    out = tmp_path / "shelf"
    init_domain(str(write_document("MCP", tmp_path)), out)
    for file in out.rglob("*"):
        if file.is_file() and file.name != "functions.json":
            assert "domain init" in file.read_text(encoding="utf-8") or file.name == "golden.jsonl", file


def test_no_file_names_a_folder_of_the_machine_but_the_config_which_names_the_domain(tmp_path: Path) -> None:
    """A domain is passed around; where its author keeps the API's description is nobody's business."""
    out = tmp_path / "shelf"
    init_domain(str(write_document("MCP", tmp_path)), out)
    naming = {file.name for file in out.rglob("*") if file.is_file() and str(tmp_path) in file.read_text("utf-8")}
    assert naming == {"run.yaml"}
    assert "from `mcp.json`" in (out / "README.md").read_text("utf-8")


def wordings(name: str, description: str, *parameters: Slot) -> list[str]:
    """Patterns of each of two functions, the second of which differs by its parameter alone."""
    properties = {each.name: {"type": "string"} for each in parameters}
    tool = Tool(name, description, {"type": "object", "properties": properties}, "")
    other = Tool("find_pets_by_owner", "Finds pets by owner.", {"properties": {"owner": {"type": "string"}}}, "")
    made = phrases([tool, other], [tool.name, other.name])[0]
    return [each.text for each in patterns(made, list(parameters))]


@pytest.mark.parametrize(
    ("name", "description", "slot", "said", "unsaid"),
    [
        ("find_pets_by_status", "Finds pets by status.", Slot("status", "enum", True), "with status", "by status"),
        ("pets", "List pets by status.", Slot("status", "enum", True), "with status", "by status"),
        ("find_pets_by_tags", "Finds pets by tags.", Slot("tags", "label", True), "whose tags are", "whose tags is"),
        ("deletePet", "", Slot("petId", "number", True), "the pet [with ID {petId}", "pet ID"),
        ("get_mode", "", Slot("mode", "enum", True), "get mode <{mode}>", "to {mode}"),
        ("set_volume", "", Slot("volume", "number", True), "the volume to {volume}", "with"),
        ("set_unit", "", Slot("unit", "enum", True), "the unit <to {unit}>", "with"),
        ("switch_branches", "", Slot("branch_name", "branch", True), "branches to {branch_name}", "with"),
        ("delete_owners", "", Slot("owner_names", "person", True), "owners [{owner_names}|", "owner names"),
        ("read_file", "", Slot("path", "file", True), "the file [{path}|", "of {path}"),
        ("read_multiple_files", "", Slot("paths", "file", True), "multiple files [{paths}|", "all"),
        ("get_file_info", "", Slot("path", "file", True), "file info [of {path}|", "info {path}"),
        ("make_directory", "", Slot("path", "folder", True), "directory] <[at {path}|", "in {path}"),
        ("search_files", "", Slot("path", "folder", True), "files [in {path}|", "of {path}"),
        ("log", "Shows the commits.", Slot("repo_path", "folder", True), "commits [in {repo_path}|", "of {repo_path}"),
        ("list_files", "", Slot("sort_by", "enum", False), "sorted by {sort_by}", "with sort"),
        ("list_files", "", Slot("exclude_patterns", "glob", False), "excluding {exclude_patterns}", "with exclude"),
        ("list_logs", "", Slot("max_count", "number", False), "at most {max_count} of them", "with count"),
        ("show_log", "", Slot("context_lines", "number", False), "with {context_lines} context lines", "a context"),
        ("delete_owners", "", Slot("owner", "topic", False), "delete owners <{owner}>", "to {owner}"),
        ("delete_owners", "", Slot("town", "topic", False), "with town {town}", "and set"),
        ("update_owners", "", Slot("town", "topic", False), "and set the town to {town}", "whose"),
        ("create_users", "", Slot("body", "object", True), "]users {body}", "body {"),
    ],
)
def test_a_parameter_is_joined_to_the_object_as_people_do(
    name: str, description: str, slot: Slot, said: str, unsaid: str
) -> None:
    """Not `find the pets by status with status sold`, and not `delete the pet with pet ID 7`."""
    texts = wordings(name, description, slot)
    assert any(said in text for text in texts), texts
    assert not any(unsaid in text for text in texts), texts


def test_functions_told_apart_by_their_parameter_keep_their_synonyms() -> None:
    assert any("look for" in text for text in wordings("find_pets_by_status", "", Slot("status", "enum", True)))


def values(schema: dict[str, Any], name: str, about: str = "thing") -> tuple[str, list[tuple[str, ...]]]:
    function = Function("f", "", {"type": "object", "properties": {name: schema}})
    found = Sources(7).find(function, name, about)
    assert found is not None
    for value, *_ in found.values:
        assert check_value(function, name, json_value(value, function.kind(name))) is None
    return found.kind, list(found.values)


@pytest.mark.parametrize(
    ("name", "schema", "kind"),
    [
        ("city", {"type": "string"}, "city"),
        ("query", {"type": "string"}, "search"),
        ("when", {"type": "string", "format": "date-time"}, "date_time"),
        ("body", {"type": "string", "maxLength": 60}, "message"),
        ("x", {"type": "string"}, "topic"),
        ("x", {"type": "string", "description": "ID of the customer"}, "identifier"),
        ("count", {"type": ["integer", "null"], "minimum": 10, "maximum": 2000}, "number"),
        ("ratio", {"type": "number", "exclusiveMinimum": 0, "maximum": 1}, "number"),
        ("code", {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{4}$"}, "pattern"),
        ("website", {"type": "string", "format": "uri"}, "url"),
        ("path", {"type": "string"}, "file"),
        ("date_to", {"type": "string"}, "loose_date"),
        ("users", {"type": "string"}, "person"),
        ("channel", {"type": "string"}, "slug"),
        ("tag", {"type": "string"}, "label"),
        ("entity_type", {"type": "string"}, "type"),
        ("relation_type", {"type": "string"}, "relation"),
        ("state", {"type": "string", "description": "How far it is."}, "status"),
        ("category", {"type": "string"}, "category"),
    ],
)
def test_a_parameter_gets_at_least_500_values_that_fit(name: str, schema: dict[str, Any], kind: str) -> None:
    found, made = values(schema, name)
    assert found == kind
    assert len({value for value, *_ in made}) >= 500
    assert not any("http" in wording for _, *said in made for wording in said)


def test_values_within_narrow_bounds_are_all_of_them() -> None:
    assert [value for value, *_ in values({"type": "integer", "minimum": 3, "maximum": 5}, "x")[1]] == ["3", "4", "5"]
    assert {value for value, *_ in values({"enum": [1, 2, None]}, "x")[1]} == {"1", "2"}


def refused(source: Path | str, out: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        init_domain(str(source), out, **options)
    assert not out.exists()
    assert not list(out.parent.glob(f".{out.name}.*"))
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("Dear all, the meeting is at noon.", "this does not describe an API"),
        ('{"name": ["a"], "version": 1}', "this is not a tool"),
        ("[]", "this does not describe an API"),
        ('{"openapi": "4.0.0", "paths": {}}', "an unknown version"),
        ('{"openapi": "3.0.0", "paths": {}}', "no paths"),
        ('[{"name": "a", "inputSchema": {"type": "array"}}]', "not the schema of an object"),
        ('[{"name": "a", "inputSchema": {"$ref": "#/nowhere"}}]', "a reference leads nowhere"),
        ('[{"name": "a", "inputSchema": {"$ref": "other.json#/a"}}]', "a reference to another document"),
        (OPENAPI.replace("schemas/Book", "schemas/Buch"), "a reference leads nowhere"),
        ('[{"name": "a", "description": "x"}, {"name": "a", "description": "y"}]', "two functions have the same name"),
    ],
)
def test_bad_input_is_refused_with_a_clear_error_and_nothing_is_written(
    text: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "source"
    file.write_text(text)
    assert message in refused(file, tmp_path / "out")


def test_too_many_functions_are_said_with_how_to_choose(tmp_path: Path) -> None:
    file = tmp_path / "many.json"
    tools = [{"name": f"{verb}_thing_{n}", "description": "Do it."} for n in range(1000) for verb in ("get", "set")]
    file.write_text(json.dumps(tools))
    said = refused(file, tmp_path / "out")
    assert "2,000" in said and "--include 'get*' (1000)" in said
    made = init_domain(str(file), tmp_path / "out", include=["get_thing_1?"])
    assert len(made.functions) == 10


def test_a_name_to_include_that_no_function_has_is_refused(tmp_path: Path) -> None:
    source = write_document("MCP", tmp_path)
    assert "nearest:  add_book" in refused(source, tmp_path / "out", include=["add_bock"])


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        init_domain(str(write_document("MCP", tmp_path)), out)
    assert [file.name for file in out.iterdir()] == ["letter.txt"]


def test_a_schema_that_contains_itself_is_cut(tmp_path: Path) -> None:
    tree = {"type": "object", "properties": {"name": {"type": "string"}, "child": {"$ref": "#/$defs/tree"}}}
    file = tmp_path / "tree.json"
    file.write_text(json.dumps([{"name": "plant", "inputSchema": {**tree, "$defs": {"tree": tree}}}]))
    made = init_domain(str(file), tmp_path / "out")
    assert made.functions == ["plant"]


def test_statistics_that_someone_counted_take_the_place_of_the_defaults(tmp_path: Path) -> None:
    """Their length buckets hold for the patterns; lengths that no pattern writes are asked for no more, and said."""
    source, out = str(write_document("MCP", tmp_path)), tmp_path / "out"
    names = [tool["name"] for tool in TOOLS]
    given = {
        "functions": dict.fromkeys(names, 1.0),
        "length_buckets": {"tiny": [1, 1], "usual": [2, 20], "epic": [21, 60]},
        "lengths": {name: {"tiny": 0.2, "usual": 0.7, "epic": 0.1} for name in names},
        "routes": {name: {"heuristic": 1} for name in names},
    }
    file = tmp_path / "counted.yaml"
    file.write_text("# Counted in May.\n" + yaml.safe_dump(given))
    made = init_domain(source, out, statistics=file)
    assert any(note.startswith("add_book: no pattern writes queries of length tiny") for note in made.notes)
    text = (out / "statistics.yaml").read_text("utf-8")
    assert text.startswith("# Counted in May.\n")
    statistics = load_domain(out).statistics
    assert set(statistics.length_buckets) == {"tiny", "usual", "epic"}
    assert "tiny" not in statistics.lengths["add_book"] and statistics.lengths["add_book"]["usual"] == 0.7
    init_domain(source, out)  # which keeps them
    assert (out / "statistics.yaml").read_text("utf-8") == text


def test_values_in_the_golden_files_examples_are_words() -> None:
    """A list stood there as Python writes it: "add pet doggie ['https://...']"."""
    assert _said(["a.org/x", "b.org/y"]) == "a.org/x and b.org/y"
    assert _said({"name": "Max", "tags": ["old", "shy"]}) == "Max old and shy" and _said(5) == "5"
