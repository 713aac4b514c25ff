"""The knowledge graph as files: nodes and weighted, directed edges, read from CSV and checked; networkx for analysis."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routenator.errors import InputError, InputErrors
from routenator.files import read_text

if TYPE_CHECKING:
    import networkx as nx

_NODE_COLUMNS = ("id", "type", "label")
_EDGE_COLUMNS = ("source", "target", "weight")
_SHOWN = 20


@dataclass(frozen=True)
class Node:
    """A node of the graph.

    Attributes:
        aliases: other ways to say the label; a surface is drawn from label and aliases alike.
        weight: share as a start of a walk.
        attributes: the further columns of nodes.csv that are not empty.
    """

    id: str
    type: str
    label: str
    aliases: tuple[str, ...] = ()
    weight: float = 1.0
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def surfaces(self) -> tuple[str, ...]:
        return (self.label, *self.aliases)


@dataclass(frozen=True)
class Edge:
    """A directed edge with a positive weight."""

    source: str
    target: str
    weight: float


def load_nodes(file: Path) -> dict[str, Node]:
    """nodes.csv, by id.

    Raises:
        InputError / InputErrors: missing file or column, duplicate id, bad weight.
    """
    nodes: dict[str, Node] = {}
    errors: list[InputError] = []
    for number, row in _rows(file, _NODE_COLUMNS):
        try:
            node = Node(
                id=_text(row, "id", file, number),
                type=_text(row, "type", file, number),
                label=_text(row, "label", file, number),
                aliases=tuple(a.strip() for a in (row.get("aliases") or "").split("|") if a.strip()),
                weight=_weight(row.get("weight") or "1", file, number, zero=True),
                attributes={
                    key: value.strip() for key, value in row.items() if key not in (*_NODE_COLUMNS, "aliases", "weight") and value.strip()
                },
            )
            if node.id in nodes:
                raise InputError("a node occurs twice", file=file, key=f"line {number}, id", found=node.id)
            nodes[node.id] = node
        except InputError as error:
            errors.append(error)
    _raise(errors)
    if not nodes:
        raise InputError("no nodes", file=file, found="0 rows", expected="at least one node")
    return nodes


def load_edges(file: Path, nodes: dict[str, Node]) -> list[Edge]:
    """edges.csv.

    Raises:
        InputError / InputErrors: an edge to an unknown node, a weight that is not positive, an edge given twice.
    """
    edges: list[Edge] = []
    errors: list[InputError] = []
    seen: set[tuple[str, str]] = set()
    for number, row in _rows(file, _EDGE_COLUMNS):
        try:
            ends = (_text(row, "source", file, number), _text(row, "target", file, number))
            for column, end in zip(("source", "target"), ends, strict=True):
                if end not in nodes:
                    raise InputError("an edge to an unknown node", file=file, key=f"line {number}, {column}", found=end, valid=nodes)
            if ends in seen:
                raise InputError("an edge occurs twice", file=file, key=f"line {number}", found=" -> ".join(ends))
            seen.add(ends)
            edges.append(Edge(*ends, _weight(row["weight"], file, number, zero=False)))
        except InputError as error:
            errors.append(error)
    _raise(errors)
    return edges


def to_networkx(nodes: dict[str, Node], edges: list[Edge]) -> nx.DiGraph:
    """The graph for analysis: node attributes ``type`` and ``label``, edge attribute ``weight``."""
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_nodes_from((node.id, {"type": node.type, "label": node.label}) for node in nodes.values())
    graph.add_weighted_edges_from((edge.source, edge.target, edge.weight) for edge in edges)
    return graph


def _rows(file: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    with io.StringIO(read_text(file, "CSV with " + ", ".join(columns)), newline="") as handle:
        reader: Any = csv.DictReader(handle, restkey="", restval="")
        missing = [column for column in columns if column not in (reader.fieldnames or [])]
        if missing:
            raise InputError("a column is missing", file=file, key="line 1", found=", ".join(reader.fieldnames or []), expected=missing[0])
        for row in reader:
            if "" in row:
                raise InputError("more values than columns", file=file, key=f"line {reader.line_num}", found=row[""])
            yield reader.line_num, row


def _text(row: dict[str, str], column: str, file: Path, number: int) -> str:
    value = row[column].strip()
    if not value:
        raise InputError("an empty value", file=file, key=f"line {number}, {column}", expected="text")
    return value


def _weight(text: str, file: Path, number: int, *, zero: bool) -> float:
    expected = "a number, 0 or more" if zero else "a number above 0"
    try:
        value = float(text)
    except ValueError:
        raise InputError("a bad weight", file=file, key=f"line {number}, weight", found=text, expected=expected) from None
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise InputError("a bad weight", file=file, key=f"line {number}, weight", found=text, expected=expected)
    return value


def _raise(errors: list[InputError]) -> None:
    if errors:
        raise errors[0] if len(errors) == 1 else InputErrors(errors[:_SHOWN])
