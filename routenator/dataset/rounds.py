"""Measures a merge for the closed loop: acceptance by stratum, and the yield of each round of requests.

Round 1 is the first run's; its second round and each top-up add one. Candidates are numbered consecutively, so a round
is a range of the index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routenator.dataset.decisions import DROPPED, KEPT, Decision, Decisions
from routenator.dataset.sources import BLOCK_ROWS, blocks
from routenator.sampling.acceptance import Acceptance
from routenator.sampling.strata import KEY

if TYPE_CHECKING:
    import numpy as np

STEPS: Mapping[str, tuple[Decision, ...]] = {
    "requested": tuple(Decision),
    "accepted": (*KEPT, *DROPPED),  # by the checks
    "kept": (*KEPT, Decision.SURPLUS),  # after leakage and deduplication; these could have filled a quota
    "final": KEPT,
}


def round_tables(decisions: Decisions, rounds: Sequence[int]) -> list[np.ndarray]:
    """Count candidates by stratum and decision, like ``Decisions.table``, for each round.

    Args:
        decisions: of the merge.
        rounds: number of candidates of each round; together, all candidates.
    """
    import numpy as np

    ends = [0, *np.cumsum(rounds).tolist()]
    tables = []
    for start, stop in pairwise(ends):
        table = np.zeros_like(decisions.table)
        for low, high in blocks(stop - start, BLOCK_ROWS):
            part = slice(start + low, start + high)
            pairs = decisions.strata[part].astype(np.int64) * len(Decision) + decisions.codes[part]
            table += np.bincount(pairs, minlength=table.size).reshape(table.shape)
        tables.append(table)
    return tables


def measure(
    strata: Sequence[Mapping[str, Any]], tables: Sequence[np.ndarray], note: Mapping[str, Any]
) -> tuple[Acceptance, list[dict[str, int]]]:
    """Return the measured acceptance, and one row per round for merge.json.

    Args:
        strata: rows of strata.json.
        tables: from ``round_tables``.
        note: additional entries of acceptance.json.
    """
    whole, newest = sum(tables[1:], start=tables[0]), tables[-1]
    counted = {step: whole[:, list(decided)].sum(axis=1).tolist() for step, decided in STEPS.items()}
    asked, kept = (newest[:, list(STEPS[step])].sum(axis=1).tolist() for step in ("requested", "kept"))
    rows = []
    for number, row in enumerate(strata):
        found = {name: row[name] for name in KEY} | {
            step: counted[step][number] for step in ("requested", "accepted", "kept")
        }
        if len(tables) > 1:
            found["newest"] = {"requested": asked[number], "kept": kept[number]}
        rows.append(found)
    rounds = [{step: int(table[:, list(decided)].sum()) for step, decided in STEPS.items()} for table in tables]
    return Acceptance(rows, {**note, "rounds": len(tables)}), rounds


def rejections(
    candidates: Sequence[Path], rejected: Sequence[Path], last: Mapping[int, int], shown: int = 3, examples: int = 2
) -> dict[int, tuple[list[tuple[str, int]], list[dict[str, Any]]]]:
    """Explain why the latest candidates of some strata are not in the data set.

    Args:
        candidates: files of candidates.
        rejected: the merge's files of rejected rows.
        last: stratum -> how many of its latest candidates (highest index) to look at.
        shown: maximum number of reasons.
        examples: maximum number of example rows.

    Returns:
        Stratum, in the order of ``last`` -> (most common reasons with counts; examples with query, reason and detail).
    """
    import polars as pl

    rows = (
        pl.scan_parquet(list(candidates), glob=False)
        .filter(pl.col("stratum").is_in(list(last)))
        .select("index", "stratum")
        .collect()
    )
    why = pl.scan_parquet(list(rejected), glob=False).filter(pl.col("index").is_in(rows["index"].implode())).collect()
    joined = rows.join(why, on="index").sort("index")
    found = {}
    for stratum, count in last.items():
        group = joined.filter(pl.col("stratum") == stratum).tail(count)
        counts = group["reason"].value_counts().sort(["count", "reason"], descending=[True, False]).head(shown)
        found[stratum] = (
            [(row["reason"], row["count"]) for row in counts.iter_rows(named=True)],
            group.filter(pl.col("query").is_not_null()).head(examples).select("query", "reason", "detail").to_dicts(),
        )
    return found
