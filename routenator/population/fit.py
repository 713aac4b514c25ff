"""From counts to ``statistics.yaml``: shares only, with cells below a minimum count pooled."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from routenator.authoring.check import probe_config
from routenator.domain.domain import Domain
from routenator.domain.loader import with_statistics
from routenator.errors import InputError
from routenator.population.histograms import OTHER, Histograms, count, noisy
from routenator.population.labeller import Labeller
from routenator.population.queries import Observation, Observer
from routenator.sampling.strata import build_strata

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_DIGITS = 4  # of a share


@dataclass
class Fit:
    """What was found in a sample of queries.

    Attributes:
        statistics: the content of statistics.yaml.
        pooled: table -> names of its cells below the minimum count.
        kept: tables that the sample says nothing of, so that they are the domain's own, each with the reason.
        budget: table -> its part of epsilon.
        warnings: what a user should know before using it. Exact counts stand here and not in the file.
    """

    statistics: dict[str, Any]
    pooled: dict[str, list[str]]
    kept: list[str]
    budget: dict[str, float]
    warnings: list[str]
    labelled: int
    guessed: int
    unsure: int

    def summary(self) -> list[str]:
        """Lines for someone who may see the queries: exact counts, pooled cells, the budget's parts, warnings."""
        lines = [f"{self.labelled:,} queries with calls"]
        if self.guessed or self.unsure:
            lines.append(
                f"{self.guessed + self.unsure:,} without: {self.guessed:,} functions guessed, {self.unsure:,} unsure"
            )
        if self.budget:
            parts = ", ".join(f"{name} {part:.4g}" for name, part in self.budget.items())
            lines.append(f"epsilon {sum(self.budget.values()):g} = {parts}")
        lines += [f"pooled in {table}: {', '.join(names)}" for table, names in sorted(self.pooled.items())]
        lines += [f"as the domain had it: {line}" for line in self.kept]
        return [*lines, *(f"warning: {line}" for line in self.warnings)]


def fit(domain: Domain, file: Path, *, min_count: int = 10, epsilon: float | None = None) -> Fit:
    """Population statistics from a file of queries.

    Args:
        domain: gives the API, the length buckets, and whatever cannot be seen in queries.
        file: JSON lines ``{"query": ..., "call": {"name": ..., "arguments": {...}}}``; a call may be missing, then its
            function is guessed.
        min_count: cells with fewer queries are pooled.
        epsilon: budget of differential privacy with a query as its unit; None for exact counts.

    Raises:
        InputError / InputErrors: bad options, a bad line, no query whose function is known.
    """
    if min_count < 1:
        raise InputError("the minimum count is below 1", key="--min-count", found=min_count, expected="1 or more")
    if epsilon is not None and not 0 < epsilon < math.inf:
        raise InputError("invalid privacy budget", key="--epsilon", found=epsilon, expected="a number above 0")
    seen = Observer(domain, Labeller(domain)).count(file)
    unsure = sum(times for o, times in seen.items() if o.function is None)
    if unsure == seen.total():
        raise InputError(
            "could not determine the function of any query",
            file=file,
            found=f"{unsure} queries",
            expected="queries with calls",
        )
    histograms = count(domain, seen)
    if epsilon is not None:
        histograms = noisy(domain, histograms, epsilon)
    fitter = _Fitter(domain, histograms, min_count)
    statistics = fitter.statistics()
    result = Fit(
        statistics=statistics,
        pooled=fitter.pooled,
        kept=fitter.kept,
        budget=histograms.budget,
        warnings=_warnings(domain, seen),
        labelled=sum(times for o, times in seen.items() if not o.guessed),
        guessed=sum(times for o, times in seen.items() if o.guessed and o.function is not None),
        unsure=unsure,
    )
    result.warnings += _unwritable(domain, statistics)
    return result


