"""``domain check``: what is wrong with a domain (errors) and what is suspicious (warnings), before anything runs.

Errors are what would fail or lie later: a category with a share that no walk reaches, a template that can leave out a
present slot or names an unknown variable, a cell that no template serves. Warnings are waste: dangling nodes, edges
that no path can use, length buckets that a template hardly ever meets.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from routenator.config import RunConfig
from routenator.domain.domain import Domain
from routenator.domain.golden import load_golden
from routenator.domain.graph import to_networkx
from routenator.domain.loader import load_domain
from routenator.domain.schema import NO_CATEGORY, ROUTES
from routenator.domain.templates import Template
from routenator.errors import InputError, InputErrors
from routenator.generation.prompts import check_template
from routenator.grammar import said
from routenator.sampling.feasible import check_walks, rows_to_cover
from routenator.sampling.philox import row_seeds
from routenator.sampling.strata import build_strata, category_shares
from routenator.wording.writer import Writer

_SHOWN = 20
_ALL_COMBINATIONS = 8  # optional slots up to which every combination is tried
_RANDOM_COMBINATIONS = 128
_DRAWS = 64  # drafts for each template when lengths are probed
_RARE = 0.05  # share of draws below which a length bucket is called hard to meet


@dataclass
class DomainReport:
    """What ``inspect_domain`` found.

    Attributes:
        warnings: one sentence each.
        facts: counts by name.
    """

    domain: Domain
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, int] = field(default_factory=dict)


def check_domain(path: str | Path) -> Domain:
    """Load a domain and refuse it if anything in it would fail or lie later.

    Raises:
        InputError / InputErrors: with file, key, found, expected, nearest valid name.
    """
    domain = load_domain(path)
    errors: list[InputError] = []
    for check in (check_walks, _check_coverage, _check_prompts):
        errors.extend(check(domain))
    if errors:
        raise errors[0] if len(errors) == 1 else InputErrors(errors[:_SHOWN])
    return domain


def inspect_domain(path: str | Path, *, golden: bool = True) -> DomainReport:
    """``check_domain`` plus golden set, target distribution, warnings and counts.

    Raises:
        InputError / InputErrors: as ``check_domain``.
    """

    domain = check_domain(path)
    build_strata(domain, probe_config(domain))
    report = DomainReport(domain)
    report.facts = {
        "functions": len(domain.functions),
        "node types": len({node.type for node in domain.nodes.values()}),
        "nodes": len(domain.nodes),
        "edges": len(domain.edges),
        "records": len(domain.records),
        **{f"{route} templates": sum(t.route == route for t in domain.templates.values()) for route in ROUTES},
        "requests to walk every edge": rows_to_cover(domain),
    }
    if golden:
        report.facts["golden queries"] = len(load_golden(domain.path / "golden.jsonl", domain.functions))
    report.warnings = [*_graph_warnings(domain), *_category_warnings(domain), *_length_warnings(domain)]
    return report


def probe_config(domain: Domain, size: int = 1_000_000) -> RunConfig:
    """A config for looking at a domain: whatever it does not name is a default."""
    return RunConfig.model_validate(
        {
            "name": "check",
            "domain": str(domain.path),
            "dataset": {"size": size},
            "model": {"generator": {"model": "none"}, "trainee": "none", "embedder": "none"},
        }
    )


def presence_combinations(domain: Domain, function: str) -> list[frozenset[str]]:
    """Sets of slots that can be present together: all of them, or singles, pairs and a fixed random sample if there are
    many.
    """
    rule, required = domain.rules[function], domain.functions[function].required
    shares = domain.statistics.slots.get(function, {})
    always = {slot for slot in rule.slots if slot in required}
    optional = [slot for slot in rule.slots if slot not in required and shares.get(slot, 1.0) > 0]

    def allowed(wanted: set[str]) -> frozenset[str]:
        present: set[str] = set()
        for slot, spec in rule.slots.items():
            if slot in wanted | always and not present & set(spec.excludes) and set(spec.needs) <= present:
                present.add(slot)
        return frozenset(present)

    if len(optional) <= _ALL_COMBINATIONS:
        wanted = [set(c) for size in range(len(optional) + 1) for c in itertools.combinations(optional, size)]
    else:
        draw = random.Random(0)
        wanted = [set(), set(optional)]
        wanted += [set(c) for size in (1, 2) for c in itertools.combinations(optional, size)]
        wanted += [{slot for slot in optional if draw.random() < 0.5} for _ in range(_RANDOM_COMBINATIONS)]
    return sorted({allowed(choice) for choice in wanted}, key=sorted)


def _check_coverage(domain: Domain) -> Iterator[InputError]:
    """Every draw of a heuristic template must say every present slot."""
    for template in domain.templates.values():
        if template.grammar is None:
            continue
        fine: set[tuple[frozenset[str], frozenset[str]]] = set()  # functions of a family share slots
        for function in template.functions:
            slots = frozenset(domain.rules[function].slots)
            for present in presence_combinations(domain, function):
                if (slots, present) in fine or not _can_meet(domain, template, function, present):
                    continue
                missing = present - said(template.grammar, slots, present)
                if missing:
                    yield InputError(
                        f"a draw of this template for {function} can leave out a slot",
                        file=template.file,
                        key="body",
                        found=f"slots {', '.join(sorted(present))}: {', '.join(sorted(missing))} may go unsaid",
                        expected="every present slot in every alternative, or in ( ) or < >",
                    )
                    break
                fine.add((slots, present))


def _can_meet(domain: Domain, template: Template, function: str, present: frozenset[str]) -> bool:
    """Whether the template's categories admit these slots: an optional category slot is absent exactly in the category
    ``none``.
    """
    category = domain.functions[function].category
    if (
        template.categories is None
        or category not in domain.rules[function].slots
        or domain.rules[function].category is None
    ):
        return True
    return set(template.categories) != {NO_CATEGORY} if category in present else NO_CATEGORY in template.categories


def _check_prompts(domain: Domain) -> Iterator[InputError]:
    for template in domain.templates.values():
        if template.grammar is None:
            try:
                check_template(domain, template)
            except InputError as error:
                yield error


def _graph_warnings(domain: Domain) -> Iterator[str]:
    graph = to_networkx(domain.nodes, domain.edges)
    alone = [node for node, degree in graph.degree() if degree == 0]
    if alone:
        yield f"{len(alone)} nodes have no edge: {_some(alone)}"
    used: set[tuple[str, str]] = set()
    for rule in domain.rules.values():
        types = {step.name: step.type for step in rule.path}
        for number, step in enumerate(rule.path[1:], 1):
            used.add((types[step.from_] if step.from_ else rule.path[number - 1].type, step.type))
    unusable = [
        f"{edge.source} -> {edge.target}"
        for edge in domain.edges
        if (domain.nodes[edge.source].type, domain.nodes[edge.target].type) not in used
    ]
    if unusable:
        yield f"{len(unusable)} edges join types that no path walks, so the API cannot express them: {_some(unusable)}"


def _category_warnings(domain: Domain) -> Iterator[str]:
    for name, rule in domain.rules.items():
        function = domain.functions[name]
        if rule.category is None or function.category is None:
            continue
        given = domain.statistics.categories.get(name, {})
        silent = [value for value in function.enum(function.category) or [] if given.get(value, 0) <= 0]
        if silent:
            yield f"{name}: the API has categories without a share in the statistics: {_some(silent)}"


def _length_warnings(domain: Domain) -> Iterator[str]:
    """Buckets that a heuristic template with a weight claims but hardly ever meets in one draw."""
    import numpy as np

    seeds = row_seeds(0, np.arange(_DRAWS))
    writer = Writer(domain, tries=1)
    for function in domain.rules:
        shares = category_shares(domain, function) if domain.statistics.functions.get(function, 0) > 0 else {}
        for template in domain.templates.values():
            if template.grammar is None or function not in template.functions or template.weight == 0 or not shares:
                continue
            serving = [c for c in shares if template.categories is None or c in template.categories]
            categories = np.array([serving[n % len(serving)] for n in range(_DRAWS)], dtype=object) if serving else None
            if categories is None:
                yield f"{template.name} serves no category of {function} that has a share"
                continue
            words = writer.draw(
                function, seeds, categories, np.full(_DRAWS, writer.compiled.root[function, template.name])
            ).facts[:, 0]
            for bucket in template.lengths or domain.statistics.length_buckets:
                if domain.statistics.lengths[function].get(bucket, 0) <= 0:
                    continue
                low, high = domain.statistics.length_buckets[bucket]
                share = float(((words >= low) & (words <= high)).mean())
                if share < _RARE:
                    yield (
                        f"{template.name}: {share:.0%} of its draws for {function} have the length {bucket} "
                        f"({low} to {high} words); "
                        f"they have {words.min()} to {words.max()}; name the lengths that it can meet under `lengths`"
                    )


def _some(names: list[str], shown: int = 5) -> str:
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")
