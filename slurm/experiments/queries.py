"""Counts real queries in the cells in which ``kind: distribution`` counts data, so that the two can be compared.

Cells of few queries are pooled: a single query would decide on them, and rare values of an open slot are people's own
words.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routenator.domain.domain import Domain
from slurm.experiments.child import apart

RARE = "(rare)"
OUTSIDE = "(no bucket)"
UNKNOWN = "(unknown)"
PLACE = "place of the content type, "
FEW = 5  # below this expected count the chi-square approximation is poor (Cochran's rule)


@dataclass
class Counts:
    """Rows of data, or queries, by cell.

    Attributes:
        rows: dimension -> name -> rows.
        words: function -> number of words -> rows.
    """

    rows: dict[str, Counter[str]]
    words: dict[str, Counter[int]]


def bucket_of(domain: Domain, words: int) -> str:
    """The length bucket of a number of words."""
    buckets = domain.statistics.length_buckets
    return next((name for name, (low, high) in buckets.items() if low <= words <= high), OUTSIDE)


def count_queries(domain: Path, file: Path) -> Counts:
    """Count the queries of a file that have one call, in a process of its own.

    Raises:
        InputError: the file cannot be read, or is not of the domain's API.
    """
    found = json.loads(apart("counting", "slurm.experiments.observe", [domain.resolve(), file.resolve()], file))
    words = {
        name: Counter({int(number): rows for number, rows in table.items()}) for name, table in found["words"].items()
    }
    return Counts({name: Counter(table) for name, table in found["rows"].items()}, words)


def pooled(counts: Mapping[str, int], queries: Mapping[str, int]) -> Counter[str]:
    """Put the rows of all cells that have few of the real queries into one cell.

    Args:
        counts: name -> rows, of data or of the queries themselves.
        queries: name -> real queries.
    """
    found: Counter[str] = Counter()
    for name, rows in counts.items():
        found[name if queries.get(name, 0) >= FEW else RARE] += rows
    return found


def same_source(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, Any]:
    """Chi-square test that two samples are of the same population; both are subject to chance.

    Returns:
        statistic, degrees, p.
    """
    from scipy.stats import chi2_contingency

    names = [name for name in {**first, **second} if first.get(name, 0) + second.get(name, 0) > 0]
    if len(names) < 2:
        return {"statistic": 0.0, "degrees": 0, "p": 1.0}
    table = [[counts.get(name, 0) for name in names] for counts in (first, second)]
    result = chi2_contingency(table, correction=False)
    return {"statistic": float(result.statistic), "degrees": int(result.dof), "p": float(result.pvalue)}
