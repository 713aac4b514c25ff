"""Golden sets: human queries and their calls, JSON lines ``{"query": ..., "calls": [{"name": ..., "arguments": {}}]}``.

``calls`` is empty for a query that wants no call; ``"call": {...}`` is shorthand for one. A call may have other right
values, ``"accepted": {"unit": ["cm", "centimetres"]}``: besides that in ``arguments``, or, of a parameter that is not
in ``arguments``, besides leaving it out. ``"today": "2026-03-05"`` is the day that the prompt states.
``"hidden": ["name", ...]`` are functions that the prompt does not show, so that the query is not to call them.
``"language": "de"`` is the query's language, by which scores are also given. ``"id": 17`` is the same for a query and
its translations, so that languages are compared on the same queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from routenator.domain.dates import asked, is_day
from routenator.domain.functions import CallError, Function, check_call
from routenator.domain.schema import NO_CALL
from routenator.errors import InputError, InputErrors
from routenator.files import digest, read_text
from routenator.language import is_language
from routenator.normalform import normal_form
from routenator.parsing import parse_json

SHAPE = '{"query": text, "calls": [{"name": text, "arguments": {...}}, ...]}'
_FILE = "a golden file: JSON lines of query and calls"
MOST_CALLS = 32  # of one query; matching the calls of a reply with them takes time with the square of this
_SHOWN = 20
_UNKNOWN = "the API has no such function"


@dataclass(frozen=True)
class GoldenCall:
    """A call that a query should produce.

    Attributes:
        accepted: parameter -> other right values; of one that is not in ``arguments``, besides leaving it out.
    """

    name: str
    arguments: dict[str, Any]
    accepted: dict[str, list[Any]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The call as golden files hold it."""
        value: dict[str, Any] = {"name": self.name, "arguments": self.arguments}
        return {**value, "accepted": self.accepted} if self.accepted else value


@dataclass(frozen=True)
class GoldenExample:
    """A human query and the calls that it should produce: none, one or several.

    Attributes:
        today: the day that the prompt states, ISO; None: it states none.
        hidden: functions that the prompt does not show.
        language: code of the query's language; None: the file does not say it.
        id: the same for a query and its translations; None: the file has none.
    """

    query: str
    calls: tuple[GoldenCall, ...]
    today: str | None = None
    hidden: tuple[str, ...] = ()
    language: str | None = None
    id: int | str | None = None

    @property
    def asked(self) -> str:
        """The user's message as the prompt has it."""
        return asked(self.query, self.today)

    @property
    def labels(self) -> tuple[str, ...]:
        """The functions called, in order; ``NO_CALL`` alone if there is none."""
        return tuple(call.name for call in self.calls) or (NO_CALL,)

    def as_json(self) -> dict[str, Any]:
        """The line of a golden file."""
        return golden_line(self.query, self.calls, self.today, self.hidden, self.language, self.id)


def golden_line(
    query: str,
    calls: Sequence[GoldenCall],
    today: str | None = None,
    hidden: Sequence[str] = (),
    language: str | None = None,
    identity: int | str | None = None,
) -> dict[str, Any]:
    """The line of a golden file: ``call`` for one call, ``calls`` for none or several; other keys where they matter."""
    listed = [call.as_json() for call in calls]
    stated: dict[str, Any] = {} if today is None else {"today": today}
    stated |= {"hidden": list(hidden)} if hidden else {}
    stated |= {} if language is None else {"language": language}
    stated |= {} if identity is None else {"id": identity}
    return {"query": query, **stated, **({"call": listed[0]} if len(listed) == 1 else {"calls": listed})}


def check_accepted(function: Function, call: GoldenCall) -> list[tuple[CallError, dict[str, Any]]]:
    """All errors of a golden call and of those with another right value, each with the arguments that have it."""
    others = ({**call.arguments, name: value} for name, values in call.accepted.items() for value in values)
    return [(error, variant) for variant in (call.arguments, *others) for error in check_call(function, variant)]


