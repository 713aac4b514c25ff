"""Acceptance by stratum: the share of requests that survives checks and dedup, and the requests that a quota needs.

A small cell tells little by itself, so its share is shrunk towards those of its margins (empirical Bayes). With k of n
rows kept:

    all rows                        p0 = (k + 1) / (n + 2)
    route                           p1 = (k + s1 p0) / (n + s1)
    route x function x length       p2 = (k + s2 p1) / (n + s2)
    stratum                         its share is distributed as Beta(k + s3 p2, n - k + s3 (1 - p2))

The strength s says how many rows the margin is worth. It is estimated for each level from how much the cells' shares
differ beyond chance: the method of moments for the beta-binomial distribution (Kleinman 1973), within bounds. A stratum
that was never seen gets the share of its margin.

Given a confidence c (``generate.confidence``), the lower bound of a share is the (1 - c) quantile of its distribution.
A stratum's number of requests is the smallest of which, at that share, the quota survives with probability c (a
binomial tail). That is quota / bound plus a few rows to allow for bad luck with few draws, which are negligible for a
large quota.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routenator.errors import InputError, value_kind
from routenator.files import read_json
from routenator.sampling.strata import KEY

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = 1
LEVELS: tuple[tuple[str, ...], ...] = (("route",), ("route", "function", "length"))  # margins, the widest first
# Bounds of a strength, in rows: a margin always counts, but never more than a hundred rows of the cell's own.
LEAST_STRENGTH, MOST_STRENGTH = 1.0, 100.0
# A stratum is given up when none of this many requests survived; fewer may be bad luck.
HOPELESS_AFTER = 20
SHOWN_CONFIDENCE = 0.9  # of the lower bounds in the file; a plan computes bounds for its own confidence


@dataclass(frozen=True)
class Posterior:
    """Beta distributions of the surviving share of each stratum; arrays of shape (strata,).

    Attributes:
        a, b: the parameters.
    """

    a: NDArray[np.float64]
    b: NDArray[np.float64]

    @property
    def share(self) -> NDArray[np.float64]:
        """The mean share."""
        return self.a / (self.a + self.b)

    def lower(self, confidence: float) -> NDArray[np.float64]:
        """The share that is exceeded with the given probability."""
        from scipy.stats import beta

        bound: NDArray[np.float64] = beta.ppf(1.0 - confidence, self.a, self.b)
        return bound

    def requests(self, wanted: NDArray[np.int64], confidence: float, most: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of requests needed for the wanted rows to survive; arrays of shape (strata,).

        Args:
            wanted: rows, 0 or more.
            confidence: probability, 0.5 to 1; applied to the share and to the draws.
            most: upper limit of the requests; never below the wanted rows.
        """
        import numpy as np
        from scipy.special import betainc

        share, rows = self.lower(confidence), np.maximum(wanted, 1)
        # Bisection works because P(at least k of n survive) = I_share(k, n - k + 1) grows with n.
        low, high = wanted, np.where(wanted > 0, np.maximum(most, wanted), 0)
        while (low < high).any():
            middle = (low + high) // 2
            enough = betainc(rows, middle - rows + 1.0, share) >= confidence
            low, high = np.where(enough | (low >= high), low, middle + 1), np.where(enough, middle, high)
        return high