@dataclass
class _Fitter:
    domain: Domain
    histograms: Histograms
    min_count: int
    pooled: dict[str, list[str]] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)

    def statistics(self) -> dict[str, Any]:
        present = self.domain.statistics
        functions = {key[0]: value for key, value in self.histograms.tables["functions"].items()}
        shares = self._pool("functions", functions, present.functions)
        if shares is None:
            raise InputError(
                "too few queries",
                key="--min-count",
                found=self.min_count,
                expected="a function with at least as many queries in the file",
            )
        tables: dict[str, dict[str, Any]] = {
            "categories": {},
            "lengths": {},
            "word_quantiles": {},
            "routes": {},
            "slots": {},
        }
        tables["keyword_position"] = {}
        for function in list(shares):
            self._function(function, tables)
            if shares[function] > 0 and not self._complete(function, tables):
                shares[function] = 0.0
        result: dict[str, Any] = {"languages": self._languages(), "functions": shares}
        result["categories"] = tables["categories"]
        result["length_buckets"] = {name: list(bounds) for name, bounds in present.length_buckets.items()}
        for name in ("lengths", "word_quantiles", "routes", "slots", "keyword_position"):
            result[name] = tables[name]
        result["noise"] = self._noise()
        if self.domain.joint is not None:
            self.kept.append("joint: is left out; the tables below are the target")
        self.kept.append("routes: queries do not tell which route would have written them")
        self.kept.append("noise.typo: a slip of the finger cannot be told from a rare word")
        return {name: value for name, value in result.items() if value}

    def _function(self, function: str, tables: dict[str, dict[str, Any]]) -> None:
        """Everything that is a share given the function."""
        present = self.domain.statistics

        def put(table: str, value: Any, own: Mapping[str, Any]) -> None:
            if value is None and function in own:
                value = own[function]
                if present.functions.get(function, 0) > 0:
                    self.kept.append(f"{table}.{function}: no cell has {self.min_count} queries")
            if value:
                tables[table][function] = dict(value)

        if self.domain.rules[function].category is not None:
            own = present.categories.get(function, {})
            put(
                "categories",
                self._pool(f"categories.{function}", self.histograms.of("categories", function), own),
                present.categories,
            )
        words = self.histograms.of("words", function)
        lengths = self._lengths(function, words)
        put("lengths", lengths, present.lengths)
        if lengths is not None and f"lengths.{function}" not in self.pooled:
            quantiles = self._quantiles(words)
            if quantiles:
                tables["word_quantiles"][function] = quantiles
        put("slots", self._slots(function), present.slots)
        if function in present.keyword_position:
            own = {str(third): weight for third, weight in present.keyword_position[function].items()}
            thirds = self._pool(f"keyword_position.{function}", self.histograms.of("positions", function), own)
            put("keyword_position", thirds, present.keyword_position)
        routes = present.routes.get(function)
        if routes:
            tables["routes"][function] = dict(routes)
        elif any(t.route == "heuristic" and function in t.functions for t in self.domain.templates.values()):
            tables["routes"][function] = {"heuristic": 1.0}

    def _complete(self, function: str, tables: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether the function can be written; one that the domain had no share for may lack a table that the sample
        does not give.
        """
        needed = ["lengths", "routes"] + (["categories"] if self.domain.rules[function].category is not None else [])
        missing = [name for name in needed if function not in tables[name]]
        if missing:
            self.kept.append(
                f"functions.{function}: left at 0, as neither the sample nor the domain says its {', '.join(missing)}"
            )
        return not missing

    def _pool(self, table: str, counts: Mapping[str, int], own: Mapping[str, float]) -> dict[str, float] | None:
        """Shares of a table's cells.

        Cells below the minimum count are pooled: the pool's total is divided by the domain's own shares, and if even
        the total is below the minimum, the pool keeps the domain's own share, but no more than the minimum count's.
        Cells of which neither says a thing are 0.

        Returns:
            Shares by name, all of the domain's names among them; None if no cell has the minimum count.
        """
        names = [name for name in {**own, **counts} if counts.get(name, 0) > 0 or name in own]
        small = [
            name
            for name in names
            if counts.get(name, 0) < self.min_count and (counts.get(name, 0) > 0 or own.get(name, 0) > 0)
        ]
        large = {name: counts[name] for name in names if counts.get(name, 0) >= self.min_count}
        if not large:
            return None
        total = sum(counts.get(name, 0) for name in small)
        prior = math.fsum(own.values())
        weights = {name: own.get(name, 0.0) / prior if prior else 0.0 for name in small}
        pool = float(total)
        if total < self.min_count:
            share = min(math.fsum(weights.values()), 0.99)
            measured = sum(large.values())
            pool = min(float(self.min_count), measured * share / (1.0 - share))
            small = [name for name in small if weights[name] > 0]
        elif any(weight <= 0 for weight in weights.values()):
            weights = dict.fromkeys(small, 1.0)
        if small:
            self.pooled[table] = sorted(small)
        scale = math.fsum(weights[name] for name in small)
        table_of = {name: pool * weights[name] / scale for name in small} if small else {}
        everything = {**dict.fromkeys(names, 0.0), **large, **table_of}
        whole = math.fsum(everything.values())
        return {name: round(value / whole, _DIGITS + 2) for name, value in everything.items()}

    def _lengths(self, function: str, words: Mapping[int, int]) -> dict[str, float] | None:
        buckets = self.domain.statistics.length_buckets
        counts = {
            name: sum(n for word, n in words.items() if low <= word <= high) for name, (low, high) in buckets.items()
        }
        return self._pool(f"lengths.{function}", counts, self.domain.statistics.lengths.get(function, {}))

    def _quantiles(self, words: Mapping[int, int]) -> dict[float, int]:
        """The least number of words that a share of the queries does not exceed; only where enough queries lie on
        either side.

        The bucket is looked for first and then the word in it, so that noise within a bucket cannot contradict the
        buckets' shares.
        """
        total, below = sum(words.values()), 0
        found: dict[float, int] = {}
        for low, high in sorted(self.domain.statistics.length_buckets.values()):
            inside = {word: words[word] for word in sorted(words) if low <= word <= high}
            reached = below + sum(inside.values())
            if reached < below:
                return {}  # noise outweighs this bucket's queries
            for share in QUANTILES:
                if below < share * total <= reached and min(share, 1 - share) * total >= self.min_count:
                    sums = dict(zip(inside, itertools.accumulate(inside.values(), initial=below), strict=False))
                    found[share] = next(word for word in inside if sums[word] + inside[word] >= share * total)
            below = reached
        return found if sorted(found.values()) == [found[share] for share in sorted(found)] else {}

    def _slots(self, function: str) -> dict[str, float] | None:
        """P(optional slot is present), among the calls in which other slots admit it."""
        table = self.histograms.of("slots", function)
        own = self.domain.statistics.slots.get(function, {})
        shares: dict[str, float] = {}
        unmeasured = []
        for slot in dict.fromkeys(slot for slot, _ in table):
            share = self._share(table[slot, True], table[slot, False], own.get(slot, 1.0))
            if share is None:
                unmeasured.append(slot)
            else:
                shares[slot] = share[0]
                if not share[1]:
                    self.pooled.setdefault(f"slots.{function}", []).append(slot)
        if not shares:
            return None
        if unmeasured:
            self.kept.append(
                f"slots.{function}: {', '.join(unmeasured)}: fewer than {self.min_count} calls could have them"
            )
        return {**{slot: own[slot] for slot in unmeasured if slot in own}, **shares}

    def _share(self, yes: int, no: int, own: float) -> tuple[float, bool] | None:
        """A share, and whether it is measured; below the minimum count it is the domain's own, within what is then
        known of it.
        """
        total = yes + no
        if total < self.min_count or max(yes, no) < self.min_count:
            return None
        limit = self.min_count / total
        if yes < self.min_count:
            return round(min(own, limit), _DIGITS), False
        if no < self.min_count:
            return round(max(own, 1.0 - limit), _DIGITS), False
        return round(yes / total, _DIGITS), True

    def _languages(self) -> dict[str, float]:
        own = dict(self.domain.statistics.languages)
        counts = {key[0]: value for key, value in self.histograms.tables["languages"].items() if key[0] != OTHER}
        shares = self._pool("languages", counts, own)
        if shares is None:
            self.kept.append(f"languages: no cell has {self.min_count} queries")
        return own if shares is None else shares

    def _noise(self) -> dict[str, float]:
        own = self.domain.statistics.noise
        rates = {"lowercase": own.lowercase, "typo": own.typo, "no_punctuation": own.no_punctuation}
        for name in ("lowercase", "no_punctuation"):
            table = self.histograms.tables[name]
            share = self._share(table[True,], table[False,], rates[name])
            if share is None:
                self.kept.append(f"noise.{name}: no cell has {self.min_count} queries")
            else:
                rates[name] = share[0]
                if not share[1]:
                    self.pooled.setdefault("noise", []).append(name)
        return rates


def _warnings(domain: Domain, seen: Counter[Observation]) -> list[str]:
    """What the tables leave out."""
    found = []
    languages: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    uncertain = 0
    for o, times in seen.items():
        if o.language is None:
            uncertain += times
        elif o.language not in domain.statistics.languages:
            languages[o.language] += times
        if o.function is not None and o.category is None and not o.guessed:
            unknown[o.function] += times
    total = seen.total()
    if languages:
        named = ", ".join(f"{name} {times:,}" for name, times in languages.most_common(8))
        found.append(
            f"{languages.total():,} of {total:,} queries are in languages that the domain does not have, "
            f"so not in `languages`: {named}"
        )
    if uncertain:
        found.append(f"the language of {uncertain:,} queries is not certain; they are left out of `languages`")
    for function, times in sorted(unknown.items()):
        found.append(
            f"{function}: {times:,} calls name a category that no node stands for; they are left out of `categories`"
        )
    return found


def _unwritable(domain: Domain, statistics: Mapping[str, Any]) -> list[str]:
    """Whether the domain's templates can write what was found; the file itself must be sound.

    Raises:
        InputError: the statistics are refused, which would be a fault of this module.
    """

    fitted = with_statistics(domain, statistics)
    try:
        build_strata(fitted, probe_config(fitted))
    except InputError as error:
        return [f"the domain cannot write all of this: {' '.join(str(error).split())}"]
    return []


def render(found: Fit, domain: Domain, *, min_count: int, epsilon: float | None) -> str:
    """The text of statistics.yaml, with what a reader must know as comments. With noise, it holds no exact count."""
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
            lines.append(f"{found.unsure:,} more are left out, as their function could not be told.")
    else:
        lines.append(
            f"Differentially private (epsilon {epsilon:g}, add or remove one query; discrete Laplace noise by OpenDP)."
        )
        parts = ", ".join(f"{name} {part:.4g}" for name, part in found.budget.items())
        lines.append(f"Parts of epsilon, which add up; a query counts at most once in each histogram: {parts}.")
        if found.guessed or found.unsure:
            lines.append("Functions of queries without calls were guessed.")
    lines.append(
        f"Cells of fewer than {min_count} queries are pooled. "
        "A pool's total is divided by the domain's earlier shares; where"
    )
    lines.append("even the total is too small, the earlier shares stand, within what is then known.")
    lines += [f"  pooled in {table}: {', '.join(names)}" for table, names in sorted(found.pooled.items())]
    if found.kept:
        lines.append("Not from the queries, but as the domain had it:")
        lines += [f"  {line}" for line in found.kept]
    comments = "".join(f"# {line}\n" for line in lines)
    return comments + yaml.safe_dump(
        found.statistics, sort_keys=False, allow_unicode=True, default_flow_style=None, width=140
    )
