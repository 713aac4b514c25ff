"""Grades queries blindly: rows of a data set and as many people's queries, mixed, judged one by one by a person."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from routenator.authoring.goldenset import records_of
from routenator.authoring.records import Source
from routenator.errors import InputError
from routenator.files import digest, read_text
from routenator.jsontext import dump_line
from routenator.parsing import parse_json

PEOPLE = "people"
_KEYS = {"id": str, "source": str, "query": str, "good": bool}


class Item(NamedTuple):
    """A query to grade.

    Attributes:
        source: its route, or ``PEOPLE``; not shown.
    """

    source: str
    query: str

    @property
    def id(self) -> str:
        return digest([self.source, self.query], 16)


def mixed(rows: Sequence[Item], people: Path, seed: int) -> list[Item]:
    """Rows and as many people's queries in an order that the seed alone decides; no query twice.

    Raises:
        InputError: a file of too few queries, or of no format that `golden import` reads.
    """
    draw = random.Random(seed)
    rows = list({item.query: item for item in rows}.values())
    known = {item.query for item in rows}
    said = [record.query for record in records_of(Source(people), None)[1]]
    human = sorted({" ".join(query.split()) for query in said if query.strip()} - known)
    if len(human) < len(rows):
        raise InputError(
            "too few queries of people", file=people, found=f"{len(human)}", expected=f"at least {len(rows)}, one a row"
        )  # fmt: skip
    items = [*rows, *(Item(PEOPLE, query) for query in draw.sample(human, len(rows)))]
    draw.shuffle(items)
    return items


def read_verdicts(file: Path) -> dict[str, tuple[str, bool]]:
    """Verdicts that a file has: id -> source, and whether it was called good; empty if there is no file.

    Raises:
        InputError: a line that is no verdict.
    """
    found = {}
    for number, line in enumerate(read_text(file).split("\n") if file.exists() else [], 1):
        if line.strip():
            value = parse_json(line, file, "a verdict", line=number)
            if not isinstance(value, dict) or any(not isinstance(value.get(key), kind) for key, kind in _KEYS.items()):
                raise InputError(
                    "not a verdict", file=file, key=f"line {number}", found=line[:60], expected=", ".join(_KEYS)
                )
            found[value["id"]] = (value["source"], value["good"])
    return found


def add_verdict(file: Path, item: Item, good: bool) -> None:
    """Append a verdict; it is on the disk when this returns."""
    with file.open("a", encoding="utf-8") as out:
        out.write(dump_line({"id": item.id, "source": item.source, "query": item.query, "good": good}) + "\n")
        out.flush()
        os.fsync(out.fileno())


def shares(verdicts: Mapping[str, tuple[str, bool]]) -> dict[str, tuple[int, int]]:
    """Source -> queries called good, and all judged."""
    every = Counter(source for source, _ in verdicts.values())
    good = Counter(source for source, fine in verdicts.values() if fine)
    return {source: (good[source], every[source]) for source in sorted(every)}
