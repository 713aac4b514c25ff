"""Where the category word is to stand: each row's wish, so that the rows together have the statistics' keyword
position.

A template has thirds that it likes and others that it cannot reach, so the same wish for every row would be refused
often and the shares of a function's queries would not be those of the statistics. A pilot writes rows for each cell
(template, length bucket), without a wish and with each of the three, and counts where the category word comes to stand:
wishes that a row's words do not allow are in it. The wishes of a cell are its own thirds, tilted by one factor for each
third, the same for all cells of the function: of all ways to meet the shares, the one nearest to what the templates say
by themselves. The factors are found by iterated proportional fitting of what comes out. Where the templates cannot meet
the shares at all, they are met as nearly as the factors come. All of it is a pure function of the domain and of
``sample.tries``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from routenator.domain.domain import Domain
from routenator.sampling.philox import row_seeds, uniforms
from routenator.sampling.strata import category_shares, length_language_shares, normalise
from routenator.validation.text import THIRDS
from routenator.wording.program import serving_templates, threshold
from routenator.wording.writer import NO_WISH, Writer

STREAM_PILOT = 14
_PILOT, _LEAST = 16_384, 32  # rows for each wish: of a function, by the cells' shares; more for each cell
_ROUNDS = 200
_LEAST_FACTOR = 1e-9
_RARE = 0.02  # a third that a cell reaches more seldom is not wished for
# As thresholds on 32 random bits: no wish, then each third.
_FORCED = (NO_WISH, (1 << 32, 1 << 32), (0, 1 << 32), (0, 0))

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Cell = tuple[str, str]  # heuristic template, length bucket


def wishes(domain: Domain, writer: Writer, function: str) -> dict[Cell, tuple[int, int]]:
    """Thresholds on 32 random bits by cell: below the first the wish is the first third, below the second the middle.

    Cells without a wish are missing: the statistics give none, or no row of the pilot has the right length.
    """
    shares = normalise(domain.statistics.keyword_position.get(function, {}))  # type: ignore[arg-type]
    if not shares or domain.statistics.functions.get(function, 0.0) <= 0:
        return {}
    cells = _cells(domain, function)
    if not cells:
        return {}
    weights = np.array([sum(by_category.values()) for by_category in cells.values()])
    weights /= weights.sum()
    own, outcomes = _pilot(domain, writer, function, cells, weights)
    wished = tilt(own, outcomes, weights, np.array([shares.get(third, 0.0) for third in THIRDS]))
    return {
        cell: (threshold(row[0]), threshold(row[0] + row[1]))
        for cell, row in zip(cells, wished, strict=True)
        if row.sum() > 0
    }


def tilt(own: Floats, outcomes: Floats, weights: Floats, target: Floats) -> Floats:
    """What each cell wishes for.

    Args:
        own: P(third | the row's length is right, no wish), shape (cells, 3); zeros where no length was right.
        outcomes: P(third | wish), shape (cells, 4, 3): without a wish, then for each third that is wished for.
        weights: the cells' shares, adding up to 1, shape (cells,).
        target: wanted shares of the thirds, shape (3,).

    Returns:
        P(wish | cell), shape (cells, 3), zeros where there is none. Where no tilt meets the target, as near as the
        factors come.
    """
    reached = np.where(own >= _RARE, own, 0.0)
    factors = np.ones(3)
    for _ in range(_ROUNDS):
        tilted = reached * factors
        wished: Floats = tilted / np.maximum(tilted.sum(axis=1, keepdims=True), 1e-300)
        outcome = (
            np.einsum("cw,cwt->ct", wished, outcomes[:, 1:]) + (1 - wished.sum(axis=1, keepdims=True)) * outcomes[:, 0]
        )
        total = weights @ outcome
        # A third that never comes keeps its factor; one that comes too seldom, whatever is done, must not drive out the
        # others.
        factors *= np.where(target > 0, np.where(total > 0, target / np.maximum(total, 1e-9), 1.0), 0.0)
        factors = np.where(target > 0, np.maximum(factors / factors.max(), _LEAST_FACTOR), 0.0)
    return wished


def _cells(domain: Domain, function: str) -> dict[Cell, dict[str, float]]:
    """Cell -> category -> share of the function's drafts."""
    cells: dict[Cell, dict[str, float]] = {}
    templates = serving_templates(domain, function)
    for category, p_category in category_shares(domain, function).items():
        for (bucket, language), p_inner in length_language_shares(domain, function, category).items():
            serving = {t.name: t.weight for t in templates if t.serves(function, category, bucket, language)}
            for name, share in normalise(serving).items():
                if (product := p_category * p_inner * share) > 0:
                    by_category = cells.setdefault((name, bucket), {})
                    by_category[category] = by_category.get(category, 0.0) + product
    return cells


def _pilot(
    domain: Domain, writer: Writer, function: str, cells: Mapping[Cell, Mapping[str, float]], weights: Floats
) -> tuple[Floats, Floats]:
    """``own`` and ``outcomes`` of ``tilt``. A row whose query does not say its category counts nowhere."""
    counts = np.ceil(weights * _PILOT).astype(np.int64) + _LEAST
    number = np.repeat(np.arange(len(cells)), counts)
    seeds = row_seeds(writer.compiled.function[function], np.arange(len(number)) + (STREAM_PILOT << 32))
    draws = np.split(uniforms(seeds, STREAM_PILOT), np.cumsum(counts)[:-1])
    categories = np.concatenate(
        [_drawn(by_category, part) for by_category, part in zip(cells.values(), draws, strict=True)]
    )
    roots = np.array([writer.compiled.root[function, template] for template, _ in cells])[number]
    bounds = np.array([domain.statistics.length_buckets[bucket] for _, bucket in cells])[number]
    own, outcomes = np.zeros((len(cells), 3)), np.zeros((len(cells), len(_FORCED), 3))
    for wish, thresholds in enumerate(_FORCED):
        words, thirds = writer.draw(function, seeds, categories, roots, bounds, thresholds).facts[:, :2].T
        outcomes[:, wish] = _shares(number, thirds, len(cells))
        if wish == 0:
            own = _shares(number, np.where((words >= bounds[:, 0]) & (words <= bounds[:, 1]), thirds, -1), len(cells))
    return own, outcomes


def _drawn(shares: Mapping[str, float], draws: Floats) -> NDArray[np.object_]:
    """Categories by their shares."""
    sums = np.cumsum(list(shares.values()))
    places = np.minimum(np.searchsorted(sums, draws * sums[-1], side="right"), len(sums) - 1)
    return np.array(list(shares), dtype=object)[places]


def _shares(cell: Ints, thirds: Ints, cells: int) -> Floats:
    """Shares of the thirds in each cell, shape (cells, 3); zeros where none is known (-1)."""
    known = thirds >= 0
    counts = np.bincount(3 * cell[known] + thirds[known], minlength=3 * cells).reshape(cells, 3)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
