"""Reads tables: CSV with a header, separated by commas, semicolons or tabs.

Columns: ``query``, ``function``, and ``arguments`` (a JSON object) or a column for each parameter, in which a blank
cell is a parameter that is missing. Without a domain such cells are text; with one, they are numbers, booleans, lists
or objects where the schema says so.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from routenator.authoring.records import LeftOutError, Record, Source, unpacked
from routenator.domain.functions import Function
from routenator.domain.golden import GoldenCall
from routenator.domain.kinds import types_of, value_name
from routenator.errors import InputError
from routenator.jsontext import BadJsonError, loads

_QUERY = ("query", "text", "utterance", "question")
_FUNCTION = ("function", "name", "intent", "call")
_ARGUMENTS = "arguments"
_EXPECTED = "columns query, function, and arguments (JSON) or one for each parameter"


def separator_of(text: str) -> str | None:
    """The separator of a table's header; None if the text's first line is not a header."""
    header = text.split("\n", 1)[0]
    separator = max(",;\t", key=header.count)
    names = {name.strip().strip('"').lower() for name in header.split(separator)}
    return separator if separator in header and names & {*_QUERY} else None


def read_csv(source: Source) -> Iterator[Record]:
    """Yield a table's rows.

    Raises:
        InputError: no such columns, a row that is longer than the header, or no CSV.
    """
    separator = separator_of(source.text) or ","
    # Quoted cells may hold line ends, so the reader gets the text as it is.
    reader = csv.reader(io.StringIO(source.text, newline=""), delimiter=separator, strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise InputError(
                "not CSV", file=source.file, key=f"line {line}", found=str(error), expected=_EXPECTED
            ) from None
        if cells is None:
            break
        if header is None:
            header = _header(cells, source)
        elif any(cell.strip() for cell in cells):
            if len(cells) > len(header):
                found, expected = f"{len(cells)} cells", f"at most {len(header)}, as in the header"
                raise InputError(
                    "a row longer than the header", file=source.file, key=f"line {line}", found=found, expected=expected
                )
            yield _record(dict(zip(header, cells, strict=False)), f"line {line}", source)


def _header(cells: list[str], source: Source) -> list[str]:
    names = [cell.strip() for cell in cells]
    lower = [name.lower() for name in names]
    for ours, others in (("query", _QUERY), ("function", _FUNCTION)):
        place = next((lower.index(name) for name in others if name in lower), None)
        if place is not None:
            names[place] = ours
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if "query" not in names or twice:
        raise InputError(
            "two columns have the same name" if twice else "the table has no column of queries",
            file=source.file,
            key="line 1",
            found=", ".join(twice or cells)[:120],
            expected=_EXPECTED,
        )
    return names


def _record(row: dict[str, str], place: str, source: Source) -> Record:
    query, name = row.pop("query", "").strip(), row.pop("function", "").strip()
    if not query:
        return Record(place, query, None, "no query")
    if not name:
        return Record(place, query, None)
    function = (source.functions or {}).get(name)
    arguments: Any = {}
    try:
        if row.get(_ARGUMENTS, "").strip():
            arguments = unpacked(row[_ARGUMENTS])
            if not isinstance(arguments, dict):
                raise LeftOutError("unreadable call")
        if _ARGUMENTS not in row:
            arguments = {key: _typed(cell, key, function) for key, cell in row.items() if key and cell.strip()}
    except LeftOutError as left:
        return Record(place, query, None, left.reason)
    return Record(place, query, (GoldenCall(name, arguments),))


def _typed(cell: str, parameter: str, function: Function | None) -> Any:
    text = cell.strip()
    if function is None or parameter not in function.properties:
        return text
    for value in function.enum(parameter) or ():
        if value_name(value) == text:
            return value
    types = types_of(function.parameters, function.properties[parameter])
    if "string" in types:
        return text
    try:
        return loads(text.lower() if "boolean" in types else text)
    except BadJsonError:
        return text  # the schema refuses it, and that is the reason given
