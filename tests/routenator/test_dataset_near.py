"""Tests of near-duplicates: signatures, bands, and the result against brute force."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.candidates import frame, strata
from routenator.dataset import near
from routenator.dataset.decisions import Decision, Decisions
from routenator.dataset.merge import decide
from routenator.dataset.sources import open_sources
from routenator.normalform import normal_form
from routenator.schemas import CANDIDATE_COLUMNS, arrow_schema


def shingle_sets(queries: list[str]) -> list[set[bytes]]:
    texts = map(normal_form, queries)
    padded = [f" {text} ".ljust(near.GRAM).encode() for text in texts]
    return [{text[start : start + near.GRAM] for start in range(len(text) - near.GRAM + 1)} for text in padded]


def jaccard(a: set[bytes], b: set[bytes]) -> float:
    return len(a & b) / len(a | b)


QUERIES = [
    "",
    "a",
    "find a red dog poster",
    "Find a red dogs poster!",
    "poster red dog a find",
    "日本のポスター",
    "aaaa aaaa aaaa",
    "x" * 500,
]


def index_of(queries: list[str], folder: Path, threshold: float = 0.8) -> near._Index:
    index = near._Index(threshold, folder, len(queries))
    index.append(index.sign((0, pl.Series(queries), np.arange(len(queries)))))
    index.close()
    return index


def test_similarity_is_that_of_the_sets(tmp_path: Path) -> None:
    index, sets = index_of(QUERIES, tmp_path), shingle_sets(QUERIES)
    pairs = np.array(list(itertools.product(range(len(QUERIES)), repeat=2))).T
    assert index.jaccard(*pairs).tolist() == pytest.approx([jaccard(sets[a], sets[b]) for a, b in pairs.T])


def test_signatures_estimate_the_similarity(tmp_path: Path) -> None:
    """The share of equal parts is an unbiased estimate, except for the 1 in 256 that are equal by chance."""
    queries = frame(0, 400)["query"].to_list()
    index, sets = index_of(queries, tmp_path), shingle_sets(queries)
    pairs = [(a, b) for a, b in itertools.combinations(range(400), 2) if 0.2 < jaccard(sets[a], sets[b]) < 1]
    assert len(pairs) > 1000
    left, right = np.array(pairs).T
    agree = (index._signs[left] == index._signs[right]).mean(axis=1)
    errors = (agree - 1 / 256) * 256 / 255 - np.array([jaccard(sets[a], sets[b]) for a, b in pairs])
    assert abs(errors.mean()) < 0.01
    assert errors.std() < 0.07  # sqrt(0.25 / 96) = 0.05 for independent hashes


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.99, 1.0])
def test_bands_find_pairs_at_the_threshold(threshold: float) -> None:
    bands, width = near.bands_for(threshold)
    assert bands * width <= near.HASHES
    assert 1 - (1 - threshold**width) ** bands >= near.FOUND


Sample = tuple[Path, list[str], Decisions, np.ndarray]


def decided(file: Path, folder: Path, block_rows: int) -> Decisions:
    sources = open_sources([("x", file)])
    return decide(sources, strata(10_000_000), [], folder, near_duplicates="minhash", block_rows=block_rows)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A file of candidates, with their queries, the decisions on them, and their similarities by brute force."""
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("near")
    rows = frame(0, 3000)
    schema = arrow_schema(CANDIDATE_COLUMNS)
    pq.write_table(rows.select(schema.names).to_arrow().cast(schema), folder / "x.parquet")
    queries = rows["query"].to_list()
    sets = shingle_sets(queries)
    words = {word: number for number, word in enumerate(sorted(set().union(*sets)))}
    table = np.zeros((len(sets), len(words)), dtype=np.float32)
    for number, own in enumerate(sets):
        table[number, [words[word] for word in own]] = 1
    shared = table @ table.T
    sizes = table.sum(axis=1)
    similar = shared / (sizes[:, None] + sizes[None, :] - shared)
    return folder / "x.parquet", queries, decided(folder / "x.parquet", folder / "work", 700), similar


def test_every_dropped_row_has_an_earlier_one_that_is_similar_enough(sample: Sample) -> None:
    _, _, found, similar = sample
    dropped = np.flatnonzero(found.codes == Decision.NEAR_DUPLICATE)
    assert len(dropped) > 100
    assert (found.kept[dropped] < dropped).all()
    by_bag = similar[dropped, found.kept[dropped]] < 0.8
    assert by_bag.sum() <= 3  # same words in a different order


def test_nearly_all_pairs_are_found(sample: Sample) -> None:
    _, _, found, similar = sample
    kept = np.flatnonzero(np.isin(found.codes, [Decision.FINAL, Decision.SURPLUS]))
    left = np.triu(similar[np.ix_(kept, kept)] >= 0.8, 1).sum()
    gone = (found.codes == Decision.NEAR_DUPLICATE).sum()
    assert gone / (gone + left) > 0.98


def test_the_outcome_does_not_depend_on_blocks_or_partitions(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _, found, _ = sample
    monkeypatch.setattr(near, "_PARTITION_ROWS", 100)
    monkeypatch.setattr(near, "PAIRS", 7)
    again = decided(file, tmp_path, 3000)
    assert again.codes.tolist() == found.codes.tolist()
    assert again.kept.tolist() == found.kept.tolist()
