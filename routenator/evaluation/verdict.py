"""Compares the calls of a reply with the gold calls.

Independent of any domain: the functions say which parameter is the category and which the subprompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from routenator.chat.replies import Reply
from routenator.domain.calls import Call
from routenator.domain.functions import Function, check_call
from routenator.domain.golden import GoldenCall, GoldenExample
from routenator.domain.schema import NO_CALL
from routenator.evaluation import berkeley

Match = Literal["own", "berkeley"]  # the rule for right values: `evaluate.match`
NONE = "(none)"  # label of a call of a function that the API does not have, and of a reply that cannot be read
ERRORS = (
    "unparsable",
    "missing_call",
    "extra_call",
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
class CallVerdict:
    """Comparison of one gold call with the predicted call that it was matched with.

    Attributes:
        gold: the gold function; ``NO_CALL`` for an extra call, and for a query that wants no call.
        said: the predicted function; ``NO_CALL`` if none was predicted, ``NONE`` if the API has no such function or the
            reply cannot be read.
        exact: True if function and arguments are the same, or if no call was wanted and none was predicted.
        category: gold and predicted value of the category parameter, normalised; None if the gold call has none. The
            predicted value is ``NONE`` if the function differs or the parameter is missing.
        subprompt: gold and predicted text of the subprompt parameter; None if the gold call has none. The predicted
            text is the *predicted* function's subprompt, None if it is blank or missing. So a wrong function is
            penalised by F1 and not here again.
        similarity: of the two subprompts, once ``metrics.with_similarities`` has computed it.
        matched, predicted, wanted: number of argument pairs (name and value) in common, in the predicted call, and in
            the gold call; none are in common if the function differs.
        errors: (kind, parameter) in a stable order; kinds are ``ERRORS``.
    """

    gold: str
    said: str
    exact: bool = False
    category: tuple[str, str] | None = None
    subprompt: tuple[str, str | None] | None = None
    similarity: float | None = None
    matched: int = 0
    predicted: int = 0
    wanted: int = 0
    errors: tuple[tuple[str, str], ...] = ()

    @property
    def category_right(self) -> bool | None:
        """True if function and category are right; None if the gold call has no category."""
        return None if self.category is None else self.category[0] == self.category[1]


@dataclass(frozen=True)
class Verdict:
    """Comparison of a model's reply to one golden query with the gold calls, in any order.

    Attributes:
        gold: the functions to call; ``NO_CALL`` alone if no call is wanted.
        said: the functions called; ``NO_CALL`` alone for words, ``NONE`` alone for a reply that cannot be read.
        wants_call: whether there is a gold call.
        called: whether the reply has a call.
        calls: the comparison of each gold call, in their order, then of each extra call; one if no call was wanted and
            none predicted.
    """

    gold: tuple[str, ...]
    said: tuple[str, ...]
    wants_call: bool
    called: bool
    calls: tuple[CallVerdict, ...]

    @property
    def exact(self) -> bool:
        """True if all calls are exact and none is missing or extra."""
        return all(call.exact for call in self.calls)

    @property
    def function_right(self) -> bool:
        """True if the same functions are called, each as often."""
        return Counter(self.gold) == Counter(self.said)

    @property
    def missed(self) -> bool:
        """True if a call is wanted and the reply is words."""
        return self.wants_call and not self.called and not self.unparsable

    @property
    def unparsable(self) -> bool:
        return any(kind == "unparsable" for kind, _ in self.errors)

    @property
    def errors(self) -> tuple[tuple[str, str], ...]:
        """The errors of all calls."""
        return tuple(error for call in self.calls for error in call.errors)


def judge_reply(
    example: GoldenExample, reply: Reply, functions: Mapping[str, Function], match: Match = "own"
) -> Verdict:
    """Compare a reply with the gold calls, of several right values with the nearest."""
    rule = _RULES[match]
    asked, called = bool(example.calls), bool(reply.calls)
    if reply.problem is not None:
        wanted = [_judge(call, None, functions, rule, NONE, "unparsable") for call in example.calls]
        none = CallVerdict(NO_CALL, NONE, errors=(("unparsable", ""),))
        return Verdict(example.labels, (NONE,), asked, called, tuple(wanted or [none]))
    # Words are not a call; an API with a function of this very name needs another label for them.
    words = NONE if NO_CALL in functions else NO_CALL
    partners = _match(example.calls, reply.calls, functions, rule)
    calls = [
        _judge(call, None, functions, rule, words, "missing_call")
        if partner is None
        else _judge(call, reply.calls[partner], functions, rule)
        for call, partner in zip(example.calls, partners, strict=True)
    ]
    calls.extend(
        CallVerdict(NO_CALL, _label(call, functions), predicted=len(call.arguments), errors=(("extra_call", ""),))
        for number, call in enumerate(reply.calls)
        if number not in partners
    )
    said = tuple(_label(call, functions) for call in reply.calls) or (words,)
    return Verdict(example.labels, said, asked, called, tuple(calls) or (CallVerdict(NO_CALL, words, exact=True),))


class _Pairs(NamedTuple):
    """The arguments of a gold call beside those of a predicted one.

    Attributes:
        wanted: the gold arguments; of several right values the one that was predicted, if any was.
        right: names of the arguments whose predicted value is right.
    """

    wanted: dict[str, Any]
    right: frozenset[str]


class _Rule(NamedTuple):
    """Says which values are right.

    Attributes:
        pairs: compares the arguments of a call of the right function.
        refused: parameter -> the kind of error that the rule sees in its value before comparing it: type or enum.
    """

    pairs: Callable[[GoldenCall, Mapping[str, Any], Function], _Pairs]
    refused: Callable[[GoldenCall, dict[str, Any], Function], dict[str, str]]


def _label(call: Call, functions: Mapping[str, Function]) -> str:
    return call.name if call.name in functions else NONE


def _match(
    gold: tuple[GoldenCall, ...], said: tuple[Call, ...], functions: Mapping[str, Function], rule: _Rule
) -> list[int | None]:
    """Match calls within a query: first those of the same function, best arguments first, then the others in order.

    Returns:
        For each gold call the index of its predicted call, or None.
    """
    partners: list[int | None] = [None] * len(gold)
    likeness = [
        (-_likeness(wanted, call, functions, rule), place, number)
        for place, wanted in enumerate(gold)
        for number, call in enumerate(said)
        if wanted.name == call.name
    ]
    free = dict.fromkeys(range(len(said)))
    for _, place, number in sorted(likeness):
        if partners[place] is None and number in free:
            partners[place] = number
            del free[number]
    others = iter(list(free))
    return [next(others, None) if partner is None else partner for partner in partners]


def _likeness(gold: GoldenCall, said: Call, functions: Mapping[str, Function], rule: _Rule) -> float:
    """F1 of the argument pairs."""
    wanted, right = rule.pairs(gold, said.arguments, functions[gold.name])
    pairs = len(wanted) + len(said.arguments)
    return 2 * len(right) / pairs if pairs else 1.0


def _judge(
    gold: GoldenCall,
    said: Call | None,
    functions: Mapping[str, Function],
    rule: _Rule,
    label: str = NONE,
    missing: str = "",
) -> CallVerdict:
    """Compare a gold call with its predicted one.

    Args:
        said: the predicted call; None: there is none.
        label, missing: label and kind of error if there is none.
    """
    wanted_function = functions[gold.name]
    function = functions.get(said.name) if said is not None else None
    arguments = said.arguments if said is not None else {}
    same_function = function is wanted_function
    pairs = rule.pairs(gold, arguments, wanted_function) if same_function else _Pairs(gold.arguments, frozenset())
    wanted = pairs.wanted
    category = None
    if wanted_function.category is not None and wanted_function.category in gold.arguments:
        value = arguments.get(wanted_function.category) if same_function else None
        category = (normal(_text(wanted[wanted_function.category])), NONE if value is None else normal(_text(value)))
    subprompt = None
    if wanted_function.subprompt is not None and wanted_function.subprompt in gold.arguments:
        value = arguments.get(function.subprompt) if function is not None and function.subprompt else None
        text = _text(value) if value is not None else ""
        subprompt = (_text(wanted[wanted_function.subprompt]), text if text.strip() else None)
    if said is None:
        errors = [(missing, "")]
    elif same_function:
        errors = _errors(pairs, arguments, rule.refused(gold, arguments, wanted_function))
    else:
        errors = [("wrong_function", "")]
    return CallVerdict(
        gold=gold.name,
        said=label if said is None else _label(said, functions),
        exact=same_function and not errors,
        category=category,
        subprompt=subprompt,
        matched=len(pairs.right),
        predicted=len(arguments),
        wanted=len(wanted),
        errors=tuple(errors),
    )


def _errors(pairs: _Pairs, said: dict[str, Any], refused: Mapping[str, str]) -> list[tuple[str, str]]:
    """Errors of the arguments, one per parameter: the most basic one if there are several."""
    errors = []
    for name in pairs.wanted:
        if name not in said:
            errors.append(("missing_parameter", name))
        elif refused.get(name) == "type":
            errors.append(("wrong_type", name))
        elif name not in pairs.right:
            errors.append(("not_in_enum" if refused.get(name) == "enum" else "wrong_value", name))
    errors.extend(("unexpected_parameter", name) for name in said if name not in pairs.wanted)
    return errors


def _own_pairs(gold: GoldenCall, said: Mapping[str, Any], function: Function) -> _Pairs:
    chosen = {
        name: said[name]
        for name, values in gold.accepted.items()
        if name in said and any(same(value, said[name]) for value in values)
    }
    wanted = {**gold.arguments, **chosen}
    return _Pairs(wanted, frozenset(name for name, value in wanted.items() if name in said and same(value, said[name])))


def _own_refused(gold: GoldenCall, said: dict[str, Any], function: Function) -> dict[str, str]:
    return {error.parameter: error.kind for error in reversed(check_call(function, said))}


def _berkeley_pairs(gold: GoldenCall, said: Mapping[str, Any], function: Function) -> _Pairs:
    found = {name: value for name, value in said.items() if _berkeley_refusal(gold, name, value, function) is None}
    return _Pairs({**gold.arguments, **found}, frozenset(found))


def _berkeley_refused(gold: GoldenCall, said: dict[str, Any], function: Function) -> dict[str, str]:
    refusals = {name: _berkeley_refusal(gold, name, value, function) for name, value in said.items()}
    return {name: "type" for name, refusal in refusals.items() if refusal == "type"}


def _berkeley_refusal(gold: GoldenCall, name: str, value: Any, function: Function) -> str | None:
    optional = name not in gold.arguments
    right = [*([] if optional else [gold.arguments[name]]), *gold.accepted.get(name, ())]
    if name not in function.properties:
        return "value"
    return berkeley.refusal(value, right, function.properties[name], optional)


_RULES: dict[Match, _Rule] = {
    "own": _Rule(_own_pairs, _own_refused),
    "berkeley": _Rule(_berkeley_pairs, _berkeley_refused),
}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)
