"""Golden sets: human queries and their calls, JSON lines ``{"query": ..., "call": {"name": ..., "arguments": {}}}``.

A call may have other right values, ``"accepted": {"unit": ["cm", "centimetres"]}``: besides that in ``arguments``, or,
of a parameter that is not in ``arguments``, besides leaving it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from routenator.domain.functions import CallError, Function, check_call
from routenator.errors import InputError, InputErrors
from routenator.files import digest, read_text
from routenator.normalform import normal_form
from routenator.parsing import parse_json

_SHOWN = 20


@dataclass(frozen=True)
class GoldenExample:
    """A human query and the call that it should produce.

    Attributes:
        accepted: parameter -> other right values; of one that is not in ``arguments``, besides leaving it out.
    """

    query: str
    name: str
    arguments: dict[str, Any]
    accepted: dict[str, list[Any]] = field(default_factory=dict)

    def call(self) -> dict[str, Any]:
        """The call as golden files hold it."""
        value: dict[str, Any] = {"name": self.name, "arguments": self.arguments}
        return {**value, "accepted": self.accepted} if self.accepted else value


def check_accepted(
    function: Function, arguments: dict[str, Any], accepted: Mapping[str, list[Any]]
) -> list[tuple[CallError, dict[str, Any]]]:
    """All errors of a golden call and of those with another right value, each with the arguments that have it."""
    variants = [arguments, *({**arguments, name: value} for name, values in accepted.items() for value in values)]
    return [(error, variant) for variant in variants for error in check_call(function, variant)]


def load_golden(file: Path, functions: Mapping[str, Function]) -> list[GoldenExample]:
    """Read and check a golden file.

    Raises:
        InputError: missing or empty file; InputErrors: invalid lines (JSON, keys, calls that violate the schema,
            duplicates).
    """
    lines = read_text(file, "a golden file: JSON lines of query and call").split("\n")
    examples: list[GoldenExample] = []
    errors: list[InputError] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            example = parse_example(line, file, number, functions)
            key = normal_form(example.query)
            if key in seen:
                raise InputError(
                    "duplicate query", file=file, key=f"line {number}", found=f"{example.query} (line {seen[key]})"
                )
            seen[key] = number
            examples.append(example)
        except InputErrors as several:
            errors.extend(several.errors)
        except InputError as error:
            errors.append(error)
    if errors:
        raise errors[0] if len(errors) == 1 else InputErrors(errors[:_SHOWN])
    if not examples:
        raise InputError("the golden file is empty", file=file, found="0 queries", expected="at least one query")
    return examples


def parse_example(line: str, file: Path, number: int, functions: Mapping[str, Function]) -> GoldenExample:
    """Parse and check one line of a golden file.

    Raises:
        InputError: not JSON, or the wrong shape; InputErrors: a call that violates the function's schema.
    """
    where = f"line {number}"
    shape = '{"query": text, "call": {"name": text, "arguments": {...}}}'
    row = parse_json(line, file, shape, line=number)
    call = row.get("call") if isinstance(row, dict) else None
    if (
        not isinstance(call, dict)
        or not isinstance(row.get("query"), str)
        or not isinstance(call.get("arguments"), dict)
    ):
        raise InputError("not a golden example", file=file, key=where, found=line[:80], expected=shape)
    if not row["query"].strip():
        raise InputError("empty query", file=file, key=f"{where}, query", expected="text")
    function = functions.get(str(call.get("name")))
    if function is None:
        raise InputError(
            "the API has no such function",
            file=file,
            key=f"{where}, name",
            found=call.get("name"),
            valid=functions,
        )
    accepted = call.get("accepted", {})
    if not isinstance(accepted, dict) or not all(isinstance(values, list) and values for values in accepted.values()):
        raise InputError(
            "not other right values",
            file=file,
            key=f"{where}, accepted",
            found=str(accepted)[:80],
            expected='{"parameter": [value, ...]}',
        )
    bad = check_accepted(function, call["arguments"], accepted)
    if bad:
        raise InputErrors(
            [
                InputError(
                    f"this call violates the schema of {function.name} ({error.kind})",
                    file=file,
                    key=f"{where}, arguments" + (f".{error.parameter}" if error.parameter else ""),
                    found=variant.get(error.parameter, "nothing"),
                    expected=error.message if error.kind != "enum" else None,
                    valid=function.names(error.parameter)
                    or (function.properties if error.kind == "unexpected" else None),
                )
                for error, variant in bad
            ]
        )
    return GoldenExample(row["query"], function.name, call["arguments"], accepted)


def split_golden(file: Path, functions: Mapping[str, Function], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Split a golden file into two parts with the same mix of functions and categories: one for error analysis, one for
    reported results.

    Within each function and category a keyed hash of the query decides, so the order of the lines does not matter; both
    parts keep that order.

    Args:
        share: of the queries of each function and category that go to the first part, rounded to whole queries.

    Raises:
        InputError / InputErrors: missing file, a line that is not a golden example, a part without queries.
    """
    lines = [
        line for line in read_text(file, "a golden file: JSON lines of query and call").split("\n") if line.strip()
    ]
    cells: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for number, line in enumerate(lines):
        example = parse_example(line, file, number + 1, functions)
        category = str(example.arguments.get(functions[example.name].category or "", "")).casefold()
        cells.setdefault((example.name, category), []).append((digest([seed, normal_form(example.query)]), number))
    first: set[int] = set()
    # Queries that rounding has so far kept out of the first part; without this, many cells of one query each would
    # miss the share.
    owed = 0.0
    for _, keyed in sorted(cells.items()):
        wanted = share * len(keyed) + owed
        taken = min(len(keyed), max(0, round(wanted)))
        owed = wanted - taken
        first.update(number for _, number in sorted(keyed)[:taken])
    if not first or len(first) == len(lines):
        raise InputError(
            "this share leaves one part without queries",
            file=file,
            key="share",
            found=share,
            expected=f"a share that splits {len(lines)} queries",
        )
    return [lines[n] for n in sorted(first)], [line for n, line in enumerate(lines) if n not in first]
