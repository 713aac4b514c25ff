"""The API's functions: OpenAI tools with our two ``x-role`` marks, and the check of a call against its schema."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from routenator.domain.foreign import foreign_text, foreign_value
from routenator.domain.kinds import kind_of, value_name, values_of
from routenator.domain.toolschema import check_bounds, check_schema, validator_of
from routenator.errors import InputError, value_kind
from routenator.files import read_text
from routenator.parsing import parse_json

ROLE_KEY = "x-role"
ROLES = ("category", "subprompt")
# jsonschema's validator -> our kind of error; anything else is "format".
_KINDS = {"required": "missing", "additionalProperties": "unexpected", "type": "type", "enum": "enum", "const": "enum"}


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

    def enum(self, parameter: str) -> list[Any] | None:
        """The values that a parameter may have, or None if its schema does not list them."""
        return self._values.get(parameter)

    def names(self, parameter: str) -> list[str] | None:
        """The names of the values that a parameter may have, without null; None if its schema does not list them."""
        return self._names.get(parameter)

    def kind(self, parameter: str) -> int:
        """How the text of a parameter's value becomes JSON; see ``kind_of``."""
        return kind_of(self.parameters, self.properties[parameter])

    def tool(self) -> dict[str, Any]:
        """The OpenAI tool as a model sees it, without our marks."""
        parameters = copy.deepcopy(self.parameters)
        for schema in parameters.get("properties", {}).values():
            if isinstance(schema, dict):
                schema.pop(ROLE_KEY, None)
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": parameters},
        }

    @cached_property
    def _values(self) -> dict[str, list[Any] | None]:
        return {name: values_of(self.parameters, schema) for name, schema in self.properties.items()}

    @cached_property
    def _names(self) -> dict[str, list[str] | None]:
        return {
            name: None if values is None else [value_name(value) for value in values if value is not None]
            for name, values in self._values.items()
        }

    @cached_property
    def _validator(self) -> Any:
        return validator_of(self.parameters)


def check_value(function: Function, parameter: str, value: Any) -> CallError | None:
    """The first error of one argument's value against the schema of its parameter, or None."""
    return check_within(function, function.properties[parameter], value)


def check_within(function: Function, schema: Any, value: Any) -> CallError | None:
    """The first error of a value against a schema within that of the function's parameters, or None."""
    for error in function._validator.evolve(schema=schema).iter_errors(value):
        return CallError(_KINDS.get(str(error.validator), "format"), "", error.message)
    return None


def check_call(function: Function, arguments: Any) -> list[CallError]:
    """All errors of a call's arguments against the function's schema, in a stable order."""
    if not isinstance(arguments, dict):
        return [CallError("type", "", f"arguments are {type(arguments).__name__}, expected an object")]
    errors: list[CallError] = []
    for error in function._validator.iter_errors(arguments):
        kind = _KINDS.get(str(error.validator), "format")
        if error.path:  # within an argument, which may be an object of its own
            names = [str(error.path[0])]
        elif kind == "missing":
            names = [name for name in error.validator_value if name not in arguments and f"'{name}'" in error.message]
        elif kind == "unexpected":
            names = sorted(set(arguments) - set(function.properties))
        else:
            names = [""]
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
            "no functions", file=file, found=value_kind(tools), expected="a non-empty list of OpenAI tools"
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
        raise InputError("functions in a form other than OpenAI tools", file=file, found=known[0], expected=known[1])


def _one(tool: Any, file: Path, key: str) -> Function:
    inner = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(inner, dict) or tool.get("type") != "function" or not isinstance(inner.get("name"), str):
        raise InputError(
            "not an OpenAI tool",
            file=file,
            key=key,
            found=str(tool)[:80],
            expected='{"type": "function", "function": {"name": ...}}',
        )
    parameters = inner.get("parameters")
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, dict) or parameters.get("type", "object") != "object":
        raise InputError(
            "invalid JSON schema",
            file=file,
            key=f"{key}.parameters",
            found=str(parameters)[:80],
            expected='the schema of an object, such as {"type": "object", "properties": {}}',
        )
    # Programs that read our exports take both keys for granted.
    parameters = {**parameters, "type": "object", "properties": parameters.get("properties", {})}
    check_schema(parameters, file, f"{key}.parameters")
    check_bounds(parameters, file, f"{key}.parameters")
    roles: dict[str, str] = {}
    for name, schema in parameters.get("properties", {}).items():
        role = schema.get(ROLE_KEY) if isinstance(schema, dict) else None
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
    description = inner.get("description")
    if not isinstance(description, str | None):
        raise InputError(
            "not a description", file=file, key=f"{key}.description", found=str(description)[:80], expected="text"
        )
    return Function(inner["name"], description or "", parameters, roles.get("category"), roles.get("subprompt"))