def load_golden(file: Path, functions: Mapping[str, Function], *, may_be_empty: bool = False) -> list[GoldenExample]:
    """Read and check a golden file. Lines that start with ``#`` are comments.

    Args:
        may_be_empty: a file without queries stands for "no golden set yet".

    Raises:
        InputError: missing or empty file; InputErrors: invalid lines (JSON, keys, calls that violate the schema,
            duplicates).
    """
    examples: list[GoldenExample] = []
    errors: list[InputError] = []
    seen: dict[str, int] = {}
    translated: dict[tuple[int | str | None, str | None], int] = {}
    for number, line in enumerate(read_text(file, _FILE).split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            example = parse_example(line, file, number, functions)
            key = normal_form(example.query)
            if key in seen:
                raise InputError(
                    "duplicate query", file=file, key=f"line {number}", found=f"{example.query} (line {seen[key]})"
                )
            seen[key] = number
            pair = (example.id, example.language)
            same = translated.setdefault(pair, number) if None not in pair else number
            if same != number:
                raise InputError(
                    "two queries of one language have the same id",
                    file=file, key=f"line {number}, id", found=f"{example.id} (line {same})",
                    expected="an id that a query shares with its translations alone",
                )  # fmt: skip
            examples.append(example)
        except InputErrors as several:
            errors.extend(several.errors)
        except InputError as error:
            errors.append(error)
    errors = _once(errors, functions)
    if errors:
        raise errors[0] if len(errors) == 1 else InputErrors(errors[:_SHOWN])
    if not examples and not may_be_empty:
        raise InputError("the golden file is empty", file=file, found="0 queries", expected="at least one query")
    return examples


def _once(errors: Sequence[InputError], functions: Mapping[str, Function]) -> list[InputError]:
    """One error for each function that the API does not have: another API's file calls the same few in all lines."""
    unknown: dict[str, list[InputError]] = {}
    for error in errors:
        if error.message == _UNKNOWN:
            unknown.setdefault(str(error.found), []).append(error)
    kept: list[InputError] = []
    for error in errors:
        same = unknown.get(str(error.found), []) if error.message == _UNKNOWN else [error]
        if same[0] is error and len(same) > 1:
            key = f"{error.key}, and {len(same) - 1:,} more"
            kept.append(InputError(_UNKNOWN, file=error.file, key=key, found=error.found, valid=functions))
        elif same[0] is error:
            kept.append(error)
    return kept


def check_shown(golden: Sequence[GoldenExample], style: str) -> None:
    """Check that no query hides functions if the prompts show none.

    Args:
        style: of the prompts, ``compact`` or ``tools``.

    Raises:
        InputError: a query hides functions, and the style is ``compact``.
    """
    hiding = next((example for example in golden if example.hidden), None)
    if hiding is not None and style != "tools":
        raise InputError(
            f"the golden set hides functions ({hiding.query[:60]!r}), but these prompts show none",
            key="train.prompt", found=style, expected="tools",
        )  # fmt: skip


def has_golden(file: Path) -> bool:
    """Whether a golden file has queries, and not comments alone."""
    lines = read_text(file, "a golden file: JSON lines of query and call").split("\n")
    return any(line.strip() and not line.startswith("#") for line in lines)


def parse_example(line: str, file: Path, number: int, functions: Mapping[str, Function]) -> GoldenExample:
    """Parse and check one line of a golden file.

    Raises:
        InputError: not JSON, or the wrong shape; InputErrors: calls that violate their functions' schemas.
    """
    where = f"line {number}"
    row = parse_json(line, file, SHAPE, line=number)
    calls = calls_in(row) if isinstance(row, dict) else None
    if calls is None or not isinstance(row.get("query"), str):
        raise InputError("not a golden example", file=file, key=where, found=line[:80], expected=SHAPE)
    if not row["query"].strip():
        raise InputError("empty query", file=file, key=f"{where}, query", expected="text")
    if not calls and NO_CALL in functions:
        raise InputError(
            f"the API has a function {NO_CALL}, the name that stands for no call in results",
            file=file, key=f"{where}, calls", found="no call", expected="a function of another name",
        )  # fmt: skip
    if len(calls) > MOST_CALLS:
        raise InputError(
            "more calls than a query may have",
            file=file, key=f"{where}, calls", found=len(calls), expected=f"at most {MOST_CALLS}",
        )  # fmt: skip
    today = row.get("today")
    if today is not None and not is_day(today):
        raise InputError(
            "not a day", file=file, key=f"{where}, today", found=str(today)[:80], expected="a day such as 2026-03-05"
        )
    language = row.get("language")
    if language is not None and not (isinstance(language, str) and is_language(language)):
        raise InputError(
            "not a language code", file=file, key=f"{where}, language", found=str(language)[:80],
            expected="a code such as en or pt-BR",
        )  # fmt: skip
    identity = row.get("id")
    if not is_id(identity):
        raise InputError(
            "not an id", file=file, key=f"{where}, id", found=str(identity)[:80], expected="a number or a text"
        )
    errors: list[InputError] = []
    hidden = _hidden(row, file, where, functions)
    read = []
    for place, call in enumerate(calls):
        try:
            at = where if "call" in row else f"{where}, calls[{place}]"
            read.append(_checked(call, file, at, functions))
        except InputErrors as several:
            errors.extend(several.errors)
    if errors:
        raise InputErrors(errors)
    return GoldenExample(row["query"], tuple(read), today, hidden, language, identity)


def is_id(value: Any) -> bool:
    """Whether this may be the ``id`` of a golden query; None stands for none."""
    return value is None or (isinstance(value, int | str) and not isinstance(value, bool))


def _hidden(row: Mapping[str, Any], file: Path, where: str, functions: Mapping[str, Function]) -> tuple[str, ...]:
    hidden = row.get("hidden", [])
    key = f"{where}, hidden"
    if not isinstance(hidden, list) or not all(isinstance(name, str) for name in hidden):
        raise InputError("not functions", file=file, key=key, found=str(hidden)[:80], expected="a list of their names")
    for name in hidden:
        if name not in functions:
            raise InputError(_UNKNOWN, file=file, key=key, found=name, valid=functions)
    called = sorted({str(call.get("name")) for call in calls_in(row) or ()} & set(hidden))
    if called:
        raise InputError("a call of a function that the prompt does not show", file=file, key=key, found=called[0])
    return tuple(hidden)


def calls_in(row: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The calls of a golden line, still unchecked but for name and arguments; None if it has none or a wrong shape."""
    if ("call" in row) == ("calls" in row):
        return None
    calls = [row["call"]] if "call" in row else row["calls"]
    if not isinstance(calls, list) or not all(
        isinstance(call, dict) and isinstance(call.get("arguments"), dict) for call in calls
    ):
        return None
    return calls


def accepted_in(call: Mapping[str, Any]) -> dict[str, list[Any]] | None:
    """The other right values of a call in a golden line; None if they have the wrong shape."""
    accepted = call.get("accepted", {})
    if not isinstance(accepted, dict) or not all(isinstance(values, list) and values for values in accepted.values()):
        return None
    return accepted


def _checked(call: dict[str, Any], file: Path, where: str, functions: Mapping[str, Function]) -> GoldenCall:
    function = functions.get(str(call.get("name")))
    if function is None:
        raise InputError(
            _UNKNOWN,
            file=file,
            key=f"{where}, name",
            found=call.get("name"),
            valid=functions,
        )
    accepted = accepted_in(call)
    if accepted is None:
        raise InputError(
            "not other right values",
            file=file,
            key=f"{where}, accepted",
            found=str(call["accepted"])[:80],
            expected='{"parameter": [value, ...]}',
        )
    golden = GoldenCall(function.name, call["arguments"], accepted)
    bad = check_accepted(function, golden)
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
    return golden


def split_golden(file: Path, functions: Mapping[str, Function], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Split a golden file into two parts with the same mix of functions and categories: one for error analysis, one for
    reported results.

    Within each function (or combination of functions) and category a keyed hash of the query decides, so the order of
    the lines does not matter; both parts keep that order.

    Args:
        share: of the queries of each function and category that go to the first part, rounded to whole queries.

    Raises:
        InputError / InputErrors: missing file, a line that is not a golden example, a part without queries.
    """
    lines = [line for line in read_text(file, _FILE).split("\n") if line.strip() and not line.startswith("#")]
    cells: dict[tuple[tuple[str, ...], str], list[tuple[str, int]]] = {}
    for number, line in enumerate(lines):
        example = parse_example(line, file, number + 1, functions)
        # Of queries of several calls the categories would make cells of one query each.
        only = example.calls[0] if len(example.calls) == 1 else None
        category = only.arguments.get(functions[only.name].category or "", "") if only else ""
        cell = (example.labels, str(category).casefold())
        cells.setdefault(cell, []).append((digest([seed, normal_form(example.query)]), number))
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
