"""Turns queries into observations that can be counted. A query's words do not leave this module."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routenator.authoring.goldenset import LeftOut, records_of, usable
from routenator.authoring.records import Source
from routenator.domain.domain import Domain
from routenator.domain.golden import GoldenCall, parse_example
from routenator.domain.schema import NO_CATEGORY
from routenator.errors import InputError, InputErrors
from routenator.jsontext import BadJsonError, loads
from routenator.language import SURE, base_code, detect, detect_among
from routenator.validation.segments import count_words
from routenator.validation.text import find_words, third_of
from routenator.wording.labeller import Labeller

_PUNCTUATION = frozenset(",.?!;:")
_SHOWN = 20
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Observation:
    """Everything that is counted of one query.

    Attributes:
        function: that of its call, or a guess; None if the guess is unsure, and for no call and several.
        calls: number of its calls; None if unknown.
        guessed: whether the function was guessed because there is no call.
        category: ``none`` if the call has none; None if unknown.
        slots: the call's parameters; None without a call.
        words: number of words.
        third: part of the query that names the category: first, middle or last; None if it does not.
        language: one of the domain's, another one if that is certain, or None.
        lowercase: whether it has letters but no capitals.
        bare: whether it has none of the characters , . ? ! ; :
    """

    function: str | None
    calls: int | None
    guessed: bool
    category: str | None
    slots: frozenset[str] | None
    words: int
    third: str | None
    language: str | None
    lowercase: bool
    bare: bool


def read_queries(
    source: Source, domain: Domain, left: LeftOut, forced: str | None = None
) -> Iterator[tuple[str, tuple[GoldenCall, ...] | None]]:
    """Yield (query, calls) of each record; calls is None where the file does not say any.

    Unlike a golden set, a sample may contain a query several times: its frequency is what we count. In our own format
    every line must be right; other tools' files may hold what we cannot use, and what that is, is counted.

    Args:
        left: gets what is left out: queries of a number of calls that the domain's statistics do not have, and what
            other formats hold besides.
        forced: the format; None: recognise it.

    Raises:
        InputError / InputErrors: a missing or empty file; what is not of the format; in golden files also calls that
        violate the API's schema.
    """
    name, records = records_of(source, forced)
    if name == "golden":
        yield from _golden(source, domain, left)
        return
    found = False
    for record in usable(records, left, domain.functions):
        place, query, calls = record.place, record.query, record.calls
        if calls is not None and any(call.name not in domain.rules for call in calls):
            left.add("no rule", place)
        elif _counted(calls, domain, left, place):
            found = True
            yield query, calls
    if not found:
        raise InputError(
            "the file has no queries that can be counted",
            file=source.file,
            found="; ".join(left.lines()) or "0 queries",
            expected="queries with calls, or without any known",
        )


def _counted(calls: tuple[GoldenCall, ...] | None, domain: Domain, left: LeftOut, place: str) -> bool:
    if calls is None or len(calls) in domain.statistics.calls:
        return True
    left.add("several calls" if calls else "no call", place)
    return False


def _golden(source: Source, domain: Domain, left: LeftOut) -> Iterator[tuple[str, tuple[GoldenCall, ...] | None]]:
    errors: list[InputError] = []
    found, file = 0, source.file
    for number, line in enumerate(source.text.split("\n"), 1):
        if not line.strip():
            continue
        found += 1
        try:
            row = _query_only(line)
            if row is not None:
                yield row, None
                continue
            example = parse_example(line, file, number, domain.functions)
            for name in (call.name for call in example.calls if call.name not in domain.rules):
                what, where = "this function has no rule in domain.yaml", f"line {number}, name"
                raise InputError(what, file=file, key=where, found=name, valid=domain.rules)
            if _counted(example.calls, domain, left, f"line {number}"):
                yield example.query, example.calls
        except InputErrors as several:
            errors.extend(several.errors)
        except InputError as error:
            errors.append(error)
        if len(errors) >= _SHOWN:
            break
    if errors:
        raise errors[0] if len(errors) == 1 else InputErrors(errors[:_SHOWN])
    if not found:
        raise InputError("the file has no queries", file=file, found="0 queries", expected="at least one")


def _query_only(line: str) -> str | None:
    """The query of a line that has a query but no calls; None for any other line."""
    try:
        row = loads(line)
    except BadJsonError:
        return None
    if (
        not isinstance(row, dict)
        or {"call", "calls"} & row.keys()
        or not isinstance(row.get("query"), str)
        or not row["query"].strip()
    ):
        return None
    return str(row["query"])


class Observer:
    """Turns queries into observations.

    Args:
        domain: the domain whose API the queries were meant for.
        labeller: guesses the function of queries without a call.
    """

    def __init__(self, domain: Domain, labeller: Labeller) -> None:
        self.domain, self.labeller = domain, labeller
        self.languages = {base_code(language): language for language in domain.statistics.languages}
        self.said = {function: _surfaces(domain, function) for function in domain.rules}

    def count(
        self, file: Path, *, form: str | None = None, answers: Path | None = None, left: LeftOut | None = None
    ) -> Counter[Observation]:
        """Count the observations of a file.

        Args:
            form: the file's format; None: recognise it.
            answers: the second file of a format that has two; None: found beside the first.
            left: gets what is left out.

        Raises:
            InputError / InputErrors: as ``read_queries``.
        """
        source = Source(file, self.domain.functions, answers)
        left = LeftOut() if left is None else left
        seen: Counter[Observation] = Counter()
        unlabelled: list[str] = []
        for query, calls in read_queries(source, self.domain, left, form):
            if calls is None:
                unlabelled.append(query)
            elif len(calls) == 1:
                seen[self._labelled(query, calls[0].name, calls[0].arguments)] += 1
            else:
                seen[self._observation(query, None, False, None, None, None, len(calls))] += 1
        if unlabelled:
            for query, guess in zip(unlabelled, self.labeller.guess(unlabelled), strict=True):
                seen[self._guessed(query, guess)] += 1
        return seen

    def _labelled(self, query: str, function: str, arguments: Mapping[str, Any]) -> Observation:
        parameter = self.domain.functions[function].category
        value = arguments.get(parameter) if parameter else None
        third = None
        if self.domain.rules[function].category is None or (parameter and value is None):
            category: str | None = NO_CATEGORY
        elif parameter is None:
            category = None  # the call does not contain it
        else:
            said = _words(str(value))
            category = self.said[function].get(said)
            others = [words for words, name in self.said[function].items() if name == category] if category else []
            third = third_of(_words(query), [said, *others])
        return self._observation(query, function, False, category, frozenset(arguments), third, 1)

    def _guessed(self, query: str, function: str | None) -> Observation:
        if function is None:
            return self._observation(query, None, True, None, None, None)
        words = _words(query)
        table = self.said[function]
        # If a query names several categories, the longest name is the most likely one ("business card", not "card").
        found = max((said for said in table if find_words(said, words) >= 0), key=len, default=None)
        if found is None:
            return self._observation(query, function, True, None, None, None)
        return self._observation(query, function, True, table[found], None, third_of(words, [found]))

    def _observation(
        self,
        query: str,
        function: str | None,
        guessed: bool,
        category: str | None,
        slots: frozenset[str] | None,
        third: str | None,
        calls: int | None = None,
    ) -> Observation:
        language = self._language(query)
        return Observation(
            function=function,
            calls=calls,
            guessed=guessed,
            category=category,
            slots=slots,
            words=count_words(query, language or ""),
            third=third,
            language=language,
            lowercase=query == query.lower() and any(sign.isalpha() for sign in query),
            bare=not _PUNCTUATION & set(query),
        )

    def _language(self, query: str) -> str | None:
        text = " ".join(query.split())
        found, score = detect(text)
        if found in self.languages:
            return self.languages[found]
        if score >= SURE:
            return found
        nearest = detect_among(text, self.languages)
        return None if nearest is None else self.languages[nearest]


def _surfaces(domain: Domain, function: str) -> dict[tuple[str, ...], str]:
    """Map the words of every wording of a category to the category."""
    if domain.rules[function].category is None:
        return {}
    table: dict[tuple[str, ...], str] = {}
    for category in domain.categories_of(function):
        if category != NO_CATEGORY:
            own = (surface for view in domain.every_view for surface in view.category_surfaces(function, category))
            for surface in (category, *own):
                table.setdefault(_words(surface), category)
    return table


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower()))
