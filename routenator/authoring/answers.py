"""Reads xLAM's ``answers``, BFCL's questions with possible answers, and our own golden files."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any

from routenator.authoring.records import (
    LeftOutError,
    Record,
    Source,
    call_of,
    calls_of,
    json_values,
    wrong_shape,
)
from routenator.domain.dates import is_day
from routenator.domain.golden import SHAPE, GoldenCall, accepted_in, calls_in, is_id
from routenator.errors import InputError
from routenator.language import is_language

_XLAM = '{"query": text, "answers": [{"name": text, "arguments": {...}}]}'
_QUESTION = '{"id": ..., "question": [[{"role": "user", "content": ...}]], "function": [...]}'
_ANSWER = '{"id": ..., "ground_truth": [{NAME: {PARAMETER: [VALUE, ...]}}]}'
_MOST_COMBINATIONS = 256


def read_golden(source: Source) -> Iterator[Record]:
    """Yield the lines of a golden file; ``calls`` may be missing.

    Raises:
        InputError: not JSON, or not of this shape.
    """
    for place, row in json_values(source.text, source.file, SHAPE):
        if not isinstance(row, dict) or not isinstance(row.get("query"), str):
            raise wrong_shape(source, place, row, SHAPE)
        today = row.get("today")
        if today is not None and not is_day(today):
            raise wrong_shape(source, f"{place}, today", today, "a day such as 2026-03-05")
        language, identity = row.get("language"), row.get("id")
        identity = identity if is_id(identity) else None
        if language is not None and not (isinstance(language, str) and is_language(language)):
            raise wrong_shape(source, f"{place}, language", language, "a code such as en or pt-BR")
        if "call" not in row and "calls" not in row:
            yield Record(place, row["query"], None)
            continue
        calls = calls_in(row)
        read = None if calls is None else [_golden_call(call) for call in calls]
        if read is None or None in read:
            key = "call" if "call" in row else "calls"
            raise wrong_shape(source, f"{place}, {key}", row[key], SHAPE)
        found = tuple(call for call in read if call is not None)
        yield Record(place, row["query"], found, today=today, language=language, id=identity)


def _golden_call(value: dict[str, Any]) -> GoldenCall | None:
    accepted = accepted_in(value)
    try:
        call = call_of(value)
    except LeftOutError:
        return None
    return None if accepted is None else GoldenCall(call.name, call.arguments, accepted)


def read_xlam(source: Source) -> Iterator[Record]:
    """Yield the queries of xLAM's function-calling data; ``answers`` is a list or its JSON text.

    Raises:
        InputError: not JSON, or not of this shape.
    """
    for place, row in json_values(source.text, source.file, _XLAM):
        if not isinstance(row, dict) or not isinstance(row.get("query"), str) or "answers" not in row:
            raise wrong_shape(source, place, row, _XLAM)
        try:
            yield Record(place, row["query"], calls_of(row["answers"]))
        except LeftOutError as left:
            yield Record(place, row["query"], None, left.reason)


def read_bfcl(source: Source) -> Iterator[Record]:
    """Yield the questions of the Berkeley Function-Calling Leaderboard with their possible answers.

    The shortest right call is taken: the first of each parameter's values, without the parameters that may be missing.
    All other right values go to ``accepted``. In a set without a file of answers, no question calls for a function
    (``irrelevance``).

    Raises:
        InputError: not JSON, not of this shape, or no answer to a question.
    """
    file = source.answers or _answers_beside(source.file)
    truths = None if file is None else _truths(Source(file))
    for place, row in json_values(source.text, source.file, _QUESTION):
        question = row.get("question") if isinstance(row, dict) else None
        if not isinstance(question, list) or not isinstance(row.get("id"), str):
            raise wrong_shape(source, place, row, _QUESTION)
        messages = [message for turn in question for message in (turn if isinstance(turn, list) else [turn])]
        if not all(isinstance(message, dict) and isinstance(message.get("content"), str) for message in messages):
            raise wrong_shape(source, place, row, _QUESTION)
        asked = [message for message in messages if message.get("role") != "system"]
        query = asked[0]["content"] if asked else ""
        if "irrelevance" in row["id"]:
            truth: list[Any] = []
        elif truths is None:
            raise InputError(
                "the answers to these questions are missing",
                file=source.file,
                key="--answers",
                found=f"no file possible_answer/{source.file.name} beside it",
                expected=f"a file of {_ANSWER}",
            )
        elif row["id"] not in truths:
            raise InputError("no answer to this question", file=file, key="id", found=row["id"], valid=truths)
        else:
            truth = truths[row["id"]]
        if len(asked) != 1:
            yield Record(place, query, None, "dialogue" if asked else "no query")
            continue
        try:
            yield Record(place, query, tuple(_possible(call, row.get("function")) for call in truth))
        except LeftOutError as left:
            yield Record(place, query, None, left.reason)


def _answers_beside(file: Path) -> Path | None:
    beside = (
        file.parent / "possible_answer" / file.name,
        file.with_name(file.name.replace(".bfcl.", ".bfcl_answers.")),
    )
    return next((path for path in beside if path.is_file() and path != file), None)


def _truths(source: Source) -> dict[str, list[Any]]:
    truths: dict[str, list[Any]] = {}
    for place, row in json_values(source.text, source.file, _ANSWER):
        truth = row.get("ground_truth") if isinstance(row, dict) else None
        if not isinstance(truth, list) or not isinstance(row.get("id"), str):
            raise wrong_shape(source, place, row, _ANSWER)
        truths[row["id"]] = truth
    return truths


def _possible(value: Any, functions: Any) -> GoldenCall:
    if not isinstance(value, dict) or len(value) != 1:
        raise LeftOutError("unreadable call")
    ((name, parameters),) = value.items()
    if not isinstance(parameters, dict) or not all(isinstance(values, list) for values in parameters.values()):
        raise LeftOutError("unreadable call")
    required = _required(name, functions)
    arguments, accepted = {}, {}
    for parameter, values in parameters.items():
        # An empty text among the values says that the parameter may be missing, unless the function requires it.
        omitted = "" in values and parameter not in required
        right = [inner for value in values if not (omitted and value == "") for inner in _spelt_out(value)]
        if len(right) > _MOST_COMBINATIONS:
            raise LeftOutError("too many right values")
        if omitted:
            if right:
                accepted[parameter] = right
        elif not right:
            raise LeftOutError("no right value")
        else:
            arguments[parameter] = right[0]
            if right[1:]:
                accepted[parameter] = right[1:]
    return GoldenCall(name, arguments, accepted)


def _required(name: str, functions: Any) -> list[str]:
    for function in functions if isinstance(functions, list) else [functions]:
        if isinstance(function, dict) and function.get("name") == name:
            parameters = function.get("parameters")
            required = parameters.get("required") if isinstance(parameters, dict) else None
            return required if isinstance(required, list) else []
    return []


def _spelt_out(value: Any) -> list[Any]:
    """All right values that one stands for: in an object, and in a list's objects, each field has a list of them."""
    if isinstance(value, dict) and value and all(isinstance(inner, list) for inner in value.values()):
        # A field that may be missing has an empty text among its values.
        choices = [[{} if inner == "" else {name: inner} for inner in values] for name, values in value.items()]
        return [
            {name: inner for field in chosen for name, inner in field.items()}
            for chosen in islice(product(*choices), _MOST_COMBINATIONS + 1)
        ]
    if isinstance(value, list) and value and all(isinstance(inner, dict) for inner in value):
        combined = islice(product(*(_spelt_out(inner) for inner in value)), _MOST_COMBINATIONS + 1)
        return [list(chosen) for chosen in combined]
    return [value]
