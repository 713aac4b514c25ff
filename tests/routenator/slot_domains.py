"""Domains with one function and one slot of any shape, for the tests of slots."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from routenator.authoring.check import check_domain
from routenator.authoring.drawn import check_draws, check_rare_calls, draw_all
from routenator.domain.domain import Domain
from routenator.domain.functions import check_call
from routenator.errors import InputError
from routenator.sampling.philox import row_seeds
from routenator.validation.text import find_phrase, words
from routenator.wording.writer import Writer
from tests.conftest import TINY

TEXTS = {"type": "array", "items": {"type": "string"}}
ITEM = {"type": "object", "properties": {"city": {"type": "string"}, "size": {"type": "integer"}}, "required": ["city"]}
PLACE = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "floor": {"type": ["integer", "null"]},
        "at": {"type": "object", "properties": {"street": {"type": "string"}, "number": {"type": "integer"}}},
    },
    "required": ["city"],
    "additionalProperties": False,
}


def give(
    folder: Path, schema: Any, rule: Any, pattern: str = "{slot}", shares: dict[str, float] | None = None, **more: Any
) -> None:
    """Make ``ask`` the function of the domain: a required ``slot``, and what ``more`` adds to the schema."""
    properties = {"slot": schema, **more.pop("properties", {})}
    parameters = {
        "type": "object",
        "properties": properties,
        "required": ["slot"],
        "additionalProperties": False,
        **more,
    }
    tool = {"type": "function", "function": {"name": "ask", "description": "", "parameters": parameters}}
    (folder / "functions.json").write_text(json.dumps([tool]))
    rules = rule if "slot" in rule and not isinstance(rule, str) else {"slot": rule}
    asked = {"path": [{"type": "Intent"}, {"type": "City"}, {"type": "Party", "from": "Intent"}],
             "root": {"attribute": "function", "equals": "book"}, "slots": rules}  # fmt: skip
    (folder / "domain.yaml").write_text(yaml.safe_dump({"title": "t", "functions": {"ask": asked}}, sort_keys=False))
    statistics = {"functions": {"ask": 1}, "length_buckets": {"any": [1, 60]}, "lengths": {"ask": {"any": 1}},
                  "routes": {"ask": {"heuristic": 1}}, "slots": {"ask": shares or {}}}  # fmt: skip
    (folder / "statistics.yaml").write_text(yaml.safe_dump(statistics))
    shutil.rmtree(folder / "templates")
    (folder / "templates/heuristic").mkdir(parents=True)
    heuristic = {"templates": {"t": {"functions": ["ask"], "text": pattern}}}
    (folder / "templates/heuristic/t.yaml").write_text(yaml.safe_dump(heuristic))
    (folder / "metadata.jsonl").write_text("")
    (folder / "golden.jsonl").write_text("")


def inspected(folder: Path) -> Domain:
    """The domain as ``domain check`` sees it; raises the first error."""
    domain = check_domain(folder)
    for found in (*check_draws(domain, draw_all(domain)), *check_rare_calls(domain)):
        if isinstance(found, InputError):
            raise found
    return domain


def drawn(domain: Domain, count: int = 400) -> list[tuple[str, dict[str, str], dict[str, Any]]]:
    """Queries with the record of what is said, and the arguments; each call is valid, and each query says its slots."""
    writer = Writer(domain, tries=4)
    made = writer.draw(
        "ask", row_seeds(7, np.arange(count)), np.full(count, "none", dtype=object),
        np.full(count, writer.compiled.root["ask", "heuristic/t"]),
    )  # fmt: skip
    texts = zip(made.query.to_pylist(), made.slots.to_pylist(), made.arguments.to_pylist(), strict=True)
    rows = [(query, json.loads(slots), json.loads(arguments)) for query, slots, arguments in texts]
    for (query, slots, arguments), (size, _, guess, doubt) in zip(rows, made.facts.tolist(), strict=True):
        assert check_call(domain.functions["ask"], arguments) == []
        assert all(find_phrase(surface, words(query)) >= 0 for surface in slots.values()), (query, slots)
        assert size == len(query.split()) and (doubt or guess == size)
    return rows


def said(error: pytest.ExceptionInfo[InputError], *parts: str) -> None:
    for part in parts:
        assert part in str(error.value), f"{part!r} is not in {error.value}"


def give_back(folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(TINY, folder)
