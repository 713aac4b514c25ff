"""Loading and checking domains: every way in which a domain can be invalid, with the message that the user sees."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from routenator.authoring.check import check_domain, presence_combinations
from routenator.authoring.derive import DeriveOptions, derive
from routenator.authoring.inspection import inspect_domain
from routenator.domain.fingerprint import domain_fingerprint
from routenator.domain.functions import check_call, load_functions
from routenator.domain.golden import load_golden
from routenator.domain.loader import load_domain
from routenator.errors import InputError, InputErrors
from tests.conftest import ROOT, TINY


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "tiny"))


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text, f"{old!r} is not in {file}"
    file.write_text(text.replace(old, new, 1))


def test_the_tiny_domain_is_sound(tiny):
    report = inspect_domain(TINY)
    assert report.facts["functions"] == 2 and report.facts["nodes"] == len(tiny.nodes)
    assert tiny.category_surfaces("search", "poster") == ["poster", "posters", "wall poster"]
    assert "x-role" not in json.dumps(tiny.tools())


@pytest.mark.parametrize("name", ["creative", pytest.param("assistant", marks=pytest.mark.slow)])
def test_the_shipped_domains_are_sound(name):
    report = inspect_domain(ROOT / "configs" / "domains" / name)
    assert report.facts["heuristic templates"] >= 10


BAD = [
    (
        "functions.json",
        '"enum": ["poster", "logo", "card"]',
        '"enum": ["poster", "logo"]',
        ["nodes.csv", "card", "category that the API"],
    ),
    ("functions.json", '"x-role": "category"}', '"x-role": "kategory"}', ["unknown role", "nearest:  category"]),
    (
        "domain.yaml",
        "slots:\n      content_type",
        "slotz:\n      content_type",
        ["unknown key", "functions.search.slotz", "nearest:  slots"],
    ),
    ("domain.yaml", "{type: Scene}", "{type: Scen}", ["no node has this type", "nearest:  Scene"]),
    ("domain.yaml", "{Scene} for {Intent}", "{Scene} for {Intnt}", ["unknown variable", "nearest:  Intent"]),
    ("domain.yaml", "[{Scene}|", "[{Scene|", ["grammar", "at character"]),
    (
        "domain.yaml",
        "from: Intent}, {type: Party",
        "from: Place2}, {type: Party",
        ["must name an earlier step", "Place2"],
    ),
    ("edges.csv", "d_logo,s_cake", "d_logo,s_cak", ["unknown node", "line 9", "nearest:  s_cake"]),
    ("edges.csv", "d_card,s_dog,1", "d_card,s_dog,-1", ["invalid weight", "line 11", "above 0"]),
    ("edges.csv", "d_card,s_dog,1", "d_card,s_dog,nan", ["invalid weight"]),
    ("nodes.csv", "d_card,Design", "d_logo,Design", ["duplicate node", "d_logo"]),
    ("statistics.yaml", "card: 0.3}", "cart: 0.3}", ["the API has no such category", "cart", "nearest:  card"]),
    ("statistics.yaml", "{search: 0.6, book: 0.4}", "{search: 0, book: 0}", ["weights are zero"]),
    ("statistics.yaml", "poster: 0.5", "poster: -0.5", ["categories.search.poster", "greater than or equal to 0"]),
    ("statistics.yaml", "search: {heuristic: 0.6", "search: {heuristik: 0.6", ["heuristik", "nearest:  heuristic"]),
    ("statistics.yaml", "short: [1, 5]", "short: [5, 1]", ["empty length bucket"]),
    (
        "statistics.yaml",
        "  book: {short: 0.3, long: 0.7}",
        "  book: {short: 0.3, lung: 0.7}",
        ["undeclared length bucket", "nearest:  long"],
    ),
    ("templates/heuristic/book.yaml", "<in {city}|", "[in {city}|", ["a stray"]),
    (
        "templates/heuristic/book.yaml",
        "<in {city}|for {people}|close to {near}>",
        "in {city}",
        ["can omit a slot", "near can be missing"],
    ),
    ("templates/heuristic/search.yaml", "{find}", "{fnd}", ["unknown variable", "nearest:  find"]),
    ("templates/text/shared.yaml", "{{ draft }}", "{{ drafft }}", ["unknown variable", "drafft", "nearest:  draft"]),
    ("templates/text/shared.yaml", "guide: slots", "guid: slots", ["unknown key", "nearest:  guide"]),
    ("templates/vision/search.yaml", "functions: [search]", "functions: [serch]", ["nearest:  search"]),
    ("metadata.jsonl", '"nodes": ["s_dog"]', '"nodes": ["s_dogg"]', ["unknown node", "nearest:  s_dog"]),
]


@pytest.mark.parametrize(("file", "old", "new", "expected"), BAD, ids=[f"{b[0]}-{b[2][:20]}" for b in BAD])
def test_bad_domains_are_refused(copy, file, old, new, expected):
    replace(copy / file, old, new)
    with pytest.raises(InputError) as error:
        check_domain(copy)
    for part in [*expected, Path(file).name if expected[0] != "nodes.csv" else "nodes.csv"]:
        assert part in str(error.value)


@pytest.mark.parametrize("file", ["functions.json", "domain.yaml", "nodes.csv", "edges.csv", "statistics.yaml"])
def test_a_missing_file_is_named(copy, file):
    (copy / file).unlink()
    with pytest.raises(InputError, match="not found") as error:
        load_domain(copy)
    assert file in str(error.value)


def test_a_category_that_no_walk_reaches_is_named_with_its_share(copy):
    replace(copy / "edges.csv", "i_sale,d_logo,1\n", "")
    with pytest.raises(InputError, match=r"20\.0%") as error:
        check_domain(copy)
    assert error.value.found == "logo (20.0%)"


def test_dangling_nodes_and_unused_edges_give_warnings(copy):
    with open(copy / "nodes.csv", "a") as handle:
        handle.write("s_alone,Scene,lonely tree,,1,,,\n")
    with open(copy / "edges.csv", "a") as handle:
        handle.write("s_dog,d_logo,1\n")
    warnings = " ".join(inspect_domain(copy).warnings)
    assert "s_alone" in warnings and "s_dog -> d_logo" in warnings


def test_an_unknown_domain_suggests_the_nearest(tmp_path):
    shutil.copytree(TINY, tmp_path / "creative")
    (tmp_path / "creativf").mkdir()
    with pytest.raises(InputError) as error:
        load_domain(tmp_path / "creativ")
    assert error.value.nearest == "creative"


def test_a_folder_that_is_not_a_domain_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a domain") as error:
        load_domain(tmp_path)
    assert error.value.nearest is None


def test_presence_combinations_obey_the_slot_rules(tiny):
    combinations = presence_combinations(tiny, "book")
    assert frozenset({"city"}) in combinations
    assert all("city" in c and not {"people", "near"} <= c for c in combinations)


def test_the_fingerprint_covers_templates_but_not_the_golden_set(copy):
    before = domain_fingerprint(copy)
    replace(copy / "golden.jsonl", "sleeping cat", "sleepy cat")
    assert domain_fingerprint(copy) == before
    replace(copy / "templates/text/shared.yaml", "other words", "new words")
    assert domain_fingerprint(copy) != before


@pytest.mark.parametrize(
    ("arguments", "kinds"),
    [
        ({"content_type": "logo", "extracted_prompt": "x"}, []),
        ({"content_type": "logo"}, [("missing", "extracted_prompt")]),
        ({}, [("missing", "content_type"), ("missing", "extracted_prompt")]),
        ({"content_type": "logo", "extracted_prompt": "x", "size": 1}, [("unexpected", "size")]),
        ({"content_type": "logos", "extracted_prompt": "x"}, [("enum", "content_type")]),
        ({"content_type": "logo", "extracted_prompt": 3}, [("type", "extracted_prompt")]),
        ("x", [("type", "")]),
    ],
)
def test_calls_are_checked_with_typed_errors(tiny, arguments, kinds):
    assert [(e.kind, e.parameter) for e in check_call(tiny.functions["search"], arguments)] == kinds


GOOD_LINE = (
    '{"query": "a red logo", "call": {"name": "search", "arguments": '
    '{"content_type": "logo", "extracted_prompt": "red"}}}\n'
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["empty", "0 queries"]),
        ("\n \n", ["empty"]),
        ("{nope\n", ["not JSON", "line 1"]),
        (GOOD_LINE + '{"query": "x"}\n', ["line 2", "not a golden example"]),
        (GOOD_LINE.replace('"search"', '"serch"'), ["nearest:  search"]),
        (GOOD_LINE.replace('"logo"', '"logoo"'), ["enum", "logoo", "nearest:  logo"]),
        (GOOD_LINE.replace('"extracted_prompt": "red"', '"extracted_prompt": 3'), ["type", "extracted_prompt"]),
        (GOOD_LINE + GOOD_LINE.replace("a red logo", "A  red, logo!"), ["duplicate query", "line 2"]),
    ],
)
def test_bad_golden_files_are_refused(tiny, tmp_path, text, expected):
    file = tmp_path / "golden.jsonl"
    file.write_text(text)
    with pytest.raises(InputError) as error:
        load_golden(file, tiny.functions)
    for part in expected:
        assert part in str(error.value)


def test_a_golden_file_of_another_api_names_each_unknown_function_once(tiny, tmp_path):
    lines = [
        GOOD_LINE.replace("a red logo", f"query {number}").replace('"search"', f'"{name}"')
        for number, name in enumerate(["play_music", "serch"] * 30)
    ]
    file = tmp_path / "golden.jsonl"
    file.write_text("".join(lines) + "{nope\n")
    with pytest.raises(InputErrors) as error:
        load_golden(file, tiny.functions)
    found = [(one.key, one.found, one.nearest) for one in error.value.errors]
    assert found[:2] == [
        ("line 1, name, and 29 more", "play_music", None),
        ("line 2, name, and 29 more", "serch", "search"),
    ]
    assert len(found) == 3  # what is wrong with other lines is said all the same


def test_a_golden_file_loads(tiny):
    examples = load_golden(TINY / "golden.jsonl", tiny.functions)
    assert len(examples) == 5 and examples[3].calls[0].arguments == {"city": "Bergen", "people": 4}


def add_functions(domain: Path, *names: str) -> None:
    tools = json.loads((domain / "functions.json").read_text())
    tools += [{"type": "function", "function": {"name": name, "description": "Other."}} for name in names]
    (domain / "functions.json").write_text(json.dumps(tools))


def test_an_api_with_a_function_none_has_no_golden_query_without_a_call(copy, tmp_path):
    """In results the name stands for no call, so the two could not be told apart."""
    add_functions(copy, "none")
    file = tmp_path / "golden.jsonl"
    file.write_text('{"query": "hello", "calls": []}\n')
    with pytest.raises(InputError, match="a function none") as error:
        load_golden(file, load_functions(copy / "functions.json"))
    assert error.value.key == "line 1, calls"


def test_functions_that_no_row_calls_give_a_warning_and_can_be_left_out(copy, tmp_path):
    """Of 200 functions, 186 without a rule were shown to the model in every row and never called, without a word."""
    add_functions(copy, "fly", "swim")
    replace(copy / "statistics.yaml", "{search: 0.6, book: 0.4}", "{search: 1, book: 0}")
    warnings = inspect_domain(copy).warnings
    assert any(
        "2 functions have no rule" in line and "fly, swim" in line and "--only-used" in line for line in warnings
    )
    assert any("1 functions have no share" in line and "book" in line for line in warnings)
    made = derive(copy, tmp_path / "out", DeriveOptions(only_used=True))
    assert made.functions == ["search"] and "fly, swim" in made.notes[0]
    assert made.dropped == 2 and made.golden == 3
    assert not [line for line in inspect_domain(tmp_path / "out").warnings if "no row calls them" in line]
    assert not [line for line in inspect_domain(TINY).warnings if "no row calls them" in line]


@pytest.mark.parametrize("name", ["math.add two", "é", "x" * 80])
def test_names_of_functions_that_servers_refuse_give_a_warning(copy, name):
    add_functions(copy, name)
    assert any("are refused by OpenAI" in line and name[:60] in line for line in inspect_domain(copy).warnings)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{search: 0.6, book: 0.4}", "{search: 10, book: 0.4}", "functions: search has weight 10"),
        ("{poster: 0.5, logo: 0.2, card: 0.3}", "{poster: 50, logo: 0.2, card: 0.3}", "categories.search: poster"),
        ("{heuristic: 0.8, text: 0.2}", "{heuristic: 0.8, text: 20}", "routes.book: text"),
        ("{search: 0.6, book: 0.4}", "{search: 60, book: 40}", None),
        ("{search: 0.6, book: 0.4}", "{search: 3, book: 1}", None),
        ("{search: 0.6, book: 0.4}", "{search: 100, book: 0}", None),
    ],
)
def test_a_percentage_beside_shares_gives_a_warning(copy, old, new, said):
    """It got nearly all of the data, without a word."""
    replace(copy / "statistics.yaml", old, new)
    found = [line for line in inspect_domain(copy).warnings if "is meant" in line]
    assert len(found) == (said is not None) and all(said in line for line in found)


PLAIN = {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}}
BFCL = {**PLAIN, "parameters": {"type": "dict", "properties": {}}}
MCP = {"name": "add", "description": "Adds.", "inputSchema": {"type": "object"}}
TOOL = {"type": "function", "function": PLAIN}
FOREIGN = {
    "an MCP list": ({"tools": [MCP]}, "MCP tools", "inputSchema as parameters"),
    "MCP tools": ([MCP], "MCP tools", "inputSchema as parameters"),
    "OpenAPI": ({"openapi": "3.1.0", "paths": {}}, "an OpenAPI document", "operationId"),
    "OpenAPI as YAML": ("# my API\nopenapi: 3.0.0\npaths: {}\n", "an OpenAPI document", "operationId"),
    "flat OpenAI": ([{"type": "function", **PLAIN}], "Responses API", 'under "function"'),
    "Anthropic": ([{"name": "add", "input_schema": {}}], "Anthropic tools", "input_schema as parameters"),
    "BFCL functions": ([BFCL], "functions of the Berkeley leaderboard", '"object"'),
    "BFCL entry": ({"id": "a", "question": [], "function": [BFCL]}, "entries of the Berkeley", "`function`"),
    "BFCL lines": (
        "\n".join(json.dumps({"id": n, "question": [], "function": [BFCL]}) for n in "ab"),
        "JSON lines of entries of the Berkeley",
        "`function`",
    ),
    "functions alone": ([PLAIN], "without the tool around them", '"function": {"name"'),
    "a request": ({"model": "x", "tools": [TOOL]}, "OpenAI tools under tools", "the list alone"),
    "one tool": (TOOL, "one OpenAI tool", "a list of them"),
}


@pytest.mark.parametrize("form", FOREIGN)
def test_functions_in_another_form_are_named_with_what_to_do(copy, form):
    """They were "no functions" or "not JSON, line 1"."""
    value, found, todo = FOREIGN[form]
    (copy / "functions.json").write_text(value if isinstance(value, str) else json.dumps(value))
    with pytest.raises(InputError, match="a form other than OpenAI tools") as error:
        load_domain(copy)
    assert found in error.value.found and todo in error.value.expected


# The pattern for OpenAPI took time with the square of the blank characters, hours for the last.
@pytest.mark.parametrize(
    "text",
    ["[]", "{}", "3", "[3]", "nope", "[{}]", "null", '{"tools": []}', "[[[]]]", "[\n[\n", " " * 10**6 + "x"],
    ids=lambda text: text[-20:],
)
def test_what_is_no_known_form_is_still_refused(copy, text):
    (copy / "functions.json").write_text(text)
    with pytest.raises(InputError, match=r"no functions|not JSON|not an OpenAI tool"):
        load_domain(copy)
