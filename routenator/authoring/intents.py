"""Reads data sets of intents and slots: HWU64's JSON (also Rasa's) and xSID's CoNLL.

An intent becomes a function and a slot a parameter, in snake_case; of names with a path the last part counts
(``alarm/set_alarm`` -> ``set_alarm``, ``reminder/todo`` -> ``todo``), followed by the first if the last does not
contain it (``weather/find`` -> ``find_weather``). Values stay as worded in the query. A query in which a slot has two
values is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from routenator.authoring.records import Record, Source, json_values, wrong_shape
from routenator.domain.golden import GoldenCall
from routenator.errors import InputError

_HWU64 = '{"test_data_annotation": [{"text": ..., "intent": ..., "entities": [{"entity": ..., "value": ...}]}]}'
_CONLL = "number, token, intent and slot (O, B-... or I-...), separated by tabs"
LISTS = ("test_data_annotation", "common_examples")


def snake_case(name: str) -> str:
    """``timeRange`` and ``TimeRange`` -> ``time_range``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def spaced(text: str) -> str:
    """Collapse whitespace."""
    return " ".join(text.split())


def _function(intent: str) -> str:
    first, *_, last = (*intent.split("/"), intent.rsplit("/", 1)[-1])
    return snake_case(last if first == last or first.lower() in last.lower() else f"{last}_{first}")


def _record(place: str, query: str, intent: str, slots: Iterable[tuple[str, str]]) -> Record:
    arguments: dict[str, Any] = {}
    problem = None if query else "no query"
    for slot, value in slots:
        name = snake_case(slot.rsplit("/", 1)[-1])
        if name in arguments:
            problem = problem or "two values"
        arguments[name] = value
    return Record(place, query, (GoldenCall(_function(intent), arguments),), problem)


def read_hwu64(source: Source) -> Iterator[Record]:
    """Yield the queries of HWU64's annotated JSON files: one, or all in a folder.

    Raises:
        InputError: not JSON, or not of this shape.
    """
    files = sorted(source.file.rglob("*.json")) if source.file.is_dir() else [source.file]
    if not files:
        raise InputError("no files of HWU64", file=source.file, found="no *.json", expected=_HWU64)
    for file in files:
        yield from _hwu64(Source(file))


def _hwu64(source: Source) -> Iterator[Record]:
    for place, value in json_values(source.text, source.file, _HWU64):
        content = value.get("rasa_nlu_data", value) if isinstance(value, dict) else value
        named = next((name for name in LISTS if isinstance(content, dict) and name in content), None)
        items = content[named] if named else [content]
        for number, item in enumerate(items if isinstance(items, list) else [items]):
            where = f"{named}[{number}]" if named else place
            entities = item.get("entities", []) if isinstance(item, dict) else None
            if (
                not isinstance(entities, list)
                or not all(isinstance(item.get(name), str) for name in ("text", "intent"))
                or not all(
                    isinstance(entity, dict) and all(isinstance(entity.get(name), str) for name in ("entity", "value"))
                    for entity in entities
                )
            ):
                raise wrong_shape(source, where, item, _HWU64)
            slots = [(entity["entity"], spaced(entity["value"])) for entity in entities]
            yield _record(where, spaced(item["text"]), item["intent"], slots)


def read_xsid(source: Source) -> Iterator[Record]:
    """Yield the queries of a CoNLL file of xSID: comments ``# text`` and ``# intent``, then a line for each token.

    Raises:
        InputError: a line that is not a token, or a continued slot that never began.
    """
    comments: dict[str, str] = {}
    tokens: list[tuple[str, str, str]] = []
    start = 1
    for number, line in enumerate(f"{source.text}\n\n".replace("\r\n", "\n").split("\n"), 1):
        if line.startswith("# ") and not tokens:
            name, _, value = line[2:].partition(":")
            comments[name.strip()] = value.strip()
        elif line.strip():
            cells = line.split("\t")
            # Two columns are the intent's and the slot's; some releases have more columns after them.
            if len(cells) < 4 or not re.fullmatch(r"O|[BI]-.+", cells[3]):
                key = f"line {number}"
                raise InputError("no line of CoNLL", file=source.file, key=key, found=line[:80], expected=_CONLL)
            start = start if tokens else number
            tokens.append((cells[1], cells[2], cells[3]))
        else:
            if tokens:
                query = spaced(comments.get("text") or " ".join(token for token, _, _ in tokens))
                intent = comments.get("intent") or tokens[0][1]
                yield _record(f"line {start}", query, intent, _spans(tokens, source.file, start))
            comments, tokens = {}, []


def _spans(tokens: list[tuple[str, str, str]], file: Path, start: int) -> list[tuple[str, str]]:
    spans: list[tuple[str, list[str]]] = []
    before = "O"
    for number, (token, _, tag) in enumerate(tokens, start):
        if tag.startswith("B-"):
            spans.append((tag[2:], [token]))
        elif tag.startswith("I-"):
            if before[2:] != tag[2:]:
                found, expected = f"{tag} after {before}", f"B-{tag[2:]} or I-{tag[2:]} before it"
                raise InputError(
                    "a slot that begins nowhere", file=file, key=f"line {number}", found=found, expected=expected
                )
            spans[-1][1].append(token)
        before = tag
    return [(slot, " ".join(words)) for slot, words in spans]
