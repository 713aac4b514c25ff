"""Where the query says the category, and the files of a split."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from routenator.dataset.writer import SplitWriter, file_stem, keyword_third, split_files, third_of
from routenator.schemas import EXAMPLE_COLUMNS


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
    assert frame.select(third_of(pl.col("q"), pl.col("s"))).item() == third


def test_the_surface_is_that_of_the_functions_category_parameter() -> None:
    frame = pl.DataFrame(
        {
            "function": ["search", "book", "book", "rate"],
            "query": ["poster of a red dog", "go to a diner", "table for two", "poster"],
            "slots": ['{"kind": "poster"}', '{"place": "diner"}', '{"people": "two"}', '{"kind": "poster"}'],
        }
    )
    found = frame.select(keyword_third({"search": "kind", "book": "place", "rate": None})).to_series().to_list()
    assert found == ["first", "last", None, None]


def test_names_of_files(tmp_path: Path) -> None:
    assert file_stem("train", 0, 1) == "train"
    assert file_stem("train", 1, 3) == "train-00001-of-00003"
    for name in ("train-00001-of-00002.parquet", "train-00000-of-00002.parquet", "train-00000-of-00002.jsonl", "validation.parquet"):
        (tmp_path / name).touch()
    assert [path.name for path in split_files(tmp_path, "train")] == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    assert [path.name for path in split_files(tmp_path, "train", ".jsonl")] == ["train-00000-of-00002.jsonl"]
    assert [path.name for path in split_files(tmp_path, "validation")] == ["validation.parquet"]


def frame(rows: int, start: int = 0) -> pl.DataFrame:
    text = {name: ["x"] * rows for name in EXAMPLE_COLUMNS}
    call = json.dumps({"name": "search", "arguments": {"p": "x"}})
    return pl.DataFrame({**text, "index": list(range(start, start + rows)), "words": [1] * rows, "call": [call] * rows})


@pytest.mark.parametrize(("rows", "limit", "sizes"), [(5, 2, [2, 2, 1]), (4, 2, [2, 2]), (3, 3, [3]), (3, 9, [3]), (0, 2, [0])])
def test_files_are_cut_at_the_limit(tmp_path: Path, rows: int, limit: int, sizes: list[int]) -> None:
    with SplitWriter(tmp_path, "train", rows, limit, ["openai"], []) as writer:
        for low in range(0, rows, 3):  # blocks do not match the cuts
            writer.write(frame(min(3, rows - low), low))
    parts = split_files(tmp_path, "train")
    assert [pl.read_parquet(part).height for part in parts] == sizes
    assert pl.read_parquet(parts)["index"].to_list() == list(range(rows))
    assert [len(part.read_text().splitlines()) for part in split_files(tmp_path, "train", ".jsonl")] == sizes
    assert sorted(writer.files) == sorted(path.name for path in tmp_path.iterdir())
