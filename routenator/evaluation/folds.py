"""Folds for cross-validation: keyed, stratified, and the same whatever the order of the file."""

from __future__ import annotations

from collections.abc import Sequence

from routenator.files import digest


def stratified_folds(queries: Sequence[str], labels: Sequence[str], folds: int, seed: int) -> list[int]:
    """Which fold holds out each query.

    Each label's queries are dealt out in an order that seed and text decide, and the next label goes on where the last
    one ended. So the folds' sizes differ by one at most, over all and in each label.

    Args:
        queries: different texts.
        labels: of each, what the folds are stratified by.
        folds: how many.
        seed: of the order.
    """
    found = [0] * len(queries)
    dealt = 0
    for label in sorted(set(labels)):
        members = [number for number in range(len(queries)) if labels[number] == label]
        for number in sorted(members, key=lambda number: digest([seed, queries[number]], 32)):
            found[number] = dealt % folds
            dealt += 1
    return found
