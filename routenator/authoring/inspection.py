"""The report of ``domain check``: warnings and counts, besides errors.

Warnings point out waste: dangling nodes, edges that no path can use, length buckets that a template hardly ever hits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from routenator.authoring.check import check_domain, probe_config
from routenator.domain.domain import Domain
from routenator.domain.golden import load_golden
from routenator.domain.graph import to_networkx
from routenator.routes import ROUTES
from routenator.sampling.feasible import rows_to_cover
from routenator.sampling.philox import row_seeds
from routenator.sampling.strata import build_strata, category_shares
from routenator.wording.writer import Writer

_DRAWS = 64  # drafts per template to probe its lengths
_RARE = 0.05  # warn if a smaller share of the draws falls into a length bucket


@dataclass
class DomainReport:
    """The findings of ``inspect_domain``.

    Attributes:
        warnings: one sentence each.
        facts: counts by name.
    """

    domain: Domain
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, int] = field(default_factory=dict)


def inspect_domain(path: str | Path, *, golden: bool = True) -> DomainReport:
    """Check a domain, its golden set and its target distribution, and collect warnings and counts.

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


def _graph_warnings(domain: Domain) -> Iterator[str]:
    graph = to_networkx(domain.nodes, domain.edges)
    alone = [node for node, degree in graph.degree() if degree == 0]
    if alone:
        yield f"{len(alone)} nodes have no edges: {_some(alone)}"
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
        yield f"{len(unusable)} edges are never used, as no path joins their node types: {_some(unusable)}"


def _category_warnings(domain: Domain) -> Iterator[str]:
    for name, rule in domain.rules.items():
        function = domain.functions[name]
        if rule.category is None or function.category is None:
            continue
        given = domain.statistics.categories.get(name, {})
        silent = [value for value in function.enum(function.category) or [] if given.get(value, 0) <= 0]
        if silent:
            yield f"{name}: some categories of the API have no share in the statistics: {_some(silent)}"


def _length_warnings(domain: Domain) -> Iterator[str]:
    """Length buckets that a heuristic template in use declares but hardly ever produces."""
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
                yield f"{template.name}: none of the categories of {function} that it serves has a share"
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
                        f"{template.name}: only {share:.0%} of its draws for {function} have length {bucket} "
                        f"({low} to {high} words); they have {words.min()} to {words.max()} words. "
                        "List the lengths that it can produce under `lengths`"
                    )


def _some(names: list[str], shown: int = 5) -> str:
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")
