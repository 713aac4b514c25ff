"""Importing SNIPS, on small handmade files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from routenator.authoring.goldenset import import_golden
from routenator.authoring.intents import snake_case
from routenator.authoring.records import Source
from routenator.authoring.snips import INTENTS
from routenator.errors import InputError


def segments(*parts: str | tuple[str, str]) -> dict[str, Any]:
    return {
        "data": [{"text": part} if isinstance(part, str) else {"text": part[0], "entity": part[1]} for part in parts]
    }


def write_all(folder: Path, encoding: str = "utf-8", **queries: list[dict[str, Any]]) -> Path:
    for intent in INTENTS:
        text = json.dumps({intent: queries.get(intent, [])}, ensure_ascii=False)
        (folder / f"validate_{intent}.json").write_bytes(text.encode(encoding))
    return folder


def import_snips(folder: Path, out: Path, part: str = "validate") -> tuple[int, dict[str, int]]:
    made = import_golden([Source(folder, part=part)], out)
    assert made.format == "snips"
    return made.written, made.left.counts()


def imported(folder: Path) -> list[dict[str, Any]]:
    count, _ = import_snips(folder, folder / "golden.jsonl")
    rows = [json.loads(line) for line in (folder / "golden.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == count
    return rows


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AddToPlaylist", "add_to_playlist"),
        ("SearchScreeningEvent", "search_screening_event"),
        ("timeRange", "time_range"),
        ("object_location_type", "object_location_type"),
    ],
)
def test_names_become_snake_case(name: str, expected: str) -> None:
    assert snake_case(name) == expected


def test_segments_become_a_query_and_its_slots(tmp_path: Path) -> None:
    queries = [
        segments(
            "will  it\n", ("snow", "condition_description"), " in ", ("Oslo ", "city"), ("at noon", "timeRange"), " ?"
        )
    ]
    rows = imported(write_all(tmp_path, GetWeather=queries))
    arguments = {"condition_description": "snow", "city": "Oslo", "time_range": "at noon"}
    assert rows == [
        {"query": "will it snow in Oslo at noon ?", "call": {"name": "get_weather", "arguments": arguments}}
    ]


def test_the_first_of_two_values_of_a_slot_is_kept(tmp_path: Path) -> None:
    queries = [segments("play ", ("one", "track"), " then ", ("two", "track"))]
    assert imported(write_all(tmp_path, PlayMusic=queries))[0]["call"]["arguments"] == {"track": "one"}


def test_duplicate_and_empty_queries_are_dropped(tmp_path: Path) -> None:
    queries = [segments("Rate ", ("Dune", "object_name")), segments("rate dune!"), segments("  "), segments("rate it")]
    assert [row["query"] for row in imported(write_all(tmp_path, RateBook=queries))] == ["Rate Dune", "rate it"]
    assert import_snips(tmp_path, tmp_path / "golden.jsonl") == (2, {"duplicate": 1, "no query": 1})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_every_encoding_of_the_benchmarks_releases_is_read(tmp_path: Path, encoding: str) -> None:
    rows = imported(write_all(tmp_path, encoding, PlayMusic=[segments("play ", ("Beyoncé", "artist"))]))
    assert rows[0]["call"]["arguments"] == {"artist": "Beyoncé"}


def test_every_intent_is_read_in_order(tmp_path: Path) -> None:
    rows = imported(write_all(tmp_path, **{intent: [segments(f"query of {intent}")] for intent in INTENTS}))
    assert [row["call"]["name"] for row in rows] == [snake_case(intent) for intent in INTENTS]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_all(tmp_path)
    (tmp_path / "validate_RateBook.json").unlink()
    with pytest.raises(InputError, match="missing") as caught:
        import_snips(tmp_path, tmp_path / "golden.jsonl")
    assert caught.value.file is not None
    assert caught.value.file.endswith("validate_RateBook.json")
    assert not (tmp_path / "golden.jsonl").exists()


@pytest.mark.parametrize(("part", "name"), [("train", "train_{}.json"), ("train_full", "train_{}_full.json")])
def test_other_parts_are_read_from_the_folders_of_the_benchmarks_repository(
    tmp_path: Path, part: str, name: str
) -> None:
    write_all(tmp_path, PlayMusic=[segments("of the other part")])
    for intent in INTENTS:
        (tmp_path / intent).mkdir()
        text = json.dumps({intent: [segments(f"{intent} of {part}")]})
        (tmp_path / intent / name.format(intent)).write_text(text, encoding="utf-8")
    assert import_snips(tmp_path, tmp_path / "golden.jsonl", part) == (7, {})
    rows = [json.loads(line) for line in (tmp_path / "golden.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["query"] for row in rows] == [f"{intent} of {part}" for intent in INTENTS]


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        import_snips(write_all(tmp_path), tmp_path / "golden.jsonl", "validation")
    assert caught.value.nearest == "validate"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("{", "line 1"),
        ('{"Other": []}', None),
        ("[]", None),
        ('{"RateBook": [{"data": "rate it"}]}', "RateBook[0]"),
        ('{"RateBook": [{"data": [{"text": "ok"}]}, {"data": [{"entity": "x"}]}]}', "RateBook[1]"),
    ],
)
def test_files_of_the_wrong_shape_are_refused(tmp_path: Path, text: str, key: str | None) -> None:
    write_all(tmp_path)
    (tmp_path / "validate_RateBook.json").write_text(text)
    with pytest.raises(InputError) as caught:
        import_snips(tmp_path, tmp_path / "golden.jsonl")
    assert caught.value.key == key
