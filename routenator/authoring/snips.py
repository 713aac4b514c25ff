"""Reads the SNIPS benchmark (Coucke et al. 2018, arXiv 1805.10190), the golden set of the assistant domain.

The benchmark's files (``validate_INTENT.json``) contain queries cut into segments, some of them marked as the value of
a slot: ``{"GetWeather": [{"data": [{"text": "Is it "}, {"text": "foggy", "entity": "condition_description"}, ...]},
...]}``.

Our conventions: names of intents and slots become snake_case (``AddToPlaylist`` -> ``add_to_playlist``, ``timeRange``
-> ``time_range``); values stay as worded in the query, with spaces normalised; if a slot occurs twice in a query, the
first value is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from routenator.authoring.intents import snake_case, spaced
from routenator.authoring.records import Record, Source
from routenator.domain.golden import GoldenCall
from routenator.errors import InputError, value_kind
from routenator.parsing import parse_json

INTENTS = (
    "AddToPlaylist",
    "BookRestaurant",
    "GetWeather",
    "PlayMusic",
    "RateBook",
    "SearchCreativeWork",
    "SearchScreeningEvent",
)
# File names of an intent in each part of the benchmark; the larger training part includes the smaller one.
PARTS = {"validate": "validate_{}.json", "train": "train_{}.json", "train_full": "train_{}_full.json"}
_SHAPE = '{"INTENT": [{"data": [{"text": ..., "entity": ...}, ...]}, ...]}'


def read_snips(source: Source) -> Iterator[Record]:
    """Yield the queries of one part of the benchmark.

    Args:
        source: folder of the part's seven files, or of the benchmark's folders, named by intent, with these files; or
            one such file.

    Raises:
        InputError: no such part; a file is missing or has the wrong shape.
    """
    if source.part not in PARTS:
        raise InputError("no such part of the benchmark", key="part", found=source.part, valid=PARTS)
    for intent in INTENTS:
        if source.file.is_dir():
            yield from _queries(_file(source.file, source.part, intent), intent)
        elif f"_{intent}" in source.file.name:
            yield from _queries(source.file, intent)


def _file(directory: Path, part: str, intent: str) -> Path:
    name = PARTS[part].format(intent)
    nested = directory / intent / name
    return nested if nested.exists() else directory / name


def _queries(file: Path, intent: str) -> Iterator[Record]:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise InputError(
            "a benchmark file is missing", file=file, expected=f"{file.name}, here or in a folder {intent}"
        ) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")  # the encoding of some files in the benchmark's releases
    value = parse_json(text, file, _SHAPE)
    entries = value.get(intent) if isinstance(value, dict) else None
    if not isinstance(entries, list):
        found = ", ".join(map(str, value)) if isinstance(value, dict) else value_kind(value)
        raise InputError("not a SNIPS benchmark file", file=file, found=found, expected=_SHAPE)
    for number, entry in enumerate(entries):
        segments = entry.get("data") if isinstance(entry, dict) else None
        if not isinstance(segments, list) or not all(
            isinstance(part, dict) and isinstance(part.get("text"), str) for part in segments
        ):
            raise InputError(
                "not a SNIPS query",
                file=file,
                key=f"{intent}[{number}]",
                found=str(entry)[:80],
                expected=_SHAPE,
            )
        arguments: dict[str, Any] = {}
        for part in segments:
            if part.get("entity") and part["text"].strip():
                arguments.setdefault(snake_case(part["entity"]), spaced(part["text"]))
        query = spaced("".join(part["text"] for part in segments))
        yield Record(f"{intent}[{number}]", query, (GoldenCall(snake_case(intent), arguments),))
