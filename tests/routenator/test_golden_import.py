"""Golden sets from other tools' files: each format read and recognised, what is left out counted, bad files refused.

All samples are made by hand, in the shape that the formats' documentation gives.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import launch
from routenator.authoring.formats import FORMATS
from routenator.authoring.goldenset import import_golden
from routenator.authoring.records import Source
from routenator.dataset import export
from routenator.domain.domain import Domain
from routenator.domain.golden import load_golden
from routenator.domain.loader import with_statistics
from routenator.errors import InputError
from routenator.population.fit import fit
from tests.conftest import TINY
from tests.routenator.golden_forms import (
    BOOK,
    EXPECTED,
    SEARCH,
    _as_xlam,
    chatml,
    golden,
    hermes,
    imported,
    legacy_openai,
    old_hermes,
    openai,
    sharegpt,
    write,
    xlam,
)
from tests.routenator.test_dataset_export import ARGUMENTS, QUERIES, examples
from tests.routenator.test_golden_import_tables import CONLL


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
    # Without a domain nothing is known about its functions.
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
        import_golden([Source(tmp_path / "in")], tmp_path / "out.jsonl", form)
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
    assert "left out: 1 unknown function (the domain has no such function): line 3 (x)" in result.stdout
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
