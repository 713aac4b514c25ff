"""Tests of reading candidate files as one sequence of rows: blocks do not depend on files, and damage is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routenator.dataset.sources import open_sources, ordered_map, stream
from routenator.errors import CorruptShardError, StageError
from routenator.schemas import CANDIDATE_COLUMNS, arrow_schema


def write(path: Path, indices: list[int], group: int = 3) -> Path:
    rows: list[dict[str, Any]] = [
        {**dict.fromkeys(CANDIDATE_COLUMNS), "index": index, "query": f"q{index}"} for index in indices
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema(CANDIDATE_COLUMNS)), path, row_group_size=group)
    return path


def shards(folder: Path, *parts: list[int]) -> list[tuple[str, Path]]:
    return [
        (f"generate shard {number}", write(folder / f"{number}.parquet", part)) for number, part in enumerate(parts)
    ]


@pytest.mark.parametrize("cuts", [[20], [1, 0, 7, 12], [3, 3, 3, 3, 3, 3, 2]])
@pytest.mark.parametrize("block", [1, 4, 7, 50])
def test_blocks_do_not_depend_on_the_files(tmp_path: Path, cuts: list[int], block: int) -> None:
    parts, low = [], 0
    for size in cuts:
        parts.append(list(range(low, low + size)))
        low += size
    sources = open_sources(shards(tmp_path, *parts)[::-1])
    assert [source.low for source in sources] == sorted(source.low for source in sources)
    found = list(stream(sources, ("query",), block))
    assert [low for low, _ in found] == list(range(0, 20, block))
    assert [frame.height for _, frame in found] == [min(block, 20 - low) for low in range(0, 20, block)]
    assert [query for _, frame in found for query in frame["query"]] == [f"q{index}" for index in range(20)]
    assert found[0][1].columns == ["query"]


def test_empty_files_are_skipped(tmp_path: Path) -> None:
    assert [source.label for source in open_sources(shards(tmp_path, [], [0, 1], []))] == ["generate shard 1"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            ([0, 1], [3, 4]),
            r"shard 1 \(.*\) holds indices 3 to 4, but generate shard 0 ends at 1; there are 4 candidates",
        ),
        (([0, 1, 2], [2, 3]), "shard 1 .* holds indices 2 to 3, but generate shard 0 ends at 2"),
        (([1, 2],), "shard 0 .* holds indices 1 to 2, but the first index is 0"),
        (([0, 2],), "shard 0 .* holds 2 candidates with indices 0 to 2: some are missing or duplicated"),
        (([-1, 0],), "holds indices -1 to 0, but the first index is 0"),
    ],
)
def test_files_that_do_not_fit_together_are_an_error(
    tmp_path: Path, parts: tuple[list[int], ...], message: str
) -> None:
    with pytest.raises(StageError, match=message):
        open_sources(shards(tmp_path, *parts))


@pytest.mark.parametrize("indices", [[0, 2, 1, 3], [0, 1, 1, 3]])
def test_rows_out_of_order_are_an_error(tmp_path: Path, indices: list[int]) -> None:
    sources = open_sources(shards(tmp_path, indices))
    with pytest.raises(StageError, match=r"generate shard 0 .* is not in index order: found [12] instead of"):
        list(stream(sources, ("query",), 2))


def test_the_error_about_a_missing_column_names_the_shard(tmp_path: Path) -> None:
    pl.DataFrame({"index": [0]}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(CorruptShardError, match=r"generate shard 4 .*lacks the columns accepted.*`retry`"):
        open_sources([("generate shard 4", tmp_path / "x.parquet")])


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"PAR1 and then nothing PAR1", b"no parquet at all, but long enough to hold a footer"]
)
def test_the_error_about_an_unreadable_file_names_the_shard_and_the_fix(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.parquet").write_bytes(data)
    with pytest.raises(
        CorruptShardError, match=r"generate shard 2 .*cannot be read: .*remove its receipt and run `retry`"
    ):
        open_sources([("generate shard 2", tmp_path / "x.parquet")])


def test_the_error_about_a_half_written_file_names_the_shard(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", list(range(1000)), group=100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CorruptShardError, match=r"generate shard 2 .*cannot be read"):
        open_sources([("generate shard 2", path)])


def test_damage_in_a_column_is_found_on_reading(tmp_path: Path) -> None:
    (_, path), *_ = shards(tmp_path, list(range(1000)))
    sources = open_sources([("generate shard 7", path)])
    column = next(
        chunk
        for number in range(len(CANDIDATE_COLUMNS))
        if (chunk := pq.ParquetFile(path).metadata.row_group(0).column(number)).path_in_schema == "query"
    )
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + 30] = b"\xff" * 30
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptShardError, match=r"generate shard 7 .*cannot be read"):
        list(stream(sources, ("query",), 100))


def test_results_come_in_order_and_errors_are_raised() -> None:
    assert list(ordered_map(lambda x: x * x, range(50))) == [x * x for x in range(50)]
    with pytest.raises(ZeroDivisionError):
        list(ordered_map(lambda x: 1 // x, [1, 0, 2]))
