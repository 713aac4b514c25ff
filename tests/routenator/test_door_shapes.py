"""domain init writes calls with lists, objects, maps and what is nested in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from routenator.authoring.door.init import init_domain
from routenator.authoring.drawn import draw_all
from routenator.domain.functions import check_call
from routenator.domain.loader import load_domain

TEXT = {"type": "string"}
PERSON = {
    "type": "object",
    "properties": {"name": TEXT, "age": {"type": "integer"}, "tags": {"type": "array", "items": TEXT}},
    "required": ["name"],
}
PARAMETERS: dict[str, Any] = {
    "names": {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 3},
    "people": {"type": "array", "items": PERSON},
    "address": {"type": "object", "properties": {"city": TEXT, "zip": TEXT}},
    "prices": {"type": "object", "additionalProperties": {"type": "number", "minimum": 1}},
    "days": {"type": ["array", "null"], "items": {"enum": ["monday", "tuesday"]}, "uniqueItems": True},
    "either": {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]},
}


def tool(name: str, schema: dict[str, Any], required: bool) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {name: schema}, "required": [name] if required else []}
    return {"name": f"set_{name}", "description": f"Set the {name}.", "inputSchema": parameters}


def test_lists_objects_and_maps_are_said_and_valid(tmp_path: Path) -> None:
    file = tmp_path / "tools.json"
    file.write_text(json.dumps([tool(name, schema, True) for name, schema in PARAMETERS.items()]))
    made = init_domain(str(file), tmp_path / "out")
    assert not made.left_out and not made.warnings
    domain = load_domain(tmp_path / "out")
    seen: dict[str, list[Any]] = {}
    for function, _, _, drawn in draw_all(domain):
        assert drawn is not None
        for text in drawn.arguments.to_pylist():
            arguments = json.loads(text)
            assert not check_call(domain.functions[function], arguments)
            seen.setdefault(function, []).append(arguments[function.removeprefix("set_")])
    assert {len(value) for value in seen["set_names"]} == {2, 3}
    assert any("age" in person for value in seen["set_people"] for person in value)
    assert any("tags" in person for value in seen["set_people"] for person in value)
    assert all(value and set(value) <= {"city", "zip"} for value in seen["set_address"])
    assert all(value for value in seen["set_prices"])
    assert {len(value) for value in seen["set_days"]} == {1, 2}


def test_what_cannot_be_said_is_left_out_and_said(tmp_path: Path) -> None:
    """A required parameter of any fields leaves its function out, an optional one is never said."""
    file = tmp_path / "tools.json"
    anything = {"type": "object"}
    tools = [tool("blob", anything, True), tool("extra", anything, False), tool("names", TEXT, True)]
    file.write_text(json.dumps(tools))
    made = init_domain(str(file), tmp_path / "out")
    assert made.functions == ["set_extra", "set_names"]
    assert made.left_out == {"set_blob": "its required parameter blob cannot be written: an object of any fields"}
    assert made.silent == {"set_extra.extra": "an object of any fields"}
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "set_blob" in readme and "set_extra.extra" in readme
