"""Which candidates become examples: leakage, duplicates, conflicts, then exact quotas with back-filling.

Every candidate gets one ``Verdict``, kept in an array with one byte a row. Texts are read in blocks of the index, and duplicates are found
within partitions of a hash that equal queries share, so the memory needed is about 5 bytes a candidate plus one block or one partition.
Hashes have 64 bits (128 for exact duplicates); two different queries are mistaken for near-duplicates with a chance of about n**2 / 2**65.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routenator.dataset import keys
from routenator.errors import CorruptShardError, StageError
from routenator.schemas import CANDIDATE_COLUMNS

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

BLOCK_ROWS = 500_000  # candidates whose texts are in memory at once
PARTITION_ROWS = 20_000_000  # candidates whose hashes are in memory at once
CELL = ("function", "category", "length", "language")  # a deficit is back-filled within such a cell

Progress = Callable[[int, int], None]


class Verdict(enum.IntEnum):
    """What became of a candidate. The names in lower case are the reasons in rejected.parquet."""

    PENDING = 0
    FINAL = 1
    BACKFILLED = 2
    REJECTED = 3  # by a check of the generate stage, whose reason is kept
    GOLDEN_LEAK = 4
    DUPLICATE = 5
    CONFLICT = 6
    NEAR_DUPLICATE = 7
    SURPLUS = 8

    @property
    def reason(self) -> str:
        return self.name.lower()


KEPT = (Verdict.FINAL, Verdict.BACKFILLED)
DROPPED = (Verdict.GOLDEN_LEAK, Verdict.DUPLICATE, Verdict.CONFLICT, Verdict.NEAR_DUPLICATE, Verdict.SURPLUS)


@dataclass(frozen=True)
class Source:
    """One file of candidates.

    Attributes:
        label: what an error calls it, e.g. "generate shard 3".
        low, high: its least and greatest index, both included.
    """

    label: str
    path: Path
    rows: int
    low: int
    high: int


@dataclass
class Decisions:
    """The verdict on every candidate.

    Attributes:
        codes: uint8 of shape (candidates,), a ``Verdict`` each, by index.
        strata: int32 of shape (candidates,), by index.
        kept: int64 of shape (candidates,): for a duplicate, conflict or near-duplicate the index that was kept in its place.
        table: int64 of shape (strata, verdicts): how many candidates of each stratum had each verdict.
        deficits: one row for each stratum that did not fill its quota by itself.
    """

    codes: np.ndarray
    strata: np.ndarray
    kept: np.ndarray
    table: np.ndarray
    deficits: list[dict[str, Any]] = field(default_factory=list)

    def count(self, verdict: Verdict) -> int:
        """Candidates with a verdict."""
        return int(self.table[:, verdict].sum())

    def per_stratum(self, verdicts: Iterable[Verdict]) -> list[int]:
        """Candidates of each stratum with one of these verdicts."""
        return [int(number) for number in self.table[:, list(verdicts)].sum(axis=1)]


def open_sources(files: Sequence[tuple[str, Path]]) -> list[Source]:
    """Look into the candidate files, in order; those without rows are left out.

    Args:
        files: (label, path) of each shard.

    Raises:
        CorruptShardError: a file cannot be read or lacks columns.
        StageError: the indices are not 0 .. rows-1, each once.
    """
    import polars as pl

    sources: list[Source] = []
    for label, path in files:
        try:
            missing = set(CANDIDATE_COLUMNS) - set(pl.read_parquet_schema(path))
            if missing:
                raise CorruptShardError(f"{label} ({path}) lacks the columns {', '.join(sorted(missing))}")
            found = pl.scan_parquet(path).select(pl.len().alias("rows"), low=pl.col("index").min(), high=pl.col("index").max()).collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise CorruptShardError(f"{label} ({path}) cannot be read: {error}") from error
        rows, low, high = found.row(0)
        if rows:
            sources.append(Source(label, path, rows, low, high))
    total = sum(source.rows for source in sources)
    for source in sources:
        if source.low < 0 or source.high >= total:
            raise StageError(
                f"{source.label} ({source.path}) holds indices {source.low} to {source.high}, but there are {total} candidates; "
                "the shards do not belong to one plan"
            )
    return sources


def read_block(sources: Sequence[Source], low: int, high: int, columns: Sequence[str | pl.Expr]) -> pl.DataFrame:
    """Columns of the candidates with low <= index < high, sorted by index; the index comes first.

    Raises:
        CorruptShardError: a file cannot be read.
        StageError: an index is missing or occurs twice.
    """
    import polars as pl

    touched = [source for source in sources if source.low < high and source.high >= low]
    try:
        frame = (
            pl.scan_parquet([source.path for source in touched])
            .filter(pl.col("index").is_between(low, high - 1))
            .select("index", *columns)
            .sort("index")
            .collect(engine="streaming")
        )
    except pl.exceptions.PolarsError as error:
        names = ", ".join(source.label for source in touched[:4])
        raise CorruptShardError(f"{names} cannot be read: {error}") from error
    if frame.height != high - low or frame["index"].n_unique() != frame.height:
        raise StageError(
            f"rows {low} to {high - 1}: {frame['index'].n_unique()} different indices in {frame.height} candidates, expected "
            f"{high - low}; look at {', '.join(source.label for source in touched[:4])}"
        )
    return frame


def blocks(total: int, size: int) -> Iterator[tuple[int, int]]:
    """[0, total) cut into half-open ranges of ``size``."""
    for low in range(0, total, size):
        yield low, min(low + size, total)


def decide(
    sources: Sequence[Source],
    strata: Sequence[dict[str, Any]],
    golden: Sequence[str],
    work_dir: Path,
    *,
    near_duplicates: bool = True,
    backfill: bool = True,
    block_rows: int = BLOCK_ROWS,
    partition_rows: int = PARTITION_ROWS,
    progress: Progress = lambda done, total: None,
) -> Decisions:
    """The verdict on every candidate; a pure function of the candidates, whatever the number of files.

    Args:
        sources: from ``open_sources``.
        strata: rows of strata.json; row i is stratum i.
        golden: golden queries; candidates equal to one are dropped.
        work_dir: a folder for hashes, about 40 bytes a candidate.
        near_duplicates: drop queries that differ from an earlier one in word order only, too.
        backfill: fill deficits from surplus of the same function, category, length and language.
        progress: called with (candidates done, candidates).

    Raises:
        StageError: a candidate of an unknown stratum, a missing or repeated index, an unreadable file.
    """
    import numpy as np

    total = sum(source.rows for source in sources)
    work_dir.mkdir(parents=True, exist_ok=True)
    decisions = Decisions(
        codes=np.zeros(total, dtype=np.uint8),
        strata=np.zeros(total, dtype=np.int32),
        kept=np.memmap(work_dir / "kept.bin", dtype=np.int64, mode="w+", shape=(max(total, 1),)),
        table=np.zeros((len(strata), len(Verdict)), dtype=np.int64),
    )
    partitions = max(1, -(-total // partition_rows))
    for number, (low, high) in enumerate(blocks(total, block_rows)):
        _first_look(sources, low, high, strata, golden, decisions, work_dir, number, partitions)
        progress(high, total)
    for partition in range(partitions):
        _drop_duplicates(work_dir, partition, decisions, near_duplicates)
    _fill_quotas(decisions, strata, backfill, block_rows)
    for low, high in blocks(total, block_rows):
        pairs = decisions.strata[low:high].astype(np.int64) * len(Verdict) + decisions.codes[low:high]
        decisions.table += np.bincount(pairs, minlength=decisions.table.size).reshape(decisions.table.shape)
    return decisions


def _first_look(
    sources: Sequence[Source],
    low: int,
    high: int,
    strata: Sequence[dict[str, Any]],
    golden: Sequence[str],
    decisions: Decisions,
    work_dir: Path,
    number: int,
    partitions: int,
) -> None:
    """Rejections and leakage of one block; the hashes of the rest go to files, one a partition."""
    import polars as pl

    columns = [
        pl.col("stratum"),
        pl.col("accepted"),
        keys.normalised("query").alias("text"),
        keys.bag("query").hash(seed=1).alias("bag"),
        keys.call_text().hash(seed=2).alias("call"),
    ]
    frame = read_block(sources, low, high, columns)
    if frame["stratum"].min() < 0 or frame["stratum"].max() >= len(strata):  # type: ignore[operator]
        bad = frame.filter(~pl.col("stratum").is_between(0, len(strata) - 1)).row(0, named=True)
        raise StageError(f"candidate {bad['index']} is of stratum {bad['stratum']}, and there are {len(strata)} strata")
    leaks = pl.DataFrame({"text": list(golden)}, schema={"text": pl.String}).select(text=keys.normalised("text")).unique()
    frame = frame.with_columns(leak=pl.col("text").is_in(leaks["text"].implode()), text=pl.col("text").hash(seed=3))
    verdict = (
        pl.when(~pl.col("accepted"))
        .then(int(Verdict.REJECTED))
        .when(pl.col("leak"))
        .then(int(Verdict.GOLDEN_LEAK))
        .otherwise(int(Verdict.PENDING))
        .cast(pl.UInt8)
    )
    frame = frame.with_columns(verdict=verdict)
    decisions.codes[low:high] = frame["verdict"].to_numpy()
    decisions.strata[low:high] = frame["stratum"].to_numpy()
    pending = frame.filter(pl.col("verdict") == int(Verdict.PENDING)).select("index", "text", "bag", "call")
    for partition in range(partitions):
        part = pending if partitions == 1 else pending.filter(pl.col("bag") % partitions == partition)
        part.write_parquet(work_dir / f"hashes-{partition:05d}-{number:06d}.parquet")


def _drop_duplicates(work_dir: Path, partition: int, decisions: Decisions, near_duplicates: bool) -> None:
    """Among the candidates of one partition, the lowest index of each query stays."""
    import polars as pl

    files = sorted(work_dir.glob(f"hashes-{partition:05d}-*.parquet"))
    frame = pl.read_parquet(files).sort("index") if files else pl.DataFrame()
    for file in files:
        file.unlink()
    if frame.is_empty():
        return
    same = ["text", "bag"]
    frame = frame.with_columns(first=pl.col("index").first().over(same), first_call=pl.col("call").first().over(same))
    repeats = frame.filter(pl.col("index") != pl.col("first"))
    index = repeats["index"].to_numpy()
    decisions.kept[index] = repeats["first"].to_numpy()
    conflict = pl.when(pl.col("call") != pl.col("first_call")).then(int(Verdict.CONFLICT)).otherwise(int(Verdict.DUPLICATE))
    decisions.codes[index] = repeats.select(conflict.cast(pl.UInt8)).to_series().to_numpy()
    if not near_duplicates:
        return
    rest = frame.filter(pl.col("index") == pl.col("first")).with_columns(near=pl.col("index").first().over("bag"))
    repeats = rest.filter(pl.col("index") != pl.col("near"))
    index = repeats["index"].to_numpy()
    decisions.kept[index] = repeats["near"].to_numpy()
    decisions.codes[index] = int(Verdict.NEAR_DUPLICATE)


def _fill_quotas(decisions: Decisions, strata: Sequence[dict[str, Any]], backfill: bool, block_rows: int) -> None:
    """Each stratum keeps its first quota rows; then deficits are filled from their cell's surplus."""
    import numpy as np

    total = len(decisions.codes)
    open_places = np.array([row["quota"] for row in strata], dtype=np.int64)
    for low, high in blocks(total, block_rows):
        index = low + np.flatnonzero(decisions.codes[low:high] == Verdict.PENDING)
        taken = _take_first(decisions.strata[index], open_places)
        decisions.codes[index[taken]] = Verdict.FINAL
        decisions.codes[index[~taken]] = Verdict.SURPLUS
    names = sorted({tuple(str(row[key]) for key in CELL) for row in strata})
    cell_of = np.array([names.index(tuple(str(row[key]) for key in CELL)) for row in strata], dtype=np.int64)
    wanted = np.bincount(cell_of, weights=open_places, minlength=len(names)).astype(np.int64)
    still = wanted.copy()
    if backfill and wanted.any():
        for low, high in blocks(total, block_rows):
            index = low + np.flatnonzero(decisions.codes[low:high] == Verdict.SURPLUS)
            taken = _take_first(cell_of[decisions.strata[index]], still)
            decisions.codes[index[taken]] = Verdict.BACKFILLED
    filled = wanted - still
    for number in np.flatnonzero(open_places):
        row, short, cell = strata[number], int(open_places[number]), cell_of[number]
        given = min(short, int(filled[cell]))  # within a cell the earlier strata are said to be filled first
        filled[cell] -= given
        decisions.deficits.append(
            {
                "stratum": int(number),
                **{key: row[key] for key in ("function", "category", "route", "template", "length", "language")},
                "quota": int(row["quota"]),
                "own": int(row["quota"]) - short,
                "backfilled": given,
                "missing": short - given,
            }
        )


def _take_first(groups: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Which rows find a place in their group, first come first served; ``places`` is lowered by those taken.

    Args:
        groups: int of shape (rows,), in index order.
        places: int64 of shape (groups,): places that are left.

    Returns:
        bool of shape (rows,).
    """
    import numpy as np

    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    rank = np.arange(len(groups)) - np.searchsorted(ordered, ordered, side="left")
    taken = np.zeros(len(groups), dtype=bool)
    taken[order] = rank < places[ordered]
    places -= np.bincount(groups[taken], minlength=len(places))
    return taken