class Acceptance:
    """Measured acceptance, by stratum key.

    Args:
        rows: one per stratum: its key, ``requested``, ``accepted`` (by the checks), ``kept`` (after dedup, before
            quotas are applied); after several rounds, ``newest`` with the last one's ``requested`` and ``kept``.
        note: the rest of the file (likeness, size, seed, rounds).
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], note: Mapping[str, Any] | None = None) -> None:
        self.rows = list(rows)
        self.note = dict(note or {})
        self.counts: dict[tuple[str, ...], tuple[int, int]] = {}
        for row in self.rows:
            self._add(self.counts, row, KEY)
        self.margins: list[dict[tuple[str, ...], tuple[int, int]]] = [{} for _ in LEVELS]
        for level, names in enumerate(LEVELS):
            for row in self.rows:
                self._add(self.margins[level], row, names)
        requested, kept = (sum(row[name] for row in self.rows) for name in ("requested", "kept"))
        self.overall = (kept + 1.0) / (requested + 2.0)
        tables = [*self.margins, self.counts]
        self.strengths = [
            strength(table, {(): (kept, requested)} if level == 0 else tables[level - 1], _places(tables, level))
            for level, table in enumerate(tables)
        ]

    @staticmethod
    def _add(table: dict[tuple[str, ...], tuple[int, int]], row: Mapping[str, Any], names: Sequence[str]) -> None:
        key = tuple(str(row[name]) for name in names)
        kept, requested = table.get(key, (0, 0))
        table[key] = (kept + int(row["kept"]), requested + int(row["requested"]))

    def posterior(self, strata: Sequence[Mapping[str, Any]]) -> Posterior:
        """Distribution of each stratum's share; strata that were not measured get the share of their margin."""
        import numpy as np

        shares: dict[tuple[str, ...], float] = {}
        a, b = np.empty(len(strata)), np.empty(len(strata))
        for number, row in enumerate(strata):
            share = self.overall
            for level, names in enumerate(LEVELS):
                key = tuple(str(row[name]) for name in names)
                if key not in shares:
                    kept, requested = self.margins[level].get(key, (0, 0))
                    weight = self.strengths[level]
                    shares[key] = (kept + weight * share) / (requested + weight)
                share = shares[key]
            kept, requested = self.counts.get(tuple(str(row[name]) for name in KEY), (0, 0))
            weight = self.strengths[-1]
            a[number], b[number] = kept + weight * share, requested - kept + weight * (1.0 - share)
        return Posterior(a, b)

    def newest(self) -> Acceptance:
        """Acceptance of the newest round alone: as a stratum fills up, new requests produce more duplicates."""
        if not any("newest" in row for row in self.rows):
            return self
        return Acceptance(
            [{**{name: row[name] for name in KEY}, "accepted": 0, **row["newest"]} for row in self.rows], self.note
        )

    def hopeless(self) -> list[dict[str, Any]]:
        """Strata with at least ``HOPELESS_AFTER`` requests, none of which survived."""
        return [dict(row) for row in self.rows if row["requested"] >= HOPELESS_AFTER and not row["kept"]]

    def by(self, *names: str) -> list[dict[str, Any]]:
        """Counts and raw share grouped by some dimensions, the lowest share first."""
        table: dict[tuple[str, ...], list[int]] = {}
        for row in self.rows:
            sums = table.setdefault(tuple(str(row[name]) for name in names), [0, 0, 0])
            for place, count in enumerate(("requested", "accepted", "kept")):
                sums[place] += row[count]
        made = [
            {**dict(zip(names, key, strict=True)), "requested": n, "accepted": m, "kept": k, "share": k / n}
            for key, (n, m, k) in table.items()
            if n
        ]
        return sorted(made, key=lambda row: row["share"])

    def as_dict(self) -> dict[str, Any]:
        """The content of acceptance.json: counts, and each stratum's shrunken share with its lower bound."""
        found = self.posterior(self.rows)
        rows = [
            {**row, "share": round(share, 6), "low": round(low, 6)}
            for row, share, low in zip(
                self.rows, found.share.tolist(), found.lower(SHOWN_CONFIDENCE).tolist(), strict=True
            )
        ]
        return {
            "format": FORMAT,
            **self.note,
            "confidence": SHOWN_CONFIDENCE,  # probability that the share is above ``low``
            "strengths": {
                "route": self.strengths[0],
                "route x function x length": self.strengths[1],
                "stratum": self.strengths[2],
            },
            "routes": self.by("route"),
            "strata": rows,
        }


