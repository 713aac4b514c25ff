"""Exact quotas: each stratum keeps its first rows; deficits are filled from the surplus of the same cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from routenator.dataset.decisions import Decision, Decisions
from routenator.dataset.sources import blocks

if TYPE_CHECKING:
    import numpy as np

CELL = ("function", "category", "length", "language")  # a deficit may be filled from other strata of this cell


def fill_quotas(decisions: Decisions, strata: Sequence[dict[str, Any]], backfill: bool, block_rows: int) -> None:
    """Keep the first rows of each stratum, up to its quota; then fill deficits from the cell's surplus.

    Args:
        decisions: updated in place; pending rows become final or surplus, and surplus rows may be back-filled.
        strata: rows of strata.json.
        backfill: whether to fill deficits.
        block_rows: rows handled at once.
    """
    import numpy as np

    total = len(decisions.codes)
    open_places = np.array([row["quota"] for row in strata], dtype=np.int64)
    for low, high in blocks(total, block_rows):
        index = low + np.flatnonzero(decisions.codes[low:high] == Decision.PENDING)
        taken = _take_first(decisions.strata[index], open_places)
        decisions.codes[index[taken]] = Decision.FINAL
        decisions.codes[index[~taken]] = Decision.SURPLUS
    cells = [tuple(str(row[key]) for key in CELL) for row in strata]
    names = {cell: number for number, cell in enumerate(sorted(set(cells)))}
    cell_of = np.array([names[cell] for cell in cells], dtype=np.int64)
    wanted = np.bincount(cell_of, weights=open_places, minlength=len(names)).astype(np.int64)
    still = wanted.copy()
    if backfill and wanted.any():
        for low, high in blocks(total, block_rows):
            index = low + np.flatnonzero(decisions.codes[low:high] == Decision.SURPLUS)
            taken = _take_first(cell_of[decisions.strata[index]], still)
            decisions.codes[index[taken]] = Decision.BACKFILLED
    filled = wanted - still
    for number in np.flatnonzero(open_places):
        row, short, cell = strata[number], int(open_places[number]), cell_of[number]
        given = min(short, int(filled[cell]))  # a cell's extra rows are credited to its earlier strata first
        filled[cell] -= given
        decisions.deficits.append(
            {
                "stratum": int(number),
                **{key: row[key] for key in ("function", "category", "route", "template", "length", "language")},
                "quota": int(row["quota"]),
                "own": int(row["quota"]) - short,
                "backfilled": given,
                "missing": short - given,
            }
        )


def _take_first(groups: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Give the places of each group to its first rows, and subtract them from ``places``.

    Args:
        groups: int of shape (rows,), in index order.
        places: int64 of shape (groups,): free places; updated in place.

    Returns:
        Mask of the rows that got a place, bool of shape (rows,).
    """
    import numpy as np

    # numpy sorts 16-bit integers by radix sort, about ten times as fast.
    order = np.argsort(groups.astype(np.uint16) if len(places) <= 1 << 16 else groups, kind="stable")
    ordered = groups[order]
    counts = np.bincount(groups, minlength=len(places))
    rank = np.arange(len(groups)) - (np.cumsum(counts) - counts)[ordered]
    taken = np.zeros(len(groups), dtype=bool)
    taken[order] = rank < places[ordered]
    places -= np.bincount(groups[taken], minlength=len(places))
    return taken
