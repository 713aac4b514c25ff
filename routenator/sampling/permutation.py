"""A keyed permutation of [0, N) in O(1) memory: a generalised Feistel network with cycle walking.

Source: Black and Rogaway, "Ciphers with arbitrary finite domains" (CT-RSA 2002), section 5. An index is a pair (left,
right) in [0, a) x [0, b), with a and b about the square root of N and a * b just above N. Each round adds a number to
one half, modulo a or b, that is computed from the other half and a round key: a bijection, whatever the number is. The
few images at or above N are permuted again until they fall inside.

The number is computed by a 64-bit multiplication, a fold and another multiplication (as in MurmurHash3's finaliser,
Appleby 2011), and the upper 32 bits of the result are used; the round keys are Philox words of the plan's seed. This is
not a secure cipher: it only has to scatter.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from routenator.sampling.philox import philox, split64

_ROUNDS = 6
_STREAM = 0x7065726D
_MIX1, _MIX2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_HALF = np.uint64(32)
_BLOCK = 8192  # indices per pass: their halves stay in the cache

U64 = NDArray[np.uint64]


class Permutation:
    """A bijection of [0, size) given by a key.

    Args:
        size: 1 to 2**62.
        key: the plan's seed.
    """

    def __init__(self, size: int, key: int) -> None:
        if not 1 <= size <= 1 << 62:
            raise ValueError(f"size {size} is not in [1, 2**62]")
        self.size = size
        self.left = math.isqrt(size - 1) + 1
        self.right = -(-size // self.left)
        rounds = np.arange(_ROUNDS)
        w0, w1, _, _ = philox((rounds, _STREAM, *split64(size)), split64(key))
        self._keys = (w1 << _HALF) | w0

    def __call__(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Permute indices: int64, the same shape, values in [0, size)."""
        index = np.asarray(index, dtype=np.int64)
        if index.size and (index.min() < 0 or index.max() >= self.size):
            raise ValueError(f"an index is not in [0, {self.size})")
        value = index.astype(np.uint64).reshape(-1)
        for low in range(0, value.size, _BLOCK):
            self._scatter(value[low : low + _BLOCK])
        outside = np.flatnonzero(value >= self.size)
        while outside.size:
            again = value[outside]
            self._scatter(again)
            value[outside] = again
            outside = outside[again >= self.size]
        return value.astype(np.int64).reshape(index.shape)

    def _scatter(self, value: U64) -> None:
        """One pass of the network over [0, left * right), in place."""
        a, b = np.uint64(self.left), np.uint64(self.right)
        left = value // b
        right = value - left * b
        mixed, spare = np.empty_like(value), np.empty_like(value)
        for key in self._keys:
            np.bitwise_xor(right, key, out=mixed)
            np.multiply(mixed, _MIX1, out=mixed)
            np.right_shift(mixed, _HALF, out=spare)
            np.bitwise_xor(mixed, spare, out=mixed)
            np.multiply(mixed, _MIX2, out=mixed)
            # Scale to [0, a) and add modulo a without a branch: if left + mixed - a is negative it wraps to a huge
            # unsigned number, so the minimum is the sum modulo a.
            np.right_shift(mixed, _HALF, out=mixed)
            np.multiply(mixed, a, out=mixed)
            np.right_shift(mixed, _HALF, out=mixed)
            np.add(left, mixed, out=left)
            np.subtract(left, a, out=spare)
            np.minimum(left, spare, out=left)
            left, right, a, b = right, left, b, a
        np.multiply(left, b, out=left)
        np.add(left, right, out=value)
