"""Philox4x32-10 inside compiled code: a stream of 32-bit words for one row, keyed by its seed.

Written by hand because numba's own generator has state that rows would share, while here a row's draws must depend on
no other row. The counter is (block, attempt, stream, 0) and the key is the row's seed; each block gives four words, and
all four are used. Decisions consume words in the order in which they are made. A choice among n is ``word * n >> 32``:
exact integers, equal on every machine; its bias is below n / 2**32.

All state and constants are uint64: numba turns arithmetic on a signed and an unsigned integer into float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

BLOCK, ATTEMPT, STREAM, KEY_LOW, KEY_HIGH, WORDS, NEXT, SIZE = 0, 1, 2, 3, 4, 5, 9, 10
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


@njit(cache=True, inline="always")
def begin(state: Any, seed: Any, stream: Any, attempt: Any) -> None:
    """Start a stream.

    Args:
        state: uint64, shape (SIZE,).
        seed, stream, attempt: as in ``routenator.sampling.philox.uniforms``.
    """
    state[BLOCK] = 0
    state[ATTEMPT] = attempt
    state[STREAM] = stream
    state[KEY_LOW] = np.uint64(seed) & _LOW
    state[KEY_HIGH] = np.uint64(seed) >> _HALF
    state[NEXT] = 4


@njit(cache=True)
def refill(state: Any) -> None:
    """Compute the next block of four words."""
    c0, c1, c2, c3 = state[BLOCK], state[ATTEMPT], state[STREAM], np.uint64(0)
    k0, k1 = state[KEY_LOW], state[KEY_HIGH]
    for _ in range(10):
        product0, product1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (product1 >> _HALF) ^ c1 ^ k0, product1 & _LOW, (product0 >> _HALF) ^ c3 ^ k1, product0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    state[WORDS], state[WORDS + 1], state[WORDS + 2], state[WORDS + 3] = c0, c1, c2, c3
    state[BLOCK] += np.uint64(1)
    state[NEXT] = 0


@njit(cache=True, inline="always")
def word(state: Any) -> Any:
    """Return the stream's next 32 bits, as int64."""
    if state[NEXT] >= 4:
        refill(state)
    value = state[WORDS + np.int64(state[NEXT])]
    state[NEXT] += np.uint64(1)
    return np.int64(value)


@njit(cache=True, inline="always")
def below(state: Any, count: Any) -> Any:
    """Draw a number in [0, count) uniformly; count is 1 to 2**31."""
    return (word(state) * count) >> 32
