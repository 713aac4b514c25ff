"""Compares one predicted call with the gold call.

Independent of any domain: the function says which parameter is the category and which the subprompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from routenator.domain.functions import Function, check_call
from routenator.domain.golden import GoldenExample
from routenator.evaluation.parse import Reply

NONE = "(none)"  # label of a reply that calls no function of the API
ERRORS = (
    "unparsable",
    "wrong_function",
    "missing_parameter",
    "unexpected_parameter",
    "wrong_type",
    "not_in_enum",
    "wrong_value",
)


def same(left: Any, right: Any) -> bool:
    """Whether argument values are equal: strings ignoring case and whitespace, numbers by value, never across types."""
    if isinstance(left, str) and isinstance(right, str):
        return normal(left) == normal(right)
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return bool(left == right)


def normal(text: str) -> str:
    """Fold case and collapse whitespace."""
    return " ".join(text.casefold().split())


@dataclass(frozen=True)
class Verdict:
    """Comparison of a model's reply to one golden query with the gold call.

    Attributes:
        function: the predicted function; ``NONE`` if the reply calls no function of the API.
        exact: True if function and arguments are the same.
        category: gold and predicted value of the category parameter, normalised; None if the gold call has none. The
            predicted value is ``NONE`` if the function differs or the parameter is missing.
        subprompt: gold and predicted text of the subprompt parameter; None if the gold call has none. The predicted
            text is the *predicted* function's subprompt, None if it is blank or missing. So a wrong function is
            penalised by F1 and not here again.
        matched, predicted, gold: number of argument pairs (name and value) in common, in the predicted call, and in the
            gold call; none are in common if the function differs.
        errors: (kind, parameter) in a stable order; kinds are ``ERRORS``.
    """

    function: str
    exact: bool
    category: tuple[str, str] | None
    subprompt: tuple[str, str | None] | None
    matched: int
    predicted: int
    gold: int
    errors: tuple[tuple[str, str], ...]

    @property
    def category_right(self) -> bool | None:
        """True if function and category are right; None if the gold call has no category."""
        return None if self.category is None else self.category[0] == self.category[1]


def judge_reply(example: GoldenExample, reply: Reply, functions: Mapping[str, Function]) -> Verdict:
    """Compare a reply with the gold call, of several right ones with the nearest."""
    gold = functions[example.name]
    arguments = reply.arguments or {}
    function = functions.get(reply.name or "")
    right = function is gold
    if right and example.accepted:
        example = _nearest(example, arguments)
    category = None
    if gold.category is not None and gold.category in example.arguments:
        value = arguments.get(gold.category) if right else None
        category = (normal(_text(example.arguments[gold.category])), NONE if value is None else normal(_text(value)))
    subprompt = None
    if gold.subprompt is not None and gold.subprompt in example.arguments:
        value = arguments.get(function.subprompt) if function is not None and function.subprompt else None
        said = _text(value) if value is not None else ""
        subprompt = (_text(example.arguments[gold.subprompt]), said if said.strip() else None)
    errors = _errors(example, reply, gold) if right or reply.name is None else [("wrong_function", "")]
    matched = (
        sum(name in arguments and same(value, arguments[name]) for name, value in example.arguments.items())
        if right
        else 0
    )
    return Verdict(
        function=function.name if function is not None else NONE,
        exact=right and not errors,
        category=category,
        subprompt=subprompt,
        matched=matched,
        predicted=len(arguments),
        gold=len(example.arguments),
        errors=tuple(errors),
    )


def _nearest(example: GoldenExample, said: Mapping[str, Any]) -> GoldenExample:
    """The golden example with those of its other right values that the reply has."""
    chosen = {
        name: said[name]
        for name, values in example.accepted.items()
        if name in said and any(same(value, said[name]) for value in values)
    }
    return replace(example, arguments={**example.arguments, **chosen})


def _errors(example: GoldenExample, reply: Reply, function: Function) -> list[tuple[str, str]]:
    """Errors of the arguments, one per parameter: the most basic one if there are several."""
    if reply.arguments is None:
        return [("unparsable", "")]
    refused = {error.parameter: error.kind for error in reversed(check_call(function, reply.arguments))}
    errors = []
    for name, value in example.arguments.items():
        if name not in reply.arguments:
            errors.append(("missing_parameter", name))
        elif refused.get(name) == "type":
            errors.append(("wrong_type", name))
        elif refused.get(name) == "enum" and not same(value, reply.arguments[name]):
            errors.append(("not_in_enum", name))
        elif not same(value, reply.arguments[name]):
            errors.append(("wrong_value", name))
    errors.extend(("unexpected_parameter", name) for name in reply.arguments if name not in example.arguments)
    return errors


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)
