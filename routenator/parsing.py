"""Reads YAML and JSON strictly, with bounds, and validates with pydantic. Errors name file, key, found and expected.

Files come from elsewhere. A few lines of YAML can stand for 10^9 values, and brackets can nest deeper than Python can
follow, so both have bounds. They are far above what any real file needs.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from routenator.errors import InputError, InputErrors
from routenator.files import read_text
from routenator.jsontext import MOST_DEPTH, BadJsonError, is_text, loads

MOST_VALUES = 2_000_000  # of a YAML file, with every alias counted as what it stands for
_MOST_SMALL = 20_000  # of a config, whose values are merged by code that is slower than the parser
_MOST_BYTES = 64 * 1024**2

_MOST_KEYS = 8  # most keys on the way to a value whose line ``lines_of_keys`` finds


class Closed(BaseModel):
    """Base of models that refuse unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Strict(Composer, SafeConstructor, Resolver):
    """The part of a YAML loader after the parser, with bounds. It refuses duplicate keys.

    The standard loader silently takes the last one.
    """

    check_event: Callable[..., bool]  # the parser's
    peek_event: Callable[[], Any]

    def __init__(self, most: int) -> None:
        """Args: most: values, with every alias counted as what it stands for."""
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)
        self._most = most
        self._depth, self._total = 0, 0
        self._extents: dict[int, tuple[int, int]] = {}  # node -> values in it and its height, once it is complete

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node, and count it as if every alias were written out."""
        mark = self.peek_event().start_mark
        alias = self.check_event(yaml.AliasEvent)
        if alias:
            anchored = self.anchors.get(self.peek_event().anchor)
            if anchored is not None and id(anchored) not in self._extents:
                raise _BoundError(None, None, "an alias within its own anchor", mark)
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise _BoundError(None, None, f"nested deeper than {MOST_DEPTH} levels", mark)
        before = self._total
        node = super().compose_node(parent, index)
        self._depth -= 1
        if alias:
            count, height = self._extents[id(node)]
            self._total += count
            if self._depth + height > MOST_DEPTH:
                raise _BoundError(None, None, f"nested deeper than {MOST_DEPTH} levels, by aliases", mark)
        else:
            self._total += 1
            self._extents[id(node)] = (self._total - before, 1 + self._tallest(node))
        if self._total > self._most:
            raise _BoundError(None, None, f"more than {self._most:,} values, with aliases written out", mark)
        return node

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        if not isinstance(value, str) or is_text(value):
            return value
        try:  # JSON, which is also YAML, writes one emoji as two escapes
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            what = "half of a surrogate pair, which is not text"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark) from None

    def _tallest(self, node: yaml.Node | None) -> int:
        if isinstance(node, yaml.MappingNode):
            return max((self._extents[id(inner)][1] for pair in node.value for inner in pair), default=0)
        if isinstance(node, yaml.SequenceNode):
            return max((self._extents[id(inner)][1] for inner in node.value), default=0)
        return 0


class _Loader(_Strict, yaml.SafeLoader):
    """PyYAML's own parser."""

    def __init__(self, text: str, most: int) -> None:
        yaml.SafeLoader.__init__(self, text)
        _Strict.__init__(self, most)


# PyYAML may have been built without libyaml.
_WithLibyaml: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _QuickLoader(_Strict, _WithLibyaml):
    """The parser of libyaml, which takes a fraction of the time."""

    def __init__(self, text: str, most: int) -> None:
        _WithLibyaml.__init__(self, text)
        _Strict.__init__(self, most)


class _BoundError(yaml.MarkedYAMLError):
    """YAML beyond the bounds."""


def _mapping(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(None, None, "a list or mapping as a key", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} appears twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Strict.add_constructor(Resolver.DEFAULT_MAPPING_TAG, _mapping)


def _load(text: str, most: int) -> Any:
    """Load one document.

    What libyaml refuses is read again by PyYAML's own parser: it knows an emoji that is written as two escapes, and its
    messages are better. What is beyond the bounds is not: that would take long, twice.
    """
    try:
        return _QuickLoader(text, most).get_single_data()
    except _BoundError:
        raise
    except (yaml.YAMLError, ValueError):
        pass
    return _Loader(text, most).get_single_data()


def read_yaml(file: Path, small: bool = False) -> Any:
    """Read a YAML file.

    Args:
        small: for configs: a file of at most 20,000 values.

    Raises:
        InputError: no such file, not YAML, or YAML beyond the bounds.
    """
    return parse_yaml(read_text(file, "YAML"), file, small=small)


def parse_yaml(
    text: str, file: Path | None = None, *, key: str | None = None, first_line: int = 1, small: bool = False
) -> Any:
    """Parse YAML.

    Args:
        file: the text's file, for the message.
        key: what the text is, for the message; None: the line and column of the fault.
        first_line: the file's line on which the text starts.
        small: as for ``read_yaml``.

    Raises:
        InputError: not YAML, or YAML beyond the bounds.
    """
    if len(text) > _MOST_BYTES:
        raise InputError(
            "too large a YAML file",
            file=file,
            key=key,
            found=f"{len(text):,} characters",
            expected=f"<= {_MOST_BYTES:,}",
        )
    most = _MOST_SMALL if small else MOST_VALUES
    try:
        return _load(text, most)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + first_line}, column {mark.column + 1}" if mark and key is None else key
        bound = isinstance(error, _BoundError)
        raise InputError(
            "this YAML is beyond the bounds" if bound else "not YAML",
            file=file,
            key=where,
            found=getattr(error, "problem", None) or str(error),
            expected=f"at most {most:,} values and {MOST_DEPTH} levels" if bound else "YAML",
        ) from None
    except ValueError as error:  # a date that does not exist, or a number of thousands of digits
        raise InputError("not YAML", file=file, key=key, found=str(error), expected="YAML") from None


def parse_json(text: str, file: Path, expected: str, *, line: int | None = None) -> Any:
    """Parse JSON from a user's file.

    Args:
        file: the text's file, for the message.
        expected: what the text should be, for the message.
        line: the text's line in a file of JSON lines.

    Raises:
        InputError: not JSON, or JSON beyond the bounds.
    """
    try:
        return loads(text)
    except BadJsonError as error:
        number = line if line is not None else error.line
        raise InputError(
            "not JSON",
            file=file,
            key=None if number is None else f"line {number}",
            found=str(error),
            expected=expected,
        ) from None


def lines_of_keys(file: Path) -> dict[tuple[str, ...], int]:
    """Map the keys that lead to each value of a YAML file to the value's line; not into lists.

    The value's line is its key's, and for a block of text (after ``|`` or ``>``) the block's first line. Reads the file
    again, so it is for messages only.
    """
    lines: dict[tuple[str, ...], int] = {}

    def collect(node: yaml.Node | None, path: tuple[str, ...]) -> None:
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            inner = (*path, str(key.value))
            block = isinstance(value, yaml.ScalarNode) and value.style in ("|", ">")
            lines[inner] = value.start_mark.line + 2 if block else key.start_mark.line + 1
            if len(inner) < _MOST_KEYS:
                collect(value, inner)

    collect(yaml.compose(read_text(file, "YAML"), Loader=yaml.SafeLoader), ())
    return lines


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
