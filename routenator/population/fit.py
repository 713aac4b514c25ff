"""``domain fit``: turns a sample of queries into the text of ``statistics.yaml``, with warnings for its user."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from routenator.authoring.goldenset import LeftOut
from routenator.authoring.records import REASONS
from routenator.compose import probe_config
from routenator.domain.domain import Domain
from routenator.domain.loader import with_statistics
from routenator.domain.schema import NO_CATEGORY
from routenator.errors import InputError
from routenator.population.histograms import Histograms, Noise, count, noisy, opendp_noise
from routenator.population.queries import Observation, Observer
from routenator.population.tables import Fitter
from routenator.sampling.feasible import check_walks
from routenator.sampling.strata import build_strata
from routenator.wording.labeller import Labeller

UNWRITABLE = "the domain cannot write all of this"  # prefix of warnings about what `domain check` would refuse


@dataclass
class Fit:
    """The result of fitting a sample of queries.

    Attributes:
        statistics: the content of statistics.yaml.
        pooled: table -> names of its cells below the minimum count.
        kept: tables taken from the domain, as the sample does not determine them; each with the reason.
        budget: table -> its part of epsilon.
        warnings: what a user should know first. These may contain exact counts; the file does not.
        left_out: reason -> queries left out of the count.
    """

    statistics: dict[str, Any]
    pooled: dict[str, list[str]]
    kept: list[str]
    budget: dict[str, float]
    warnings: list[str]
    labelled: int
    guessed: int
    unsure: int
    left_out: dict[str, int] = field(default_factory=dict)

    def summary(self) -> list[str]:
        """Lines for a user with access to the queries: exact counts, pooled cells, parts of the budget, warnings."""
        lines = [f"{self.labelled:,} queries with calls"]
        if self.guessed or self.unsure:
            lines.append(
                f"{self.guessed + self.unsure:,} without: {self.guessed:,} functions guessed, {self.unsure:,} unsure"
            )
        lines += [f"left out: {n:,} {reason} ({REASONS[reason]})" for reason, n in self.left_out.items()]
        if self.budget:
            parts = ", ".join(f"{name} {part:.4g}" for name, part in self.budget.items())
            lines.append(f"epsilon {sum(self.budget.values()):g} = {parts}")
        lines += [f"pooled in {table}: {', '.join(names)}" for table, names in sorted(self.pooled.items())]
        lines += [f"kept from the domain: {line}" for line in self.kept]
        return [*lines, *(f"warning: {line}" for line in self.warnings)]


def fit(
    domain: Domain,
    file: Path,
    *,
    form: str | None = None,
    answers: Path | None = None,
    min_count: int = 10,
    epsilon: float | None = None,
) -> Fit:
    """Fit population statistics to a file of queries.

    Args:
        domain: provides the API, the length buckets, and everything that queries do not show.
        file: JSON lines ``{"query": ..., "call": {"name": ..., "arguments": {...}}}``, or a file of another of
            ``FORMATS``; without a call, the function is guessed.
        form: the file's format; None: recognise it.
        answers: the second file of a format that has two; None: found beside the first.
        min_count: cells with fewer queries are pooled.
        epsilon: budget of differential privacy, per query; None for exact counts.

    Raises:
        InputError / InputErrors: invalid options, OpenDP is not installed, an invalid line, or no known function.
    """
    if min_count < 1:
        raise InputError("the minimum count is below 1", key="--min-count", found=min_count, expected="1 or more")
    if epsilon is not None and not 0 < epsilon < math.inf:
        raise InputError("invalid privacy budget", key="--epsilon", found=epsilon, expected="a number above 0")
    left = LeftOut()
    seen = Observer(domain, Labeller(domain)).count(file, form=form, answers=answers, left=left)
    if all(o.function is None for o in seen):
        raise InputError(
            "could not determine the function of any query",
            file=file,
            found=f"{seen.total()} queries",
            expected="queries with calls",
        )
    found = fit_counted(domain, seen, min_count=min_count, epsilon=epsilon)
    return replace(found, left_out=left.counts())


def fit_counted(
    domain: Domain,
    seen: Counter[Observation],
    *,
    min_count: int,
    epsilon: float | None,
    noise: Noise = opendp_noise,
) -> Fit:
    """``fit`` for queries that ``Observer`` has counted, at least one of them with a function.

    Args:
        noise: draws the noise if epsilon is given.

    Raises:
        InputError: too few queries.
    """
    unsure = sum(times for o, times in seen.items() if o.function is None and o.guessed)
    histograms = count(domain, seen)
    if epsilon is not None:
        histograms = noisy(domain, histograms, epsilon, noise)
    fitter = Fitter(domain, histograms, min_count)
    statistics = fitter.statistics()
    result = Fit(
        statistics=statistics,
        pooled=fitter.pooled,
        kept=fitter.kept,
        budget=histograms.budget,
        warnings=_warnings(domain, seen, histograms),
        labelled=sum(times for o, times in seen.items() if not o.guessed),
        guessed=sum(times for o, times in seen.items() if o.guessed and o.function is not None),
        unsure=unsure,
    )
    result.warnings += _unwritable(domain, statistics)
    return result


def _warnings(domain: Domain, seen: Counter[Observation], histograms: Histograms) -> list[str]:
    """Warnings about queries that are missing from tables."""
    found = []
    categories = histograms.tables.get("categories", Counter())
    languages: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    uncertain = 0
    for o, times in seen.items():
        if o.language is None:
            uncertain += times
        elif o.language not in domain.statistics.languages:
            languages[o.language] += times
        if not o.guessed and o.category != NO_CATEGORY and (o.function, o.category) not in categories:
            unknown[str(o.function)] += times
    total = seen.total()
    if languages:
        named = ", ".join(f"{name} {times:,}" for name, times in languages.most_common(8))
        found.append(
            f"{languages.total():,} of {total:,} queries are in languages that the domain does not have; "
            f"not counted in `languages`: {named}"
        )
    if uncertain:
        found.append(f"the language of {uncertain:,} queries is uncertain; they are not counted in `languages`")
    for function, times in sorted(unknown.items()):
        found.append(
            f"{function}: {times:,} calls name a category that no walk ends in; they are not counted in `categories`"
        )
    return found


def _unwritable(domain: Domain, statistics: Mapping[str, Any]) -> list[str]:
    """Warn if the domain's graph and templates cannot write the fitted population.

    Raises:
        InputError: the statistics are invalid, which would be a bug in ``Fitter``.
    """
    fitted = with_statistics(domain, statistics)
    errors = list(check_walks(fitted))
    try:
        build_strata(fitted, probe_config(fitted.path))
    except InputError as error:
        errors.append(error)
    return [f"{UNWRITABLE}: {' '.join(str(error).split())}" for error in errors]


def render(found: Fit, domain: Domain, *, min_count: int, epsilon: float | None) -> str:
    """The text of statistics.yaml, with explanations as comments. If noise is added, it contains no exact count."""
    import yaml

    lines = [
        f"Population statistics of {domain.title}, fitted to a sample of queries by `domain fit`: "
        "shares only, never a query."
    ]
    if epsilon is None:
        lines.append(
            f"From {found.labelled:,} queries with calls and {found.guessed:,} without, whose function was guessed."
        )
        if found.unsure:
            lines.append(f"{found.unsure:,} more are left out, as their function could not be determined.")
    else:
        lines.append(
            f"Differentially private (epsilon {epsilon:g}, add or remove one query; discrete Laplace noise by OpenDP)."
        )
        parts = ", ".join(f"{name} {part:.4g}" for name, part in found.budget.items())
        lines.append(f"Epsilon is the sum of these parts; a query counts at most once in each histogram: {parts}.")
        if found.guessed or found.unsure:
            lines.append("Functions of queries without calls were guessed.")
    lines.append(
        f"Cells of fewer than {min_count} queries are pooled. "
        "A pool's total is divided in proportion to the domain's earlier"
    )
    lines.append("shares. If even the total is too small, the earlier shares are kept, as far as the counts allow.")
    lines += [f"  pooled in {table}: {', '.join(names)}" for table, names in sorted(found.pooled.items())]
    if found.kept:
        lines.append("Not from the queries, but kept from the domain:")
        lines += [f"  {line}" for line in found.kept]
    comments = "".join(f"# {line}\n" for line in lines)
    return comments + yaml.safe_dump(
        found.statistics, sort_keys=False, allow_unicode=True, default_flow_style=None, width=140
    )
