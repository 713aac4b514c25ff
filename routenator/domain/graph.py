"""The knowledge graph: loads and checks nodes and weighted, directed edges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from routenator.domain.graphfile import read_rows
from routenator.errors import InputError, InputErrors

_NODE_COLUMNS = ("id", "type", "label")
_EDGE_COLUMNS = ("source", "target", "weight")
_SHOWN = 20


@dataclass(frozen=True)
class Node:
    """A node of the graph.

    Attributes:
        aliases: other wordings of the label; label and aliases are equally likely to be drawn.
        weight: relative frequency as the start of a walk.
        attributes: non-empty values of the other columns of the nodes' file.
        original: the label in nodes.csv, if a language has put another in its place.
    """

    id: str
    type: str
    label: str
    aliases: tuple[str, ...] = ()
    weight: float = 1.0
    attributes: dict[str, str] = field(default_factory=dict)
    original: str = ""

    @property
    def named(self) -> str:
        """The label that stands for the node in every language."""
        return self.original or self.label

    @property
    def surfaces(self) -> tuple[str, ...]:
        return (self.label, *self.aliases)


class Edge(NamedTuple):
    """A directed edge with a positive weight."""

    source: str
    target: str
    weight: float


def load_nodes(file: Path) -> dict[str, Node]:
    """Load the nodes of a file, by id.

    Raises:
        InputError / InputErrors: missing file or column, duplicate id, invalid weight.
    """
    nodes: dict[str, Node] = {}
    errors: list[InputError] = []
    for where, row in read_rows(file, "nodes", _NODE_COLUMNS):
        try:
            node = Node(
                id=_text(row, "id", file, where),
                type=_text(row, "type", file, where),
                label=_text(row, "label", file, where),
                aliases=tuple(a.strip() for a in (row.get("aliases") or "").split("|") if a.strip()),
                weight=_weight(row.get("weight") or "1", file, where, zero=True),
                attributes={
                    key: value.strip()
                    for key, value in row.items()
                    if key not in (*_NODE_COLUMNS, "aliases", "weight") and value.strip()
                },
            )
            if node.id in nodes:
                raise InputError("duplicate node", file=file, key=f"{where}, id", found=node.id)
            nodes[node.id] = node
        except InputError as error:
            errors.append(error)
    _raise(errors)
    if not nodes:
        raise InputError("no nodes", file=file, found="0 rows", expected="at least one node")
    return nodes


def load_edges(file: Path, nodes: dict[str, Node]) -> list[Edge]:
    """Load the edges of a file.

    Raises:
        InputError / InputErrors: an unknown node, a weight that is not positive, a duplicate edge.
    """
    edges: list[Edge] = []
    errors: list[InputError] = []
    seen: set[tuple[str, str]] = set()
    for where, row in read_rows(file, "edges", _EDGE_COLUMNS):
        ends = (row["source"].strip(), row["target"].strip())
        try:
            if ends[0] not in nodes or ends[1] not in nodes or ends in seen:
                raise _edge_error(row, ends, nodes, file, where)
            seen.add(ends)
            edges.append(Edge(*ends, _weight(row["weight"], file, where, zero=False)))
        except InputError as error:
            errors.append(error)
    _raise(errors)
    return edges


def _edge_error(
    row: dict[str, str], ends: tuple[str, str], nodes: Mapping[str, Node], file: Path, where: str
) -> InputError:
    """What is wrong with an edge; told apart here, so that the many right ones load fast."""
    for column, end in zip(("source", "target"), ends, strict=True):
        _text(row, column, file, where)
        if end not in nodes:
            return InputError(
                "this edge names an unknown node", file=file, key=f"{where}, {column}", found=end, valid=nodes
            )
    return InputError("duplicate edge", file=file, key=where, found=" -> ".join(ends))


def _text(row: dict[str, str], column: str, file: Path, where: str) -> str:
    value = row[column].strip()
    if not value:
        raise InputError("empty value", file=file, key=f"{where}, {column}", expected="text")
    return value


def _weight(text: str, file: Path, where: str, *, zero: bool) -> float:
    expected = "a number, 0 or more" if zero else "a number above 0"
    try:
        value = float(text)
    except ValueError:
        raise InputError("invalid weight", file=file, key=f"{where}, weight", found=text, expected=expected) from None
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise InputError("invalid weight", file=file, key=f"{where}, weight", found=text, expected=expected)
    return value


def _raise(errors: list[InputError]) -> None:
    if errors:
        raise errors[0] if len(errors) == 1 else InputErrors(errors[:_SHOWN])
