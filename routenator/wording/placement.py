"""Where the category word is to stand: each row's wish, so that the rows together have the statistics' keyword position.

A template has thirds that it likes and others that it cannot reach, so the same wish for every row would be refused often and the
shares of a function's queries would not be those of the statistics. A pilot measures for each cell (template, length bucket) how often a
draw fits and where its category word stands. The wishes of a cell are its own thirds, tilted by one factor for each third, the same for all
cells of the function: of all ways to meet the shares, the one nearest to what the templates say by themselves. The factors are found by
iterated proportional fitting of what comes out, unmet wishes included. Where the templates cannot meet the shares at all, they are met as
nearly as the factors come. All of it is a pure function of the domain and of ``sample.tries``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from routenator.domain.load import Domain
from routenator.sampling.philox import row_seeds, uniforms
from routenator.sampling.strata import category_shares, normalise
from routenator.wording.program import serving_templates, threshold

if TYPE_CHECKING:
    from routenator.domain.templates import Template
    from routenator.wording.writer import Writer

THIRDS = ("first", "middle", "last")
NO_WISH = (-1, -1)
STREAM_PILOT = 14
_PILOT = 2048  # draws for each template and function
_ROUNDS = 200
_RARE = 0.02  # a third that a template reaches more seldom is not wished for

Floats = NDArray[np.float64]


def wishes(domain: Domain, writer: Writer, function: str) -> dict[tuple[str, str], tuple[int, int]]:
    """(template, length bucket) -> thresholds on 32 random bits: below the first the wish is the first third, below the second the middle.

    Cells without a wish are missing: the statistics give none, or no draw of the pilot fits.
    """
    shares = normalise(domain.statistics.keyword_position.get(function, {}))  # type: ignore[arg-type]
    if not shares or domain.statistics.functions.get(function, 0.0) <= 0:
        return {}
    target = np.array([shares.get(third, 0.0) for third in THIRDS])
    cells = _cell_shares(domain, function)
    names, fits, own = [], [], []
    for template in serving_templates(domain, function):
        words, third = _pilot(domain, writer, function, template)
        for bucket, (low, high) in domain.statistics.length_buckets.items():
            good = (words >= low) & (words <= high)
            found = np.bincount(third[good & (third >= 0)], minlength=3)[:3]
            if cells.get((template.name, bucket), 0.0) > 0 and found.sum():
                names.append((template.name, bucket))
                fits.append(good.mean())
                own.append(found / found.sum())
    if not names:
        return {}
    weights = np.array([cells[name] for name in names])
    # Wishes count in the first half of the tries, see kernel.py.
    wished = tilt(np.array(own), np.array(fits), weights / weights.sum(), target, max(1, writer.tries // 2))
    return {name: (threshold(row[0]), threshold(row[0] + row[1])) for name, row in zip(names, wished, strict=True)}


def tilt(own: Floats, fits: Floats, weights: Floats, target: Floats, tries: int) -> Floats:
    """What each cell wishes for.

    Args:
        own: P(third | a draw of the cell fits its length), shape (cells, 3).
        fits: P(a draw of the cell fits its length), shape (cells,).
        weights: the cells' shares, adding up to 1, shape (cells,).
        target: wanted shares of the thirds, shape (3,).
        tries: draws in which a wish may be met.

    Returns:
        P(wish | cell), shape (cells, 3). Where no tilt meets the target, as near as the factors come.
    """
    reached = np.where(own >= _RARE, own, 0.0)
    met = 1 - (1 - fits[:, None] * own) ** tries
    # Where a wish is not met, the first draw that fits is taken; it stands in one of the other thirds.
    others = own[:, None, :] * (1 - np.eye(3)) / np.maximum(1 - own[:, :, None], 1e-9)
    factors = np.ones(3)
    for _ in range(_ROUNDS):
        tilted = reached * factors
        wished = tilted / np.maximum(tilted.sum(axis=1, keepdims=True), 1e-300)
        outcome = wished * met + np.einsum("cs,cst->ct", wished * (1 - met), others)
        total = weights @ outcome
        factors *= np.where(target > 0, target / np.maximum(total, 1e-9), 0.0)
        factors /= factors.max()
    return wished


def _cell_shares(domain: Domain, function: str) -> dict[tuple[str, str], float]:
    """(heuristic template, length bucket) -> share of the function's drafts."""
    cells: dict[tuple[str, str], float] = {}
    templates = serving_templates(domain, function)
    for category, p_category in category_shares(domain, function).items():
        for bucket, p_bucket in normalise(domain.statistics.lengths[function]).items():
            for language, p_language in normalise(domain.statistics.languages).items():
                serving = {t.name: t.weight for t in templates if t.serves(function, category, bucket, language)}
                for name, share in normalise(serving).items():
                    cells[name, bucket] = cells.get((name, bucket), 0.0) + p_category * p_bucket * p_language * share
    return cells


def _pilot(domain: Domain, writer: Writer, function: str, template: Template) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Word count and third of the category word (-1 if it is not said) of draws of a template, in the categories that it serves."""
    shares = {c: share for c, share in category_shares(domain, function).items() if template.categories is None or c in template.categories}
    if not shares:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    seeds = row_seeds(writer.compiled.root[function, template.name], np.arange(_PILOT) + (STREAM_PILOT << 32))
    sums = np.cumsum(list(shares.values()))
    picks = np.minimum(np.searchsorted(sums, uniforms(seeds, STREAM_PILOT) * sums[-1], side="right"), len(sums) - 1)
    categories = np.array(list(shares), dtype=object)[picks]
    facts = writer.draw(function, seeds, categories, np.full(_PILOT, writer.compiled.root[function, template.name])).facts
    return facts[:, 0], facts[:, 1]
