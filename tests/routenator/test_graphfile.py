"""Every format gives the same graph, and errors name the place in the file in each."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import networkx as nx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routenator.domain.graphfile import read_rows
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from tests.conftest import TINY


def rows(name: str) -> list[dict[str, str]]:
    with open(TINY / name, newline="") as handle:
        return list(csv.DictReader(handle))


def write(folder: Path, form: str, nodes: list[dict[str, Any]], edges: list[dict[str, Any]]) -> None:
    """Write a graph into a domain's folder."""
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(nodes), folder / "nodes.parquet")
        pq.write_table(pa.Table.from_pylist(edges), folder / "edges.parquet")
        return
    graph = nx.DiGraph()
    for node in nodes:
        graph.add_node(node["id"], **{key: value for key, value in node.items() if key != "id"})
    for edge in edges:
        graph.add_edge(
            edge["source"],
            edge["target"],
            **{key: value for key, value in edge.items() if key not in ("source", "target")},
        )
    if form == "graphml":
        nx.write_graphml(graph, folder / "graph.graphml")
    else:
        (folder / "graph.json").write_text(
            json.dumps(nx.node_link_data(graph, edges="edges" if form == "json" else "links"))
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The tiny domain without its graph."""
    copy = Path(shutil.copytree(TINY, tmp_path / "domain"))
    (copy / "nodes.csv").unlink()
    (copy / "edges.csv").unlink()
    return copy


@pytest.mark.parametrize("form", ["parquet", "graphml", "json", "links"])
def test_every_format_gives_the_same_graph(folder: Path, form: str) -> None:
    write(folder, form, rows("nodes.csv"), [{**edge, "weight": float(edge["weight"])} for edge in rows("edges.csv")])
    expected, domain = load_domain(TINY), load_domain(folder)
    assert domain.nodes == expected.nodes and list(domain.nodes) == list(expected.nodes)
    assert sorted(domain.edges, key=str) == sorted(expected.edges, key=str)


def test_aliases_may_be_a_list_in_json(folder: Path) -> None:
    write(
        folder,
        "json",
        [{**node, "aliases": node["aliases"].split("|")} for node in rows("nodes.csv")],
        rows("edges.csv"),
    )
    assert load_domain(folder).nodes == load_domain(TINY).nodes


@pytest.mark.parametrize("form", ["parquet", "graphml", "json"])
def test_errors_name_their_place(folder: Path, form: str) -> None:
    nodes, edges = rows("nodes.csv"), rows("edges.csv")
    write(
        folder,
        form,
        nodes,
        [{**edges[0], "weight": -1.0}, *({**edge, "weight": float(edge["weight"])} for edge in edges[1:])],
    )
    with pytest.raises(InputError, match="invalid weight") as error:
        load_domain(folder)
    assert (
        error.value.key == ("row 1, weight" if form == "parquet" else "edges 1, weight") and error.value.found == "-1.0"
    )
    write(folder, form, [{key: value for key, value in node.items() if key != "label"} for node in nodes], edges)
    with pytest.raises(InputError, match="missing column") as error:
        load_domain(folder)
    assert error.value.expected == "label"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("graph.graphml", "<graphml", "not GraphML"),
        ("graph.json", "{", "not JSON"),
        ("graph.json", '{"nodes": 3}', "not a list of objects"),
        ("graph.json", '{"directed": false, "nodes": [], "edges": []}', "the graph is undirected"),
        ("nodes.parquet", "PAR", "not Parquet"),
        ("edges.parquet", "PAR", "file not found"),
    ],
)
def test_a_broken_file_is_refused(folder: Path, name: str, text: str, expected: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(InputError, match=expected):
        load_domain(folder)


def test_an_undirected_graphml_is_refused(folder: Path) -> None:
    nx.write_graphml(nx.path_graph(3), folder / "graph.graphml")
    with pytest.raises(InputError, match="the graph is undirected"):
        load_domain(folder)


def test_two_formats_at_once_are_refused(folder: Path) -> None:
    shutil.copy(TINY / "nodes.csv", folder)
    (folder / "graph.json").write_text("{}")
    with pytest.raises(InputError, match="given in two formats") as error:
        load_domain(folder)
    assert error.value.found == "graph.json, nodes.csv"


def test_a_missing_graph_is_expected_as_csv(folder: Path) -> None:
    with pytest.raises(InputError, match="not found") as error:
        load_domain(folder)
    assert str(error.value.file).endswith("nodes.csv")


def test_rows_of_csv_may_be_short_or_blank_but_not_long(tmp_path: Path) -> None:
    file = tmp_path / "nodes.csv"
    file.write_text('id,type,label,colour\na,b\n\n"c","d","e\nf",red\n')
    assert list(read_rows(file, "nodes", ("id", "type", "label"))) == [
        ("line 2", {"id": "a", "type": "b", "label": "", "colour": ""}),
        ("line 5", {"id": "c", "type": "d", "label": "e\nf", "colour": "red"}),
    ]
    file.write_text("id,type,label\na,b,c,d,e\n")
    with pytest.raises(InputError, match="more values than columns") as caught:
        list(read_rows(file, "nodes", ("id",)))
    assert caught.value.key == "line 2" and caught.value.found == ["d", "e"]
