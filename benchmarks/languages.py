"""A small domain in several languages: the same functions and the same grammars, in the words of each.

    python benchmarks/languages.py de FOLDER

``benchmarks/heuristic.py`` compares how fast queries are written in them, and the tests make data sets of them. The
words were written for this file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml

WORDS = Path(__file__).parent / "data" / "languages.yaml"


class Words(NamedTuple):
    """The words of one language.

    Attributes:
        cities, cuisines, parties, times: labels of nodes; ``|`` separates a label from its other wordings.
        polite, wish: word lists.
        patterns: grammars.
        buckets: lowest and highest number of words of short and of long queries.
    """

    cities: list[str]
    cuisines: list[str]
    parties: list[str]
    times: list[str]
    polite: list[str]
    wish: list[str]
    patterns: list[str]
    buckets: list[list[int]]


_TEXT = {"type": "string"}
_FUNCTIONS = {
    "book_table": ("Reserve a table at a restaurant.", 0),
    "find_restaurant": ("Look for a restaurant.", 2),
}  # function -> its description, and how many of the patterns it lacks


def write_domain(folder: Path, language: str) -> Path:
    """Write the domain in a language; return its folder."""
    words = Words(**yaml.safe_load(WORDS.read_text(encoding="utf-8"))[language])
    (folder / "templates" / "heuristic").mkdir(parents=True)
    parameters = {
        "cuisine": {"type": "string", "x-role": "category"},
        "city": {"type": "string", "x-role": "subprompt"},
        "people": _TEXT,
        "time": _TEXT,
    }
    schema = {
        "type": "object", "properties": parameters, "required": ["cuisine", "city"], "additionalProperties": False,
    }  # fmt: skip
    functions = [
        {"type": "function", "function": {"name": name, "description": text, "parameters": schema}}
        for name, (text, _) in _FUNCTIONS.items()
    ]
    _write(folder / "functions.json", json.dumps(functions, indent=1))
    nodes, edges = ["id,type,label,aliases,weight"], ["source,target,weight"]
    for name in _FUNCTIONS:
        nodes.append(f"{name},Request,{name},,1")
    for kind, labels in (
        ("Cuisine", words.cuisines), ("City", words.cities), ("Party", words.parties), ("Time", words.times),
    ):  # fmt: skip
        for number, label in enumerate(labels):
            first, _, others = label.partition("|")
            nodes.append(f"{kind}{number},{kind},{first},{others},1")
            edges += [f"{name},{kind}{number},1" for name in _FUNCTIONS]
    _write(folder / "nodes.csv", "\n".join(nodes) + "\n")
    _write(folder / "edges.csv", "\n".join(edges) + "\n")
    path = [{"type": "Request"}, *({"type": kind, "from": "Request"} for kind in ("Cuisine", "City", "Party", "Time"))]
    slots = {"cuisine": "{Cuisine.label}", "city": "{City}", "people": "{Party}", "time": "{Time}"}
    rule = {
        "path": path,
        "category": {"step": "Cuisine"},
        "slots": {name: {"value": value} for name, value in slots.items()},
    }
    rule["slots"]["cuisine"]["surface"] = "{Cuisine}"  # type: ignore[index]
    rules = {name: {**rule, "root": {"attribute": "id", "equals": name}} for name in _FUNCTIONS}
    _yaml(folder / "domain.yaml", {"title": "Tables", "description": "Restaurants.", "functions": rules})
    _yaml(folder / "lexicon.yaml", {"polite": words.polite, "wish": words.wish})
    labels = [label.partition("|")[0] for label in words.cuisines]
    short, long = words.buckets
    statistics: dict[str, Any] = {
        "functions": {"book_table": 0.6, "find_restaurant": 0.4},
        "categories": {name: dict.fromkeys(labels, 1) for name in _FUNCTIONS},
        "languages": {language: 1},
        "length_buckets": {"short": short, "long": long},
        "lengths": {name: {"short": 0.4, "long": 0.6} for name in _FUNCTIONS},
        "routes": {name: {"heuristic": 1} for name in _FUNCTIONS},
        "slots": {name: {"people": 0.6, "time": 0.5} for name in _FUNCTIONS},
        "noise": {"lowercase": 0.3, "typo": 0.1, "no_punctuation": 0.4},
    }
    _yaml(folder / "statistics.yaml", statistics)
    for name, (_, first) in _FUNCTIONS.items():
        patterns = words.patterns[first:]
        templates = {f"{name}_{number}": {"text": text} for number, text in enumerate(patterns)}
        _yaml(folder / "templates" / "heuristic" / f"{name}.yaml", {"functions": [name], "templates": templates})
    return folder


def _yaml(file: Path, value: Any) -> None:
    _write(file, yaml.safe_dump(value, allow_unicode=True, sort_keys=False, width=1000))


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    print(write_domain(Path(sys.argv[2]), sys.argv[1]))
