"""Finds near-duplicates by MinHash-LSH: queries whose runs of four bytes have a high Jaccard similarity.

A query's shingles are the runs of ``GRAM`` bytes of its normal form, padded with a space at either end; of about
forty, a typo, a different ending or a swapped word changes a few. MinHash (Broder 1997) turns them into a signature,
some part of which (a "band") is equal for nearly all pairs of similar queries. Rows that share a band are compared,
first by signature and then by the shingles themselves, so no row is dropped because of a chance match.

Bands are processed one after the other, each from its own file. Within a band, the row of lowest index in each bucket
(the leader) is compared with all others, then the lowest of the remaining rows with the rest, and so on; this avoids
comparing all pairs of a large bucket. A row similar to an earlier one is dropped and leads no bucket later. So for
every dropped row there is an earlier row at least as similar as the threshold, which is kept or was itself dropped
because of a still earlier one. Golden queries come before all rows: a row similar to one of them is a leak.

Written by hand on numpy because the outcome must not depend on shards or blocks, and the signatures of all rows must be
able to stay on disk. They keep only 8 bits of each minimum, a quarter of the space: the estimate may be rough, as the
shingles decide in the end.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from routenator.dataset import hashing
from routenator.dataset.decisions import Decision, Decisions
from routenator.dataset.sources import Source, ordered_map, stream
from routenator.dataset.spill import Partitions, new_array, partition_count
from routenator.normalform import normal_forms

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

GRAM = 4  # bytes of a shingle
HASHES = 128  # maximum number of hashes in a signature
FOUND = 0.99  # probability that a pair at the threshold shares a band
SLACK = 0.2  # pairs whose signatures agree by more than this below the threshold are skipped
ROUNDS = 64  # maximum number of leaders of one bucket
PAIRS = 1 << 16  # pairs compared at once
_ROWS = 4096  # rows whose signatures are computed at once, so that the arrays fit into a core's cache
_PARTITION_ROWS = 4_000_000


def bands_for(threshold: float) -> tuple[int, int]:
    """Choose (bands, hashes per band): the longest bands that find a pair at the threshold with probability ``FOUND``.

    Longer bands give fewer false candidates, but need more bands; all together have at most ``HASHES`` hashes.
    """
    best = (HASHES, 1)
    for width in range(1, HASHES + 1):
        share = threshold**width
        bands = 1 if share >= FOUND else math.ceil(math.log(1 - FOUND) / math.log1p(-share))
        if bands * width > HASHES:
            break
        best = (bands, width)
    return best


def row_bytes(threshold: float) -> int:
    """Bytes of spill per candidate."""
    bands, width = bands_for(threshold)
    return bands * (width + 16) + 100


def drop(
    sources: Sequence[Source],
    decisions: Decisions,
    golden: Sequence[str],
    threshold: float,
    work_dir: Path,
    block_rows: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Drop pending candidates that are similar to an earlier one or to a golden query.

    Args:
        sources: the candidates.
        decisions: updated in place.
        golden: golden queries.
        threshold: Jaccard similarity of the shingles, above 0.
        work_dir: for spill, ``row_bytes`` per candidate.
        block_rows: candidates in memory at once, on each core.
        progress: called with (steps done, steps).
    """
    import numpy as np
    import polars as pl

    before, total = len(golden), len(decisions.codes)
    index = _Index(threshold, work_dir / "near", before + total)

    def golden_and_pending() -> Iterator[tuple[int, pl.Series, np.ndarray]]:
        for low in range(0, before, block_rows):
            part = golden[low : low + block_rows]
            yield low, pl.Series(part, dtype=pl.String), np.arange(len(part))
        for low, frame in stream(sources, ("query",), block_rows):
            rows = np.flatnonzero(decisions.codes[low : low + frame.height] == Decision.PENDING)
            yield before + low, frame["query"].gather(rows), rows

    steps = 2 * total
    for entry in ordered_map(index.sign, golden_and_pending()):
        index.append(entry)
        progress(entry.low, steps)
    index.close()

    def pending(ids: np.ndarray) -> np.ndarray:
        alive = ids < before
        alive[~alive] = decisions.codes[ids[~alive] - before] == Decision.PENDING
        return alive

    for band in range(index.bands):
        # A bucket lies in one partition and buckets are independent, so the partitions of a band can run in parallel.
        # The bands cannot: what one drops must not lead a bucket of the next.
        for rows, leaders in ordered_map(lambda records: index.alike(records, pending), index.take(band)):
            leaks = leaders < before
            mine = rows - before
            decisions.codes[mine[leaks]] = Decision.GOLDEN_NEAR_LEAK
            decisions.codes[mine[~leaks]] = Decision.NEAR_DUPLICATE
            decisions.kept[mine[~leaks]] = leaders[~leaks] - before
        progress(total + total * (band + 1) // index.bands, steps)
    index.remove()


class _Entry:
    """The signatures and texts of some rows, on their way from ``sign`` to ``append``."""

    def __init__(
        self,
        low: int,
        rows: np.ndarray,
        data: np.ndarray,
        lengths: np.ndarray,
        signs: np.ndarray,
        bands: list[list[np.ndarray]],
    ):
        self.low, self.rows, self.data, self.lengths, self.signs, self.bands = low, rows, data, lengths, signs, bands


class _Index:
    """Signatures, texts and bands on disk.

    Args:
        threshold: Jaccard similarity.
        folder: for its files.
        rows: golden queries and candidates.
    """

    def __init__(self, threshold: float, folder: Path, rows: int) -> None:
        import numpy as np

        self.threshold = threshold
        self.bands, self.width = bands_for(threshold)
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        hashes = self.bands * self.width
        numbers = hashing.random_numbers(hashes + self.width + 1, b"routenator near 1")
        self._factors = (numbers[:hashes] >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
        self._band_factors = numbers[hashes : hashes + self.width] | np.uint64(1)
        self._band_seed = numbers[-1]
        self._signs = new_array(folder / "signatures.bin", np.uint8, rows * hashes).reshape(rows, hashes)
        self._starts = new_array(folder / "starts.bin", np.int64, rows)
        self._lengths = new_array(folder / "lengths.bin", np.int32, rows)
        self._texts = open(folder / "texts.bin", "wb")  # noqa: SIM115  (close() does)
        self._bytes = 0
        count = min(max(2, partition_count(rows, _PARTITION_ROWS)), 512 // self.bands)
        fields = [("hash", "u8"), ("row", "i8")]
        self._parts = [Partitions(folder, f"band-{band:03d}", count, fields) for band in range(self.bands)]

    def sign(self, block: tuple[int, pl.Series, np.ndarray]) -> _Entry:
        """Compute the signatures of some rows; safe on any thread.

        Args:
            block: (number of the block's first row, queries, their places in the block).
        """
        import numpy as np

        low, queries, rows = block
        data, offsets = texts_of(queries)
        lengths = np.diff(offsets)
        shingles = shingles_of(data)
        signs = np.empty((len(rows), len(self._factors)), dtype=np.uint8)
        hashes = np.empty((self.bands, len(rows)), dtype=np.uint64)
        order = np.argsort(lengths, kind="stable")  # tables of rows of similar length need little padding
        for start in range(0, len(order), _ROWS):
            part = order[start : start + _ROWS]
            for few in np.array_split(part, max(1, len(part) // 512)):
                minima = self._minima(shingles, offsets[few], lengths[few])
                signs[few] = minima.astype(np.uint8).T
                hashes[:, few] = self._band_hashes(minima)
        ids = rows + low
        bands = [parts.sort(hashes[band], hash=hashes[band], row=ids) for band, parts in enumerate(self._parts)]
        return _Entry(low, ids, data, lengths, signs, bands)

    def _minima(self, shingles: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Minimum of each hash function over a row's shingles; uint32 of shape (hashes, rows).

        The hash functions are multiplications by odd numbers modulo 2**32 of the mixed shingle: one pass each, in
        uint32, as this is most of the work.
        """
        import numpy as np

        counts = lengths - (GRAM - 1)
        # Short rows repeat their last shingle, which does not change a minimum.
        place = np.minimum(np.arange(counts.max())[:, None], (counts - 1)[None, :])
        table = _stir(shingles[starts[None, :] + place])
        minima = np.empty((len(self._factors), len(starts)), dtype=np.uint32)
        product = np.empty_like(table)
        for number, factor in enumerate(self._factors):
            np.multiply(table, factor, out=product)
            np.minimum.reduce(product, axis=0, out=minima[number])
        return minima

    def _band_hashes(self, minima: np.ndarray) -> np.ndarray:
        import numpy as np

        parts = minima.reshape(self.bands, self.width, -1).astype(np.uint64) * self._band_factors[None, :, None]
        return hashing.mix(parts.sum(axis=1, dtype=np.uint64) + self._band_seed)

    def append(self, entry: _Entry) -> None:
        """Write the result of ``sign``; call it in the order of the rows."""
        import numpy as np

        self._signs[entry.rows] = entry.signs
        self._starts[entry.rows] = self._bytes + np.cumsum(entry.lengths) - entry.lengths
        self._lengths[entry.rows] = entry.lengths
        entry.data.tofile(self._texts)
        self._bytes += len(entry.data)
        for parts, records in zip(self._parts, entry.bands, strict=True):
            parts.append(records)

    def close(self) -> None:
        """Finish writing; call it after the last row."""
        import numpy as np

        self._texts.close()
        for parts in self._parts:
            parts.close()
        data = (
            np.memmap(self._folder / "texts.bin", dtype=np.uint8, mode="r")
            if self._bytes
            else np.zeros(0, dtype=np.uint8)
        )
        self._shingles = shingles_of(data)

    def take(self, band: int) -> Iterator[np.ndarray]:
        """Yield the records of a band, partition by partition, removing their files."""
        return self._parts[band].take()

    def remove(self) -> None:
        """Remove the index's files."""
        del self._shingles, self._signs, self._starts, self._lengths
        shutil.rmtree(self._folder)

    def alike(self, records: np.ndarray, pending: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Find the rows of one partition that are similar to an earlier one.

        Args:
            records: from ``take``, in the order of the rows.
            pending: rows (by number) -> mask of those that are not dropped yet.

        Returns:
            (rows, the earlier row of each).
        """
        import numpy as np

        records = records[pending(records["row"])]
        order = np.argsort(records["hash"], kind="stable")
        bucket = np.cumsum(np.diff(records["hash"][order], prepend=records["hash"][order[:1]]) != 0)
        rows = records["row"][order]
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for _ in range(ROUNDS):
            size = np.bincount(bucket) if len(bucket) else np.zeros(0, dtype=np.int64)
            several = size[bucket] > 1
            rows, bucket = rows[several], bucket[several]
            if not len(rows):
                break
            first = np.flatnonzero(np.diff(bucket, prepend=-1))
            is_first = np.zeros(len(rows), dtype=bool)
            is_first[first] = True
            leaders = np.repeat(rows[first], np.diff(np.append(first, len(rows))))[~is_first]
            rows, bucket = rows[~is_first], bucket[~is_first]
            same = np.zeros(len(rows), dtype=bool)
            for low in range(0, len(rows), PAIRS):
                part = slice(low, low + PAIRS)
                same[part] = self._compare(leaders[part], rows[part])
            found.append((rows[same], leaders[same]))
            rows, bucket = rows[~same], bucket[~same]
        none = np.zeros(0, dtype=np.int64)
        return np.concatenate([none, *(rows for rows, _ in found)]), np.concatenate(
            [none, *(leaders for _, leaders in found)]
        )

    def _compare(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Mask of the pairs that are at least as similar as the threshold; bool of shape (pairs,).

        The signatures' agreement is a cheap estimate that rules out most pairs; the rest are compared exactly.
        """
        import numpy as np

        agree = (self._signs[left] == self._signs[right]).mean(axis=1)
        likely = np.flatnonzero(agree >= self.threshold - SLACK)
        same = np.zeros(len(left), dtype=bool)
        same[likely] = self.jaccard(left[likely], right[likely]) >= self.threshold
        return same

    def jaccard(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Exact similarity of pairs of rows, from their shingles; float64 of shape (pairs,)."""
        import numpy as np

        mine, yours = self._keys(left), self._keys(right)
        both = np.concatenate([mine, yours])
        both.sort()
        shared = np.bincount((both[1:][both[1:] == both[:-1]] >> np.uint64(32)).astype(np.int64), minlength=len(left))
        sizes = [np.bincount((keys >> np.uint64(32)).astype(np.int64), minlength=len(left)) for keys in (mine, yours)]
        similarity: np.ndarray = shared / np.maximum(sizes[0] + sizes[1] - shared, 1)
        return similarity

    def _keys(self, rows: np.ndarray) -> np.ndarray:
        """The distinct shingles of all rows, sorted; each number is the row's position << 32 | the shingle."""
        import numpy as np

        counts = self._lengths[rows].astype(np.int64) - (GRAM - 1)
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        shingles = self._shingles[np.repeat(self._starts[rows], counts) + place].astype(np.uint64)
        pairs = np.repeat(np.arange(len(rows), dtype=np.uint64), counts) << np.uint64(32)
        return np.unique(pairs | shingles)


def texts_of(queries: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Normal forms with a space at either end, padded to at least one shingle, in ``hashing.text_buffer`` form."""
    forms = normal_forms(queries.fill_null(""))
    return hashing.text_buffer((" " + forms + " ").str.pad_end(GRAM))


def shingles_of(data: np.ndarray) -> np.ndarray:
    """The four bytes that start at each position; uint32 of shape (bytes - 3,). An overlapping view, not a copy."""
    import numpy as np

    return np.ndarray((max(0, len(data) - GRAM + 1),), dtype="<u4", buffer=data, strides=(1,))


def _stir(x: np.ndarray) -> np.ndarray:
    """murmur3's 32-bit finaliser: the multiplicative hashes need random-looking input, and text is not."""
    import numpy as np

    x = x.astype(np.uint32)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return x
