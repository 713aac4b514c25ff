"""Content metadata: what ``metadata.jsonl`` holds, one record a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from routenator.domain.graph import Node
from routenator.errors import InputError, value_kind
from routenator.files import read_text
from routenator.parsing import parse_json

LAYOUTS = ("centered", "split", "grid", "banner", "full-bleed", "framed", "columns", "minimal")


def load_records(file: Path, nodes: dict[str, Node]) -> dict[str, dict[str, Any]]:
    """Read the records by id; without the file there are none.

    Raises:
        InputError: with file, line and key.
    """
    records: dict[str, dict[str, Any]] = {}
    if not file.exists():
        return records
    for number, line in enumerate(
        read_text(file, "JSON lines, one metadata record each; it may be empty").split("\n"), 1
    ):
        if not line.strip():
            continue
        record = parse_json(line, file, "a JSON object", line=number)
        where = f"line {number}"
        if not isinstance(record, dict):
            raise InputError("invalid record", file=file, key=where, found=value_kind(record), expected="a JSON object")
        record = {key: value for key, value in record.items() if value is not None}  # null counts as missing
        for key, kind in (
            ("id", str),
            ("title", str),
            ("category", str),
            ("keywords", list),
            ("colours", list),
            ("nodes", list),
        ):
            if not isinstance(record.get(key), kind):
                raise InputError(
                    "invalid record", file=file, key=f"{where}, {key}", found=record.get(key), expected=kind.__name__
                )
        for key in ("keywords", "colours", "nodes", "topics"):
            texts = record.get(key, [])
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise InputError(
                    "invalid record", file=file, key=f"{where}, {key}", found=texts, expected="a list of texts"
                )
        if record["id"] in records:
            raise InputError("duplicate record", file=file, key=where, found=record["id"])
        for node in record["nodes"]:
            if node not in nodes:
                raise InputError(
                    "this record names an unknown node", file=file, key=f"{where}, nodes", found=node, valid=nodes
                )
        if record.get("layout", "minimal") not in LAYOUTS:
            raise InputError("unknown layout", file=file, key=f"{where}, layout", found=record["layout"], valid=LAYOUTS)
        records[record["id"]] = record
    return records
