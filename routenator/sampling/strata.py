"""The target distribution as strata with exact integer quotas.

A stratum is function x category x route x template x length bucket x language. Quotas are assigned top down: function,
then category within the function (both by largest remainder, so exact at every size), then length and language within
the category, route within that cell, template within the route. A cell can have fewer rows than parts; its parts are
rounded with error diffusion: each share is rounded down or up, and up where the totals over the previous cells are
furthest behind. So the totals by length, language, route and template also stay within a row or two of their shares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from routenator.config import RunConfig
from routenator.domain.domain import Domain
from routenator.domain.schema import NO_CATEGORY
from routenator.domain.templates import Template
from routenator.errors import InputError, StageError
from routenator.routes import ROUTES

K = TypeVar("K")
KEY = ("function", "category", "route", "template", "length", "language")  # of a stratum


@dataclass(frozen=True)
class Stratum:
    """One cell of the target distribution.

    Attributes:
        target: its share of the data set.
        quota: its rows in the final data set; quotas add up to exactly dataset.size.
        requested: rows to sample: quota times the route's oversampling, rounded up.
    """

    stratum: int
    function: str
    category: str
    route: str
    template: str
    length: str
    language: str
    target: float
    quota: int
    requested: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def normalise(weights: Mapping[str, float]) -> dict[str, float]:
    """Convert weights to shares, dropping zeros."""
    total = math.fsum(weights.values())
    return {name: weight / total for name, weight in weights.items() if weight > 0}


def largest_remainder(shares: Sequence[float], total: int) -> list[int]:
    """Integers in proportion to ``shares`` that add up to ``total`` (Hamilton's method); ties go to the earlier one.

    Args:
        shares: non-negative, adding up to about 1.
        total: rows to distribute, 0 or more.
    """
    scale = math.fsum(shares)
    exact = [share / scale * total for share in shares]
    counts = [math.floor(value) for value in exact]
    # Round, so that floating-point noise of the division does not decide the order.
    order = sorted(range(len(shares)), key=lambda i: (-round(exact[i] - counts[i], 9), i))
    for position in order[: total - sum(counts)]:
        counts[position] += 1
    return counts


class Diffusion:
    """Splits totals in proportion to shares over many calls, keeping the sums along several margins on target."""

    def __init__(self) -> None:
        self._owed: dict[Any, float] = {}

    def split(self, shares: Mapping[K, float], total: int, cell: tuple[str, ...] = ()) -> dict[K, int]:
        """Split ``total`` rows: each part is its share rounded down or up.

        Args:
            shares: part -> share, adding up to about 1.
            total: rows to distribute, 0 or more.
            cell: names of this cell; not only each part's overall sum but also its sum with each of these names
                follows its share.
        """
        margins: dict[K, list[tuple[Any, ...]]] = {part: [(part,), *((part, name) for name in cell)] for part in shares}
        scale = math.fsum(shares.values())
        exact = {part: share / scale * total for part, share in shares.items()}
        counts = {part: math.floor(value + 1e-9) for part, value in exact.items()}
        # Round, so that floating-point noise of the sums does not decide the order.
        owed = {
            part: round(exact[part] - counts[part] + sum(self._owed.get(m, 0.0) for m in margins[part]), 9)
            for part in exact
        }
        left = total - sum(counts.values())
        for part in sorted((p for p in exact if exact[p] > 0), key=lambda p: -owed[p])[:left]:
            counts[part] += 1
        for part, count in counts.items():
            for margin in margins[part]:
                self._owed[margin] = self._owed.get(margin, 0.0) + exact[part] - count
        return counts


def category_shares(domain: Domain, function: str) -> dict[str, float]:
    """P(category | function). If the category parameter is optional, calls without it have the category ``none``."""
    if domain.joint is not None:
        return domain.joint.categories(function)
    rule = domain.rules[function]
    parameter = domain.functions[function].category
    if rule.category is None:
        return {NO_CATEGORY: 1.0}
    shares = normalise(domain.statistics.categories[function])
    if parameter is None or parameter in domain.functions[function].required or parameter not in rule.slots:
        return shares
    present = domain.statistics.slots.get(function, {}).get(parameter, 1.0)
    table = {category: share * present for category, share in shares.items()}
    table[NO_CATEGORY] = 1.0 - present
    return normalise(table)


def route_shares(domain: Domain, config: RunConfig, function: str) -> dict[str, float]:
    """P(route | function), from the config's override or else the statistics."""
    override = config.generate.routes
    return normalise({str(k): v for k, v in (override or domain.statistics.routes[function]).items()})


def build_strata(domain: Domain, config: RunConfig, requested: Sequence[int] | None = None) -> list[Stratum]:
    """Build the strata of a run that have a quota of at least one row, numbered in a stable order.

    Args:
        requested: a plan's numbers of rows to sample per stratum; replaces quota times the route's oversampling.

    Raises:
        InputError: a route or a cell that no template serves; fewer rows than population cells of function and
            category.
    """
    size = config.dataset.size
    _check_routes(domain, config)
    functions = normalise(domain.statistics.functions)
    rows: list[tuple[tuple[str, str, str, str, str, str], float, int]] = []
    for (function, share), quota in zip(
        functions.items(), largest_remainder(list(functions.values()), size), strict=True
    ):
        categories = category_shares(domain, function)
        cells, routes, templates = Diffusion(), Diffusion(), Diffusion()
        for (category, p), rows_of in zip(
            categories.items(), largest_remainder(list(categories.values()), quota), strict=True
        ):
            inner = length_language_shares(domain, function, category)
            for (length, language), count in cells.split(inner, rows_of).items():
                parts = _route_template_shares(domain, config, function, category, length, language)
                by_route: dict[str, dict[str, float]] = {}
                for (route, template), q in parts.items():
                    by_route.setdefault(route, {})[template] = q
                shares = {route: math.fsum(table.values()) for route, table in by_route.items()}
                for route, routed in routes.split(shares, count, (length, category)).items():
                    for template, final in templates.split(normalise(by_route[route]), routed, (length,)).items():
                        target = share * p * inner[length, language] * parts[route, template]
                        rows.append(((function, category, route, template, length, language), target, final))
    cells_with_share = sum(len(category_shares(domain, function)) for function in functions)
    if size < cells_with_share:
        raise InputError(
            "too few rows: every pair of function and category needs at least one",
            key="dataset.size",
            found=size,
            expected=f"at least {cells_with_share}",
        )
    strata: list[Stratum] = []
    for key, target, count in rows:
        if count > 0:
            flat = math.ceil(count * config.generate.oversample.get(key[2], 1.0))
            strata.append(Stratum(len(strata), *key, target=target, quota=count, requested=flat))
    return strata if requested is None else with_requested(strata, requested)


def with_requested(strata: Sequence[Stratum], requested: Sequence[int]) -> list[Stratum]:
    """Replace the numbers of rows to sample.

    Raises:
        StageError: as many numbers as strata are needed; otherwise they come from another domain or other code.
    """
    if len(strata) != len(requested):
        raise StageError(f"the plan has row counts for {len(requested)} strata, but there are {len(strata)}")
    return [replace(stratum, requested=int(rows)) for stratum, rows in zip(strata, requested, strict=True)]


def target_shares(domain: Domain, config: RunConfig) -> dict[tuple[str, str, str, str, str, str], float]:
    """The target itself: (function, category, route, template, length, language) -> share, adding up to 1.

    Unlike ``build_strata``, this includes strata that are too rare to get a row at this size.
    """
    return {
        (function, category, route, template, length, language): share * p_category * p_cell * q
        for function, share in normalise(domain.statistics.functions).items()
        for category, p_category in category_shares(domain, function).items()
        for (length, language), p_cell in length_language_shares(domain, function, category).items()
        for (route, template), q in _route_template_shares(domain, config, function, category, length, language).items()
    }


def length_language_shares(domain: Domain, function: str, category: str) -> dict[tuple[str, str], float]:
    """P(length, language | function, category); without a joint target, the same for all categories."""
    if domain.joint is not None:
        return domain.joint.cells(function, category)
    return {
        (length, language): q * r
        for length, q in normalise(domain.statistics.lengths[function]).items()
        for language, r in normalise(domain.statistics.languages).items()
    }


def heuristic_templates(domain: Domain, function: str, language: str) -> list[Template]:
    """Heuristic templates that can draft a query of this function in this language."""
    return [
        template
        for template in domain.templates.values()
        if template.grammar is not None
        and function in template.functions
        and template.weight > 0
        and (template.languages is None or language in template.languages)
    ]


def _suits(template: Template, config: RunConfig) -> bool:
    return template.suits(config.model.engine_for(template.route))


def _check_routes(domain: Domain, config: RunConfig) -> None:
    if config.generate.routes is not None and not any(config.generate.routes.values()):
        raise InputError(
            "all weights are zero",
            key="generate.routes",
            found=config.generate.routes,
            expected="at least one above 0",
        )
    for function in normalise(domain.statistics.functions):
        served = {
            t.route for t in domain.templates.values() if function in t.functions and t.weight > 0 and _suits(t, config)
        }
        for route in route_shares(domain, config, function):
            if route not in served:
                raise InputError(
                    f"no template of route {route} serves {function}",
                    file=domain.path / "statistics.yaml", key=f"routes.{function}.{route}", found=route, valid=served,
                )  # fmt: skip
            if ROUTES[route].has_image and not domain.records:
                raise InputError(
                    f"the {route} route has a share, but there is no metadata to make images from",
                    file=domain.path / "metadata.jsonl", key=f"routes.{function}.{route}", found="0 records",
                    expected="at least one",
                )  # fmt: skip
        for language in normalise(
            domain.statistics.languages if domain.joint is None else domain.joint.languages(function)
        ):
            if not heuristic_templates(domain, function, language):
                raise InputError(
                    f"{function} has no heuristic template for the language {language}, "
                    "and every route starts from a heuristic draft",
                    file=domain.path / "templates" / "heuristic", found="none", expected="at least one",
                )  # fmt: skip


def _route_template_shares(
    domain: Domain, config: RunConfig, function: str, category: str, length: str, language: str
) -> dict[tuple[str, str], float]:
    """P(route, template | cell). The share of a route without a template for this cell goes to the other routes."""
    shares: dict[tuple[str, str], float] = {}
    for route, share in route_shares(domain, config, function).items():
        serving = {
            t.name: t.weight
            for t in domain.templates.values()
            if t.route == route and t.serves(function, category, length, language) and _suits(t, config)
        }
        for name, part in normalise(serving).items() if serving else ():
            shares[route, name] = share * part
    if not shares:
        raise InputError(
            "no template serves this cell of the target distribution",
            file=domain.path / "templates",
            found=f"{function} x {category} x {length} x {language}",
            expected="a template whose functions, categories, lengths and languages admit it",
        )
    scale = math.fsum(shares.values())
    return {key: value / scale for key, value in shares.items()}
