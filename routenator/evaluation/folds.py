"""Stratified cross-validation folds, drawn by key, so that they do not depend on the order of the file."""

from __future__ import annotations

from collections.abc import Sequence

from routenator.files import digest


def stratified_folds(queries: Sequence[str], labels: Sequence[str], folds: int, seed: int) -> list[int]:
    """Assign each query to the fold that holds it out.

    Each label's queries are dealt out to the folds in an order given by seed and text, and the next label continues
    where the last one ended. So the sizes of the folds differ by at most one, in total and within each label.

    Args:
        queries: distinct texts.
        labels: label of each query, by which the folds are stratified.
        folds: number of folds.
        seed: seed of the order.
    """
    found = [0] * len(queries)
    dealt = 0
    for label in sorted(set(labels)):
        members = [number for number in range(len(queries)) if labels[number] == label]
        for number in sorted(members, key=lambda number: digest([seed, queries[number]], 32)):
            found[number] = dealt % folds
            dealt += 1
    return found
