"""Chooses target positions of the category word, so that all rows together match the statistics' keyword position.

A target position is a third of the query: first, middle or last. A template produces some thirds often and others
never, so drawing targets from the same distribution for every row would miss often and end up with shares that differ
from the statistics. So a pilot writes rows for each cell (template, length bucket), first with no target and then with
each of the three, and counts where the category word ends up; this includes the rows that cannot meet their target.

The targets of a cell follow its own natural shares, tilted by one factor per third that all cells of the function
share. Of all ways to match the statistics, this is the one closest to what the templates produce by themselves. The
factors come from iterative proportional fitting of the outcome. If the templates cannot match the statistics, the
result is the closest that the factors reach. Everything is a pure function of the domain and of ``sample.tries``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from routenator.domain.domain import Domain
from routenator.sampling.philox import row_seeds, uniforms
from routenator.sampling.shares import normalise
from routenator.sampling.strata import category_shares, length_language_shares
from routenator.validation.text import THIRDS
from routenator.wording.program import serving_templates
from routenator.wording.tables import threshold
from routenator.wording.writer import ANY_POSITION, Writer

STREAM_PILOT = 14
_PILOT, _LEAST = 16_384, 32  # pilot rows for each target: of a function, divided by the cells' shares; extra per cell
_ROUNDS = 200
_LEAST_FACTOR = 1e-9
_RARE = 0.02  # a cell does not target a third that it reaches more rarely than this
# The pilot's settings, as thresholds on 32 random bits: no target, then each third with certainty.
_FORCED = (ANY_POSITION, (1 << 32, 1 << 32), (0, 1 << 32), (0, 0))

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Cell = tuple[str, str]  # heuristic template, length bucket


def position_targets(domain: Domain, writer: Writer, function: str) -> dict[Cell, tuple[int, int]]:
    """Thresholds on 32 random bits by cell: below the first the target is the first third, below the second the middle.

    Omits cells with no target: the statistics name none, or no pilot row had the right length.
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
    targets = tilt(own, outcomes, weights, np.array([shares.get(third, 0.0) for third in THIRDS]))
    return {
        cell: (threshold(row[0]), threshold(row[0] + row[1]))
        for cell, row in zip(cells, targets, strict=True)
        if row.sum() > 0
    }


def tilt(own: Floats, outcomes: Floats, weights: Floats, wanted: Floats) -> Floats:
    """Choose how often each cell targets each third.

    Args:
        own: P(third | the row's length is right, no target), shape (cells, 3); zeros where no length was right.
        outcomes: P(third | target), shape (cells, 4, 3): with no target, then with each third as the target.
        weights: the cells' shares, summing to 1, shape (cells,).
        wanted: shares of the thirds in the statistics, shape (3,).

    Returns:
        P(target | cell), shape (cells, 3), all zeros for a cell with no target. If no tilt gives the wanted shares, the
        closest that the factors reach.
    """
    reached = np.where(own >= _RARE, own, 0.0)
    factors = np.ones(3)
    for _ in range(_ROUNDS):
        tilted = reached * factors
        targets: Floats = tilted / np.maximum(tilted.sum(axis=1, keepdims=True), 1e-300)
        without = 1 - targets.sum(axis=1, keepdims=True)
        outcome = np.einsum("cw,cwt->ct", targets, outcomes[:, 1:]) + without * outcomes[:, 0]
        total = weights @ outcome
        # A third that never occurs keeps its factor. The lower bound stops a third that stays too rare whatever its
        # factor from driving the factors of the others to zero.
        factors *= np.where(wanted > 0, np.where(total > 0, wanted / np.maximum(total, 1e-9), 1.0), 0.0)
        factors = np.where(wanted > 0, np.maximum(factors / factors.max(), _LEAST_FACTOR), 0.0)
    return targets


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
    """Measure ``own`` and ``outcomes`` of ``tilt``. Ignores rows whose query does not contain their category."""
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
    for setting, thresholds in enumerate(_FORCED):
        words, thirds = writer.draw(function, seeds, categories, roots, bounds, thresholds).facts[:, :2].T
        outcomes[:, setting] = _shares(number, thirds, len(cells))
        if setting == 0:
            own = _shares(number, np.where((words >= bounds[:, 0]) & (words <= bounds[:, 1]), thirds, -1), len(cells))
    return own, outcomes


def _drawn(shares: Mapping[str, float], draws: Floats) -> NDArray[np.object_]:
    """Draw categories by their shares."""
    sums = np.cumsum(list(shares.values()))
    places = np.minimum(np.searchsorted(sums, draws * sums[-1], side="right"), len(sums) - 1)
    return np.array(list(shares), dtype=object)[places]


def _shares(cell: Ints, thirds: Ints, cells: int) -> Floats:
    """Shares of the thirds in each cell, shape (cells, 3); zeros where none is known (-1)."""
    known = thirds >= 0
    counts = np.bincount(3 * cell[known] + thirds[known], minlength=3 * cells).reshape(cells, 3)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
