"""Reads YAML strictly and validates it with pydantic. Errors name file, key, value found and value expected."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from routenator.errors import InputError, InputErrors
from routenator.files import read_text


class Closed(BaseModel):
    """Base of models that refuse unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _StrictLoader(yaml.SafeLoader):
    """A YAML loader that refuses duplicate keys; the standard loader silently takes the last one."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} appears twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(file: Path) -> Any:
    """Read a YAML file.

    Raises:
        InputError: no such file, or not YAML.
    """
    text = read_text(file, "YAML")
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else None
        raise InputError(
            "not YAML", file=file, key=where, found=getattr(error, "problem", str(error)), expected="YAML"
        ) from None


M = typing.TypeVar("M", bound=BaseModel)


def parse_model(model: type[M], value: Any, file: object) -> M:
    """Validate a value as a pydantic model, turning every fault into an InputError with file, key and nearest name.

    Raises:
        InputError: one fault; InputErrors: several.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults = [_as_input_error(fault, model, file) for fault in error.errors()]
        raise faults[0] if len(faults) == 1 else InputErrors(faults) from None


def _as_input_error(fault: Any, model: type[BaseModel], file: object) -> InputError:
    location = [part for part in fault["loc"] if part != "[key]"]
    key = ".".join(str(part) for part in location)
    name = str(file) if file is not None else None
    if fault["type"] == "extra_forbidden":
        names = _keys_at(model, location[:-1])
        return InputError("unknown key", file=name, key=key, found=location[-1], valid=names)
    if fault["type"] == "missing":
        return InputError("missing key", file=name, key=key, found="nothing", expected="a value")
    found = fault.get("input")
    valid: list[str] | None = None
    if fault["type"] == "literal_error":
        valid = [part.strip(" '") for part in str(fault["ctx"]["expected"]).replace(" or ", ",").split(",")]
        return InputError("invalid value", file=name, key=key, found=found, valid=valid)
    return InputError("invalid value", file=name, key=key, found=repr(found)[:120], expected=fault["msg"])


def _keys_at(model: Any, location: list[Any]) -> list[str]:
    """Keys that the model allows at a location, looking through unions, lists and dicts of models."""
    models = _models_in(model)
    for part in location:
        following: list[type[BaseModel]] = []
        for candidate in models:
            for name, info in candidate.model_fields.items():
                if part in (name, info.alias):
                    following.extend(_models_in(info.annotation))
        # In a list or dict this part is an index or an arbitrary key: stay at the same models.
        models = following or models
    return [info.alias or name for candidate in models for name, info in candidate.model_fields.items()]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in typing.get_args(annotation) for found in _models_in(argument)]
