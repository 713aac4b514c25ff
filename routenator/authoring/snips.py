"""Imports the SNIPS benchmark (Coucke et al. 2018, arXiv 1805.10190) as a golden set for the assistant domain.

The benchmark's files (``validate_INTENT.json``) contain queries cut into segments, some of them marked as the value of
a slot: ``{"GetWeather": [{"data": [{"text": "Is it "}, {"text": "foggy", "entity": "condition_description"}, ...]},
...]}``.

Our conventions: names of intents and slots become snake_case (``AddToPlaylist`` -> ``add_to_playlist``, ``timeRange``
-> ``time_range``); values stay as worded in the query, with spaces normalised; if a slot occurs twice in a query, the
first value is kept; of queries that differ only in case and punctuation, the first is kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from routenator.errors import InputError
from routenator.files import write_atomic
from routenator.normalform import normal_form
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


def snake_case(name: str) -> str:
    """``timeRange`` and ``TimeRange`` -> ``time_range``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def import_snips(directory: Path, out_file: Path, part: str = "validate") -> tuple[int, int]:
    """Write the queries of one part of the benchmark to a golden file.

    Args:
        directory: folder of the part's seven files, or of the benchmark's folders, named by intent, with these files.
        out_file: JSON lines of query and call.
        part: one of ``PARTS``.

    Returns:
        Numbers of queries written and of duplicates left out.

    Raises:
        InputError: no such part; a file is missing or has the wrong shape.
    """
    if part not in PARTS:
        raise InputError("no such part of the benchmark", key="part", found=part, valid=PARTS)
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    repeated = 0
    for intent in INTENTS:
        name = snake_case(intent)
        for query, arguments in _queries(_file(directory, part, intent), intent):
            key = normal_form(query)
            if key in seen:
                repeated += 1
            else:
                seen.add(key)
                rows.append({"query": query, "call": {"name": name, "arguments": arguments}})
    write_atomic(out_file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return len(rows), repeated


def _file(directory: Path, part: str, intent: str) -> Path:
    name = PARTS[part].format(intent)
    nested = directory / intent / name
    return nested if nested.exists() else directory / name


def _queries(file: Path, intent: str) -> Iterable[tuple[str, dict[str, str]]]:
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
        found = ", ".join(map(str, value)) if isinstance(value, dict) else type(value).__name__
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
        arguments: dict[str, str] = {}
        for part in segments:
            if part.get("entity") and part["text"].strip():
                arguments.setdefault(snake_case(part["entity"]), _spaced(part["text"]))
        query = _spaced("".join(part["text"] for part in segments))
        if query:
            yield query, arguments


def _spaced(text: str) -> str:
    return " ".join(text.split())
