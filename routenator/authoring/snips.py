"""The SNIPS benchmark (Coucke et al. 2018, arXiv 1805.10190) as a golden set of the assistant domain.

The benchmark's files, as ``validate_INTENT.json``, hold queries cut into segments, some of them marked as a slot's
value: ``{"GetWeather": [{"data": [{"text": "Is it "}, {"text": "foggy", "entity": "condition_description"}, ...]},
...]}``.

Choices of ours: the intent's name and the slots' names become snake_case (``AddToPlaylist`` -> ``add_to_playlist``,
``timeRange`` -> ``time_range``); values stay texts as the query says them, spaces normalised; of a slot that occurs
twice in a query the first value is kept; of queries that are equal but for case and punctuation the first is kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from routenator.domain.golden import normalise_query
from routenator.errors import InputError
from routenator.files import write_atomic

INTENTS = (
    "AddToPlaylist",
    "BookRestaurant",
    "GetWeather",
    "PlayMusic",
    "RateBook",
    "SearchCreativeWork",
    "SearchScreeningEvent",
)
# How the benchmark names the file of an intent in each of its parts; the larger training part holds the smaller one.
PARTS = {"validate": "validate_{}.json", "train": "train_{}.json", "train_full": "train_{}_full.json"}
_SHAPE = '{"INTENT": [{"data": [{"text": ..., "entity": ...}, ...]}, ...]}'


def snake_case(name: str) -> str:
    """``timeRange`` and ``TimeRange`` -> ``time_range``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def import_snips(directory: Path, out_file: Path, part: str = "validate") -> tuple[int, int]:
    """Write the queries of one part of the benchmark as a golden file.

    Args:
        directory: holds the part's seven files, or the benchmark's folders, named by intent, that hold them.
        out_file: JSON lines of query and call.
        part: one of ``PARTS``.

    Returns:
        How many queries were written, and how many were left out because an equal one came before.

    Raises:
        InputError: no such part; a file is missing or has another shape.
    """
    if part not in PARTS:
        raise InputError("not a part of the benchmark", key="part", found=part, valid=PARTS)
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    repeated = 0
    for intent in INTENTS:
        name = snake_case(intent)
        for query, arguments in _queries(_file(directory, part, intent), intent):
            key = normalise_query(query)
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
            "a file of the benchmark is missing", file=file, expected=f"{file.name}, here or in a folder {intent}"
        ) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")  # some files of the benchmark's releases are
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError("not JSON", file=file, key=f"line {error.lineno}", found=error.msg) from None
    entries = value.get(intent) if isinstance(value, dict) else None
    if not isinstance(entries, list):
        found = ", ".join(map(str, value)) if isinstance(value, dict) else type(value).__name__
        raise InputError("not a file of the SNIPS benchmark", file=file, found=found, expected=_SHAPE)
    for number, entry in enumerate(entries):
        segments = entry.get("data") if isinstance(entry, dict) else None
        if not isinstance(segments, list) or not all(
            isinstance(part, dict) and isinstance(part.get("text"), str) for part in segments
        ):
            raise InputError(
                "not a query of the SNIPS benchmark",
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
