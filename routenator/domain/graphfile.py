"""Reads the knowledge graph's files as rows of text: pairs of CSV or Parquet files, GraphML, or node-link JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from routenator.errors import InputError, value_kind
from routenator.files import read_text
from routenator.parsing import parse_json

Row = tuple[str, dict[str, str]]  # position in the file, and values by column; missing values are empty strings

_FORMATS = {
    "CSV": ("nodes.csv", "edges.csv"),
    "Parquet": ("nodes.parquet", "edges.parquet"),
    "GraphML": ("graph.graphml", "graph.graphml"),
    "JSON": ("graph.json", "graph.json"),
}


def graph_files(root: Path) -> tuple[Path, Path]:
    """Files of a domain's nodes and edges; the CSV names if there are none.

    Raises:
        InputError: the graph is given in two formats.
    """
    found = {name: files for name, files in _FORMATS.items() if any((root / file).exists() for file in files)}
    if len(found) > 1:
        names = sorted({file for files in found.values() for file in files if (root / file).exists()})
        raise InputError(
            "the graph is given in two formats",
            file=root,
            found=", ".join(names),
            expected="one format: " + " or ".join(_FORMATS),
        )
    nodes, edges = next(iter(found.values()), _FORMATS["CSV"])
    return root / nodes, root / edges


def read_rows(file: Path, part: str, columns: tuple[str, ...]) -> Iterator[Row]:
    """Read the nodes or edges of a file.

    Args:
        part: ``nodes`` or ``edges``.
        columns: the required columns.

    Raises:
        InputError: no such file, not in its format, or a column or attribute is missing.
    """
    readers = {".csv": _csv, ".parquet": _parquet, ".graphml": _graphml, ".json": _json}
    return readers[file.suffix](file, part, columns)


def _csv(file: Path, part: str, columns: tuple[str, ...]) -> Iterator[Row]:
    with io.StringIO(read_text(file, "CSV with " + ", ".join(columns)), newline="") as handle:
        reader = csv.reader(handle)  # csv.DictReader is slower, and graphs have many thousands of rows
        names = next(reader, [])
        _need(names, columns, file, "line 1")
        for values in reader:
            more = len(values) - len(names)
            if more > 0:
                found = values[len(names) :]
                raise InputError("more values than columns", file=file, key=f"line {reader.line_num}", found=found)
            if values:
                yield f"line {reader.line_num}", dict(zip(names, values + [""] * -more, strict=True))


def _parquet(file: Path, part: str, columns: tuple[str, ...]) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.is_file():
        raise InputError("file not found", file=file, expected="Parquet with " + ", ".join(columns))
    try:
        table = pq.read_table(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            "not Parquet", file=file, found=str(error).split("\n", maxsplit=1)[0], expected="Parquet"
        ) from None
    _need(table.column_names, columns, file, "columns")
    for number, row in enumerate(table.to_pylist(), 1):
        yield f"row {number}", _texts(row)


def _graphml(file: Path, part: str, columns: tuple[str, ...]) -> Iterator[Row]:
    import networkx as nx

    text = read_text(file, "GraphML")
    try:
        graph = nx.parse_graphml(text)
    except Exception as error:  # networkx lets through what its XML parser and its casts raise
        raise InputError(
            "not GraphML", file=file, found=f"{type(error).__name__}: {error}", expected="GraphML"
        ) from None
    if not graph.is_directed():
        raise InputError(
            "the graph is undirected", file=file, key="edgedefault", found="undirected", expected="directed"
        )
    items: Any = (
        ({"id": node, **values} for node, values in graph.nodes(data=True))
        if part == "nodes"
        else ({**values, "source": source, "target": target} for source, target, values in graph.edges(data=True))
    )
    yield from _checked(items, file, part, columns)


def _json(file: Path, part: str, columns: tuple[str, ...]) -> Iterator[Row]:
    expected = "JSON with nodes and edges"
    value = parse_json(read_text(file, expected), file, expected)
    key = (
        "links" if part == "edges" and isinstance(value, dict) and "edges" not in value else part
    )  # networkx wrote links before 3.4
    items = value.get(key) if isinstance(value, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InputError(
            "not a list of objects",
            file=file,
            key=part,
            found=value_kind(items),
            expected="node-link data, as networkx writes it",
        )
    if value.get("directed") is False:
        raise InputError("the graph is undirected", file=file, key="directed", found=False, expected="true")
    yield from _checked(items, file, part, columns)


def _checked(items: Any, file: Path, part: str, columns: tuple[str, ...]) -> Iterator[Row]:
    for number, item in enumerate(items, 1):
        where = f"{part} {number}"
        _need(item, columns, file, where)
        yield where, _texts(item)


def _need(given: Any, columns: tuple[str, ...], file: Path, where: str) -> None:
    missing = [column for column in columns if column not in given]
    if missing:
        raise InputError("missing column", file=file, key=where, found=", ".join(given), expected=missing[0])


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    """Values as CSV would hold them: lists joined by |, None as an empty string."""
    return {
        key: "|".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
        for key, value in row.items()
    }
