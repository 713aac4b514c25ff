"""The target distribution as strata with exact integer quotas.

A stratum is function x category x route x template x length bucket x language, and the number of calls of its rows. For
strata of no call or several see calls.py; of rows with one call, quotas are assigned top down: function,
then category within the function (both by largest remainder, so exact at every size), then language and length within
the category, route within that cell, template within the route. A cell can have fewer rows than parts; its parts are
rounded with error diffusion: each share is rounded down or up, and up where the totals over the previous cells are
furthest behind. So the totals by length, language, route and template also stay within a row or two of their shares.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routenator.config import RunConfig
from routenator.domain.domain import Domain
from routenator.domain.schema import NO_CATEGORY
from routenator.domain.templates import Template
from routenator.errors import InputError, StageError
from routenator.routes import ROUTES
from routenator.sampling.calls import Cell, call_quotas, no_call_cells, row_calls, several_cells
from routenator.sampling.philox import uniforms
from routenator.sampling.shares import Diffusion, largest_remainder, normalise
from routenator.schemas import AND

STREAM_CATEGORY = 13  # of random decisions; distinct from those of sampler and composer
KEY = ("function", "category", "route", "template", "length", "language")  # of a stratum


@dataclass(frozen=True)
class Stratum:
    """One cell of the target distribution.

    Attributes:
        target: its share of the data set.
        quota: its rows in the final data set; quotas add up to exactly dataset.size.
        requested: rows to sample: quota times the route's oversampling, rounded up.
        calls: number of calls of a row. Without one, ``function`` and ``category`` are ``none``; with several,
            ``function`` has their names, see ``functions``.
        hidden: function that the prompts of its rows do not show, so that the query, which asks for it, gets no call.
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
    calls: int = 1
    hidden: str | None = None

    @property
    def functions(self) -> list[str]:
        """The functions of its calls, in order."""
        return [self.function] if self.calls == 1 else self.function.split(AND) if self.calls else []

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


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
    shares = row_calls(domain, config)
    rows = dict(zip(shares, largest_remainder(list(shares.values()), size), strict=True))
    several = several_cells(domain, config, shares, rows)
    quotas = call_quotas(domain, rows, several)
    cells_with_share = sum(len(category_shares(domain, function)) for function in quotas)
    if 1 in rows and rows[1] < cells_with_share:
        raise InputError(
            "too few rows: every pair of function and category needs at least one",
            key="dataset.size",
            found=size,
            expected=f"at least {math.ceil(cells_with_share / shares[1])}",
        )
    cells: list[Cell] = [
        *(_single_cells(domain, config, quotas, shares[1]) if 1 in rows else ()),
        *no_call_cells(domain, config, shares.get(0, 0.0), rows.get(0, 0)),
        *several,
    ]
    strata: list[Stratum] = []
    for cell in cells:
        if cell.quota > 0:
            flat = math.ceil(cell.quota * config.generate.oversample.get(cell.key[2], 1.0))
            strata.append(
                Stratum(
                    len(strata),
                    *cell.key,
                    target=cell.target,
                    quota=cell.quota,
                    requested=flat,
                    calls=cell.calls,
                    hidden=cell.hidden,
                )
            )
    return strata if requested is None else with_requested(strata, requested)


def _single_cells(domain: Domain, config: RunConfig, quotas: Mapping[str, int], share: float) -> Iterator[Cell]:
    """The cells of rows with one call.

    Args:
        quotas: rows of each function.
        share: of the rows that have one call.
    """
    functions, tongues = normalise(domain.statistics.functions), Diffusion()
    for function, quota in quotas.items():
        categories = category_shares(domain, function)
        cells, routes, templates = Diffusion(), Diffusion(), Diffusion()
        for (category, p), rows_of in zip(
            categories.items(), largest_remainder(list(categories.values()), quota), strict=True
        ):
            inner = length_language_shares(domain, function, category)
            for (length, language), count in _split(inner, rows_of, tongues, cells).items():
                parts = _route_template_shares(domain, config, function, category, length, language)
                by_route: dict[str, dict[str, float]] = {}
                for (route, template), q in parts.items():
                    by_route.setdefault(route, {})[template] = q
                shares = {route: math.fsum(table.values()) for route, table in by_route.items()}
                for route, routed in routes.split(shares, count, (length, category)).items():
                    for template, final in templates.split(normalise(by_route[route]), routed, (length,)).items():
                        target = share * functions[function] * p * inner[length, language] * parts[route, template]
                        key = (function, category, route, template, length, language)
                        yield Cell(key, target, final)


