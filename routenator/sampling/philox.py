"""Counter-based random numbers: Philox4x32-10 in vectorised numpy.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). numpy's own Philox is a sequential stream; here each row has
its own key and counter, so that row i's numbers need no state and no neighbour. Held to the published known answers by tests.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_ROUNDS = 10

U64 = NDArray[np.uint64]


def philox(counter: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike], key: tuple[ArrayLike, ArrayLike]) -> tuple[U64, U64, U64, U64]:
    """Philox4x32-10.

    Args:
        counter: four words below 2**32, scalars or arrays that broadcast to one shape.
        key: two words below 2**32, likewise.

    Returns:
        Four uint64 arrays of that shape, each holding 32 random bits.
    """
    c0, c1, c2, c3, k0, k1 = np.broadcast_arrays(*(np.asarray(word, dtype=np.uint64) for word in (*counter, *key)))
    for _ in range(_ROUNDS):
        product0, product1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (product1 >> _HALF) ^ c1 ^ k0, product1 & _LOW, (product0 >> _HALF) ^ c3 ^ k1, product0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


def split64(value: ArrayLike) -> tuple[U64, U64]:
    """Low and high 32 bits of non-negative integers below 2**64."""
    word = np.asarray(value).astype(np.uint64)
    return word & _LOW, word >> _HALF


def row_seeds(plan_seed: int, index: ArrayLike) -> NDArray[np.int64]:
    """The seed of each request: a pure function of (plan seed, index), non-negative, below 2**63."""
    low, high = split64(index)
    w0, w1, _, _ = philox((low, high, 0x726F7574, 0), split64(plan_seed))
    return ((w0 | (w1 << _HALF)) >> np.uint64(1)).astype(np.int64)


def uniforms(seeds: ArrayLike, stream: int, attempt: int = 0) -> NDArray[np.float64]:
    """One uniform number in [0, 1) for each seed, with 53 bits.

    Args:
        seeds: int64, shape (n,).
        stream: which decision the number is for, below 2**32.
        attempt: the same decision drawn again, below 2**32.
    """
    w0, w1, _, _ = philox((stream, attempt, 0, 0), split64(seeds))
    return ((w0 >> np.uint64(5)) * float(1 << 26) + (w1 >> np.uint64(6))) / float(1 << 53)
