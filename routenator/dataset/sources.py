"""Reads files of candidates as one sequence of rows, in blocks that do not depend on the number of files.

Each file holds a contiguous range of the index, in order; together they are rows 0 .. N-1. So every pass reads each
file once, from start to end, and a block may start in one file and end in another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from os import sched_getaffinity
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from routenator.errors import CorruptShardError, StageError
from routenator.schemas import CANDIDATE_COLUMNS, NEWER_COLUMNS, arrow_schema

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

BLOCK_ROWS = 131_072  # candidates in memory at once, on each core
Item = TypeVar("Item")
Result = TypeVar("Result")

MEND = "remove its receipt and run `retry` to regenerate the shard"


@dataclass(frozen=True)
class Source:
    """One file of candidates.

    Attributes:
        label: its name in errors, e.g. "generate shard 3".
        path: the file.
        rows: number of rows.
        low, high: its lowest and highest index, inclusive.
    """

    label: str
    path: Path
    rows: int
    low: int
    high: int

    def corrupt(self, error: object) -> CorruptShardError:
        """The error to raise if it cannot be read: which shard, why, and how to fix it."""
        return CorruptShardError(f"{self.label} ({self.path}) cannot be read: {error}; {MEND}")


def open_sources(files: Sequence[tuple[str, Path]]) -> list[Source]:
    """Inspect candidate files, from one or several stages and in any order; files without rows are skipped.

    Args:
        files: (label, path) of each shard.

    Returns:
        The sources in index order.

    Raises:
        CorruptShardError: a file cannot be read or lacks columns.
        StageError: the files do not hold one contiguous range of the index each, together 0 .. rows-1.
    """
    sources = sorted(
        (source for label, path in files if (source := _look(label, path)) is not None), key=lambda source: source.low
    )
    total = sum(source.rows for source in sources)
    expected = 0
    for before, source in zip([None, *sources], sources, strict=False):
        if source.low != expected:
            what = f"{before.label} ends at {expected - 1}" if before else "the first index is 0"
            raise StageError(
                f"{source.label} ({source.path}) holds indices {source.low} to {source.high}, but {what}; "
                f"there are {total} candidates: "
                "a shard is missing or listed twice, or the shards belong to different plans"
            )
        if source.high - source.low + 1 != source.rows:
            raise StageError(
                f"{source.label} ({source.path}) holds {source.rows} candidates with indices {source.low} "
                f"to {source.high}: "
                "some are missing or duplicated"
            )
        expected = source.high + 1
    return sources


def _look(label: str, path: Path) -> Source | None:
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        missing = set(CANDIDATE_COLUMNS) - {*file.schema_arrow.names, *NEWER_COLUMNS}
        if missing:
            raise CorruptShardError(
                f"{label} ({path}) lacks the columns {', '.join(sorted(missing))}: another version of the code may "
                f"have made it, and then only that one can read it; else {MEND}"
            )
        rows = file.metadata.num_rows
        if not rows:
            return None
        found = (
            pl.scan_parquet(path, glob=False).select(low=pl.col("index").min(), high=pl.col("index").max()).collect()
        )
    except (pl.exceptions.PolarsError, pa.ArrowException, OSError) as error:
        raise CorruptShardError(f"{label} ({path}) cannot be read: {error}; {MEND}") from error
    low, high = found.row(0)
    return Source(label, path, rows, low, high)


def stream(
    sources: Sequence[Source], columns: Sequence[str], rows: int = BLOCK_ROWS
) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield every candidate once, in index order, in blocks of ``rows`` (the last may be shorter).

    Yields:
        (index of the block's first row, its columns).

    Raises:
        CorruptShardError: a file cannot be read.
        StageError: a file's rows are not in index order.
    """
    import polars as pl
    import pyarrow as pa

    wanted = list(dict.fromkeys(["index", *columns]))
    schema = arrow_schema({name: CANDIDATE_COLUMNS[name] for name in wanted})
    pending: list[pa.RecordBatch] = []
    held = start = 0

    def block(size: int) -> tuple[int, pl.DataFrame]:
        nonlocal pending, held, start
        table = pa.Table.from_batches(pending, schema)
        pending, held = table.slice(size).to_batches(), held - size
        frame = pl.from_arrow(table.slice(0, size))
        assert isinstance(frame, pl.DataFrame)
        start += size
        return start - size, frame.select(*columns)

    for source in sources:
        for batch in _batches(source, wanted, schema, rows):
            pending.append(batch)
            held += batch.num_rows
            while held >= rows:
                yield block(rows)
    if held:
        yield block(held)


def _batches(source: Source, wanted: list[str], schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    expected = source.low
    try:
        with pq.ParquetFile(source.path) as file:
            there = [name for name in wanted if name in file.schema_arrow.names]
            for batch in file.iter_batches(batch_size=rows, columns=there):
                index = batch.column("index").to_numpy(zero_copy_only=False)
                wrong = np.flatnonzero(index != np.arange(expected, expected + len(index)))
                if len(wrong):
                    raise StageError(
                        f"{source.label} ({source.path}) is not in index order: "
                        f"found {index[wrong[0]]} instead of {expected + wrong[0]}"
                    )
                expected += len(index)
                columns = [
                    batch.column(name) if name in there else pa.nulls(len(batch), schema.field(name).type)
                    for name in wanted
                ]
                yield pa.RecordBatch.from_arrays(columns, names=wanted).cast(schema)
    except (pa.ArrowException, OSError) as error:
        raise source.corrupt(error) from error


def workers() -> int:
    """Number of cores that this process may use."""
    return len(sched_getaffinity(0))


def ordered_map(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Map ``work`` over items with one thread per core, yielding results in the order of the items.

    At most two items more than there are threads are in progress, which bounds memory: without that limit, fast readers
    would pile up blocks while the first result is awaited. Threads, because numpy, Polars and Arrow release the GIL
    while they work, and nothing has to be copied between processes.
    """
    queue: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers())
    try:
        for item in items:
            queue.append(pool.submit(work, item))
            if len(queue) > workers() + 1:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def blocks(total: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut [0, total) into half-open ranges of ``size``."""
    for low in range(0, total, size):
        yield low, min(low + size, total)
