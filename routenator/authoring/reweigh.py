"""A domain with other templates, routes or shares: the steps of ``domain derive`` that leave its functions as they are.

Each takes a domain and gives another; what it had to change besides what was asked for it appends to ``notes``.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from routenator.authoring.check import presence_combinations
from routenator.config import RouteName
from routenator.domain.domain import Domain
from routenator.domain.joint import Joint
from routenator.domain.schema import NO_CATEGORY, Noise
from routenator.domain.templates import Template
from routenator.errors import InputError
from routenator.grammar import demanded, said
from routenator.sampling.strata import category_shares, heuristic_templates, length_language_shares, normalise
from routenator.sampling.walk import Graph

ANY_LENGTH = "any"  # the only length bucket of a flat domain


def with_tables(domain: Domain, **tables: Any) -> Domain:
    """The domain with other tables of statistics, unchecked: ``derive`` checks the result as a whole."""
    return replace(domain, statistics=domain.statistics.model_copy(update=tables))


def with_head(template: Template, **changes: Any) -> Template:
    """The template with another front matter."""
    return replace(template, head=template.head.model_copy(update=changes))


def used_functions(domain: Domain) -> list[str]:
    """The functions that have a share of the population."""
    return [name for name, share in domain.statistics.functions.items() if share > 0]


def keep_templates(domain: Domain, names: Sequence[str], notes: list[str]) -> Domain:
    """Only these templates; one that is in use only when named (``weight: 0``) is now in use.

    Args:
        names: of templates, with or without their route, or patterns of names.

    Raises:
        InputError: no template has this name.
    """
    short = {name: name.split("/", 1)[1] for name in domain.templates}
    kept: dict[str, Template] = {}
    for wanted in names:
        found = [
            name
            for name in domain.templates
            if fnmatch.fnmatchcase(name, wanted) or fnmatch.fnmatchcase(short[name], wanted)
        ]
        if not found:
            valid = [*domain.templates, *short.values()]
            raise InputError(
                "no such template", file=domain.path / "templates", key="templates", found=wanted, valid=valid
            )
        for name in found:
            template = domain.templates[name]
            kept[name] = template if template.weight > 0 else with_head(template, weight=1.0)
    return replace(domain, templates={name: kept[name] for name in domain.templates if name in kept})


def set_routes(domain: Domain, routes: Mapping[RouteName, float] | None, notes: list[str]) -> Domain:
    """The shares of the routes, of all functions, or as they were; a route without a template of the function is
    dropped.

    Raises:
        InputError: a function without a heuristic template, or for which no route is left.
    """
    tables = dict(domain.statistics.routes)
    for function in used_functions(domain):
        serving = [t for t in domain.templates.values() if function in t.functions and t.weight > 0]
        if not any(t.grammar is not None for t in serving):
            raise InputError(
                f"{function} is left without a heuristic template, and every route starts from a heuristic draft",
                file=domain.path / "templates" / "heuristic", key="templates", found="none",
                expected="the name of at least one; give routes heuristic=0 if it is for drafts alone",
            )  # fmt: skip
        wanted = {name: share for name, share in (routes or tables[function]).items() if share > 0}
        left = {name: share for name, share in wanted.items() if any(t.route == name for t in serving)}
        if not left:
            raise InputError(
                f"no template is left for the routes of {function}",
                key=f"routes.{function}", found=", ".join(wanted) or "all shares 0",
                expected=f"a share for one of {', '.join(sorted({t.route for t in serving}))}",
            )  # fmt: skip
        for name in wanted.keys() - left.keys():
            notes.append(f"{function}: no template of the route {name}, whose share the others have now")
        total = math.fsum(left.values())
        tables[function] = {name: share / total for name, share in left.items()}
    return with_tables(domain, routes=tables)


def flatten(domain: Domain) -> Domain:
    """No population statistics: whatever has a share has the same, nothing is asked of length or keyword position, and
    nothing is noisy.

    A category is one that the API names and the graph can walk to. Length is one bucket over the range of all.
    """

    statistics, graph = domain.statistics, Graph(domain)
    functions = used_functions(domain)
    categories: dict[str, dict[str, float]] = {}
    slots: dict[str, dict[str, float]] = {}
    for function in functions:
        if domain.rules[function].category is not None:
            walker = graph.walker(function)
            names = [name for name in domain.categories_of(function) if name != NO_CATEGORY and name in walker.number]
            categories[function] = {name: 1.0 for name in names if walker.mass[walker.number[name]] > 0}
        required = domain.functions[function].required
        slots[function] = {slot: 0.5 for slot in domain.rules[function].slots if slot not in required}
    bounds = list(statistics.length_buckets.values())
    templates = {name: with_head(t, weight=float(t.weight > 0), lengths=None) for name, t in domain.templates.items()}
    return with_tables(
        replace(domain, templates=templates, joint=None),
        languages={name: 1.0 for name, share in statistics.languages.items() if share > 0},
        functions=dict.fromkeys(functions, 1.0),
        categories=categories,
        length_buckets={ANY_LENGTH: (min(low for low, _ in bounds), max(high for _, high in bounds))},
        lengths={function: {ANY_LENGTH: 1.0} for function in functions},
        word_quantiles={},
        slots=slots,
        keyword_position={},
        noise=Noise(),
    )


def boost(domain: Domain, factors: Mapping[str, float]) -> Domain:
    """Some categories' weights multiplied; a function's own share stays.

    Args:
        factors: by "function.category".

    Raises:
        InputError: an unknown name, or a category without a share.
    """

    tables = {name: dict(table) for name, table in domain.statistics.categories.items()}
    weights = {} if domain.joint is None else {f: dict(table) for f, table in domain.joint.weights.items()}
    for key, factor in factors.items():
        function, _, category = key.partition(".")
        if function not in used_functions(domain):
            raise InputError("no such function", key=f"boost.{key}", found=function, valid=used_functions(domain))
        valid = [name for name in category_shares(domain, function) if name != NO_CATEGORY]
        if category not in valid:
            raise InputError(f"no such category of {function}", key=f"boost.{key}", found=category, valid=valid)
        if domain.joint is None:
            tables[function][category] *= factor
            continue
        weights[function][category] = {cell: weight * factor for cell, weight in weights[function][category].items()}
    if domain.joint is None:
        return with_tables(domain, categories=tables)
    # The function's own share stays.
    return replace(
        domain, joint=Joint({f: _scaled(table, _mass(domain.joint.weights[f])) for f, table in weights.items()})
    )


Cells = Mapping[str, Mapping[tuple[str, str], float]]


def _mass(cells: Cells) -> float:
    return math.fsum(weight for table in cells.values() for weight in table.values())


def _scaled(cells: Cells, total: float) -> dict[str, dict[tuple[str, str], float]]:
    """A function's cells of a joint with another sum."""
    scale = total / _mass(cells)
    return {category: {cell: weight * scale for cell, weight in table.items()} for category, table in cells.items()}


