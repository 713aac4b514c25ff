"""Checks of the population statistics: names that the domain has, complete tables, no contradictions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from routenator.domain.domain import Domain
from routenator.domain.quantiles import in_order
from routenator.domain.resolve import TOLERANCE
from routenator.domain.slots import every
from routenator.errors import InputError
from routenator.language import is_language


def check_statistics(domain: Domain) -> None:
    """Refuse statistics with unknown names, missing tables or contradictions.

    Raises:
        InputError: with file, key, found, expected.
    """
    file = domain.path / "statistics.yaml"
    statistics = domain.statistics
    if not statistics.functions:
        raise InputError("missing key", file=file, key="functions", found="nothing", expected="shares, or a joint")
    _check_languages(statistics.languages, file)
    _positive(statistics.languages, "languages", file)
    _positive(statistics.functions, "functions", file)
    _names(statistics.functions, domain.functions, "functions", "the API has no such function", file)
    _names(statistics.functions, domain.rules, "functions", "this function has no rule in domain.yaml", file)
    _check_buckets(statistics.length_buckets, file)
    for section in ("categories", "lengths", "word_quantiles", "routes", "slots", "keyword_position"):
        _names(getattr(statistics, section), domain.functions, section, "the API has no such function", file)
    for function in statistics.functions:
        _check_slots(domain, function, file)
        _check_keyword(domain, function, file)
        _check_quantiles(domain, function, file)
        if domain.rules[function].category is None and statistics.categories.get(function):
            raise InputError(
                "this function has categories but no category rule", file=file, key=f"categories.{function}"
            )
    for function, share in statistics.functions.items():
        if share <= 0:
            continue
        for section in ("lengths", "routes"):
            table = getattr(statistics, section).get(function)
            if table is None:
                raise InputError(
                    "missing key", file=file, key=f"{section}.{function}", found="nothing", expected="shares"
                )
            _positive(table, f"{section}.{function}", file)
        _names(
            statistics.lengths[function],
            statistics.length_buckets,
            f"lengths.{function}",
            "undeclared length bucket",
            file,
        )
        if domain.rules[function].category is not None:
            _check_categories(domain, function, file)


def _names(table: Iterable[str], valid: Iterable[str], key: str, what: str, file: Path) -> None:
    known = set(valid)
    for name in table:
        if name not in known:
            raise InputError(what, file=file, key=f"{key}.{name}", found=name, valid=known)


def _positive(table: Mapping[Any, float], key: str, file: Path) -> None:
    if not any(weight > 0 for weight in table.values()):
        raise InputError("all weights are zero", file=file, key=key, found=dict(table), expected="at least one above 0")


def _check_languages(languages: Mapping[str, float], file: Path) -> None:
    for name in languages:
        if not is_language(name):
            raise InputError(
                "not a language code",
                file=file,
                key=f"languages.{name}",
                found=name,
                expected="a code such as en or pt-BR",
            )


def _check_buckets(buckets: Mapping[str, tuple[int, int]], file: Path) -> None:
    before: tuple[str, int] | None = None
    for bucket, (low, high) in sorted(buckets.items(), key=lambda item: item[1]):
        key = f"length_buckets.{bucket}"
        if low > high:
            raise InputError("empty length bucket", file=file, key=key, found=f"[{low}, {high}]")
        if before is not None and low <= before[1]:
            raise InputError(
                "two length buckets overlap, so a query may fall into both",
                file=file, key=key, found=f"[{low}, {high}]",
                expected=f"words above {before[1]}, where {before[0]} ends",
            )  # fmt: skip
        before = (bucket, high)


def _check_slots(domain: Domain, function: str, file: Path) -> None:
    shares = domain.statistics.slots.get(function, {})
    slots = {slot.name: slot for slot in every(domain.slots[function]) if slot.key}
    _names(shares, slots, f"slots.{function}", "no such slot", file)
    for slot, share in shares.items():
        if slots[slot].required and share != 1.0:
            raise InputError(
                "a share below 1 for a required parameter",
                file=file, key=f"slots.{function}.{slot}", found=share, expected="1, or no entry: the API requires it",
            )  # fmt: skip


def _check_keyword(domain: Domain, function: str, file: Path) -> None:
    table = domain.statistics.keyword_position.get(function)
    if table is None:
        return
    key = f"keyword_position.{function}"
    if domain.functions[function].category not in domain.rules[function].slots:
        raise InputError(
            "keyword positions for a function whose calls have no category", file=file, key=key, found=dict(table)
        )
    _positive(table, key, file)


def _check_quantiles(domain: Domain, function: str, file: Path) -> None:
    """Check that quantiles rise, and that they agree with the length shares if both are given."""
    statistics = domain.statistics
    quantiles = statistics.word_quantiles.get(function, {})
    in_order(function, quantiles, file)
    shares, buckets = statistics.lengths.get(function, {}), statistics.length_buckets
    total = math.fsum(shares.values())
    if not quantiles or not total:
        return
    lowest, highest = min(b[0] for b in buckets.values()), max(b[1] for b in buckets.values())
    for share, given in quantiles.items():
        words = min(max(given, lowest), highest)  # queries outside all buckets count towards the nearest one
        for bucket, (_, high) in buckets.items():
            mass = math.fsum(shares.get(name, 0.0) for name, (_, last) in buckets.items() if last <= high) / total
            # At least `share` of the queries have at most `words` words, and fewer than `share` have fewer.
            if (words <= high and mass < share - TOLERANCE) or (words > high and mass > share + TOLERANCE):
                raise InputError(
                    "the statistics contradict each other",
                    file=file, key=f"word_quantiles.{function}.{share:g}", found=f"{given} words",
                    expected=f"what lengths.{function} allows: "
                    f"{mass:.1%} of its queries have at most {high} words ({bucket})",
                )  # fmt: skip


def _check_categories(domain: Domain, function: str, file: Path) -> None:
    """Check that a function with a category has shares, and that each category is in the API and in the graph."""
    shares = domain.statistics.categories.get(function)
    if not shares:
        if domain.joint is not None:
            return  # by the joint, none of its calls has a category
        raise InputError("missing key", file=file, key=f"categories.{function}", found="nothing", expected="shares")
    parameter = domain.functions[function].category
    enum = domain.functions[function].names(parameter) if parameter else None
    reachable = domain.reachable_categories(function)
    for category, share in shares.items():
        key = f"categories.{function}.{category}"
        if enum is not None and category not in enum:
            raise InputError("the API has no such category", file=file, key=key, found=category, valid=enum)
        if share > 0 and category not in reachable:
            raise InputError("no node stands for this category", file=file, key=key, found=category, valid=reachable)
    _positive(shares, f"categories.{function}", file)
