"""64-bit hashes of words, queries, bags of words and groups.

Written by hand because they must be the same on every machine and with every library version: they decide the split of
published data. (Polars' own hash may change between versions.)

A block's text is one buffer of bytes, in which words are found and hashed with numpy, so that no strings are created.
A word is a run of ASCII letters, ASCII digits and other characters that are not ASCII; of a query these are the words
of its normal form. A word's hash is a polynomial over random numbers assigned to its bytes, passed through a mixing
function. The hash of a bag is the sum of its words' hashes, so order does not matter; that of a text multiplies each
word's hash by a number for its position first, so order does.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from routenator.normalform import with_plain_words

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

_CHUNK_BYTES = 1 << 18  # bytes hashed at once: the arrays this takes fit into a core's cache
_KEY = b"routenator words 1"  # changing it would move rows between the splits of published data


@dataclass(frozen=True)
class Hashes:
    """Hashes of a column.

    Attributes:
        text: uint64 of shape (rows,): equal if and only if the words are the same in the same order, up to collisions
            (2**-64 per pair).
        bag: uint64 of shape (rows,): equal if and only if the words are the same in any order. 0 for a text without
            words.
    """

    text: np.ndarray
    bag: np.ndarray


def text_buffer(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes of a text column as one buffer.

    Returns:
        (uint8 of shape (bytes,), int64 of shape (rows + 1,): the start of each row, and last the end of the last row).
    """
    import numpy as np
    import polars as pl
    import pyarrow as pa

    array = texts.fill_null("").rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    offsets = np.frombuffer(array.buffers()[1], dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    values = array.buffers()[2]
    return np.frombuffer(values, dtype=np.uint8) if values is not None else np.zeros(0, dtype=np.uint8), offsets


def hash_queries(queries: pl.Series) -> Hashes:
    """Hash the words of each query's normal form; a null counts as a query without words."""
    return _hash(with_plain_words(queries.fill_null("")))


def _arguments_as_words(texts: pl.Series) -> pl.Series:
    """Lower-case texts whose words are runs of letters and digits, without symbols.

    Not the normal form of queries: the split of published data must not change, and it does no harm if arguments that
    differ in a symbol are on the same side.
    """
    import polars as pl

    lower = texts.fill_null("").str.to_lowercase()
    strange = lower.str.len_bytes() != lower.str.len_chars()
    if strange.any():
        # The table treats all bytes from 128 on as parts of words. So in rows with non-ASCII characters, let Polars
        # replace everything that is not a word first; the rows with ASCII only, by far the most, skip that.
        clean = pl.DataFrame({"text": lower, "strange": strange}).select(
            pl.when("strange").then(pl.col("text").str.replace_all(r"[\W_]+", " ")).otherwise("text")
        )
        lower = clean.to_series()
    return lower


def _hash(texts: pl.Series) -> Hashes:
    import numpy as np

    data, offsets = text_buffer(texts)
    rows = len(offsets) - 1
    text, bag = np.zeros(rows, dtype=np.uint64), np.zeros(rows, dtype=np.uint64)
    low = 0
    while low < rows:
        high = max(low + 1, int(np.searchsorted(offsets, offsets[low] + _CHUNK_BYTES, side="right")) - 1)
        text[low:high], bag[low:high] = _hash_chunk(
            data[offsets[low] : offsets[high]], offsets[low : high + 1] - offsets[low]
        )
        low = high
    return Hashes(text, bag)


def _hash_chunk(data: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    rows = len(offsets) - 1
    table, powers, inverse, places = _tables(1 << max(len(data), 1).bit_length())
    is_word = _word_bytes()[data]
    begins = is_word.copy()
    begins[1:] &= ~is_word[:-1]
    heads = offsets[:-1][offsets[:-1] < offsets[1:]]
    begins[heads] = is_word[heads]  # a new row starts a new word, even if the previous row ends with one
    starts = np.flatnonzero(begins)
    if not len(starts):
        return np.zeros(rows, dtype=np.uint64), np.zeros(rows, dtype=np.uint64)
    # Powers of the base count from the start of the chunk; multiplying a word's sum by the inverse power of its start
    # makes its hash independent of its position. Bytes outside words are 0 in the table and add nothing.
    words = mix(np.add.reduceat(table[data] * powers[: len(data)], starts) * inverse[starts])
    first = np.searchsorted(starts, offsets)  # number of the first word of each row
    place = np.arange(len(starts)) - np.repeat(first[:-1], np.diff(first))
    return _row_sums(words * places[place % len(places)], first), _row_sums(words, first)


def _row_sums(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Sums of values[first[i]:first[i + 1]] modulo 2**64; differences of running sums, as rows may be empty."""
    import numpy as np

    total = np.zeros(len(values) + 1, dtype=np.uint64)
    np.cumsum(values, out=total[1:])
    sums: np.ndarray = total[first[1:]] - total[first[:-1]]
    return sums


def mix(x: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser, a bijection of uint64 that mixes every bit. Works in place, overwriting its argument."""
    import numpy as np

    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def group_hashes(functions: np.ndarray, arguments: pl.Series, seed: int) -> np.ndarray:
    """Keyed hashes of groups: a group has the same function and the same words in its arguments, in any order.

    Args:
        functions: uint64 of shape (rows,), from ``name_hashes``.
        arguments: JSON text.
        seed: the plan's seed, non-negative, below 2**63.

    Returns:
        uint64 of shape (rows,).
    """
    import numpy as np

    key = np.uint64(int.from_bytes(hashlib.blake2b(seed.to_bytes(8, "big"), digest_size=8).digest(), "big"))
    return mix(mix(_hash(_arguments_as_words(arguments)).bag + functions) ^ key)


def name_hashes(names: list[str]) -> np.ndarray:
    """Hash names; uint64 of shape (names,)."""
    import numpy as np

    digests = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names]
    return np.array([int.from_bytes(digest, "big") for digest in digests], dtype=np.uint64)


def hex_digits(values: np.ndarray) -> pl.Series:
    """Format uint64 values as 16 hexadecimal digits each."""
    import numpy as np
    import polars as pl
    import pyarrow as pa

    pairs = np.array([int.from_bytes(f"{byte:02x}".encode(), "little") for byte in range(256)], dtype="<u2")
    text = pairs[values.astype(">u8").view(np.uint8)].tobytes()
    offsets = np.arange(len(values) + 1, dtype=np.int64) * 16
    return pl.Series(pa.LargeStringArray.from_buffers(len(values), pa.py_buffer(offsets.tobytes()), pa.py_buffer(text)))


@lru_cache(maxsize=1)
def _word_bytes() -> np.ndarray:
    """Mask of the bytes that belong to words: letters, digits, and all bytes of non-ASCII characters."""
    import numpy as np

    return np.array([chr(byte).isalnum() for byte in range(128)] + [True] * 128)


def random_numbers(count: int, key: bytes) -> np.ndarray:
    """Pseudo-random uint64 of shape (count,), always the same for a key."""
    import numpy as np

    return np.frombuffer(hashlib.shake_256(key).digest(8 * count), dtype="<u8").astype(np.uint64)


@lru_cache(maxsize=4)
def _tables(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(number of each byte, powers of an odd base, powers of its inverse modulo 2**64, number of each position)."""
    import numpy as np

    numbers = random_numbers(256 + 1 + 1024, _KEY)
    table = np.where(_word_bytes(), numbers[:256], np.uint64(0))
    base = int(numbers[256]) | 5  # odd, and of full order
    places = numbers[257:] | np.uint64(1)

    def powers(factor: int) -> np.ndarray:
        row = np.full(size, factor, dtype=np.uint64)
        row[0] = 1
        return np.multiply.accumulate(row)

    return table, powers(base), powers(pow(base, -1, 1 << 64)), places
