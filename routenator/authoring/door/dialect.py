"""Schemas: those of other dialects (OpenAPI 3.0, Swagger 2, Gemini, Berkeley) as plain JSON schema, without references.

References are looked up by ``referencing``. A schema that contains itself is cut where it would start again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from routenator.domain.toolschema import check_bounds
from routenator.errors import InputError

_TYPES = {
    "dict": "object", "float": "number", "double": "number", "decimal": "number", "tuple": "array", "list": "array",
    "set": "array", "int": "integer", "long": "integer", "bigint": "integer", "char": "string", "str": "string",
    "bool": "boolean", "none": "null", "byte": "integer", "short": "integer", "arraylist": "array", "queue": "array",
    "stack": "array", "hashmap": "object", "hashtable": "object",
}  # fmt: skip
_JSON_TYPES = {"string", "integer", "number", "boolean", "object", "array", "null"}
# Of OpenAPI or of editors; none of them says what a value is.
_DROPPED = {
    "xml", "discriminator", "externalDocs", "nullable", "readOnly", "writeOnly", "example", "collectionFormat",
    "title", "$schema", "$id", "$comment", "optional", "$defs", "definitions", "patternProperties", "$dynamicRef",
    "$recursiveRef", "$dynamicAnchor", "$anchor", "propertyOrdering",
}  # fmt: skip
_LISTS = ("anyOf", "oneOf", "allOf")
_MOST_DEPTH = 40
_MOST_VALUES = 20_000  # schemas within one schema, with references written out


class Dialect:
    """Converts the schemas of one document.

    Args:
        document: what references start from.
        file: for messages.
        requests: leave out properties that are only in responses (``readOnly``).
    """

    def __init__(self, document: Any, file: Path | str, *, requests: bool = False) -> None:
        self._file, self._requests = file, requests
        resource = DRAFT202012.create_resource(document)
        self._resolver = Registry().with_resource("", resource).resolver("")
        self._budget = _MOST_VALUES

    def convert(self, schema: Any, where: str) -> Any:
        """A schema as plain JSON schema without references.

        Args:
            where: its place in the document, for messages.

        Raises:
            InputError: a reference that leads nowhere or out of the document.
        """
        self._budget = _MOST_VALUES
        return self._convert(schema, where, ())

    def follow(self, value: Any, where: str) -> Any:
        """A value, or what it refers to."""
        seen = set()
        while isinstance(value, dict) and isinstance(value.get("$ref"), str) and value["$ref"] not in seen:
            seen.add(value["$ref"])
            value = self._lookup(value["$ref"], where)
        return value

    def _lookup(self, reference: str, where: str) -> Any:
        if not reference.startswith("#"):
            raise InputError(
                "a reference to another document",
                file=self._file, key=where, found=reference,
                expected="references within the document; bundle its parts into one file first",
            )  # fmt: skip
        try:
            return self._resolver.lookup(unquote(reference)).contents
        except (Unresolvable, ValueError):
            raise InputError(
                "a reference leads nowhere", file=self._file, key=where, found=reference, expected="a place in the file"
            ) from None

    def _convert(self, schema: Any, where: str, above: tuple[str, ...]) -> Any:
        self._budget -= 1
        if not isinstance(schema, dict):
            return schema if isinstance(schema, bool) else {}
        if "$ref" in schema:
            reference = str(schema["$ref"])
            target = self._lookup(reference, where)
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            if reference in above or len(above) > _MOST_DEPTH or self._budget < 0:
                kind = target.get("type") if isinstance(target, dict) else None
                return {"type": kind} if kind in _JSON_TYPES else {}
            made = self._convert(target, where, (*above, reference))
            if not beside or not isinstance(made, dict):
                return made
            return {**made, **self._convert(beside, where, above)}
        made = {key: value for key, value in schema.items() if key not in _DROPPED and not key.startswith("x-")}
        if isinstance(schema.get("title"), dict):  # a parameter of this name where properties were forgotten
            made["title"] = schema["title"]
        if not isinstance(made.get("description", ""), str):
            del made["description"]
        self._examples(schema, made)
        self._bounds(made)
        for key in _LISTS:
            if isinstance(made.get(key), list):
                made[key] = [self._convert(part, f"{where}.{key}", above) for part in made[key]]
        if isinstance(made.get("properties"), dict):
            made["properties"] = {
                str(name): self._convert(part, f"{where}.{name}", above)
                for name, part in made["properties"].items()
                if not (self._requests and isinstance(part, dict) and part.get("readOnly") is True)
            }
        if isinstance(made.get("required"), list):
            known = made.get("properties", {})
            made["required"] = [name for name in dict.fromkeys(map(str, made["required"])) if name in known]
            if not made["required"]:
                del made["required"]
        elif "required" in made:
            del made["required"]  # a boolean, as drafts before 4 had it
        for key in ("items", "additionalProperties", "not"):
            if isinstance(made.get(key), dict):
                made[key] = self._convert(made[key], f"{where}.{key}", above)
        if isinstance(made.get("items"), list):
            made["prefixItems"] = [self._convert(part, where, above) for part in made.pop("items")]
        self._types(schema, made)
        return _merged(made)

    @staticmethod
    def _examples(schema: Mapping[str, Any], made: dict[str, Any]) -> None:
        given = schema.get("examples")
        if isinstance(given, dict):  # OpenAPI names them
            given = [each["value"] for each in given.values() if isinstance(each, dict) and "value" in each]
        found = [*(given if isinstance(given, list) else [])]
        if "example" in schema:
            found.insert(0, schema["example"])
        made.pop("examples", None)
        if found:
            made["examples"] = found

    @staticmethod
    def _bounds(made: dict[str, Any]) -> None:
        """Booleans of OpenAPI 3.0 beside a bound become the bound."""
        for flag, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            if isinstance(made.get(flag), bool) and made.pop(flag) and bound in made:
                made[flag] = made.pop(bound)
        for key in ("minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum"):
            if isinstance(made.get(key), str):  # Gemini writes 64-bit integers as text
                try:
                    made[key] = int(made[key])
                except ValueError:
                    del made[key]
        if isinstance(made.get("pattern"), str):
            try:
                check_bounds({"properties": {"x": {"pattern": made["pattern"]}}}, Path(), "")
            except InputError:
                del made["pattern"]
        elif "pattern" in made:
            del made["pattern"]

    @staticmethod
    def _types(schema: Mapping[str, Any], made: dict[str, Any]) -> None:
        given = made.pop("type", None)
        names = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        lower = [str(name).strip().lower() for name in names]
        kinds = [_TYPES.get(name, name) for name in lower if _TYPES.get(name, name) in _JSON_TYPES]
        if lower == ["file"]:
            kinds = ["string"]
        if schema.get("nullable") is True and kinds and "null" not in kinds:
            kinds.append("null")
            if isinstance(made.get("enum"), list) and None not in made["enum"]:
                made["enum"] = [*made["enum"], None]
        if kinds:
            made["type"] = kinds[0] if len(kinds) == 1 else kinds
        if isinstance(made.get("enum"), list):
            if "string" in kinds and not set(kinds) & {"integer", "number", "boolean"}:
                # YAML reads unquoted `on` or `1` as something else.
                made["enum"] = [
                    each if each is None or isinstance(each, str) else _yaml_text(each) for each in made["enum"]
                ]
            made["enum"] = [each for place, each in enumerate(made["enum"]) if each not in made["enum"][:place]]
        if "enum" in made and not made["enum"]:
            del made["enum"]


def _yaml_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _merged(schema: dict[str, Any]) -> dict[str, Any]:
    """Merge the parts of ``allOf`` into the schema, if no two of them are about the same thing."""
    parts = schema.get("allOf")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        return schema
    made: dict[str, Any] = {}
    for part in [*parts, {key: value for key, value in schema.items() if key != "allOf"}]:
        for key, value in part.items():
            if key == "properties":
                made[key] = {**made.get(key, {}), **value}
            elif key == "required":
                made[key] = list(dict.fromkeys([*made.get(key, []), *value]))
            elif key in ("description", "examples", "default") or key not in made or made[key] == value:
                made[key] = value
            else:
                return schema
    return made
