"""What the YAML files of a domain may hold; unknown keys are refused with the nearest valid one."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from routenator.config import RouteName
from routenator.errors import InputError, InputErrors
from routenator.files import read_text

Weight = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Weights = dict[str, Weight]

ROUTES: tuple[RouteName, ...] = typing.get_args(RouteName)
NO_CATEGORY = "none"  # the category of a call that has none


class Closed(BaseModel):
    """A mapping with these keys and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Step(Closed):
    """One step of a path: a node type, reached from the step before or from the one that ``from`` names."""

    type: str
    name: str = ""
    from_: str | None = Field(default=None, alias="from")

    @model_validator(mode="before")
    @classmethod
    def _default_name(cls, value: Any) -> Any:
        if isinstance(value, dict) and "type" in value:
            return {"name": value["type"], **value}
        return value


class Root(Closed):
    """Which nodes of the first type may start a walk: those whose attribute equals a value."""

    attribute: str
    equals: str


class CategoryRule(Closed):
    """Which step decides the category, and by which attribute (default: the node's label)."""

    step: str
    attribute: str | None = None


class SlotRule(Closed):
    """How a parameter's value comes from the path, and how the query says it."""

    value: str
    surface: str | None = None
    excludes: list[str] = []
    needs: list[str] = []


class FunctionRule(Closed):
    """How requests for one API function are made."""

    path: Annotated[list[Step], Field(min_length=1)]
    root: Root | None = None
    category: CategoryRule | None = None
    slots: dict[str, SlotRule]


class DomainFile(Closed):
    """domain.yaml."""

    title: str
    description: str = ""
    functions: Annotated[dict[str, FunctionRule], Field(min_length=1)]


class Noise(Closed):
    """How people type, applied to heuristic queries; each a share of the queries."""

    lowercase: Annotated[float, Field(ge=0, le=1)] = 0.0
    typo: Annotated[float, Field(ge=0, le=1)] = 0.0
    no_punctuation: Annotated[float, Field(ge=0, le=1)] = 0.0


class JointCell(Closed):
    """One cell of a target that is given as a joint distribution."""

    function: str
    category: str = NO_CATEGORY
    length: str
    language: str = "en"
    share: Weight


class Statistics(Closed):
    """statistics.yaml: the population, as shares only.

    As written, ``functions`` and ``lengths`` may be missing where ``joint`` or ``word_quantiles`` says them; a loaded
    domain has them.
    """

    languages: Weights = {"en": 1.0}
    functions: Weights = {}
    categories: dict[str, Weights] = {}
    length_buckets: dict[str, tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]]
    lengths: dict[str, Weights] = {}
    word_quantiles: dict[str, dict[Annotated[float, Field(gt=0, lt=1)], Annotated[int, Field(ge=1)]]] = {}
    joint: list[JointCell] | str | None = None  # the cells, or a CSV or Parquet file in the domain's folder
    routes: dict[str, dict[RouteName, Weight]]
    slots: dict[str, dict[str, Annotated[float, Field(ge=0, le=1)]]] = {}
    keyword_position: dict[str, dict[Literal["first", "middle", "last"], Weight]] = {}
    noise: Noise = Noise()


class FrontMatter(Closed):
    """The head of a template file."""

    functions: Annotated[list[str], Field(min_length=1)]
    weight: Weight = 1.0
    lengths: list[str] | None = None
    categories: list[str] | None = None
    languages: list[str] | None = None
    for_: Annotated[Literal["any", "guided", "free"], Field(alias="for")] = "any"
    system: str | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    output: Literal["json", "line"] = "json"
    guide: Literal["none", "slots"] = "none"


class LexiconItem(Closed):
    """A word or phrase and its weight."""

    text: str
    weight: Annotated[float, Field(gt=0)] = 1.0


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key may stand once in a mapping; the standard loader lets the last one win silently."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(file: Path) -> Any:
    """The YAML value in a file.

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
    """Validate a value as a pydantic model; every fault becomes an InputError with file, key, found, expected, nearest.

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
        return InputError("a key is missing", file=name, key=key, found="nothing", expected="a value")
    found = fault.get("input")
    valid: list[str] | None = None
    if fault["type"] == "literal_error":
        valid = [part.strip(" '") for part in str(fault["ctx"]["expected"]).replace(" or ", ",").split(",")]
        return InputError("a bad value", file=name, key=key, found=found, valid=valid)
    return InputError("a bad value", file=name, key=key, found=repr(found)[:120], expected=fault["msg"])


def _keys_at(model: Any, location: list[Any]) -> list[str]:
    """The keys that the model allows at a location, following unions, lists and dicts of models."""
    models = _models_in(model)
    for part in location:
        following: list[type[BaseModel]] = []
        for candidate in models:
            for name, info in candidate.model_fields.items():
                if part in (name, info.alias):
                    following.extend(_models_in(info.annotation))
        # Inside a list or dict the part is an index or a free key: stay.
        models = following or models
    return [info.alias or name for candidate in models for name, info in candidate.model_fields.items()]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in typing.get_args(annotation) for found in _models_in(argument)]
