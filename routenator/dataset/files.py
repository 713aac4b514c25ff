"""The files of the data set: cut at a number of rows, in groups of rows that depend on nothing but their place.

Each kind of file (a split's Parquet, each of its formats, the rejected rows) is written on a thread of its own, so that
all cores encode.
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

_WAITING = 2  # groups of rows that may wait for one file


class Sink(Protocol):
    """An open file that takes groups of rows."""

    def write(self, frame: pl.DataFrame) -> None: ...

    def close(self) -> None: ...


class TextSink:
    """Lines, made by a Polars expression."""

    def __init__(self, path: Path, line: pl.Expr) -> None:
        self._file: IO[bytes] = open(path, "wb")  # noqa: SIM115  (close() does)
        self._line = line

    def write(self, frame: pl.DataFrame) -> None:
        import polars as pl

        for part in frame.iter_slices(_TEXT_ROWS):  # the API stands in every line, so a whole group may be large
            data, _ = text_buffer(part.select(pl.concat_str(self._line, pl.lit("\n"))).to_series())
            self._file.write(data.data)

    def close(self) -> None:
        self._file.close()


_TEXT_ROWS = 8192


class ParquetSink:
    """A Parquet file, one row group a write."""

    def __init__(self, path: Path, schema: pa.Schema, table: Callable[[pl.DataFrame], pa.Table]) -> None:
        import pyarrow.parquet as pq

        # Without Arrow's own schema a dictionary reads as what it holds.
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
        suffix: of its files' names.
        opens: a new file of it.
    """

    suffix: str
    opens: Callable[[Path], Sink]
    thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    waiting: deque[Future[None]] = field(default_factory=deque)
    sink: Sink | None = None

    def do(self, work: Callable[..., None], *args: Any) -> None:
        """Do something on this kind's thread, after all that came before; what goes wrong there is raised here."""
        while len(self.waiting) > _WAITING:
            self.waiting.popleft().result()
        self.waiting.append(self.thread.submit(work, *args))

    def start(self, path: Path) -> None:
        """Close the file that is open and begin another."""
        self.stop()
        self.sink = self.opens(path)

    def stop(self) -> None:
        """Close the file that is open."""
        if self.sink is not None:
            self.sink.close()
            self.sink = None

    def write(self, frame: pl.DataFrame) -> None:
        assert self.sink is not None
        self.sink.write(frame)


class SplitWriter:
    """All files of one split: the same rows in each kind, cut at ``rows_per_file``.

    Args:
        folder: where.
        split: begins the files' names.
        rows: that will come; the names depend on it.
        kinds: what is written of each row.
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
            # A group ends at BLOCK_ROWS rows of its file, wherever the blocks that brought them ended.
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
        split: ``train``, ``validation``, or ``rejected`` for the rows left out.
        suffix: ``.parquet``, or the suffix of a format, e.g. ``.jsonl``.
    """
    single = dataset / f"{split}{suffix}"
    return [single] if single.exists() else sorted(dataset.glob(f"{split}-*-of-?????{suffix}"))