def serve_all(domain: Domain, notes: list[str]) -> Domain:
    """The domain with every cell of its target served: selectors that leave cells out are widened, or else categories
    are dropped.

    Raises:
        InputError: no category of a function can be said.
    """
    for function in used_functions(domain):
        if not any(_unserved(domain, function)):
            continue
        templates, widened = dict(domain.templates), []
        for name, template in templates.items():
            if function in template.functions and template.weight > 0:
                templates[name] = _widened(domain, template)
                if templates[name] is not template:
                    widened.append(name)
        domain = replace(domain, templates=templates)
        if widened:
            named = ", ".join(widened[:5]) + (f" and {len(widened) - 5} more" if len(widened) > 5 else "")
            notes.append(
                f"{function}: {named}: front matter widened, since lengths or categories were left without a template"
            )
        lost = list(dict.fromkeys(category for category, _, _ in _unserved(domain, function)))
        if lost:
            domain = _without(domain, function, lost)
            notes.append(f"{function}: no template that is left can say {', '.join(lost)}; dropped from the statistics")
    return domain


def _unserved(domain: Domain, function: str) -> Iterator[tuple[str, str, str]]:
    """Cells (category, length, language) of a function that no template of a route with a share serves, or that none
    can draft.
    """

    routes = normalise({str(k): v for k, v in domain.statistics.routes[function].items()})
    templates = [t for t in domain.templates.values() if t.route in routes]
    for category, share in category_shares(domain, function).items():
        for (length, language), part in length_language_shares(domain, function, category).items():
            drafts = heuristic_templates(domain, function, language)
            drafted = any(t.categories is None or category in t.categories for t in drafts)
            if share * part > 0 and not (
                drafted and any(t.serves(function, category, length, language) for t in templates)
            ):
                yield category, length, language


def _widened(domain: Domain, template: Template) -> Template:
    """The template for every length, and for the categories that it can say."""
    categories = template.categories
    if categories is not None and template.grammar is not None:
        able = {NO_CATEGORY: True, "some": True}
        for function in template.functions:
            for kind, can in _can_say(domain, template, function).items():
                able[kind] = able[kind] and can
        names = {name for function in template.functions for name in domain.statistics.categories.get(function, {})}
        extra = (names if able["some"] else set()) | ({NO_CATEGORY} if able[NO_CATEGORY] else set())
        categories = None if all(able.values()) else sorted({*categories, *extra})
    elif template.grammar is None:
        categories = None  # a prompt is given its words by the draft
    if template.lengths is None and categories == template.categories:
        return template
    return with_head(template, lengths=None, categories=categories)


def _can_say(domain: Domain, template: Template, function: str) -> dict[str, bool]:
    """Whether every draw of a grammar says all that is to be said where there is a category word, and where there is
    none.
    """

    assert template.grammar is not None
    slots, slot = frozenset(domain.rules[function].slots), domain.functions[function].category
    if slot not in slots:
        return {}
    covered = {True: True, False: slot not in demanded(template.grammar, slots)}
    for present in presence_combinations(domain, function):
        covered[slot in present] &= present <= said(template.grammar, slots, present)
    return {"some": covered[True], NO_CATEGORY: covered[False]}


def _without(domain: Domain, function: str, lost: Sequence[str]) -> Domain:
    """The domain without some of a function's categories."""

    if set(category_shares(domain, function)) <= set(lost):
        raise InputError(
            f"no template that is left can say a category of {function}, or do without",
            file=domain.path / "templates", key="templates", found=", ".join(lost[:5]),
            expected="a heuristic template that can",
        )  # fmt: skip
    if domain.joint is not None:
        total = _mass(domain.joint.weights[function])
        kept = {c: cells for c, cells in domain.joint.weights[function].items() if c not in lost}
        return replace(domain, joint=Joint({**domain.joint.weights, function: _scaled(kept, total)}))
    categories, slots = domain.statistics.categories, domain.statistics.slots
    slot = domain.functions[function].category
    own = {name: share for name, share in categories[function].items() if name not in lost}
    if not any(own.values()):
        # Only calls without a category are left; the table may not be empty.
        own, slots = categories[function], {**slots, function: {**slots.get(function, {}), slot or "": 0.0}}
    elif NO_CATEGORY in lost:
        slots = {**slots, function: {**slots.get(function, {}), slot or "": 1.0}}
    return with_tables(domain, categories={**categories, function: own}, slots=slots)
