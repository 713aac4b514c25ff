"""Finds rows whose nearest queries ask for another function: the words of such a row do not determine its call.

Every pending row is compared with reference rows, which are the pending rows themselves: all of them, or if there are
more than ``REFERENCES``, an equal number of each function, those with the smallest keyed hash of their index. So memory
is bounded, a frequent function does not crowd out the others, and the time grows with the number of rows, not with its
square. The outcome depends only on the rows and their index, not on files, blocks or cores: all rows are compared with
what was pending at the start, and equal similarities are ordered by index.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from routenator.dataset import hashing
from routenator.dataset.decisions import NAMED, Decision, Decisions
from routenator.dataset.sources import Source, blocks, stream

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

REFERENCES = 200_000  # maximum number of reference rows; at 384 float32 each, 300 MB
# Similarities are rounded to 1 / DIGITS. Finer differences depend on which texts were embedded in one batch.
DIGITS = 10_000
_ROWS, _STRIP = 1024, 16_384  # rows compared at once, and with how many references


@dataclass(frozen=True)
class Ambiguity:
    """Defines what counts as ambiguous.

    Attributes:
        embed: texts -> float32 of shape (texts, dimensions), rows of length 1.
        share: a row is ambiguous if at least this share (above 0, up to 1) of its neighbours belong to another
            function.
        neighbours: how many neighbours are considered. Functions with no more rows than this are skipped: they cannot
            fill a neighbourhood.
    """

    embed: Callable[[list[str]], np.ndarray]
    share: float
    neighbours: int


def mark(
    sources: Sequence[Source],
    strata: Sequence[dict[str, Any]],
    decisions: Decisions,
    rule: Ambiguity,
    seed: int,
    block_rows: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    references: int = REFERENCES,
) -> None:
    """Mark ambiguous pending rows, and record their neighbours of another function in ``decisions.neighbours``.

    Args:
        sources: the candidates.
        strata: rows of strata.json.
        decisions: updated in place.
        rule: what counts as ambiguous.
        seed: for the draw of references.
        block_rows: rows in memory at once.
        progress: called with (rows done, rows), counting both passes.
        references: maximum number of reference rows.
    """
    import numpy as np

    names = sorted({str(row["function"]) for row in strata if _is_compared(row)})
    functions = np.array(
        [names.index(str(row["function"])) if _is_compared(row) else -1 for row in strata], dtype=np.int32
    )
    chosen, counts = _draw(decisions, functions, len(names), seed, references, block_rows)
    judged = counts > rule.neighbours
    if not judged.any() or (counts > 0).sum() < 2:
        return
    total = len(decisions.codes)
    vectors = _References(chosen, functions[decisions.strata[chosen]])
    for low, frame in stream(sources, ("query",), block_rows):
        wanted = chosen[slice(*np.searchsorted(chosen, (low, low + frame.height)))] - low
        if len(wanted):
            vectors.add(rule.embed(frame["query"].gather(wanted).to_list()))
        progress(low + frame.height, 2 * total)
    found: list[np.ndarray] = []
    for low, frame in stream(sources, ("query",), block_rows):
        rows = np.flatnonzero(decisions.codes[low : low + frame.height] == Decision.PENDING)
        rows = rows[functions[decisions.strata[low + rows]] >= 0]
        own = functions[decisions.strata[low + rows]]
        rows, own = rows[judged[own]], own[judged[own]]
        for start in range(0, len(rows), _ROWS):
            some = slice(start, start + _ROWS)
            own_vectors = vectors.known(low + rows[some], partial(_embed, rule, frame["query"], rows[some]))
            found.append(_ambiguous(low + rows[some], own[some], own_vectors, vectors, rule))
        progress(total + low + frame.height, 2 * total)
    decisions.neighbours = np.concatenate([np.zeros((0, 3 + NAMED), dtype=np.int64), *found])
    decisions.codes[decisions.neighbours[:, 0]] = Decision.AMBIGUOUS


def _is_compared(row: dict[str, Any]) -> bool:
    """Whether a stratum's rows are: not those with several calls, nor those that ask for a function that is hidden."""
    return row.get("calls", 1) < 2 and row.get("hidden") is None


def _embed(rule: Ambiguity, queries: pl.Series, rows: np.ndarray, missing: np.ndarray) -> np.ndarray:
    return rule.embed(queries.gather(rows[missing]).to_list())


