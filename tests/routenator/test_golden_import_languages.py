"""`golden import` of a file for each language into one golden set, whose ids join translations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from launch import app
from routenator.domain.domain import Domain
from routenator.domain.golden import load_golden
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from tests.conftest import ROOT
from tests.routenator.golden_forms import read, write

ROOMS = ROOT / "tests" / "domains" / "rooms"


@pytest.fixture(scope="module")
def rooms() -> Domain:
    return load_domain(ROOMS)


def row(number: int, query: str, title: str) -> dict[str, Any]:
    return {"id": number, "query": query, "call": {"name": "play_song", "arguments": {"title": title}}}


def files(folder: Path) -> list[Path]:
    english = [row(1, "play imagine", "imagine"), row(2, "put on hurt", "hurt"), row(3, "hurt", "hurt")]
    german = [row(1, "spiel imagine", "imagine"), row(2, "leg hurt auf", "hurt"), row(3, "Hurt!", "Hurt")]
    return [write(folder / "en.jsonl", english), write(folder / "de.jsonl", german)]


def said(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["golden", "import", *map(str, arguments)], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_one_golden_set_of_a_file_for_each_language(tmp_path: Path, rooms: Domain) -> None:
    """A query that is the same in two languages is kept once, and the place of the second names its file."""
    out = tmp_path / "out.jsonl"
    code, text = said(*files(tmp_path), out, "--languages", "en,de", "--domain", ROOMS)
    assert code == 0 and "5 queries written" in text and "de.jsonl, line 3" in text
    assert [(one["id"], one["language"]) for one in read(out)] == [
        (1, "en"),
        (2, "en"),
        (3, "en"),
        (1, "de"),
        (2, "de"),
    ]
    golden = load_golden(out, rooms.functions)
    assert [one.as_json() for one in golden] == read(out)
    again = tmp_path / "again.jsonl"
    assert said(out, again)[0] == 0 and again.read_bytes() == out.read_bytes()


def test_without_a_language_an_id_joins_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert said(files(tmp_path)[0], out)[0] == 0
    assert all("id" not in one and "language" not in one for one in read(out))


@pytest.mark.parametrize(
    ("languages", "parts"),
    [("en", ["not one language for each file", "2 codes"]), ("en,German!", ["not a language code", "German!"])],
)
def test_every_file_has_one_language(tmp_path: Path, languages: str, parts: list[str]) -> None:
    code, text = said(*files(tmp_path), tmp_path / "out.jsonl", "--languages", languages)
    assert code == 2 and all(part in text for part in parts) and not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([("en", 1), ("en", 1)], "two queries of one language have the same id"),
        ([("en", True)], "not an id"),
        ([("en", [1])], "not an id"),
    ],
)
def test_an_id_is_of_one_query_in_each_language(
    tmp_path: Path, rooms: Domain, lines: list[tuple[str, Any]], message: str
) -> None:
    file = tmp_path / "golden.jsonl"
    rows = [
        {**row(0, f"play song {n}", f"song {n}"), "language": language, "id": identity}
        for n, (language, identity) in enumerate(lines)
    ]
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))
    with pytest.raises(InputError, match=message):
        load_golden(file, rooms.functions)
