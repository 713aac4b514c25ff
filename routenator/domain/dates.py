"""Today, as a row's prompt states it, and the words for days and times that are meant relative to it.

A domain whose ``domain.yaml`` has ``today`` draws a day for each row. A prompt then begins with a sentence that says
which day it is (``asked``), so that "tomorrow at nine" has one right value. The grammars of such phrases name the day
by references that no file can write, ``@FORM.OFFSET``: the text of the day so many days after today, in one of
``FORMS``. Every text that such a reference can have is known beforehand: one for each day of the range.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache

from routenator import grammar
from routenator.domain.domain import Phrase
from routenator.domain.rules import Days, SlotRule

MARK = "@"  # begins the name of a reference to a day
DATE, TIME, ON, AT = "date", "time", "on", "at"  # names in patterns
FORMS = (DATE, "weekday", "month", "day", "ordinal")
_SUFFIXES = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}


def asked(query: str, today: str | None) -> str:
    """The user's message as a prompt has it: the query, after a sentence that states the day if there is one.

    Args:
        today: ISO date.
    """
    return query if today is None else statement(today) + query


@cache
def statement(today: str) -> str:
    """The sentence that states a day, with the space after it."""
    return f"Today is {_WEEKDAYS[datetime.date.fromisoformat(today).weekday()]}, {today}. "


_WEEKDAYS = tuple(datetime.date(2024, 1, day).strftime("%A") for day in range(1, 8))  # 1 January 2024 was a Monday


def is_day(text: object) -> bool:
    """Whether a value is an ISO date, such as 2026-03-05."""
    if not isinstance(text, str):
        return False
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def iso_days(days: Days) -> list[str]:
    """All days that a row's today can be, in order."""
    return day_texts(days, f"{MARK}{DATE}.0")


def day_texts(days: Days, reference: str) -> list[str]:
    """The texts of a reference, one for each day that today can be."""
    form, _, offset = reference.removeprefix(MARK).partition(".")
    first = days.from_.toordinal() + int(offset)
    return [_text(days, form, datetime.date.fromordinal(first + number)) for number in range(days.count)]


def _text(days: Days, form: str, day: datetime.date) -> str:
    if form == DATE:
        return day.isoformat()
    if form == "weekday":
        return days.weekdays[day.weekday()]
    if form == "month":
        return days.months[day.month - 1]
    return f"{day.day}{_SUFFIXES.get(day.day, 'th') if form == 'ordinal' else ''}"


def relative_phrases(
    rule: SlotRule, days: Days, known: Collection[str], read: Callable[[str, str, Collection[str]], grammar.Node]
) -> Iterator[Phrase]:
    """The phrases of a slot whose values are days relative to today, or times on such days.

    Args:
        known: names that phrases may have besides ``FORMS``.
        read: parses the text of a grammar, given its place in the rule and the names that it may have.
    """
    timed = rule.relative == TIME
    text = rule.sent or ("{date}T{time}:00" if timed else "{date}")
    sent = read(text, "sent", (DATE, TIME) if timed else (DATE,))
    frame = read(rule.surface or "{on} {at}", "surface", (ON, AT))
    times: list[tuple[str, float, grammar.Node | None]] = [
        (time, 1 / len(phrases), read(phrase, f"at.{time}", known))
        for time, phrases in (rule.at or {}).items()
        for phrase in phrases
    ]
    for offset, phrases in (rule.said or {}).items():
        weight = rule.weights.get(offset, 0.0 if rule.weights else 1.0) / len(phrases or [""])
        first = day_texts(days, f"{MARK}{DATE}.{offset}")[0]
        for phrase in phrases or [""]:
            day = _dated(read(phrase, f"said.{offset}", (*known, *FORMS)), int(offset))
            for time, share, at in times or [("", 1.0, None)]:
                said = day if phrase.strip() else None
                if at is not None:
                    said = _filled(frame, {ON: day, AT: at})
                yield Phrase(
                    text.replace("{date}", first).replace("{time}", time),
                    weight * share,
                    said,
                    _dated(_filled(sent, {TIME: grammar.Text(time)}), int(offset)),
                )


def _dated(node: grammar.Node, offset: int) -> grammar.Node:
    """A grammar with its references to ``FORMS`` meaning the day so many days after today."""
    return _filled(node, {form: grammar.Reference(f"{MARK}{form}.{offset}") for form in FORMS})


def _filled(node: grammar.Node, parts: Mapping[str, grammar.Node]) -> grammar.Node:
    """A grammar with some references replaced by grammars."""

    def all_of(nodes: Sequence[grammar.Node]) -> tuple[grammar.Node, ...]:
        return tuple(_filled(each, parts) for each in nodes)

    makers: dict[type, Callable[[], grammar.Node]] = {
        grammar.Reference: lambda: parts.get(node.name, node),  # type: ignore[union-attr]
        grammar.Sequence: lambda: grammar.Sequence(all_of(node.parts)),  # type: ignore[union-attr]
        grammar.Permutation: lambda: grammar.Permutation(all_of(node.parts)),  # type: ignore[union-attr]
        grammar.Choice: lambda: grammar.Choice(all_of(node.options)),  # type: ignore[union-attr]
        grammar.Conditional: lambda: grammar.Conditional(_filled(node.part, parts)),  # type: ignore[union-attr]
    }
    return makers.get(type(node), lambda: node)()