def write_text(value: Mapping[str, Any]) -> str:
    """The text of an acceptance.json (from ``as_dict``): one line per key, then one line per stratum.

    With the strata last, ``read_note`` need not read the whole file.
    """
    head = [
        f"  {json.dumps(key)}: {json.dumps(item, ensure_ascii=False)},"
        for key, item in value.items()
        if key != "strata"
    ]
    rows = ",\n".join(f"    {json.dumps(row, ensure_ascii=False)}" for row in value["strata"])
    return "\n".join(["{", *head, '  "strata": [', rows, "  ]", "}", ""])


def read_note(file: Path) -> dict[str, Any]:
    """Read an acceptance.json up to its strata, of which there may be many: likeness, size, seed, rounds, routes."""
    note: dict[str, Any] = {}
    with open(file, encoding="utf-8") as handle:
        next(handle, None)
        for line in handle:
            key, _, item = line.strip().rstrip(",").partition(": ")
            if key == '"strata"':
                break
            note[json.loads(key)] = json.loads(item)
    return note


def strength(
    table: Mapping[tuple[str, ...], tuple[int, int]],
    parents: Mapping[tuple[str, ...], tuple[int, int]],
    places: Sequence[int],
) -> float:
    """Number of rows that a cell's margin is worth: 1 / rho - 1, with rho the correlation of two rows of a cell.

    Args:
        table: cell -> (kept, requested).
        parents: margin -> (kept, requested).
        places: positions in a cell's key that form its margin's key.
    """
    observed = chance = excess = 0.0
    for key, (kept, requested) in table.items():
        kept_all, requested_all = parents[tuple(key[place] for place in places)]
        if not requested or requested == requested_all:
            continue
        parent = kept_all / requested_all
        spread = parent * (1.0 - parent) * (1.0 - requested / requested_all)
        observed += requested * (kept / requested - parent) ** 2
        chance += spread
        excess += spread * (requested - 1)
    if excess <= 0.0:
        # One cell per margin, or one row per cell: no way to tell how much cells differ.
        return 10.0
    rho = min(max((observed - chance) / excess, 0.0), 1.0)
    return min(max(1.0 / rho - 1.0, LEAST_STRENGTH), MOST_STRENGTH) if rho else MOST_STRENGTH


def _places(tables: Sequence[object], level: int) -> list[int]:
    names = [*LEVELS, KEY]
    return [names[level].index(name) for name in (names[level - 1] if level else ())]


def load_acceptance(file: Path) -> Acceptance:
    """Read an acceptance.json.

    Raises:
        InputError: it is missing, or not an acceptance file.
    """
    expected = "an acceptance.json, or a run whose merge is done"
    try:
        value = read_json(file)
    except FileNotFoundError:
        raise InputError(
            "no acceptance has been measured here",
            file=file,
            key="generate.acceptance",
            found="nothing",
            expected=expected,
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(
            "cannot read this file", file=file, key="generate.acceptance", found=error, expected=expected
        ) from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        found = value.get("format") if isinstance(value, dict) else value_kind(value)
        raise InputError(
            "not an acceptance file", file=file, key="format", found=found, expected=f"{FORMAT}: {expected}"
        )
    counts = ("requested", "accepted", "kept")
    for number, row in enumerate(value.get("strata", [])):
        if not all(isinstance(row.get(name), str) for name in KEY) or not all(
            isinstance(row.get(name), int) for name in counts
        ):
            raise InputError(
                "not an acceptance file",
                file=file,
                key=f"strata[{number}]",
                found=row,
                expected=", ".join((*KEY, *counts)),
            )
        if not 0 <= row["kept"] <= row["requested"]:
            found = f"kept {row['kept']} of {row['requested']}"
            expected = "kept between 0 and requested"
            raise InputError("impossible counts", file=file, key=f"strata[{number}]", found=found, expected=expected)
    note = {
        key: item for key, item in value.items() if key not in ("format", "confidence", "strengths", "routes", "strata")
    }
    own = (*KEY, *counts, "newest")
    return Acceptance([{name: row[name] for name in own if name in row} for row in value.get("strata", [])], note)