def _draw(
    decisions: Decisions, functions: np.ndarray, count: int, seed: int, references: int, block_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the reference rows.

    Returns:
        (index of the reference rows, sorted; number of pending rows of each function).
    """
    import numpy as np

    counts = np.zeros(count, dtype=np.int64)
    for low, high in blocks(len(decisions.codes), block_rows):
        pending = decisions.codes[low:high] == Decision.PENDING
        pending &= functions[decisions.strata[low:high]] >= 0
        counts += np.bincount(functions[decisions.strata[low:high][pending]], minlength=count)
    most = max(1, references // max(1, int((counts > 0).sum())))
    salt = hashing.random_numbers(1, f"routenator ambiguity {seed}".encode())
    kept = [(np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)) for _ in range(count)]
    for low, high in blocks(len(decisions.codes), block_rows):
        rows = low + np.flatnonzero(decisions.codes[low:high] == Decision.PENDING)
        own, hashes = functions[decisions.strata[rows]], hashing.mix(rows.astype(np.uint64) ^ salt)
        for function in range(count):
            mine = own == function
            values, index = (
                np.concatenate([kept[function][0], hashes[mine]]),
                np.concatenate([kept[function][1], rows[mine]]),
            )
            if len(values) > most:
                least = np.argpartition(values, most - 1)[:most]
                values, index = values[least], index[least]
            kept[function] = (values, index)
    return np.sort(np.concatenate([index for _, index in kept])), counts


class _References:
    """The rows to compare with: index, function, vector.

    Args:
        index: index of each row, sorted.
        functions: number of each row's function.
    """

    def __init__(self, index: np.ndarray, functions: np.ndarray) -> None:
        import numpy as np

        self.index, self.functions = index, functions
        self.vectors = np.zeros((len(index), 0), dtype=np.float32)
        self._filled = 0

    def add(self, vectors: np.ndarray) -> None:
        """Store the vectors of the next rows."""
        import numpy as np

        if not self._filled:
            self.vectors = np.zeros((len(self.index), vectors.shape[1]), dtype=np.float32)
        self.vectors[self._filled : self._filled + len(vectors)] = vectors
        self._filled += len(vectors)

    def known(self, rows: np.ndarray, embed: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return vectors, float32 of shape (rows, dimensions); only rows that are not references need ``embed``.

        Args:
            rows: index of each row.
            embed: positions in ``rows`` -> vectors.
        """
        import numpy as np

        place = np.minimum(np.searchsorted(self.index, rows), len(self.index) - 1)
        vectors: np.ndarray = self.vectors[place]
        missing = np.flatnonzero(self.index[place] != rows)
        if len(missing):
            vectors[missing] = embed(missing)
        return vectors

    def nearest(self, rows: np.ndarray, vectors: np.ndarray, count: int) -> np.ndarray:
        """Find the nearest references, nearest first, never the row itself; int64 positions, shape (rows, count)."""
        import numpy as np

        size = len(self.index)
        best = np.zeros((len(rows), 0), dtype=np.int64)
        # Distance and position share one integer (distance * size + position), so that one partial sort orders by both
        # and ties are broken by the index, whatever the strips.
        for low in range(0, size, _STRIP):
            part = slice(low, low + _STRIP)
            steps = np.rint((1.0 - vectors @ self.vectors[part].T) * DIGITS).astype(np.int64)
            steps[rows[:, None] == self.index[None, part]] = 4 * DIGITS  # itself: farther away than anything
            best = np.concatenate([best, np.maximum(steps, 0) * size + np.arange(low, low + steps.shape[1])], axis=1)
            if best.shape[1] > count:
                best = np.partition(best, count - 1, axis=1)[:, :count]
        best.sort(axis=1)
        return best % size


def _ambiguous(
    rows: np.ndarray, own: np.ndarray, vectors: np.ndarray, references: _References, rule: Ambiguity
) -> np.ndarray:
    """Find the ambiguous ones among ``rows``; return their rows of ``Decisions.neighbours``."""
    import numpy as np

    nearest = references.nearest(rows, vectors, rule.neighbours)
    other = references.functions[nearest] != own[:, None]
    least = math.ceil(rule.share * rule.neighbours - 1e-9)
    hit = np.flatnonzero(other.sum(axis=1) >= least)
    table = np.full((len(hit), 3 + NAMED), -1, dtype=np.int64)
    table[:, 0], table[:, 1], table[:, 2] = rows[hit], other[hit].sum(axis=1), rule.neighbours
    for place, row in enumerate(hit):
        named = references.index[nearest[row][other[row]]][:NAMED]
        table[place, 3 : 3 + len(named)] = named
    return table
