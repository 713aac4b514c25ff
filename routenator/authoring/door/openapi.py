"""Reads OpenAPI 3.x and Swagger 2 documents: each operation is a tool.

The rule of arguments: path, query and form parameters and the properties of a JSON body become arguments of the same
name; headers too, unless they carry credentials or are set by every client; cookies do not. Characters other than
letters, digits and ``_`` become ``_``. If two have the same name, the later one is prefixed with its place
(``body_name``). A body that is not an object is the argument ``body``. Credentials are never arguments.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from routenator.authoring.door.dialect import Dialect
from routenator.authoring.door.english import split_name
from routenator.authoring.door.tools import Api, Tool, argument_name
from routenator.errors import InputError, value_kind

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
_VERBS = {"get": "get", "post": "create", "put": "replace", "patch": "update", "delete": "delete", "head": "check"}
# Set by every client, not by what a person says.
_PLUMBING = re.compile(
    r"accept(-.*)?|content-(type|length|encoding)|user-agent|host|connection|cache-control|if-(none-)?match"
    r"|if-(un)?modified-since|x-request-id|x-correlation-id|idempotency-key|traceparent|x-.*-version|api-version"
    r"|cookie",
    re.IGNORECASE,
)
_CREDENTIAL = re.compile(
    r"authorization|(x-)?(api|app|access|auth|client|subscription|secret)[-_]?(key|token|secret)|token|secret|password"
    r"|.*(api|access)[-_]?(key|token)|x-auth.*|.*-signature",
    re.IGNORECASE,
)
_SECRET = re.compile(r"(api|access|auth|bearer|refresh|client|private)[-_]?(key|token|secret)", re.IGNORECASE)
# A name that may be a credential's, and descriptions that say so.
_SECRET_NAME = re.compile(r"(.*[-_])?(key|token|secret|auth)", re.IGNORECASE)
_SECRET_SAID = re.compile(r"\b(api[- ]?key|(access|auth|authentication|authorization|bearer) token)\b", re.IGNORECASE)
_OF_HEADERS = {"secret", "client_id", "client_secret", "api_key", "user_key"}
_FEWEST, _MOST = 5, 0.8  # operations, and their share, that take a parameter which is then taken for a credential
_BODIES = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")


class Argument(NamedTuple):
    """One argument of an operation before names are made unique.

    Attributes:
        place: path, query, header, formData or body.
    """

    name: str
    place: str
    schema: Any
    required: bool
    description: str


def is_openapi(value: Any) -> bool:
    """Whether a document says that it is OpenAPI or Swagger."""
    return isinstance(value, dict) and ("openapi" in value or "swagger" in value)


def read_openapi(document: dict[str, Any], file: Path | str) -> Api:
    """Read a document's operations.

    Raises:
        InputError: a version that is not known, no operations, or a reference that leads nowhere.
    """
    version = str(document.get("openapi", document.get("swagger")))
    if not re.match(r"3\.|2\.0\b|2$", version):
        raise InputError(
            "an unknown version", file=file, key="openapi" if "openapi" in document else "swagger", found=version,
            expected="OpenAPI 3.x or Swagger 2.0",
        )  # fmt: skip
    paths = document.get("paths")
    if not isinstance(paths, dict) or not paths:
        raise InputError("no paths", file=file, key="paths", found=value_kind(paths), expected="at least one path")
    reader = _Reader(document, file)
    tools = [tool for path, item in paths.items() for tool in reader.operations(str(path), item)]
    _without_shared_secrets(tools)
    if not tools:
        raise InputError(
            "no operations", file=file, key="paths", found="paths alone", expected="at least one operation"
        )
    info = document.get("info")
    info = info if isinstance(info, dict) else {}
    title, description = (str(info.get(key) or "").strip() for key in ("title", "description"))
    return Api(f"{'OpenAPI' if 'openapi' in document else 'Swagger'} {version}", tools, title, description)


def _without_shared_secrets(tools: list[Tool]) -> None:
    """Leave out a ``key`` or ``token`` that nearly all operations of an API take: it says who calls, not what for.

    Not if it is part of a path or an operation describes it: it may be what they are about, as in a key-value store.
    """
    names, told = Counter[str](), set[str]()
    for tool in tools:
        for name, schema in tool.parameters["properties"].items():
            if re.fullmatch("key|token|secret|apikey", name):
                names[name] += 1
                described = isinstance(schema, dict) and str(schema.get("description") or "").strip()
                if described or f"{{{name}}}" in tool.origin:
                    told.add(name)
    shared = {name for name, count in names.items() if count >= max(_FEWEST, _MOST * len(tools))} - told
    for tool in tools:
        for name in shared & set(tool.parameters["properties"]):
            del tool.parameters["properties"][name]
            needed = [each for each in tool.parameters.get("required", ()) if each != name]
            tool.parameters = {**tool.parameters, "required": needed}
            tool.notes.append(f"parameter {name}, left out: nearly all operations take it, so it is a credential")


class _Reader:
    def __init__(self, document: dict[str, Any], file: Path | str) -> None:
        self._document, self._file = document, file
        self._dialect = Dialect(document, file, requests=True)
        self._names: set[str] = set()

    def operations(self, path: str, item: Any) -> Iterator[Tool]:
        item = self._dialect.follow(item, f"paths.{path}")
        if not isinstance(item, dict):
            return
        shared = item.get("parameters") or []
        for method in METHODS:
            operation = item.get(method)
            if isinstance(operation, dict):
                try:
                    yield self._tool(path, method, operation, shared)
                except InputError as error:  # refused when the functions are chosen, unless it is excluded
                    named = operation.get("operationId")
                    name = named if isinstance(named, str) and named.strip() else operation_name(method, path)
                    schema: dict[str, Any] = {"type": "object", "properties": {}}
                    yield Tool(self._unique(name), "", schema, f"{method.upper()} {path}", method, error=error)

    def _tool(self, path: str, method: str, operation: Mapping[str, Any], shared: Any) -> Tool:
        where = f"paths.{path}.{method}"
        notes: list[str] = []
        arguments = [
            *self._parameters(shared, where, notes),
            *self._parameters(operation.get("parameters"), where, notes),
        ]
        own = {(each.name, each.place): each for each in arguments}  # an operation's parameter replaces its path's
        listed = [*own.values(), *self._body(operation.get("requestBody"), where, notes)]
        properties: dict[str, Any] = {}
        required: list[str] = []
        for each in listed:
            if each.place == "query" and each.name == "callback" and "JSONP" in each.description:
                notes.append("query parameter callback, left out: set by a program for JSONP")
                continue
            if each.place not in ("path", "header") and self._is_credential(each.name, each.description):
                place = "form" if each.place == "formData" else each.place
                notes.append(f"{place} parameter {each.name}, left out: a credential")
                continue
            name = argument_name(each.name)
            if name in properties:
                name = f"{'form' if each.place == 'formData' else each.place}_{name}"
            if name in properties:
                notes.append(f"{each.place} parameter {each.name}: a second one of this name, left out")
                continue
            schema = each.schema if isinstance(each.schema, dict) else {}
            if each.description and "description" not in schema:
                schema = {**schema, "description": each.description}
            properties[name] = schema
            if each.required and "default" in schema and each.place == "query":
                notes.append(f"query parameter {name}: required, but with a default, so calls may leave it out")
            elif each.required:
                required.append(name)
        parameters = {"type": "object", "properties": properties, **({"required": required} if required else {})}
        texts = [str(operation.get(key) or "").strip() for key in ("summary", "description")]
        summary, description = texts
        named = operation.get("operationId")
        name = self._unique(
            str(named).strip() if isinstance(named, str) and named.strip() else operation_name(method, path)
        )
        return Tool(
            name,
            description if not summary else summary if not description else _joined(summary, description),
            parameters,
            f"{method.upper()} {path}",
            method,
            summary,
            operation.get("deprecated") is True,
            notes,
        )

    def _unique(self, name: str) -> str:
        """A name that no earlier operation has; two operations must not share an operationId, and some do."""
        made, number = name, 2
        while made in self._names:
            made, number = f"{name}_{number}", number + 1
        self._names.add(made)
        return made

    def _parameters(self, given: Any, where: str, notes: list[str]) -> Iterator[Argument]:
        for number, item in enumerate(given if isinstance(given, list) else []):
            key = f"{where}.parameters[{number}]"
            found = self._dialect.follow(item, key)
            if not isinstance(found, dict) or not isinstance(found.get("name", ""), str):
                raise InputError(
                    "not a parameter", file=self._file, key=key, found=str(found)[:80], expected="a mapping"
                )
            name, place = str(found.get("name", "")), str(found.get("in", ""))
            if place == "body":  # Swagger 2
                yield from self._content(
                    found.get("schema"), bool(found.get("required")), key, found.get("description")
                )
                continue
            if place not in ("path", "query", "header", "formData"):
                notes.append(f"{place or 'a'} parameter {name}, left out: not something that a person would say")
                continue
            if place == "header" and (_PLUMBING.fullmatch(name) or _CREDENTIAL.fullmatch(name)):
                notes.append(f"header {name}, left out: clients set it")
                continue
            yield Argument(
                name, place, self._schema(found, key), place == "path" or found.get("required") is True,
                str(found.get("description") or "").strip(),
            )  # fmt: skip

    def _is_credential(self, name: str, description: str) -> bool:
        components = self._document.get("components")
        schemes = self._document.get("securityDefinitions") or (
            components.get("securitySchemes") if isinstance(components, dict) else None
        )
        declared = {
            str(scheme.get("name"))
            for scheme in (schemes.values() if isinstance(schemes, dict) else ())
            if isinstance(scheme, dict) and scheme.get("type") == "apiKey"
        }
        if name in declared or _SECRET.fullmatch(name):
            return True
        spelled = name.lower().replace("-", "_")
        if spelled in _OF_HEADERS and any(
            each.lower().replace("-", "_").endswith(f"_{spelled}") for each in declared
        ):  # the header PLAID-SECRET, given as ``secret`` in a body
            return True
        return _SECRET_NAME.fullmatch(name) is not None and _SECRET_SAID.search(description) is not None

    def _schema(self, parameter: Mapping[str, Any], where: str) -> Any:
        schema = parameter.get("schema")
        if schema is None and isinstance(parameter.get("content"), dict) and parameter["content"]:
            first = next(iter(parameter["content"].values()))
            schema = first.get("schema") if isinstance(first, dict) else None
        if schema is None:  # Swagger 2 writes it beside the name
            schema = {
                key: value
                for key, value in parameter.items()
                if key not in ("name", "in", "required", "description", "allowEmptyValue", "schema", "style", "explode")
            }
        made = self._dialect.convert(schema, where)
        if isinstance(made, dict):
            extra = self._dialect.convert(
                {key: parameter[key] for key in ("example", "examples") if key in parameter}, where
            )
            made = {**made, **extra}
        return made

    def _body(self, given: Any, where: str, notes: list[str]) -> Iterator[Argument]:
        body = self._dialect.follow(given, f"{where}.requestBody")
        content = body.get("content") if isinstance(body, dict) else None
        if not isinstance(content, dict) or not content:
            return
        kinds = {str(kind).partition(";")[0].strip().lower(): value for kind, value in content.items()}
        chosen = next((kind for kind in _BODIES if kind in kinds), None) or next(
            (kind for kind in kinds if kind.endswith("+json")), next(iter(kinds))
        )
        media = kinds[chosen]
        if chosen not in _BODIES and "json" not in chosen:
            notes.append(f"body of type {chosen}, left out: not text that a person would say")
            return
        schema = media.get("schema") if isinstance(media, dict) else None
        yield from self._content(schema, body.get("required") is True, f"{where}.requestBody", body.get("description"))

    def _content(self, schema: Any, required: bool, where: str, description: Any) -> Iterator[Argument]:
        if schema is None:
            return
        made = self._dialect.convert(schema, where)
        if isinstance(made, dict) and isinstance(made.get("properties"), dict) and made["properties"]:
            needed = made.get("required", [])
            for name, inner in made["properties"].items():
                text = str(inner.get("description") or "") if isinstance(inner, dict) else ""
                yield Argument(name, "body", inner, name in needed and (required or bool(needed)), text)
            return
        yield Argument("body", "body", made, required, str(description or "").strip())


def operation_name(method: str, path: str) -> str:
    """A name for an operation without one: ``GET /pets/{petId}/photos`` is ``get_pet_photos``.

    A POST to one thing changes it.
    """
    words: list[str] = []
    parts = [part for part in path.strip("/").split("/") if part]
    for place, part in enumerate(parts):
        if part.startswith("{"):
            continue
        own = split_name(re.sub(r"\{[^}]*\}|\.json$", " ", part))
        if place + 1 < len(parts) and parts[place + 1].startswith("{") and own:
            own[-1] = own[-1].removesuffix("s") if not own[-1].endswith("ss") else own[-1]
        words += own
    verb = "update" if method == "post" and parts and parts[-1].startswith("{") else _VERBS.get(method, method)
    return "_".join([verb, *(words or ["root"])])


def _joined(summary: str, description: str) -> str:
    if description.casefold().startswith(summary.casefold().rstrip(".")):
        return description
    return f"{summary.rstrip('.')}. {description}"
