"""Rows whose nearest queries ask for another function: the words of such a row do not tell what its call does.

Every row that is still pending is compared with reference rows, which are the pending rows themselves: all of them, or
of each function the ``REFERENCES`` / functions with the least keyed hash of their index, where there are more. So
memory has a bound, a function that is asked for often does not crowd out the others, and the time grows with the rows,
not with their square. The outcome depends on the rows and their index alone, not on files, blocks or cores: all rows
are judged by what was pending before, and equal similarities are ordered by the index.
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

REFERENCES = 200_000  # rows that others are compared with, at most; of 384 float32 each, 300 MB
# Similarities are told apart to so many parts of one; below that, rounding depends on what is embedded together.
DIGITS = 10_000
_ROWS, _STRIP = 1024, 16_384  # rows compared at once, with so many references


@dataclass(frozen=True)
class Ambiguity:
    """What counts as ambiguous.

    Attributes:
        embed: texts -> float32 of shape (texts, dimensions), rows of length 1.
        share: of a row's neighbours, which must be of another function, above 0 to 1.
        neighbours: how many are looked at. A function with no more rows than this is not judged: it cannot fill a
            neighbourhood.
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
    """Give pending rows that are ambiguous their decision, with neighbours of another function in
    ``decisions.neighbours``.

    Args:
        strata: rows of strata.json.
        seed: of the draw of references.
        progress: called with (rows done, rows): both passes together.
        references: at most so many.
    """
    import numpy as np

    names = sorted({str(row["function"]) for row in strata})
    functions = np.array([names.index(str(row["function"])) for row in strata], dtype=np.int32)
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
        own = functions[decisions.strata[low + rows]]
        rows, own = rows[judged[own]], own[judged[own]]
        for start in range(0, len(rows), _ROWS):
            some = slice(start, start + _ROWS)
            own_vectors = vectors.known(low + rows[some], partial(_embed, rule, frame["query"], rows[some]))
            found.append(_ambiguous(low + rows[some], own[some], own_vectors, vectors, rule))
        progress(total + low + frame.height, 2 * total)
    decisions.neighbours = np.concatenate([np.zeros((0, 3 + NAMED), dtype=np.int64), *found])
    decisions.codes[decisions.neighbours[:, 0]] = Decision.AMBIGUOUS


def _embed(rule: Ambiguity, queries: pl.Series, rows: np.ndarray, missing: np.ndarray) -> np.ndarray:
    return rule.embed(queries.gather(rows[missing]).to_list())


def _draw(
    decisions: Decisions, functions: np.ndarray, count: int, seed: int, references: int, block_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Reference rows.

    Returns:
        (their index, sorted; pending rows of each function).
    """
    import numpy as np

    counts = np.zeros(count, dtype=np.int64)
    for low, high in blocks(len(decisions.codes), block_rows):
        pending = decisions.codes[low:high] == Decision.PENDING
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
    """Rows to compare with: index, function, vector.

    Args:
        index: sorted.
        functions: of each.
    """

    def __init__(self, index: np.ndarray, functions: np.ndarray) -> None:
        import numpy as np

        self.index, self.functions = index, functions
        self.vectors = np.zeros((len(index), 0), dtype=np.float32)
        self._filled = 0

    def add(self, vectors: np.ndarray) -> None:
        """The vectors of the next rows."""
        import numpy as np

        if not self._filled:
            self.vectors = np.zeros((len(self.index), vectors.shape[1]), dtype=np.float32)
        self.vectors[self._filled : self._filled + len(vectors)] = vectors
        self._filled += len(vectors)

    def known(self, rows: np.ndarray, embed: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """float32 of shape (rows, dimensions); ``embed`` is asked for those (by place) that are no references."""
        import numpy as np

        place = np.minimum(np.searchsorted(self.index, rows), len(self.index) - 1)
        vectors: np.ndarray = self.vectors[place]
        missing = np.flatnonzero(self.index[place] != rows)
        if len(missing):
            vectors[missing] = embed(missing)
        return vectors

    def nearest(self, rows: np.ndarray, vectors: np.ndarray, count: int) -> np.ndarray:
        """int64 of shape (rows, count): places of the nearest references, nearest first, never the row itself."""
        import numpy as np

        size = len(self.index)
        best = np.zeros((len(rows), 0), dtype=np.int64)
        for low in range(0, size, _STRIP):
            part = slice(low, low + _STRIP)
            steps = np.rint((1.0 - vectors @ self.vectors[part].T) * DIGITS).astype(np.int64)
            steps[rows[:, None] == self.index[None, part]] = 4 * DIGITS  # itself: farther than anything
            best = np.concatenate([best, np.maximum(steps, 0) * size + np.arange(low, low + steps.shape[1])], axis=1)
            if best.shape[1] > count:
                best = np.partition(best, count - 1, axis=1)[:, :count]
        best.sort(axis=1)
        return best % size


def _ambiguous(
    rows: np.ndarray, own: np.ndarray, vectors: np.ndarray, references: _References, rule: Ambiguity
) -> np.ndarray:
    """Rows of ``Decisions.neighbours`` for those of ``rows`` that are ambiguous."""
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
