"""Recognises the form of a source from its content, and reads tool lists that are saved as JSON or YAML."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from routenator.authoring.door.dialect import Dialect
from routenator.authoring.door.tools import Api, Tool
from routenator.errors import InputError, value_kind
from routenator.files import read_text
from routenator.jsontext import BadJsonError, loads
from routenator.parsing import parse_json, parse_yaml

EXPECTED = (
    "an OpenAPI or Swagger document, a list of tools in the form of MCP, OpenAI, Anthropic, Gemini or Berkeley, a "
    "Python file (.py), an http address, or mcp:COMMAND"
)


class Form(NamedTuple):
    """A form of tool lists.

    Attributes:
        is_one: whether an item of a list is a tool of this form.
        parts: name, description and schema of an item.
    """

    title: str
    is_one: Callable[[Mapping[str, Any]], bool]
    parts: Callable[[Mapping[str, Any]], tuple[Any, Any, Any]]


def _keyed(key: str) -> Callable[[Mapping[str, Any]], tuple[Any, Any, Any]]:
    return lambda item: (item.get("name"), item.get("description"), item.get(key))


def _chat(item: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    inner = item["function"]
    return inner.get("name"), inner.get("description"), inner.get("parameters")


def _named(item: Mapping[str, Any]) -> bool:
    return isinstance(item.get("name"), str)


def _flat_openai(item: Mapping[str, Any]) -> bool:
    return _named(item) and item.get("type") == "function"


def _bare(item: Mapping[str, Any]) -> bool:
    return _named(item) and ("parameters" in item or "description" in item)


_GEMINI = "Gemini function declarations"
# The first that fits is taken.
FORMS = (
    Form("OpenAI tools (chat)", lambda item: isinstance(item.get("function"), dict), _chat),
    Form("MCP tools", lambda item: _named(item) and "inputSchema" in item, _keyed("inputSchema")),
    Form("Anthropic tools", lambda item: _named(item) and "input_schema" in item, _keyed("input_schema")),
    Form("OpenAI tools (Responses)", _flat_openai, _keyed("parameters")),
    Form(_GEMINI, lambda item: _named(item) and "parametersJsonSchema" in item, _keyed("parametersJsonSchema")),
    Form(_GEMINI, lambda item: _named(item) and _kind(item).isupper(), _keyed("parameters")),
    Form("Berkeley functions", lambda item: _named(item) and _kind(item) == "dict", _keyed("parameters")),
    Form("functions", _bare, _keyed("parameters")),
)


def _kind(item: Mapping[str, Any]) -> str:
    parameters = item.get("parameters")
    return str(parameters.get("type", "")) if isinstance(parameters, dict) else ""


def load_document(file: Path) -> Any:
    """A file's JSON, JSON lines (as a list) or YAML.

    Raises:
        InputError: no such file, or it is none of these.
    """
    return parse_document(read_text(file, EXPECTED), file)


def parse_document(text: str, file: Path | str) -> Any:
    """The value of JSON, JSON lines (as a list) or YAML.

    Raises:
        InputError: it is none of them.
    """
    if not text.strip():
        raise InputError("the file is empty", file=file, found="nothing", expected=EXPECTED)
    if text.lstrip()[0] in "[{":
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) > 1 and all(line.lstrip().startswith("{") for line in lines):
            try:
                return [loads(line) for line in lines]
            except BadJsonError:
                pass
        try:
            return parse_json(text, Path(file), EXPECTED)
        except InputError:
            if not str(file).endswith((".yaml", ".yml")):
                raise
    return parse_yaml(text, Path(file))


def items_of(value: Any) -> list[Any] | None:
    """The items of a tool list, wherever it is in a document; None if there is none."""
    if isinstance(value, dict):
        for key in ("tools", "functions", "function_declarations", "functionDeclarations"):
            if isinstance(value.get(key), list):
                return list(_flat(value[key]))
        if isinstance(value.get("result"), dict):  # the whole answer to tools/list
            return items_of(value["result"])
        value = [value]
    return list(_flat(value)) if isinstance(value, list) else None


def _flat(items: list[Any]) -> Iterator[Any]:
    """Items, with those within Gemini's tools, Berkeley's entries and pages of answers taken out."""
    for item in items:
        inner = None
        if isinstance(item, dict):
            inner = next(
                (item[key] for key in ("function_declarations", "functionDeclarations", "tools") if key in item), None
            )
            if inner is None and isinstance(item.get("function"), list):
                inner = item["function"]
            if inner is None and isinstance(item.get("result"), dict):
                inner = item["result"].get("tools")
        if isinstance(inner, list):
            yield from _flat(inner)
        else:
            yield item


def read_list(value: Any, file: Path | str) -> Api:
    """Read the tools of a list.

    Raises:
        InputError: not a list of tools, or an item that is not one.
    """
    items = items_of(value)
    if not items:
        found = "an empty list" if items is not None else value_kind(value)
        if isinstance(value, dict):
            found = "a mapping with the keys " + ", ".join(map(str, list(value)[:8])) if value else "an empty mapping"
        raise InputError("this does not describe an API", file=file, found=found, expected=EXPECTED)
    tools: list[Tool] = []
    titles: dict[str, None] = {}
    seen: dict[str, Any] = {}
    notes: list[str] = []
    for number, item in enumerate(items):
        form = next((form for form in FORMS if isinstance(item, dict) and form.is_one(item)), None)
        if form is None:
            if isinstance(item, dict) and isinstance(item.get("type"), str) and tools:
                notes.append(f"[{number}]: a built-in tool ({item['type']}), which has no schema, left out")
                continue
            raise InputError(
                "this is not a tool", file=file, key=f"[{number}]", found=str(item)[:80], expected=EXPECTED
            )
        titles[form.title] = None
        name, description, schema = form.parts(item)
        if not isinstance(name, str) or not name.strip():
            raise InputError("a tool without a name", file=file, key=f"[{number}].name", found=name, expected="text")
        if seen.get(name) == item:  # Berkeley repeats its functions from entry to entry
            continue
        seen[name] = item
        where = f"[{number}] {name}"
        summary = item.get("title") or (item.get("annotations") or {}).get("title") if isinstance(item, dict) else ""
        tools.append(
            Tool(
                name.strip(),
                description.strip() if isinstance(description, str) else "",
                object_schema(schema, file, where),
                where,
                summary=summary if isinstance(summary, str) else "",
                deprecated=item.get("deprecated") is True,
            )
        )
    return Api(" and ".join(titles), tools, notes=notes)


def object_schema(schema: Any, file: Path | str, where: str) -> dict[str, Any]:
    """The schema of a tool's parameters as plain JSON schema.

    Raises:
        InputError: it is not the schema of an object, or a reference leads nowhere.
    """
    if schema is None:
        schema = {}
    if not isinstance(schema, dict):
        raise InputError(
            "not a schema", file=file, key=where, found=str(schema)[:80], expected="the JSON schema of an object"
        )
    made = Dialect(schema, file).convert(schema, where)
    if made.get("type", "object") != "object" and made.get("type") != ["object", "null"]:
        raise InputError(
            "not the schema of an object", file=file, key=where, found=f"type {made['type']}", expected="type object"
        )
    return {**made, "type": "object", "properties": made.get("properties", {})}
