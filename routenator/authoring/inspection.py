"""The report of ``domain check``: warnings and counts, besides errors.

Warnings point out waste: dangling nodes, edges that no path can use, length buckets that a template hardly ever hits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from routenator.authoring.check import check_domain, in_every_language
from routenator.authoring.drawn import Drawn, check_draws, check_others, check_rare_calls, draw_all
from routenator.authoring.synonyms import synonym_warnings
from routenator.authoring.untranslated import language_warnings
from routenator.compose import probe_config
from routenator.domain.domain import Domain
from routenator.domain.golden import GoldenExample, load_golden
from routenator.errors import InputError, InputErrors
from routenator.place import command_line
from routenator.routes import ROUTES
from routenator.sampling.feasible import rows_to_cover
from routenator.sampling.strata import build_strata

_PERCENT = 5.0  # beside shares that add up to at most 1, weights from here on look like percentages
_SERVED_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PAIRS = 10  # of near-synonymous functions that are named
_RARE = 0.05  # warn if a smaller share of the draws falls into a length bucket


@dataclass
class DomainReport:
    """The findings of ``inspect_domain``.

    Attributes:
        warnings: one sentence each.
        facts: counts by name.
        draws: what each grammar wrote.
    """

    domain: Domain
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, int] = field(default_factory=dict)
    draws: list[Drawn] = field(default_factory=list)


def inspect_domain(path: str | Path, *, golden: bool = True) -> DomainReport:
    """Check a domain, its golden set and its target distribution, and collect warnings and counts.

    Raises:
        InputError / InputErrors: as ``check_domain``.
    """
    domain = check_domain(path)
    build_strata(domain, probe_config(domain.path))
    report = DomainReport(domain)
    templates = {name: t for view in domain.every_view for name, t in view.templates.items()}
    report.facts = {
        "functions": len(domain.functions),
        "node types": len({node.type for node in domain.nodes.values()}),
        "nodes": len(domain.nodes),
        "edges": len(domain.edges),
        "records": len(domain.records),
        **{f"{route} templates": sum(t.route == route for t in templates.values()) for route in ROUTES},
        "requests to walk every edge": rows_to_cover(domain),
    }
    known = load_golden(domain.path / "golden.jsonl", domain.functions, may_be_empty=True) if golden else []
    if golden:
        report.facts["golden queries"] = len(known)
    lengths: list[str] = []

    def drawn(view: Domain) -> Iterator[InputError | str]:
        draws = draw_all(view)
        report.draws += draws
        lengths.extend(_length_warnings(view, draws))
        yield from check_draws(view, draws)

    found = list(in_every_language(domain, drawn))
    errors = [each for each in found if isinstance(each, InputError)]
    errors = errors or list(in_every_language(domain, check_rare_calls))
    if errors:
        raise errors[0] if len(errors) == 1 else InputErrors(errors)
    report.warnings = [
        *_day_warnings(domain, known),
        *_function_warnings(domain),
        *synonym_warnings(domain.functions, _PAIRS),
        *_weight_warnings(domain),
        *language_warnings(domain),
        *_graph_warnings(domain),
        *_category_warnings(domain),
        *(each for each in found if isinstance(each, str)),
        *lengths,
        *_topic_warnings(domain),
        *check_others(domain),
    ]
    return report


def _day_warnings(domain: Domain, golden: Sequence[GoldenExample]) -> Iterator[str]:
    odd = [example for example in golden if (example.today is None) != (domain.today is None)]
    if odd:
        states = "state no day, but the prompts of the data set do"
        if domain.today is None:
            states = "state a day, but the prompts of the data set do not"
        yield f"{len(odd)} of {len(golden)} golden queries {states} (`today`): {odd[0].query[:80]!r}"


def _function_warnings(domain: Domain) -> Iterator[str]:
    shares = domain.statistics.functions
    leave_out = f"`{command_line('domain', 'derive', domain.path, 'OUT', '--only-used')}`"
    silent = [name for name in domain.functions if name not in domain.rules]
    if silent:
        yield (
            f"{len(silent)} functions have no rule in domain.yaml: prompts for the trained model show them, but no row "
            f"calls them: {_some(silent, 20)}. Write rules for them, or leave them out: {leave_out}"
        )
    unused = [name for name in domain.rules if not shares.get(name)]
    if unused:
        yield (
            f"{len(unused)} functions have no share in statistics.yaml: prompts for the trained model show them, but "
            f"no row calls them: {_some(unused, 20)}. Give them a share, or leave them out: {leave_out}"
        )
    odd = [repr(name[:70]) for name in domain.functions if not _SERVED_NAME.fullmatch(name)]
    if odd:
        yield (
            f"{len(odd)} names of functions are refused by OpenAI and most servers, which take 1 to 64 of "
            f"A-Z a-z 0-9 _ -: {_some(odd)}"
        )


def _weight_warnings(domain: Domain) -> Iterator[str]:
    """A percentage beside shares gets nearly all of the data."""
    statistics = domain.statistics
    tables = {"functions": statistics.functions, "languages": statistics.languages}
    for section in ("categories", "lengths", "routes", "keyword_position"):
        tables |= {f"{section}.{name}": table for name, table in getattr(statistics, section).items()}
    for key, table in tables.items():
        large = {name: weight for name, weight in table.items() if weight >= _PERCENT}
        rest = [weight for name, weight in table.items() if weight > 0 and name not in large]
        if large and rest and math.fsum(rest) <= 1 + 1e-6:
            name = max(large, key=lambda each: large[each])
            yield (
                f"statistics.yaml, {key}: {name} has weight {large[name]:g} beside weights below 1, and so "
                f"{large[name] / math.fsum(table.values()):.0%} of the total. If {large[name]:g}% is meant, write "
                f"{large[name] / 100:g}"
            )


def _graph_warnings(domain: Domain) -> Iterator[str]:
    joined = {end for edge in domain.edges for end in (edge.source, edge.target)}
    alone = [node for node in domain.nodes if node not in joined]
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
        silent = [value for value in function.names(function.category) or [] if given.get(value, 0) <= 0]
        if silent:
            yield f"{name}: some categories of the API have no share in the statistics: {_some(silent)}"


def _topic_warnings(domain: Domain) -> Iterator[str]:
    """Topics of queries without a call that a function seems to serve."""
    if not domain.statistics.calls.get(0):
        return
    topics = domain.no_call
    if topics.left_out:
        served = [f"{name} ({', '.join(functions)})" for name, functions in topics.left_out.items()]
        yield (
            f"rows without a call leave out {len(served)} of the package's topics, as words of functions name them: "
            f"{_some(served, 20)}. To use one all the same, write it into templates/no_call.yaml"
        )
    for name, functions in topics.doubtful.items():
        yield (
            f"templates/no_call.yaml: {name} is a topic of queries without a call, but words of {_some(functions)} "
            "name it. If the function serves such queries, leave the topic out by `weight: 0`"
        )


def _length_warnings(domain: Domain, draws: Sequence[Drawn]) -> Iterator[str]:
    """Length buckets that a heuristic template in use declares but hardly ever produces."""
    for function, template, _, drawn in draws:
        if drawn is None:
            yield f"{template.name}: none of the categories of {function} that it serves has a share"
            continue
        words = drawn.facts[:, 0]
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
