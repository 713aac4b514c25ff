"""A keyed permutation of [0, N) in O(1) memory: a Feistel network on the next even power of two, with cycle walking.

Source: Black and Rogaway, "Ciphers with arbitrary finite domains" (CT-RSA 2002). The round function is Philox, so the permutation is as
stable as the random numbers. Not a cipher in any security sense; it only has to scatter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routenator.sampling.philox import philox, split64

_ROUNDS = 6
_STREAM = 0x7065726D


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
        self.key = split64(key)
        self.half_bits = max(1, ((size - 1).bit_length() + 1) // 2)

    def __call__(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where each index goes: int64, the same shape, values in [0, size)."""
        index = np.asarray(index, dtype=np.int64)
        if index.size and (index.min() < 0 or index.max() >= self.size):
            raise ValueError(f"an index is not in [0, {self.size})")
        value = self._round_trip(index.astype(np.uint64))
        # The network permutes [0, 4**half_bits), at most 4 times larger than size: walk on until inside.
        outside = np.flatnonzero(value >= self.size)
        while outside.size:
            value[outside] = self._round_trip(value[outside])
            outside = outside[value[outside] >= self.size]
        return value.astype(np.int64)

    def _round_trip(self, value: NDArray[np.uint64]) -> NDArray[np.uint64]:
        bits, mask = np.uint64(self.half_bits), np.uint64((1 << self.half_bits) - 1)
        left, right = value >> bits, value & mask
        for number in range(_ROUNDS):
            w0, _, _, _ = philox((right, number, _STREAM, self.size & 0xFFFFFFFF), self.key)
            left, right = right, left ^ (w0 & mask)
        return (left << bits) | right
