"""Histograms of observations, with noise if they are to be differentially private.

The domain, never the data, determines the cells of each histogram, and a query adds 1 to at most one cell of each. So
by the Laplace mechanism, integer noise of scale 1 / e costs e of the privacy budget per histogram, and the costs add
up. Each optional slot of a function has its own histogram; a query counts only in those of its own function, so the
function with the most slots determines the cost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from routenator.domain.domain import Domain
from routenator.domain.schema import NO_CATEGORY
from routenator.extras import require
from routenator.population.queries import Observation
from routenator.sampling.walk import Graph
from routenator.validation.text import THIRDS

Key = tuple[Any, ...]
Noise = Callable[[Sequence[int], float], Sequence[int]]  # counts and a scale -> counts with noise of that scale
OTHER = "other"  # all languages that the domain does not have
# How epsilon is divided among the tables: those with few cells, to which every query contributes, need less of it.
WEIGHTS = {
    "functions": 1.0,
    "categories": 2.0,
    "words": 2.0,
    "positions": 1.0,
    "languages": 0.5,
    "lowercase": 0.5,
    "no_punctuation": 0.5,
    "slots": 3.0,
    "calls": 0.5,
}


@dataclass
class Histograms:
    """Counts by table. Noisy counts can be negative.

    Attributes:
        tables: name -> cell -> queries. Cells: functions (function,), categories (function, category), slots (function,
            slot, present?), words (function, words), positions (function, third), languages (language,), lowercase
            (yes?,), no_punctuation (yes?,).
        budget: name -> its part of epsilon; empty for exact counts.
    """

    tables: dict[str, Counter[Key]]
    budget: dict[str, float] = field(default_factory=dict)

    def of(self, table: str, function: str) -> dict[Any, int]:
        """Cells of one function, by the rest of their key: a name, or a tuple."""
        cells = self.tables.get(table, Counter())
        return {key[1] if len(key) == 2 else key[1:]: count for key, count in cells.items() if key[0] == function}


def nearest_bucket(domain: Domain, words: int) -> tuple[str, int]:
    """The length bucket for a number of words, and the number itself, moved to the nearest bucket if outside all."""
    distance = {
        name: (max(low - words, words - high, 0), low, min(max(words, low), high))
        for name, (low, high) in domain.statistics.length_buckets.items()
    }
    name = min(distance, key=lambda bucket: distance[bucket][:2])
    return name, distance[name][2]


def cells(domain: Domain, *, labelled: bool) -> dict[str, list[Key]]:
    """All cells of each table, determined by the domain alone, whatever the data contain.

    Args:
        labelled: whether the queries have calls; otherwise their slots are unknown.
    """
    statistics, walked = domain.statistics, _walked_categories(domain)
    words = sorted({word for low, high in statistics.length_buckets.values() for word in range(low, high + 1)})
    found: dict[str, list[Key]] = {
        "functions": [(function,) for function in domain.rules],
        "categories": [(f, c) for f in domain.rules for c in domain.categories_of(f) if c in walked[f]],
        "words": [(function, word) for function in domain.rules for word in words],
        "positions": [(f, third) for f in statistics.keyword_position if f in domain.rules for third in THIRDS],
        "languages": [(language,) for language in (*statistics.languages, OTHER)],
        "lowercase": [(True,), (False,)],
        "no_punctuation": [(True,), (False,)],
    }
    if labelled:
        found["slots"] = [
            (f, slot, present) for f in domain.rules for slot in optional_slots(domain, f) for present in (True, False)
        ]
        if set(statistics.calls) != {1}:
            found["calls"] = [(number,) for number in statistics.calls]
    return {name: keys for name, keys in found.items() if keys}


def _walked_categories(domain: Domain) -> dict[str, set[str]]:
    """Categories that at least one walk of each function ends in.

    Only these are counted: ``domain check`` would refuse a share for any other, and noise can give a share to any cell.
    """
    graph, found = Graph(domain), dict[str, set[str]]()
    for function in domain.rules:
        walker = graph.walker(function)
        found[function] = {c for c, mass in zip(walker.categories, walker.mass, strict=True) if mass > 0} - {
            NO_CATEGORY
        }
    return found


def optional_slots(domain: Domain, function: str) -> list[str]:
    """Slots that a call of the function can omit."""
    return [slot for slot in domain.rules[function].slots if slot not in domain.functions[function].required]


def count(domain: Domain, seen: Mapping[Observation, int]) -> Histograms:
    """Count exactly. Of queries without a function, and of those with several, only the number of calls counts."""
    labelled = any(o.slots is not None for o in seen)
    wanted = cells(domain, labelled=labelled)
    tables: dict[str, Counter[Key]] = {name: Counter(dict.fromkeys(keys, 0)) for name, keys in wanted.items()}
    for observation, times in seen.items():
        keys = _keys(domain, observation) if observation.function is not None else []
        for name, key in (*keys, ("calls", (observation.calls,))):
            if key in tables.get(name, ()):
                tables[name][key] += times
    return Histograms(tables)


def _keys(domain: Domain, o: Observation) -> list[tuple[str, Key]]:
    """Cells that one observation counts towards."""
    keys: list[tuple[str, Key]] = [
        ("functions", (o.function,)),
        ("words", (o.function, nearest_bucket(domain, o.words)[1])),
        ("lowercase", (o.lowercase,)),
        ("no_punctuation", (o.bare,)),
    ]
    if o.category is not None:
        keys.append(("categories", (o.function, o.category)))
    if o.third is not None:
        keys.append(("positions", (o.function, o.third)))
    if o.language is not None:
        keys.append(("languages", (o.language if o.language in domain.statistics.languages else OTHER,)))
    if o.slots is not None and o.function is not None:
        for slot, rule in domain.rules[o.function].slots.items():
            # Sampling applies the slot's share only where the other slots admit the slot, so only such calls count.
            if not o.slots & set(rule.excludes) and set(rule.needs) <= o.slots:
                keys.append(("slots", (o.function, slot, slot in o.slots)))
    return keys


def opendp_noise(counts: Sequence[int], scale: float) -> list[int]:
    """Add discrete Laplace noise by OpenDP, which takes randomness from the operating system and cannot be seeded.

    Raises:
        MissingPackageError: OpenDP is not installed.
    """
    require("privacy", "noise for differential privacy", key="--epsilon")
    import opendp.prelude as dp

    dp.enable_features("contrib")  # required by all of OpenDP's mechanisms
    space = dp.vector_domain(dp.atom_domain(T=int)), dp.l1_distance(T=int)
    return list(dp.m.make_laplace(*space, scale=scale)(list(counts)))


def noisy(domain: Domain, exact: Histograms, epsilon: float, noise: Noise = opendp_noise) -> Histograms:
    """Add noise to all tables, dividing epsilon by ``WEIGHTS``.

    Args:
        noise: the mechanism; only benchmarks and tests, which must be repeatable, pass another one.

    Raises:
        InputError: OpenDP is not installed.
    """
    whole = sum(WEIGHTS[name] for name in exact.tables)
    parts = {name: epsilon * WEIGHTS[name] / whole for name in exact.tables}

    def with_noise(table: Counter[Key], part: float) -> Counter[Key]:
        return Counter(dict(zip(table, noise(list(table.values()), 1.0 / part), strict=True)))

    tables: dict[str, Counter[Key]] = {}
    for name, table in exact.tables.items():
        if name != "slots":
            tables[name] = with_noise(table, parts[name])
            continue
        tables[name] = Counter()
        for function in domain.rules:
            own = Counter({key: value for key, value in table.items() if key[0] == function})
            if own:
                # A query counts in as many of these cells as its function has optional slots.
                tables[name].update(with_noise(own, parts[name] / len(optional_slots(domain, function))))
    return Histograms(tables, parts)
