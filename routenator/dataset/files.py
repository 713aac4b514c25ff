"""The files of the data set, cut at a number of rows; row groups depend only on a row's place in its file.

Each kind of file (a split's Parquet, each of its formats, the rejected rows) has its own thread, so that encoding uses
all cores.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from routenator.dataset.hashing import text_buffer
from routenator.dataset.sources import BLOCK_ROWS

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_WAITING = 2  # row groups that may wait for one file; bounds memory


class Sink(Protocol):
    """An open file to which groups of rows are written."""

    def write(self, frame: pl.DataFrame) -> None: ...

    def close(self) -> None: ...


class TextSink:
    """A text file of lines made by a Polars expression."""

    def __init__(self, path: Path, line: pl.Expr) -> None:
        self._file: IO[bytes] = open(path, "wb")  # noqa: SIM115  (close() does)
        self._line = line

    def write(self, frame: pl.DataFrame) -> None:
        import polars as pl

        # In parts: every line contains the API, so the text of a whole group could be huge.
        for part in frame.iter_slices(_TEXT_ROWS):
            data, _ = text_buffer(part.select(pl.concat_str(self._line, pl.lit("\n"))).to_series())
            self._file.write(data.data)

    def close(self) -> None:
        self._file.close()


_TEXT_ROWS = 8192


class ParquetSink:
    """A Parquet file, with one row group per write."""

    def __init__(self, path: Path, schema: pa.Schema, table: Callable[[pl.DataFrame], pa.Table]) -> None:
        import pyarrow.parquet as pq

        # Without the stored Arrow schema, readers see a dictionary column as its plain values.
        self._file = pq.ParquetWriter(path, schema, compression="zstd", store_schema=False)
        self._table = table

    def write(self, frame: pl.DataFrame) -> None:
        self._file.write_table(self._table(frame), row_group_size=max(1, frame.height))

    def close(self) -> None:
        self._file.close()


@dataclass
class Kind:
    """One kind of file of a split.

    Attributes:
        suffix: ends its files' names.
        opens: opens a new file.
        thread: does all work on its files.
        waiting: work that was submitted.
        sink: the open file.
    """

    suffix: str
    opens: Callable[[Path], Sink]
    thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    waiting: deque[Future[None]] = field(default_factory=deque)
    sink: Sink | None = None

    def do(self, work: Callable[..., None], *args: Any) -> None:
        """Run something on this kind's thread, after all earlier work; re-raise errors from there.

        Blocks while too much is waiting, so that a slow file slows down the reader instead of filling memory.
        """
        while len(self.waiting) > _WAITING:
            self.waiting.popleft().result()
        self.waiting.append(self.thread.submit(work, *args))

    def start(self, path: Path) -> None:
        """Close the open file and start another."""
        self.stop()
        self.sink = self.opens(path)

    def stop(self) -> None:
        """Close the open file, if any."""
        if self.sink is not None:
            self.sink.close()
            self.sink = None

    def write(self, frame: pl.DataFrame) -> None:
        assert self.sink is not None
        self.sink.write(frame)


class SplitWriter:
    """Writes all files of one split: the same rows in each kind of file, cut at ``rows_per_file``.

    Args:
        folder: folder for the files.
        split: prefix of the files' names.
        rows: number of rows that will be written; the names depend on it.
        rows_per_file: limit of rows in a file.
        kinds: the kinds of files to write.
    """

    def __init__(self, folder: Path, split: str, rows: int, rows_per_file: int, kinds: Sequence[Kind]) -> None:
        self.folder, self.split, self.rows, self.rows_per_file, self.kinds = folder, split, rows, rows_per_file, kinds
        self.written = 0
        self.files: list[str] = []
        self._held: list[pl.DataFrame] = []
        self._rows_held = 0

    def __enter__(self) -> SplitWriter:
        self._start(0)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
                for item in self.kinds:
                    item.do(item.stop)
                for item in self.kinds:
                    while item.waiting:
                        item.waiting.popleft().result()
        finally:
            for item in self.kinds:
                item.thread.shutdown(cancel_futures=True)
                item.stop()

    def _start(self, number: int) -> None:
        stem = file_stem(self.split, number, max(1, -(-self.rows // self.rows_per_file)))
        for kind in self.kinds:
            path = self.folder / f"{stem}{kind.suffix}"
            kind.do(kind.start, path)
            self.files.append(path.name)

    def write(self, frame: pl.DataFrame) -> None:
        """Append rows, in index order."""
        while frame.height:
            # Groups end at multiples of BLOCK_ROWS within a file, however the incoming blocks are cut, so that the
            # bytes of a file do not depend on the shards.
            place = (self.written + self._rows_held) % self.rows_per_file
            room = min(self.rows_per_file - place, BLOCK_ROWS - place % BLOCK_ROWS)
            part, frame = frame.head(room), frame.slice(room)
            self._held.append(part)
            self._rows_held += part.height
            if part.height == room:
                self._flush()

    def _flush(self) -> None:
        import polars as pl

        if not self._rows_held:
            return
        if self.written and self.written % self.rows_per_file == 0:
            self._start(self.written // self.rows_per_file)
        frame = pl.concat(self._held)
        for kind in self.kinds:
            kind.do(kind.write, frame)
        self.written += self._rows_held
        self._held, self._rows_held = [], 0


def file_stem(split: str, number: int, files: int) -> str:
    """``train`` for a single file, ``train-00000-of-00003`` for several."""
    return split if files == 1 else f"{split}-{number:05d}-of-{files:05d}"


def split_files(dataset: Path, split: str, suffix: str = ".parquet") -> list[Path]:
    """The files of a split in order, however many there are.

    Args:
        dataset: the data set's folder.
        split: ``train``, ``validation``, or ``rejected`` for the rejected rows.
        suffix: ``.parquet``, or the suffix of a format, e.g. ``.jsonl``.
    """
    single = dataset / f"{split}{suffix}"
    return [single] if single.exists() else sorted(dataset.glob(f"{split}-*-of-?????{suffix}"))
