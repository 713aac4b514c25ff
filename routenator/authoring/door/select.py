"""Which tools become functions: chosen by name, not deprecated, under names of their own, with parameters that can be
written.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from routenator.authoring.door.english import split_name
from routenator.authoring.door.shapes import Shape, Shapes
from routenator.authoring.door.sources import Sources, is_json, kind_of_text
from routenator.authoring.door.tools import Api, Tool, argument_name
from routenator.domain.functions import ROLE_KEY, Function, check_value
from routenator.domain.toolschema import check_bounds, check_schema
from routenator.errors import InputError

MOST_FUNCTIONS = 600
_MOST_SLOTS = 40
_LISTED = 5  # functions that are named one by one
_NAME_LENGTH = 64
_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{_NAME_LENGTH}}}")
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SUBPROMPTS = ("search", "message", "prompt", "title", "description", "task", "topic", "review")


@dataclass
class Chosen:
    """One function, with the values of its parameters.

    Attributes:
        shapes: by parameter, for those that queries say.
        silent: optional parameters that no query says, with the reason.
    """

    tool: Tool
    function: Function
    shapes: dict[str, Shape]
    silent: dict[str, str] = field(default_factory=dict)


@dataclass
class Selection:
    """What is made of an API's tools.

    Attributes:
        left_out: tool -> why it did not become a function.
        languages: codes of the languages, beside English, that have values.
    """

    chosen: list[Chosen]
    left_out: dict[str, str]
    languages: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """What was changed or left out of functions, a line each; one line for what many have in common."""
        having: dict[str, list[str]] = {}
        for each in self.chosen:
            for note in each.tool.notes:
                having.setdefault(note, []).append(each.function.name)
        lines: list[str] = []
        for note, names in having.items():
            lines += [f"{len(names)} functions: {note}"] if len(names) > _LISTED else [f"{n}: {note}" for n in names]
        return lines


def select(
    api: Api,
    source: str,
    include: Sequence[str],
    exclude: Sequence[str],
    deprecated: bool,
    seed: int,
    languages: Sequence[str] = (),
) -> Selection:
    """Choose tools and find values for their parameters.

    Args:
        source: for messages.
        include, exclude: patterns such as ``get_*`` of names; without ``include`` all tools.
        deprecated: also take tools that the API calls deprecated.
        languages: codes of other languages in which to make values too.

    Raises:
        InputError: a pattern that fits no tool, two tools of one name, too many, or none that can be written.
    """
    for option, patterns in (("--include", include), ("--exclude", exclude)):
        for pattern in patterns:
            if not any(_fits(tool, [pattern]) for tool in api.tools):
                raise InputError(
                    "no function of this name", key=option, found=pattern, valid=[tool.name for tool in api.tools]
                )
    left_out: dict[str, str] = {}
    kept: list[Tool] = []
    for tool in api.tools:
        if (include and not _fits(tool, include)) or _fits(tool, exclude):
            continue
        if tool.deprecated and not deprecated:
            left_out[tool.name] = "deprecated; --deprecated includes it"
            continue
        if tool.error is not None:
            error = tool.error
            raise InputError(
                error.message, file=error.file, key=error.key, found=error.found,
                expected=f"{error.expected}; or --exclude '{tool.origin}' to leave this operation out",
            )  # fmt: skip
        kept.append(tool)
    if len(kept) > MOST_FUNCTIONS:
        raise InputError(
            "too many functions for one model",
            file=source, found=f"{len(kept):,}",
            expected=f"at most {MOST_FUNCTIONS}; choose with --include and --exclude, such as {_families(kept)}",
        )  # fmt: skip
    sources = Sources(seed, languages)
    chosen: list[Chosen] = []
    names: dict[str, Tool] = {}
    for tool in kept:
        name = _function_name(tool.name)
        if name in names and names[name].name != tool.name:  # they differ in what was cut
            number = next(n for n in range(2, len(names) + 3) if f"{name[: _NAME_LENGTH - 4]}_{n}" not in names)
            name = f"{name[: _NAME_LENGTH - 4]}_{number}"
        if name in names:
            raise InputError(
                "two functions have the same name", file=source, key=tool.origin, found=tool.name,
                expected=f"a name other than at {names[name].origin}, or --exclude",
            )  # fmt: skip
        names[name] = tool
        made = _chosen(tool, name, sources, source)
        if isinstance(made, str):
            left_out[tool.name] = made
        else:
            chosen.append(made)
    if not chosen:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:3]) or "none was chosen"
        raise InputError("no tool can become a function", file=source, found=reasons, expected="at least one")
    return Selection(chosen, left_out, list(languages))


def _fits(tool: Tool, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in (tool.name, tool.origin))


def _families(tools: list[Tool]) -> str:
    """The commonest beginnings of names, as patterns."""
    counts: dict[str, int] = {}
    for tool in tools:
        start = re.split(r"[_./-]|(?<=[a-z])(?=[A-Z])", tool.name)[0]
        counts[start] = counts.get(start, 0) + 1
    best = sorted(counts, key=lambda each: -counts[each])[:3]
    return ", ".join(f"--include '{start}*' ({counts[start]})" for start in best)


def _function_name(name: str) -> str:
    """A name that servers take: 1 to 64 of A-Z a-z 0-9 _ -."""
    if _NAME.fullmatch(name):
        return name
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:_NAME_LENGTH] or "function"


def _chosen(tool: Tool, name: str, sources: Sources, source: str) -> Chosen | str:
    """The function of a tool, or why there is none."""
    parameters = _bounded(tool.parameters)
    check_schema(parameters, Path(source), tool.origin)
    check_bounds(parameters, Path(source), tool.origin)
    if any(keyword in parameters for keyword in ("not", "if")):
        return "its schema says what arguments are not"
    function = Function(name, tool.description, parameters)
    shapes = Shapes(sources, _about(name, tool), _meanings(tool, function))
    found: dict[str, Shape] = {}
    silent: dict[str, str] = {}
    for parameter in _in_order(function):
        required = parameter in function.required
        shape: Shape | str = "patterns cannot refer to a name with characters other than letters, digits and _"
        if not required and len(found) >= _MOST_SLOTS:
            shape = f"more than {_MOST_SLOTS} parameters"
        elif not required and is_json(function.properties[parameter]):
            shape = "a text of JSON, which nobody says"
        elif _PARAMETER.fullmatch(parameter):
            shape = shapes.find(parameter, function.properties[parameter])
            if not isinstance(shape, str) and not _fits_schema(function, parameter, shape):
                shape = "what its parts make up does not fit its schema"
        if not isinstance(shape, str):
            found[parameter] = shape
            silent |= {f"{parameter}.{part}": why for part, why in _silent(shape)}
        elif required:
            return f"its required parameter {parameter} cannot be written: {shape}"
        else:
            silent[parameter] = shape
    return Chosen(tool, _with_role(function, found), found, silent)


def _fits_schema(function: Function, parameter: str, shape: Shape) -> bool:
    """Whether a value of a shape with parts passes the schema, such as one of alternatives that may overlap."""
    return shape.source is not None or all(
        check_value(function, parameter, shape.example(every)) is None for every in (False, True)
    )


def _meanings(tool: Tool, function: Function) -> dict[str, str]:
    """Names for parameters that say too little: ``value`` at ``/cards/{id}/name``, and what stands in a path."""
    _, _, path = tool.origin.partition(" ")
    parts = [part for part in path.split("/") if part] if tool.method else []
    found = {}
    for name in ("value", "body") if parts and "{" not in parts[-1] else ():
        found[name] = parts[-1]
    for name in map(argument_name, re.findall(r"\{([^}]*)\}", path)) if parts else ():
        schema = function.properties.get(name)
        if isinstance(schema, dict) and kind_of_text(name, schema, "")[0] == "topic":
            found[name] = f"{name}_id"
    return found


def _silent(shape: Shape) -> Iterator[tuple[str, str]]:
    yield from shape.silent.items()
    for part in (shape.items, shape.value, *(part for part, _ in shape.fields.values())):
        if part is not None:
            yield from ((f"{part.name}.{name}", why) for name, why in _silent(part))


def _about(name: str, tool: Tool) -> str:
    return f"{' '.join(split_name(name))} {tool.summary or tool.description[:80]}"


def _in_order(function: Function) -> list[str]:
    """Required parameters first."""
    return sorted(function.properties, key=lambda each: each not in function.required)


def _bounded(parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters' schema without examples, which only served to find values."""
    return {key: value for key, value in parameters.items() if key != "examples"}


def _with_role(function: Function, shapes: dict[str, Shape]) -> Function:
    """Mark the parameter with free text, on which the similarity of texts is measured."""
    free = [name for name, shape in shapes.items() if shape.kind in _SUBPROMPTS]
    if not free:
        return function
    properties = dict(function.properties)
    properties[free[0]] = {**properties[free[0]], ROLE_KEY: "subprompt"}
    return Function(
        function.name, function.description, {**function.parameters, "properties": properties}, None, free[0]
    )
