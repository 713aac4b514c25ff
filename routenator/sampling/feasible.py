"""Checks before a run what the graph and the number of rows make possible."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from routenator.config import RunConfig
from routenator.domain.domain import Domain
from routenator.domain.graphfile import graph_files
from routenator.errors import InputError
from routenator.sampling.coverage import Coverage
from routenator.sampling.sampler import Sampler
from routenator.sampling.shares import normalise
from routenator.sampling.strata import category_shares, target_shares
from routenator.sampling.walk import Graph, Walker


def check_walks(domain: Domain) -> Iterator[InputError]:
    """Errors for functions that the graph cannot walk, or whose walks cannot reach some categories."""
    graph = Graph(domain)
    for function, share in normalise(domain.statistics.functions).items():
        walker = graph.walker(function)
        broken = _broken(walker, share)
        if broken is not None:
            yield broken
            continue
        shares = category_shares(domain, function)
        lost = {
            name: part
            for name, part in shares.items()
            if walker.number.get(name) is None or walker.mass[walker.number[name]] <= 0
        }
        if lost:
            together = sum(lost.values())
            few = "this category has" if len(lost) == 1 else "these categories have"
            yield InputError(
                f"no walk of {function} can reach {len(lost)} of its {len(shares)} categories; "
                f"{few} {together:.1%} of its requests, {share * together:.1%} of all",
                file=graph_files(domain.path)[1],
                key=f"path of {function}",
                found=", ".join(f"{name} ({part:.1%})" for name, part in lost.items()),
                expected=f"edges along {_steps(walker)} to each of them, or no share for them in statistics.yaml",
            )


def _broken(walker: Walker, share: float) -> InputError | None:
    """The error if a function has no walks at all, for want of a root or of edges for a step."""
    file, where = walker.graph.domain.path / "domain.yaml", f"functions.{walker.function}"
    lost = f"; {share:.1%} of all requests are lost"
    if not (walker.roots > 0).any():
        root = walker.rule.root
        return InputError(
            f"no node can start a walk of {walker.function}{lost}",
            file=file,
            key=f"{where}.root" if root else f"{where}.path",
            found=f"{root.attribute}: {root.equals}"
            if root
            else f"nodes of type {walker.path[0].type}, all of weight 0",
            expected=f"a node of type {walker.path[0].type} with this attribute and a weight above 0",
        )
    for step in range(1, walker.steps):
        parent = walker.parents[step]
        assert parent is not None
        if not (walker.edges(step).weight > 0).any():
            source, target = walker.path[parent].type, walker.path[step].type
            joined = sorted({kinds[1] for kinds in walker.graph.edge_types if kinds[0] == source})
            return InputError(
                f"the graph has no edge for a step of {walker.function}{lost}",
                file=file,
                key=f"{where}.path",
                found=f"{source} -> {target}",
                expected=f"edges of {source} lead to {', '.join(joined)}" if joined else f"edges that leave {source}",
            )
    return None


def notes(domain: Domain, config: RunConfig, requested: Sequence[int] | None = None) -> list[str]:
    """Describe what a run's number of rows is too small for, one sentence each.

    Args:
        requested: rows of each stratum, if the plan sets its own numbers.
    """
    sampler = Sampler(domain, config, requested)
    found = []
    target = target_shares(domain, config)
    made = {(s.function, s.category, s.route, s.template, s.length, s.language) for s in sampler.strata if s.calls == 1}
    rare = [share for key, share in target.items() if key not in made and share > 0]
    if rare:
        found.append(
            f"dataset.size: {len(rare):,} of {len(target):,} strata are too rare for a row of {config.dataset.size:,}; "
            f"their {sum(rare):.1%} of the target goes to other strata of the same function and category"
        )
    short = [group for group in sampler.coverage.groups if group.short] if sampler.coverage else []
    if sampler.coverage and short:
        worst = max(short, key=lambda group: group.wanted / max(group.rows, 1))
        found.append(
            f"sample.coverage: {len(short)} of {len(sampler.coverage.groups)} groups of function and category "
            f"have too few requests to walk each edge {config.sample.coverage} times: "
            f"{sum(group.wanted for group in short):,} needed, {sum(group.rows for group in short):,} available; "
            f"worst: {worst.function} x {worst.category}, {worst.wanted:,} needed, {worst.rows:,} available"
        )
    return found


def rows_to_cover(domain: Domain) -> int:
    """Size of a weighted set that is large enough to walk each edge of each function and category once."""
    graph, rows = Graph(domain), 0
    calls = domain.statistics.calls
    single = calls.get(1, 0.0) / math.fsum(calls.values())  # only rows of one call are drawn to cover edges
    if not single:
        return 0
    for function, share in normalise(domain.statistics.functions).items():
        walker, shares = graph.walker(function), category_shares(domain, function)
        numbers = {name: walker.require(name) for name in shares}
        count = Coverage(walker, numbers.values()).count
        rows = max(
            [
                rows,
                *(
                    math.ceil(count[numbers[name]] / (single * share * part))
                    for name, part in shares.items()
                    if part > 0
                ),
            ]
        )
    return rows


def _steps(walker: Walker) -> str:
    return " -> ".join(step.name for step in walker.path)
