"""Text and JSON that mean nothing, or two things, are refused where they come in: in files and in replies."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from routenator import parsing
from routenator.authoring.goldenset import LeftOut, import_golden
from routenator.authoring.records import Source
from routenator.chat.replies import Reply, parse_reply
from routenator.domain.domain import Domain
from routenator.domain.golden import load_golden
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.evaluation.paired import read_verdicts
from routenator.generation.query import clean_query
from routenator.jsontext import BadJsonError, loads
from routenator.parsing import parse_yaml
from routenator.population.queries import read_queries
from tests.conftest import TINY

CALL = '"call": {"name": "search", "arguments": {"content_type": "poster", "extracted_prompt": "x"}}'
# (a line, what is said about it)
BAD_LINES = {
    "a key twice": (f'{{"query": "a dog", "query": "a cat", {CALL}}}', "'query' appears twice"),
    "an argument twice": (
        f'{{"query": "a dog", {CALL.replace("poster", "logo", 1)[:-2]}, "content_type": "poster"}}}}}}',
        "'content_type' appears twice",
    ),
    "a lone surrogate": (f'{{"query": "\\ud83d dog", {CALL}}}', "surrogate"),
    "a huge integer": (f'{{"query": "a dog", {CALL}, "more": {"9" * 5000}}}', "5,000 digits"),
    "deep nesting": (f'{{"query": "a dog", {CALL}, "more": {"[" * 100_000}}}', "deeper than 64"),
    "no number": (f'{{"query": "a dog", {CALL}, "more": NaN}}', "NaN or an infinite number"),
    "an infinite number": (f'{{"query": "a dog", {CALL}, "more": 1e400}}', "NaN or an infinite number"),
    "an infinite number of digits": (f'{{"query": "a dog", {CALL}, "more": {"9" * 400}.5}}', "NaN or an infinite"),
}


def _golden(file: Path, domain: Domain) -> Any:
    return load_golden(file, domain.functions)


def _fit(file: Path, domain: Domain) -> Any:
    return list(read_queries(Source(file), domain, LeftOut()))


def _compare(file: Path, domain: Domain) -> Any:
    return read_verdicts(file, [], domain.functions)


def _metadata(file: Path, domain: Domain) -> Any:
    folder = Path(shutil.copytree(TINY, file.parent / "domain"))
    shutil.copy(file, folder / "metadata.jsonl")
    return load_domain(folder)


@pytest.mark.parametrize(("line", "said"), BAD_LINES.values(), ids=BAD_LINES)
@pytest.mark.parametrize("read", [_golden, _fit, _compare, _metadata])
def test_a_line_of_json_that_means_nothing_or_two_things_is_refused(
    tiny: Domain, tmp_path: Path, read: Callable[[Path, Domain], Any], line: str, said: str
) -> None:
    """The last of two keys won silently; lone surrogates ended the merge after the GPU hours."""
    (tmp_path / "lines.jsonl").write_text(line + "\n")
    with pytest.raises(InputError) as caught:
        read(tmp_path / "lines.jsonl", tiny)
    assert said in str(caught.value) and "line 1" in str(caught.value) and "jsonl" in str(caught.value)


def test_a_query_without_a_call_is_held_to_the_same(tiny: Domain, tmp_path: Path) -> None:
    (tmp_path / "queries.jsonl").write_text('{"query": "a dog", "query": "a cat"}\n')
    with pytest.raises(InputError, match="appears twice"):
        _fit(tmp_path / "queries.jsonl", tiny)


def test_a_key_twice_in_functions_json_is_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(TINY, tmp_path / "domain"))
    text = (folder / "functions.json").read_text()
    (folder / "functions.json").write_text(
        text.replace('"type": "function"', '"type": "function", "type": "function"', 1)
    )
    with pytest.raises(InputError, match=r"functions\.json(.|\n)*the key 'type' appears twice"):
        load_domain(folder)


def test_a_key_twice_in_a_file_of_the_benchmark_is_refused(tmp_path: Path) -> None:
    (tmp_path / "validate_AddToPlaylist.json").write_text('{"AddToPlaylist": [], "AddToPlaylist": []}')
    with pytest.raises(InputError, match="the key 'AddToPlaylist' appears twice"):
        import_golden([Source(tmp_path)], tmp_path / "golden.jsonl", "snips")


def test_a_reply_with_a_key_twice_has_no_call() -> None:
    """Which of the two the model meant is unknown, and a server's parser may take the other."""
    assert parse_reply('{"name": "a", "name": "b", "arguments": {}}') == Reply()
    assert parse_reply('{"name": "a", "arguments": {"x": 1, "x": 2}}') == Reply()
    assert parse_reply('{"name": "a", "arguments": "{\\"x\\": 1, \\"x\\": 2}"}') == Reply()
    assert clean_query('{"query": "a dog", "query": "a cat"}', "json", "query") is None


def test_keys_may_repeat_in_different_objects() -> None:
    assert loads('[{"a": {"a": 1}}, {"a": 2}]') == [{"a": {"a": 1}}, {"a": 2}]


def test_the_message_of_a_key_twice_is_text_and_short() -> None:
    with pytest.raises(BadJsonError) as caught:
        loads(f'{{"\\ud83d{"x" * 500}": 1, "\\ud83d{"x" * 500}": 2}}')
    assert str(caught.value).isascii() and len(str(caught.value)) < 300


@pytest.mark.parametrize("text", ['a: "\\ud83d dog"', '"\\ud83d": 1', '{"a": ["\\udc00"]}'])
def test_a_lone_surrogate_in_yaml_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="surrogate"):
        parse_yaml(text)


def test_a_pair_of_escapes_in_yaml_is_one_character() -> None:
    assert parse_yaml('{"a": "\\ud83d\\ude00", b: \\ud83d}') == {"a": "😀", "b": "\\ud83d"}


@pytest.mark.parametrize(
    "text",
    [
        "[a:b, 'c':d]", "{a:1, b: 2}", "a: |2\n   x\n\n", "a: >-\n  x\n\n  y", "a: &b [1, *c]", "a: &b 1\nc: *b",
        "%YAML 1.2\n---\na: 1", "--- 1\n--- 2", "a: 1\na: 2", "a: @b", "a: \x07", "a: 2025-02-30", "? - a\n: b",
        "!!python/name:os.system", "\ufeffa: 1", "a: b: c", "a: \u2028b",
        '"\\x41\\U0001F600"', '"\\q"', "a#b: c #d", "", "- :a",
    ],
)  # fmt: skip
def test_both_yaml_parsers_find_the_same(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """libyaml reads first, and what it refuses PyYAML reads again. Where it is missing, PyYAML reads everything."""

    def found() -> object:
        try:
            return parse_yaml(text)
        except InputError as error:
            return str(error)

    both = found()
    monkeypatch.setattr(parsing, "_QuickLoader", parsing._Loader)
    assert both == found()
