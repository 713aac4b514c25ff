"""Compares the data set with the target: shares by dimension, three measures, acceptance, word counts, positions.

Everything is computed from counts per stratum and from histograms, so the cost does not grow with the data set.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from routenator.sampling.strata import KEY
from routenator.schemas import AND

DIMENSIONS = ("function", "category", "route", "length", "language")
STEPS = ("requested", "accepted", "final")  # compared with the target
HARD = ("route", "function", "length")  # cells of these are ranked by how many candidates they lose
_HARD_ROWS = 20  # with fewer requests, a cell's acceptance rate is too uncertain
_HARD_SHOWN = 12
_FEW = 5  # below this expected count the chi-square approximation is poor (Cochran's rule)


def measures(target: Sequence[float], counts: Sequence[int]) -> dict[str, Any]:
    """Compute chi-square, total variation and Kullback-Leibler divergence of counts from a target, each explained.

    Args:
        target: shares, of shape (names,), summing to 1.
        counts: rows, of shape (names,).

    Returns:
        {"rows", "chi_square": {statistic, degrees, p, smallest_expected, meaning}, "total_variation": {value, meaning},
        "kl": {value (bits), meaning}}; the three are None if there are no rows.
    """
    rows = sum(counts)
    if rows == 0:
        return {"rows": 0, "chi_square": None, "total_variation": None, "kl": None}
    shares = [count / rows for count in counts]
    variation = 0.5 * math.fsum(abs(p - q) for p, q in zip(shares, target, strict=True))
    outside = any(p > 0 and q <= 0 for p, q in zip(shares, target, strict=True))
    divergence = (
        None if outside else math.fsum(p * math.log2(p / q) for p, q in zip(shares, target, strict=True) if p > 0)
    )
    return {
        "rows": rows,
        "chi_square": _chi_square(target, counts, rows, outside),
        "total_variation": {
            "value": variation,
            "meaning": f"{variation:.2%} of the rows ({round(variation * rows)} of {rows}) would have to "
            "move to another value to match the target.",
        },
        "kl": {
            "value": divergence if divergence is None else max(divergence, 0.0),
            "meaning": "Some rows have values with a target share of zero, so the divergence is infinite."
            if divergence is None
            else f"A code optimal for the target would waste {max(divergence, 0.0):.4f} bits per row on this data; "
            "0 is a perfect match.",
        },
    }


def _chi_square(target: Sequence[float], counts: Sequence[int], rows: int, outside: bool) -> dict[str, Any]:
    from scipy.stats import chisquare

    used = [(q * rows, count) for q, count in zip(target, counts, strict=True) if q > 0]
    degrees = len(used) - 1
    if outside or degrees < 1:
        statistic, p = (None, 0.0) if outside else (0.0, 1.0)
        meaning = (
            "Some rows have values with a target share of zero."
            if outside
            else "There is only one value, so there is nothing to test."
        )
        return {
            "statistic": statistic,
            "degrees": max(degrees, 0),
            "p": p,
            "smallest_expected": None,
            "meaning": meaning,
        }
    scale = rows / math.fsum(expected for expected, _ in used)
    result = chisquare([count for _, count in used], [expected * scale for expected, _ in used])
    statistic, p = float(result.statistic), float(result.pvalue)
    smallest = min(expected for expected, _ in used)
    if p < 0.05:
        conclusion = "the counts do not follow the target"
    elif p > 0.95:
        conclusion = "closer than chance, as exact quotas should be"
    else:
        conclusion = "no significant difference"
    meaning = f"A random draw from the target would be at least this far off in {_percent(p)} of cases: {conclusion}."
    if smallest < _FEW:
        meaning += f" (The smallest expected count is {smallest:.1f}, so this probability is approximate.)"
    return {"statistic": statistic, "degrees": degrees, "p": p, "smallest_expected": smallest, "meaning": meaning}


def _percent(share: float) -> str:
    return "under 0.1%" if share < 0.001 else "over 99.9%" if share > 0.999 else f"{share:.1%}"


def distribution(
    strata: Sequence[Mapping[str, Any]],
    counts: Mapping[str, Sequence[int]],
    target: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """Compare requested, accepted and final rows with the target, by dimension.

    Args:
        strata: rows of strata.json.
        counts: step ("requested", "accepted", "final") -> rows of each stratum.
        target: dimension -> name -> share, from ``marginals``; and of ``calls``, if not all rows have one. Shares of
            functions are of calls, those of all others but ``calls`` of rows with one call.

    Returns:
        {"dimensions": {dimension: {"rows": [{"name", "target", STEP: {"rows", "share"}, "acceptance", "missing"}],
        "measures": {STEP: ...}, "checks": ...}}, "joint": {STEP: ...}, "hardest": [...]}. Rows are in descending order
        of target.

        acceptance: accepted share of the requested rows, from ``acceptance``.  missing: rows short of the quota.
        checks: the accepted rows measured against the requested ones: how much rejection alone shifts the distribution.
        joint: the individual strata against their quotas.  hardest: cells that are short of rows or lose the most, from
            ``hardest``.
    """
    dimensions = {}
    for dimension in (*DIMENSIONS, *({"calls"} & target.keys())):
        tallies: dict[str, Counter[str]] = {step: Counter() for step in (*STEPS, "quota")}
        for number, row in enumerate(strata):
            for name in _names(row, dimension):
                for step in STEPS:
                    tallies[step][name] += counts[step][number]
                tallies["quota"][name] += row["quota"]
        names = sorted(target[dimension], key=lambda name: (-target[dimension][name], name))
        shares = [target[dimension][name] for name in names]
        dimensions[dimension] = {
            "rows": [
                {
                    "name": name,
                    "target": share,
                    **{
                        step: {
                            "rows": tallies[step][name],
                            "share": tallies[step][name] / max(1, tallies[step].total()),
                        }
                        for step in STEPS
                    },
                    "acceptance": acceptance(tallies["accepted"][name], tallies["requested"][name]),
                    "missing": max(0, tallies["quota"][name] - tallies["final"][name]),
                }
                for name, share in zip(names, shares, strict=True)
            ],
            "measures": {step: measures(shares, [tallies[step][name] for name in names]) for step in STEPS},
            "checks": _bend(tallies["requested"], tallies["accepted"], names),
        }
    wanted = sum(row["quota"] for row in strata)
    quotas = [row["quota"] / wanted for row in strata]
    joint = {step: measures(quotas, counts[step]) for step in STEPS}
    return {"dimensions": dimensions, "joint": joint, "hardest": hardest(strata, counts)}


def _names(row: Mapping[str, Any], dimension: str) -> list[str]:
    """What a row of a stratum counts towards in a dimension: nothing, one name or several."""
    calls = row.get("calls", 1)
    if dimension == "calls":
        return [str(calls)]
    if dimension == "function" and calls > 1:
        return str(row["function"]).split(AND)
    return [str(row[dimension])] if calls == 1 else []


def acceptance(accepted: int, requested: int) -> dict[str, float] | None:
    """The accepted share with its 95% confidence interval (Wilson score); None if nothing was requested."""
    from scipy.stats import binomtest

    if requested == 0:
        return None
    interval = binomtest(accepted, requested).proportion_ci(0.95, method="wilson")
    return {"value": accepted / requested, "low": float(interval.low), "high": float(interval.high)}


def _bend(requested: Counter[str], accepted: Counter[str], names: Sequence[str]) -> dict[str, Any]:
    total = requested.total()
    return measures([requested[name] / max(1, total) for name in names], [accepted[name] for name in names])


def hardest(strata: Sequence[Mapping[str, Any]], counts: Mapping[str, Sequence[int]]) -> list[dict[str, Any]]:
    """Find the cells of route, function and length that are short of rows or lose the most, worst first.

    Returns:
        {"route", "function", "length", "requested", "accepted", "quota", "final", "missing", "acceptance"}; omits cells
        with few requests that are not short of rows.
    """
    table: dict[tuple[str, ...], Counter[str]] = {}
    for number, row in enumerate(strata):
        cell = table.setdefault(tuple(str(row[name]) for name in HARD), Counter())
        cell.update({"quota": row["quota"], **{step: counts[step][number] for step in STEPS}})
    found: list[dict[str, Any]] = [
        {
            **dict(zip(HARD, key, strict=True)),
            **{name: cell[name] for name in ("requested", "accepted", "quota", "final")},
            "missing": max(0, cell["quota"] - cell["final"]),
            "acceptance": acceptance(cell["accepted"], cell["requested"]),
        }
        for key, cell in table.items()
    ]
    hard = [
        row
        for row in found
        if row["missing"] or (row["requested"] >= _HARD_ROWS and row["accepted"] < row["requested"])
    ]
    hard.sort(
        key=lambda row: (-row["missing"], row["accepted"] / max(1, row["requested"]), *(row[name] for name in HARD))
    )
    return hard[:_HARD_SHOWN]


def marginals(shares: Mapping[tuple[str, str, str, str, str, str], float]) -> dict[str, dict[str, float]]:
    """Dimension -> name -> share, from a target as returned by ``routenator.sampling.strata.target_shares``."""
    found: dict[str, dict[str, float]] = {dimension: {} for dimension in DIMENSIONS}
    for key, share in shares.items():
        row = dict(zip(KEY, key, strict=True))
        for dimension, table in found.items():
            table[row[dimension]] = table.get(row[dimension], 0.0) + share
    return found


def quartiles(histogram: Mapping[int, int]) -> dict[str, float]:
    """Rows, mean, minimum, quartiles and maximum of a histogram (value -> rows).

    Quartiles use linear interpolation, like numpy's default.

    Raises:
        ValueError: the histogram is empty.
    """
    values = sorted(value for value, count in histogram.items() if count > 0)
    rows = sum(histogram[value] for value in values)
    if not rows:
        raise ValueError("an empty histogram has no quartiles")

    def at(rank: int) -> int:
        seen = 0
        for value in values:
            seen += histogram[value]
            if rank < seen:
                return value
        return values[-1]

    def quantile(share: float) -> float:
        place = share * (rows - 1)
        below = at(math.floor(place))
        return below + (place - math.floor(place)) * (at(math.ceil(place)) - below)

    return {
        "rows": rows,
        "mean": sum(value * histogram[value] for value in values) / rows,
        "min": values[0],
        "q1": quantile(0.25),
        "median": quantile(0.5),
        "q3": quantile(0.75),
        "max": values[-1],
    }


def word_quartiles(histograms: Mapping[str, Mapping[int, int]]) -> dict[str, dict[str, float]]:
    """``quartiles`` of the number of words in a query, by function."""
    return {
        function: quartiles(histogram) for function, histogram in sorted(histograms.items()) if sum(histogram.values())
    }


def positions(counts: Mapping[str, Mapping[str, int]], target: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Compare where queries mention their category with the population's shares, by function.

    Args:
        counts: function -> first | middle | last | absent -> rows.
        target: function -> first | middle | last -> weight.

    Returns:
        {function: {"rows": [{"name", "target" or None, "rows", "share"}], "absent": rows, "measures": ... or None}};
        shares are of the rows that mention it.
    """
    result = {}
    for function, found in sorted(counts.items()):
        said = {third: found.get(third, 0) for third in ("first", "middle", "last")}
        weights = target.get(function)
        total = math.fsum(weights.values()) if weights else 0.0
        shares = [weights.get(third, 0.0) / total for third in said] if weights and total else None
        result[function] = {
            "rows": [
                {
                    "name": third,
                    "target": shares[number] if shares else None,
                    "rows": count,
                    "share": count / max(1, sum(said.values())),
                }
                for number, (third, count) in enumerate(said.items())
            ],
            "absent": found.get("absent", 0),
            "measures": measures(shares, list(said.values())) if shares else None,
        }
    return result
