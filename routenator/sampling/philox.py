"""Counter-based random numbers: Philox4x32-10 in vectorised numpy.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). numpy's own Philox is a sequential
stream; here each row has its own counter, so row i's numbers depend on no state and no other row. Tests compare with
the published known answers.

One call gives four 32-bit words. ``words`` returns all four, for decisions whose odds need no more than 32 bits (a step
of a walk, a record); ``uniforms`` combines two of them into one 53-bit number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_ROUNDS = 10
_BLOCK = 8192  # rows per pass: their words stay in the L2 cache, which doubles the speed
_ROW_KEY = (
    0x526F7574,
    0x654E6174,
)  # "RouteNat"; rows differ in their counter only, so the key schedule is computed once

U64 = NDArray[np.uint64]


def philox(
    counter: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike], key: tuple[ArrayLike, ArrayLike]
) -> tuple[U64, U64, U64, U64]:
    """Philox4x32-10.

    Args:
        counter: four words below 2**32, scalars or arrays that broadcast to one shape.
        key: two words below 2**32, likewise.

    Returns:
        Four uint64 arrays of that shape, each holding 32 random bits.
    """
    inputs = [np.asarray(word, dtype=np.uint64) for word in (*counter, *key)]
    shape = np.broadcast_shapes(*(word.shape for word in inputs))
    flat = [word.reshape(()) if word.size == 1 else np.broadcast_to(word, shape).reshape(-1) for word in inputs]
    size = int(np.prod(shape, dtype=np.int64))
    out = np.empty((4, size), dtype=np.uint64)
    for low in range(0, size, _BLOCK):
        part = out[:, low : low + _BLOCK]
        for place, word in zip(part, flat[:4], strict=True):
            place[:] = word[low : low + _BLOCK] if word.ndim else word
        k0, k1 = (word[low : low + _BLOCK] if word.ndim else word for word in flat[4:])
        _scramble(part, k0, k1)
    c0, c1, c2, c3 = out.reshape(4, *shape)
    return c0, c1, c2, c3


def _scramble(words: U64, k0: U64, k1: U64) -> None:
    """Apply the ten rounds in place. Args: words of shape (4, rows)."""
    c0, c1, c2, c3 = words
    product0, product1 = np.empty_like(words[:2])
    for _ in range(_ROUNDS):
        np.multiply(c0, _M0, out=product0)
        np.multiply(c2, _M1, out=product1)
        np.right_shift(product1, _HALF, out=c0)
        np.bitwise_xor(c0, c1, out=c0)
        np.bitwise_xor(c0, k0, out=c0)
        np.bitwise_and(product1, _LOW, out=c1)
        np.right_shift(product0, _HALF, out=c2)
        np.bitwise_xor(c2, c3, out=c2)
        np.bitwise_xor(c2, k1, out=c2)
        np.bitwise_and(product0, _LOW, out=c3)
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW


def split64(value: ArrayLike) -> tuple[U64, U64]:
    """Low and high 32 bits of non-negative integers below 2**64."""
    word = np.asarray(value).astype(np.uint64)
    return word & _LOW, word >> _HALF


def row_seeds(plan_seed: int, index: ArrayLike) -> NDArray[np.int64]:
    """The seed of each request: a pure function of (plan seed, index), non-negative, below 2**63."""
    low, high = split64(index)
    w0, w1, _, _ = philox((low, high, 0x726F7574, 0), split64(plan_seed))
    return ((w0 | (w1 << _HALF)) >> np.uint64(1)).astype(np.int64)


def words(seeds: ArrayLike, stream: int, attempt: int = 0) -> tuple[U64, U64, U64, U64]:
    """Four independent words of 32 random bits for each seed.

    Args:
        seeds: int64, shape (n,).
        stream: identifies the decision that the words are for, below 2**32.
        attempt: counts repeated draws for the same decision, below 2**32.
    """
    return philox((*split64(seeds), stream, attempt), _ROW_KEY)


def uniforms(seeds: ArrayLike, stream: int, attempt: int = 0) -> NDArray[np.float64]:
    """One uniform 53-bit number in [0, 1) for each seed; same arguments as ``words``."""
    w0, w1, _, _ = words(seeds, stream, attempt)
    return ((w0 >> np.uint64(5)) * float(1 << 26) + (w1 >> np.uint64(6))) / float(1 << 53)
