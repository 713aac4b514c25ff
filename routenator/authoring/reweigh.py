"""The steps of ``domain derive`` that keep the domain's functions: other templates, routes or shares.

Each step takes a domain and returns a new one. It appends any change beyond what was asked for to ``notes``.
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
from routenator.domain.slots import every
from routenator.domain.templates import Template
from routenator.errors import InputError
from routenator.grammar import demanded, said
from routenator.sampling.shares import normalise
from routenator.sampling.strata import category_shares, heuristic_templates, length_language_shares
from routenator.sampling.walk import Graph

ANY_LENGTH = "any"  # the only length bucket of a flat domain


def with_tables(domain: Domain, **tables: Any) -> Domain:
    """Replace tables of the statistics without checks: ``derive`` checks the final result as a whole."""
    return replace(domain, statistics=domain.statistics.model_copy(update=tables))


def with_head(template: Template, **changes: Any) -> Template:
    """Change the head of a template."""
    return replace(template, head=template.head.model_copy(update=changes))


def used_functions(domain: Domain) -> list[str]:
    """Functions with a share of the population."""
    return [name for name, share in domain.statistics.functions.items() if share > 0]


def keep_used(domain: Domain, notes: list[str]) -> Domain:
    """Keep only the functions with a share of the population."""
    used = used_functions(domain)
    gone = [name for name in domain.functions if name not in used]
    if not gone:
        return domain
    notes.append(f"left out, as no row calls them: {', '.join(gone)}")
    templates = {}
    for name, template in domain.templates.items():
        served = [function for function in template.functions if function in used]
        if served:
            templates[name] = with_head(template, functions=served)
    tables = {
        section: {name: table for name, table in getattr(domain.statistics, section).items() if name in used}
        for section in (
            "functions", "categories", "lengths", "word_quantiles", "routes", "slots", "keyword_position",
        )
    }  # fmt: skip
    joint = domain.joint
    made = replace(
        domain,
        functions={name: function for name, function in domain.functions.items() if name in used},
        rules={name: rule for name, rule in domain.rules.items() if name in used},
        templates=templates,
        joint=None if joint is None else Joint({name: cells for name, cells in joint.weights.items() if name in used}),
    )
    return with_tables(made, **tables)


def keep_templates(domain: Domain, names: Sequence[str], notes: list[str]) -> Domain:
    """Keep only these templates; those with ``weight: 0``, which are used only when named, get weight 1.

    Args:
        names: template names, with or without their route, or patterns.

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
    """Set the route shares of all functions, or keep them; drop a function's routes that have no template for it.

    Raises:
        InputError: a function is left without a heuristic template or without a route.
    """
    tables = dict(domain.statistics.routes)
    for function in used_functions(domain):
        serving = [t for t in domain.templates.values() if function in t.functions and t.weight > 0]
        if not any(t.grammar is not None for t in serving):
            raise InputError(
                f"{function} is left without a heuristic template, and every route starts from a heuristic draft",
                file=domain.path / "templates" / "heuristic", key="templates", found="none",
                expected="at least one; with routes heuristic=0 it writes only the drafts",
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
            notes.append(f"{function}: no template is left for route {name}; its share goes to the other routes")
        total = math.fsum(left.values())
        tables[function] = {name: share / total for name, share in left.items()}
    return with_tables(domain, routes=tables)


def flatten(domain: Domain) -> Domain:
    """Remove the population statistics: equal shares, any length and keyword position, no typing noise.

    Keeps every category that the API lists and a walk can reach. A single length bucket spans the range of all buckets.
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
        slots[function] = {slot.name: 0.5 for slot in every(domain.slots[function]) if not slot.required}
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
    """Multiply the weights of some categories; the functions' shares stay the same.

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
    # Keep the functions' own shares.
    return replace(
        domain, joint=Joint({f: _scaled(table, _mass(domain.joint.weights[f])) for f, table in weights.items()})
    )


Cells = Mapping[str, Mapping[tuple[str, str], float]]


def _mass(cells: Cells) -> float:
    return math.fsum(weight for table in cells.values() for weight in table.values())


def _scaled(cells: Cells, total: float) -> dict[str, dict[tuple[str, str], float]]:
    """Scale a function's cells of a joint to a given sum."""
    scale = total / _mass(cells)
    return {category: {cell: weight * scale for cell, weight in table.items()} for category, table in cells.items()}


def serve_all(domain: Domain, notes: list[str]) -> Domain:
    """Make sure that a template serves every cell of the target: widen selectors, then drop categories if need be.

    Raises:
        InputError: no template can express any category of a function.
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
            notes.append(f"{function}: widened {named}, as lengths or categories had no template left")
        lost = list(dict.fromkeys(category for category, _, _ in _unserved(domain, function)))
        if lost:
            domain = _without(domain, function, lost)
            notes.append(
                f"{function}: dropped {', '.join(lost)} from the statistics, as no remaining template can say it"
            )
    return domain


def _unserved(domain: Domain, function: str) -> Iterator[tuple[str, str, str]]:
    """Cells (category, length, language) of a function that no template in use serves, or none can draft."""
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
    """Open a template to every length, and to all categories that it can express."""
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
        categories = None  # prompts take their words from the draft
    if template.lengths is None and categories == template.categories:
        return template
    return with_head(template, lengths=None, categories=categories)


def _can_say(domain: Domain, template: Template, function: str) -> dict[str, bool]:
    """Whether every draw mentions all present slots, separately for calls with and without a category word."""
    assert template.grammar is not None
    slots, slot = frozenset(s.local for s in domain.spoken(function)), domain.functions[function].category
    if slot not in slots:
        return {}
    covered = {True: True, False: slot not in demanded(template.grammar, slots)}
    for present in presence_combinations(domain, function):
        covered[slot in present] &= present <= said(template.grammar, slots, present)
    return {"some": covered[True], NO_CATEGORY: covered[False]}


def _without(domain: Domain, function: str, lost: Sequence[str]) -> Domain:
    """Remove some of a function's categories."""
    if set(category_shares(domain, function)) <= set(lost):
        raise InputError(
            f"no remaining template can express a category of {function}, or a call without one",
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
        # Only calls without a category are left, but the table must not be all zero.
        own, slots = categories[function], {**slots, function: {**slots.get(function, {}), slot or "": 0.0}}
    elif NO_CATEGORY in lost:
        slots = {**slots, function: {**slots.get(function, {}), slot or "": 1.0}}
    return with_tables(domain, categories={**categories, function: own}, slots=slots)
