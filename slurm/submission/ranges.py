"""Shard numbers as Slurm writes them: ``0-3,7,9-12``."""

from __future__ import annotations

from collections.abc import Iterable


def compact(indices: Iterable[int]) -> str:
    """The shortest ``--array`` expression of a set of indices: ``{0, 1, 2, 7}`` -> ``0-2,7``."""
    parts: list[str] = []
    ordered = sorted(set(indices))
    start = 0
    for position, value in enumerate(ordered):
        last = position + 1 == len(ordered)
        if last or ordered[position + 1] != value + 1:
            first = ordered[start]
            parts.append(str(first) if first == value else f"{first}-{value}")
            start = position + 1
    return ",".join(parts)


def expand(expression: str) -> list[int]:
    """The indices of an ``--array`` expression; ``%LIMIT`` is dropped, ``A-B:STEP`` understood.

    Raises:
        ValueError: it is no such expression.
    """
    values: set[int] = set()
    body = expression.partition("%")[0].strip()
    for part in filter(None, body.split(",")):
        interval, _, step = part.partition(":")
        low, _, high = interval.partition("-")
        values.update(range(int(low), int(high or low) + 1, int(step or 1)))
    return sorted(values)
