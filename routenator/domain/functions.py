"""The API's functions: OpenAI tools with our two ``x-role`` marks, and the check of a call against its schema."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from routenator.domain.foreign import foreign_text, foreign_value
from routenator.domain.toolschema import check_bounds, validator_of
from routenator.errors import InputError
from routenator.files import read_text
from routenator.parsing import parse_json

ROLE_KEY = "x-role"
ROLES = ("category", "subprompt")
# jsonschema's validator -> our kind of error; anything else is "format".
_KINDS = {"required": "missing", "additionalProperties": "unexpected", "type": "type", "enum": "enum"}


@dataclass(frozen=True)
class CallError:
    """One violation of the schema by a call.

    Attributes:
        kind: missing | unexpected | type | enum | format | function.
        parameter: the parameter concerned ("" for the call as a whole).
    """

    kind: str
    parameter: str
    message: str


@dataclass(frozen=True)
class Function:
    """One function of the API.

    Attributes:
        parameters: their JSON schema, with the x-role marks.
        category: the parameter for content-type accuracy, if any.
        subprompt: the parameter for subprompt similarity, if any.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    category: str | None = None
    subprompt: str | None = None

    @property
    def properties(self) -> dict[str, Any]:
        return self.parameters.get("properties", {})

    @property
    def required(self) -> list[str]:
        return list(self.parameters.get("required", []))

    def enum(self, parameter: str) -> list[str] | None:
        """The values that a parameter may have, or None if it has no enum."""
        return self.properties.get(parameter, {}).get("enum")

    def tool(self) -> dict[str, Any]:
        """The OpenAI tool as a model sees it, without our marks."""
        parameters = copy.deepcopy(self.parameters)
        for schema in parameters.get("properties", {}).values():
            schema.pop(ROLE_KEY, None)
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": parameters},
        }

    @cached_property
    def _validator(self) -> Any:
        return validator_of(self.parameters)


def check_call(function: Function, arguments: Any) -> list[CallError]:
    """All errors of a call's arguments against the function's schema, in a stable order."""
    if not isinstance(arguments, dict):
        return [CallError("type", "", f"arguments are {type(arguments).__name__}, expected an object")]
    errors: list[CallError] = []
    for error in function._validator.iter_errors(arguments):
        kind = _KINDS.get(str(error.validator), "format")
        if kind == "missing":
            names = [name for name in error.validator_value if name not in arguments and f"'{name}'" in error.message]
        elif kind == "unexpected":
            names = sorted(set(arguments) - set(function.properties))
        else:
            names = [str(error.path[0]) if error.path else ""]
        errors.extend(CallError(kind, name, error.message) for name in names)
    return sorted(set(errors), key=lambda e: (e.kind, e.parameter))


def load_functions(file: Path) -> dict[str, Function]:
    """Load the functions, in API order.

    Raises:
        InputError: not JSON, not a list of OpenAI tools, an invalid schema, or an invalid mark.
    """
    expected = "a list of OpenAI tools"
    text = read_text(file, expected)
    try:
        tools = parse_json(text, file, expected)
    except InputError:
        _refuse_foreign(file, foreign_text(text))
        raise
    if not isinstance(tools, list) or not tools:
        _refuse_foreign(file, foreign_value(tools))
        raise InputError(
            "no functions", file=file, found=type(tools).__name__, expected="a non-empty list of OpenAI tools"
        )
    if not (isinstance(tools[0], dict) and isinstance(tools[0].get("function"), dict)):
        _refuse_foreign(file, foreign_value(tools))
    functions: dict[str, Function] = {}
    for position, tool in enumerate(tools):
        function = _one(tool, file, f"[{position}]")
        if function.name in functions:
            raise InputError("duplicate function", file=file, key=f"[{position}]", found=function.name)
        functions[function.name] = function
    return functions


def _refuse_foreign(file: Path, known: tuple[str, str] | None) -> None:
    """Refuse functions in a form that other tools use, if it is known."""
    if known is not None:
        raise InputError("functions in another form than OpenAI tools", file=file, found=known[0], expected=known[1])


def _one(tool: Any, file: Path, key: str) -> Function:
    from jsonschema import Draft202012Validator, FormatChecker
    from jsonschema.exceptions import SchemaError

    inner = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(inner, dict) or tool.get("type") != "function" or not isinstance(inner.get("name"), str):
        raise InputError(
            "not an OpenAI tool",
            file=file,
            key=key,
            found=str(tool)[:80],
            expected='{"type": "function", "function": {"name": ...}}',
        )
    parameters = inner.get("parameters") or {"type": "object", "properties": {}}
    if not isinstance(parameters, dict):
        raise InputError(
            "invalid JSON schema", file=file, key=f"{key}.parameters", found=str(parameters)[:80], expected="an object"
        )
    try:
        # Without its check of formats, which compiles patterns for Python's engine; `check_bounds` has another one.
        Draft202012Validator.check_schema(parameters, format_checker=FormatChecker(formats=()))
    except SchemaError as error:
        raise InputError("invalid JSON schema", file=file, key=f"{key}.parameters", found=error.message) from None
    check_bounds(parameters, file, f"{key}.parameters")
    roles: dict[str, str] = {}
    for name, schema in parameters.get("properties", {}).items():
        role = schema.get(ROLE_KEY)
        if role is None:
            continue
        where = f"{key}.parameters.properties.{name}.{ROLE_KEY}"
        if role not in ROLES:
            raise InputError("unknown role", file=file, key=where, found=role, valid=ROLES)
        if role in roles:
            raise InputError(f"two parameters are marked {role}", file=file, key=where, found=f"{roles[role]}, {name}")
        roles[role] = name
    unknown = [name for name in parameters.get("required", []) if name not in parameters.get("properties", {})]
    if unknown:
        raise InputError(
            "a required parameter is not declared",
            file=file,
            key=f"{key}.parameters.required",
            found=unknown[0],
            valid=parameters.get("properties", {}),
        )
    return Function(
        inner["name"], str(inner.get("description", "")), parameters, roles.get("category"), roles.get("subprompt")
    )