def _split(
    inner: Mapping[tuple[str, str], float], rows: int, tongues: Diffusion, cells: Diffusion
) -> dict[tuple[str, str], int]:
    """Split the rows of a function and category among its cells of length and language.

    Args:
        tongues: of all functions, so that the languages' totals stay within a row or two of their shares.
        cells: of one function.
    """
    languages: dict[str, float] = {}
    for (_, language), share in inner.items():
        languages[language] = languages.get(language, 0.0) + share
    if len(languages) == 1:
        return cells.split(inner, rows)
    found: dict[tuple[str, str], int] = {}
    for language, count in tongues.split(languages, rows).items():
        lengths = {length: share for (length, spoken), share in inner.items() if spoken == language}
        found |= {(length, language): part for length, part in cells.split(lengths, count, (language,)).items()}
    return found


def with_requested(strata: Sequence[Stratum], requested: Sequence[int]) -> list[Stratum]:
    """Replace the numbers of rows to sample.

    Raises:
        StageError: as many numbers as strata are needed; otherwise they come from another domain or other code.
    """
    if len(strata) != len(requested):
        raise StageError(f"the plan has row counts for {len(requested)} strata, but there are {len(strata)}")
    return [replace(stratum, requested=int(rows)) for stratum, rows in zip(strata, requested, strict=True)]


def target_shares(domain: Domain, config: RunConfig) -> dict[tuple[str, str, str, str, str, str], float]:
    """The target of rows with one call: (function, category, route, template, length, language) -> share of these rows.

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
    languages = normalise(domain.statistics.languages)
    if domain.joint is not None:
        cells = domain.joint.cells(function, category)
        own = {cell: share for cell, share in cells.items() if cell[1] in languages}  # a view has not all languages
        return cells if len(own) == len(cells) else own
    tables = {language: normalise(domain.view(language).statistics.lengths[function]) for language in languages}
    lengths = dict.fromkeys(length for table in tables.values() for length in table)
    return {
        (length, language): tables[language][length] * share
        for length in lengths
        for language, share in languages.items()
        if length in tables[language]
    }


def heuristic_templates(domain: Domain, function: str, language: str) -> list[Template]:
    """Heuristic templates that can draft a query of this function in this language."""
    return [
        template
        for template in domain.view(language).templates.values()
        if template.grammar is not None
        and function in template.functions
        and template.weight > 0
        and (template.languages is None or language in template.languages)
    ]


def able_templates(domain: Domain, function: str, category: str, language: str) -> list[Template]:
    """Heuristic templates that can express a category, at any length; else all of the function and language."""
    templates = heuristic_templates(domain, function, language)
    return [t for t in templates if t.categories is None or category in t.categories] or templates


def draw_categories(domain: Domain, function: str, seeds: NDArray[np.int64]) -> NDArray[np.object_]:
    """Draw a category of a function for each seed, by their shares; names, shape (rows,)."""
    shares = category_shares(domain, function)
    sums = np.cumsum(list(shares.values()))
    picks = np.searchsorted(sums, uniforms(seeds, STREAM_CATEGORY) * sums[-1], side="right")
    return np.array(list(shares), dtype=object)[np.minimum(picks, len(sums) - 1)]


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
            t.route
            for view in domain.every_view
            for t in view.templates.values()
            if function in t.functions and t.weight > 0 and _suits(t, config)
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
            for t in domain.view(language).templates.values()
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
