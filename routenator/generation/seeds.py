"""Random decisions about a row in this stage, derived from the row's seed alone.

The generator is counter-based, so neither the order of the rows nor their batch matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from routenator.sampling.philox import philox, split64

T = TypeVar("T")

# Streams of random decisions; distinct from those of routenator.sampling.
(STREAM_PICK, STREAM_REPLY, STREAM_POOL, STREAM_EXAMPLES, STREAM_ORDER, STREAM_GAPS, STREAM_FRAMES, STREAM_WORDS) = (
    0x67000000 + n for n in range(8)
)


def derive(seed: int, stream: int, attempt: int = 0) -> int:
    """Return a number in [0, 2**63) for one decision about one row.

    Args:
        seed: the row's seed, in [0, 2**63).
        stream: which decision.
        attempt: counter for repeated draws of the same decision.
    """
    w0, w1, _, _ = philox((stream, attempt, 0, 0), split64(seed))
    return (int(w0) | int(w1) << 32) >> 1


def pick(seed: int, stream: int, options: Sequence[T], attempt: int = 0) -> T:
    """Draw one of ``options`` uniformly; there must be at least one."""
    return options[derive(seed, stream, attempt) * len(options) >> 63]


def shuffled(seed: int, stream: int, items: Sequence[T]) -> list[T]:
    """Return the items in a random order."""
    import numpy as np

    w0, w1, _, _ = philox((stream, np.arange(len(items)), 0, 0), split64(seed))
    return [items[position] for position in np.lexsort((w1, w0)).tolist()]
