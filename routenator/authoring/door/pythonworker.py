"""Imports a Python file and prints its functions or models as tools: ``python -m ... FILE``. A process of its own."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, create_model
from pydantic.errors import PydanticUserError

_NAME = "_imported_tools"
_ARGS = re.compile(r"^\s*(?:Args|Arguments|Parameters):\s*$", re.MULTILINE)
_ENTRY = re.compile(r"^(\s+)\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")
_FIELD = re.compile(r":param\s+(?:[\w\[\], |]+\s)?(\w+):\s*(.+)")


def main() -> None:
    """Print one line of JSON: kind, tools, about, left_out."""
    file = Path(sys.argv[1])
    # What the file prints must not mix with the answer.
    answer, sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8"), sys.stderr
    sys.path.insert(0, str(file.parent))
    module = _load(file)
    tools, left_out = _functions(module)
    kind = "functions"
    if not tools:
        kind, tools = "pydantic models", _models(module)
    about = inspect.getdoc(module) or ""
    print(json.dumps({"kind": kind, "tools": tools, "about": about, "left_out": left_out}, default=str), file=answer)
    answer.flush()
    os._exit(0)  # threads that the file started must not keep this process


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(_NAME, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = module
    spec.loader.exec_module(module)
    return module


def _functions(module: ModuleType) -> tuple[list[dict[str, Any]], dict[str, str]]:
    tools, left_out = [], {}
    for name, value in vars(module).items():
        if name.startswith("_") or not inspect.isfunction(value) or value.__module__ != _NAME or name == "main":
            continue
        try:
            tools.append(_tool(name, value))
        except (PydanticUserError, NameError, TypeError, ValueError) as error:
            left_out[name] = " ".join(str(error).split())[:200]
    return tools, left_out


def _tool(name: str, function: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    hints: dict[str, Any] = inspect.get_annotations(function, eval_str=True)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name in ("self", "cls"):
            continue
        kind = hints.get(parameter.name, Any)
        fields[parameter.name] = (kind, ... if parameter.default is parameter.empty else parameter.default)
    doc = inspect.getdoc(function) or ""
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    if fields:
        schema = _model(name, fields).model_json_schema()
    properties: dict[str, Any] = dict(schema["properties"])
    for described, text in _described(doc).items():
        if described in properties:
            properties[described].setdefault("description", text)
    about = re.split(_ARGS, doc)[0] if _ARGS.search(doc) else doc.partition(":param")[0]
    return {"name": name, "description": about.strip(), "parameters": schema}


def _model(name: str, fields: dict[str, Any]) -> type[BaseModel]:
    return create_model(name, **fields)


def _described(doc: str) -> dict[str, str]:
    """Descriptions of parameters in a docstring: Google's ``Args:`` or ``:param name:``."""
    found = dict(_FIELD.findall(doc))
    start = _ARGS.search(doc)
    if start is None:
        return found
    indent = None
    last = ""
    for line in doc[start.end() :].splitlines():
        if line.strip() and not line.startswith((" ", "\t")):
            break
        entry = _ENTRY.match(line)
        if entry and (indent is None or entry.group(1) == indent):
            indent, last = entry.group(1), entry.group(2)
            found[last] = entry.group(3).strip()
        elif last and line.strip():
            found[last] += " " + line.strip()
    return found


def _models(module: ModuleType) -> list[dict[str, Any]]:
    tools = []
    for name, value in vars(module).items():
        if inspect.isclass(value) and issubclass(value, BaseModel) and value.__module__ == _NAME and name[:1] != "_":
            doc = value.__doc__ or ""
            tools.append({"name": name, "description": inspect.cleandoc(doc), "parameters": value.model_json_schema()})
    return tools


if __name__ == "__main__":
    main()
