"""Tests of where queries mention their category, and of the files of a split."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from routenator.dataset import files
from routenator.dataset.calls import call_parts
from routenator.dataset.files import SplitWriter, file_stem, split_files
from routenator.dataset.position import keyword_third, third_in
from routenator.dataset.writer import _kinds
from routenator.domain.calls import Call, calls_text
from routenator.schemas import EXAMPLE_COLUMNS
from routenator.validation.text import THIRDS, third_of, words
from routenator.wording.text import third_at


@pytest.mark.parametrize(
    ("query", "surface", "third"),
    [
        ("Poster of a dog on the beach", "poster", "first"),
        ("find a poster of dogs", "poster", "middle"),
        ("show me dogs on a Greeting-Card!", "greeting card", "last"),
        ("poster", "poster", "middle"),
        ("a posterior view of dogs", "poster", "absent"),
        ("", "poster", "absent"),
        ("find a poster", None, None),
    ],
)
def test_thirds(query: str, surface: str | None, third: str | None) -> None:
    frame = pl.DataFrame({"q": [query], "s": [surface]}, schema={"q": pl.String, "s": pl.String})
    assert frame.select(third_in(pl.col("q"), pl.col("s"))).item() == third


def test_thirds_of_many_rows_agree_with_those_of_single_queries() -> None:
    rows = [(before, inside, after) for before in range(13) for inside in range(1, 5) for after in range(13)]
    queries = [("a " * before + "red " * inside + "b " * after).strip() for before, inside, after in rows]
    surfaces = [("red " * inside).strip() for _, inside, _ in rows]
    frame = pl.DataFrame({"q": queries, "s": surfaces})
    found = frame.select(third_in(pl.col("q"), pl.col("s"))).to_series().to_list()
    assert found == [third_of(words(query), [words(said)]) for query, said in zip(queries, surfaces, strict=True)]
    assert [THIRDS.index(third) for third in found] == [
        third_at(before + inside + after, before, inside) for before, inside, after in rows
    ]


@pytest.mark.parametrize(
    ("query", "surface", "third"),
    [
        ("東京の天気を教えて", "天気", "middle"),
        ("กินข้าว ที่ กรุงเทพ", "กรุงเทพ", "last"),
        ("ışık IŞIK aç", "Işık", "first"),
        ("iPhoneの天気 3日", "天気", "middle"),
        ("l’été d'or", "l'été", "first"),
    ],
)
def test_thirds_of_other_scripts_are_told_by_letters(query: str, surface: str, third: str) -> None:
    """A category in a Japanese query was always absent, since the whole query was one word."""
    frame = pl.DataFrame({"q": [query], "s": [surface]})
    assert frame.select(third_in(pl.col("q"), pl.col("s"))).item() == third
    assert third_of(words(query), [words(surface)]) == third


def test_the_surface_is_taken_from_the_functions_category_parameter() -> None:
    frame = pl.DataFrame(
        {
            "function": ["search", "book", "book", "rate"],
            "query": ["poster of a red dog", "go to a diner", "table for two", "poster"],
            "slots": ['[{"kind": "poster"}]', '[{"place": "diner"}]', '[{"people": "two"}]', '[{"kind": "poster"}]'],
        }
    )
    found = frame.select(keyword_third({"search": "kind", "book": "place", "rate": None})).to_series().to_list()
    assert found == ["first", "last", None, None]


def test_names_of_files(tmp_path: Path) -> None:
    assert file_stem("train", 0, 1) == "train"
    assert file_stem("train", 1, 3) == "train-00001-of-00003"
    for name in (
        "train-00001-of-00002.parquet",
        "train-00000-of-00002.parquet",
        "train-00000-of-00002.jsonl",
        "validation.parquet",
    ):
        (tmp_path / name).touch()
    assert [path.name for path in split_files(tmp_path, "train")] == [
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
    ]
    assert [path.name for path in split_files(tmp_path, "train", ".jsonl")] == ["train-00000-of-00002.jsonl"]
    assert [path.name for path in split_files(tmp_path, "validation")] == ["validation.parquet"]


def frame(rows: int, start: int = 0) -> pl.DataFrame:
    text = {name: ["x"] * rows for name in EXAMPLE_COLUMNS if name not in ("group", "split", "hidden")}
    calls = calls_text([Call("search", {"p": "x"})])
    index = pl.Series(range(start, start + rows), dtype=pl.Int64)
    numbers = {"index": index, "words": [1] * rows, "group": index.cast(pl.UInt64), "function": ["search"] * rows}
    table = pl.DataFrame({**text, **numbers, "calls": [calls] * rows, "number": [1] * rows})
    table = table.with_columns(hidden=pl.lit(None, dtype=pl.List(pl.String)), asked=pl.col("query"))
    return table.with_columns(parts=call_parts(table, ["search"]))


TOOLS = [{"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}]


@pytest.mark.parametrize(
    ("rows", "limit", "sizes"), [(5, 2, [2, 2, 1]), (4, 2, [2, 2]), (3, 3, [3]), (3, 9, [3]), (0, 2, [0])]
)
def test_files_are_cut_at_the_limit(tmp_path: Path, rows: int, limit: int, sizes: list[int]) -> None:
    kinds = _kinds("train", ["openai", "openai_parquet"], TOOLS)
    with SplitWriter(tmp_path, "train", rows, limit, kinds) as writer:
        for low in range(0, rows, 3):  # blocks do not match the cuts
            writer.write(frame(min(3, rows - low), low))
    parts = split_files(tmp_path, "train")
    assert [pl.read_parquet(part).height for part in parts] == sizes
    assert pl.read_parquet(parts)["index"].to_list() == list(range(rows))
    assert [len(part.read_text().splitlines()) for part in split_files(tmp_path, "train", ".jsonl")] == sizes
    assert [pl.read_parquet(part).height for part in split_files(tmp_path, "train", ".openai.parquet")] == sizes
    assert sorted(writer.files) == sorted(path.name for path in tmp_path.iterdir())
    assert writer.written == rows


def test_row_groups_depend_only_on_the_place_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BLOCK_ROWS", 4)
    data = []
    for cut in (1, 3, 7, 23):
        folder = tmp_path / str(cut)
        folder.mkdir()
        with SplitWriter(folder, "train", 23, 10, _kinds("train", ["openai"], TOOLS)) as writer:
            for low in range(0, 23, cut):
                writer.write(frame(min(cut, 23 - low), low))
        groups = [pq.ParquetFile(part).metadata for part in split_files(folder, "train")]
        assert [[meta.row_group(n).num_rows for n in range(meta.num_row_groups)] for meta in groups] == [
            [4, 4, 2],
            [4, 4, 2],
            [3],
        ]
        data.append([path.read_bytes() for path in sorted(folder.iterdir())])
    assert data[0] == data[1] == data[2] == data[3]


class _FullDisk:
    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, frame: pl.DataFrame) -> None:
        raise OSError(28, "No space left on device")

    def close(self) -> None:
        pass


def test_errors_on_a_files_thread_are_raised(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="No space left"),
        SplitWriter(tmp_path, "train", 9, 9, [files.Kind(".x", _FullDisk)]) as writer,
    ):
        writer.write(frame(9))
