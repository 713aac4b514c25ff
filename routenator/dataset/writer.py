"""Writes the data set in one pass: final rows to the files of their split, all others to the rejected ones.

``Decisions`` already says which rows are final, and their groups give the side of the split. So each shard is read just
once more; blocks are turned into examples on all cores, and every file is written in index order.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routenator.dataset import hashing, keys
from routenator.dataset.calls import call_parts
from routenator.dataset.decisions import DROPPED, KEPT, REPLACED, Decision, Decisions
from routenator.dataset.export import FORMATS, Table, Tools
from routenator.dataset.files import Kind, ParquetSink, SplitWriter, TextSink
from routenator.dataset.merge import BLOCK_ROWS, Progress
from routenator.dataset.position import keyword_third
from routenator.dataset.sources import Source, blocks, ordered_map, stream
from routenator.schemas import EXAMPLE_COLUMNS, arrow_schema

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import pyarrow as pa

SPLITS = ("train", "validation")
REJECTED_COLUMNS = {"index": "int64", "query": "string", "reason": "string", "detail": "string"}
LOOKED_AT = 250_000  # keyword positions and examples come from this many candidates at the start
_SHOWN = 30  # examples kept for the report, per function and route


@dataclass
class Survey:
    """Statistics of the data set, collected while it is written.

    Attributes:
        rows: number of final rows.
        generated: candidates with a query; a request may have been refused before there was one.
        rejected: reason of the generate stage -> rows.
        words: function -> words in a query -> rows.
        positions: function -> first | middle | last | absent -> rows: where the query mentions the category. Counts the
            final rows among the first ``LOOKED_AT`` candidates: strata are spread evenly over the index, so these are a
            fair sample.
        generators: name -> final rows.
        shown: (function or "several", route) -> a few rows of the same sample, those with the smallest group hashes.
    """

    rows: int = 0
    generated: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    words: dict[str, Counter[int]] = field(default_factory=dict)
    positions: dict[str, Counter[str]] = field(default_factory=dict)
    generators: Counter[str] = field(default_factory=Counter)
    shown: dict[tuple[str, str], list[tuple[int, int, dict[str, Any]]]] = field(default_factory=dict)

    def add(self, other: Survey) -> None:
        """Add the statistics of more rows."""
        self.rows += other.rows
        self.generated += other.generated
        self.rejected.update(other.rejected)
        self.generators.update(other.generators)
        for function, words in other.words.items():
            self.words.setdefault(function, Counter()).update(words)
        for function, thirds in other.positions.items():
            self.positions.setdefault(function, Counter()).update(thirds)
        for key, pile in other.shown.items():
            self.shown[key] = heapq.nsmallest(_SHOWN, [*self.shown.get(key, []), *pile], key=lambda item: item[:2])

    def examples(self, count: int) -> list[dict[str, Any]]:
        """Return a mix of examples, taking one of each function and route in turn."""
        piles = [sorted(pile, key=lambda item: item[:2]) for _, pile in sorted(self.shown.items())]
        rows = [pile[turn][2] for turn in range(_SHOWN) for pile in piles if turn < len(pile)]
        return rows[:count]


@dataclass(frozen=True)
class Split:
    """The split into train and validation.

    Attributes:
        threshold: groups below it go to validation.
        rows: split -> number of rows.
        rejected: number of rows in neither.
    """

    threshold: int
    rows: dict[str, int]
    rejected: int


def find_split(decisions: Decisions, share: float) -> Split:
    """Find the threshold of the split, and the number of rows on each side.

    Args:
        decisions: of the merge.
        share: expected share of the rows that go to validation.
    """
    import numpy as np

    total, final, low, high = len(decisions.codes), 0, 1 << 64, -1
    for start, stop in blocks(total, BLOCK_ROWS):
        groups = _final_groups(decisions, start, stop)
        if len(groups):
            final, low, high = final + len(groups), min(low, int(groups.min())), max(high, int(groups.max()))
    threshold = keys.split_threshold(share, low, high)
    held_out = 0
    if threshold >= 1 << 64:
        held_out = final
    elif threshold:
        held_out = sum(
            int((_final_groups(decisions, *part) < np.uint64(threshold)).sum()) for part in blocks(total, BLOCK_ROWS)
        )
    return Split(threshold, {"train": final - held_out, "validation": held_out}, total - final)


def _final_groups(decisions: Decisions, low: int, high: int) -> np.ndarray:
    import numpy as np

    groups: np.ndarray = decisions.group_of(low, high)[np.isin(decisions.codes[low:high], KEPT)]
    return groups


def write_dataset(
    sources: Sequence[Source],
    decisions: Decisions,
    strata: Sequence[Mapping[str, Any]],
    categories: Mapping[str, str | None],
    folder: Path,
    *,
    share: float,
    rows_per_file: int,
    formats: Sequence[str],
    tools: Tools,
    block_rows: int = BLOCK_ROWS,
    progress: Progress = lambda done, total: None,
) -> tuple[Survey, dict[str, SplitWriter]]:
    """Write train and validation, each as Parquet and in every format, and the rejected rows.

    Args:
        sources: the candidates.
        decisions: of the merge.
        strata: rows of strata.json.
        categories: function -> its category parameter, or None.
        folder: folder for the files.
        share: expected share of the rows that go to validation.
        rows_per_file: limit of rows in a file.
        formats: names of training formats.
        tools: the API as OpenAI tools.
        block_rows: candidates in memory at once, on each core.
        progress: called with (candidates done, candidates).

    Returns:
        Statistics of the rows; and the writer of each split, with the number of rows (``written``) and file names
        (``files``).

    Raises:
        CorruptShardError: a file cannot be read.
    """
    split = find_split(decisions, share)
    work = _Block(decisions, strata, categories, split.threshold)
    found = Survey()
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(
                SplitWriter(folder, name, split.rows[name], rows_per_file, _kinds(name, formats, tools))
            )
            for name in SPLITS
        }
        refused = stack.enter_context(
            SplitWriter(folder, "rejected", split.rejected, rows_per_file, [_rejected_kind()])
        )
        for low, part, examples, rejected in ordered_map(work, _read(sources, block_rows)):
            found.add(part)
            for name, rows in zip(SPLITS, examples, strict=True):
                writers[name].write(rows)
            refused.write(rejected)
            progress(min(low + block_rows, len(decisions.codes)), len(decisions.codes))
    return found, writers


def _read(sources: Sequence[Source], block_rows: int) -> Iterator[tuple[int, pl.DataFrame, pl.Series | None]]:
    """Yield blocks of the columns to write, with the slots for the first rows only."""
    first = [source for source in sources if source.low < LOOKED_AT + block_rows]
    slots = stream(first, ("slots",), block_rows)
    for low, frame in stream(
        sources, ("query", "calls", "reply", "today", "generator", "reason", "detail"), block_rows
    ):
        yield low, frame, next(slots)[1]["slots"] if low < LOOKED_AT else None


def _kinds(split: str, formats: Sequence[str], tools: Tools) -> list[Kind]:
    schema = arrow_schema(EXAMPLE_COLUMNS)
    kinds = [Kind(".parquet", lambda path: ParquetSink(path, schema, partial(_example_table, split, schema)))]
    for name in formats:
        for suffix, line in FORMATS[name].lines.items():
            kinds.append(Kind(suffix, partial(TextSink, line=line(tools))))
        for suffix, (columns, table) in FORMATS[name].tables.items():
            kinds.append(Kind(suffix, partial(ParquetSink, schema=columns(), table=partial(_table, table, tools))))
    return kinds


def _rejected_kind() -> Kind:
    schema = arrow_schema(REJECTED_COLUMNS)
    return Kind(".parquet", lambda path: ParquetSink(path, schema, lambda frame: frame.to_arrow().cast(schema)))


def _example_table(split: str, schema: pa.Schema, frame: pl.DataFrame) -> pa.Table:
    import polars as pl

    group = hashing.hex_digits(frame["group"].to_numpy())
    return frame.with_columns(group=group, split=pl.lit(split)).select(schema.names).to_arrow().cast(schema)


def _table(table: Table, tools: Tools, frame: pl.DataFrame) -> pa.Table:
    return table(frame, tools)


class _Block:
    """Turns a block into examples and rejected rows; its calls run on several threads."""

    def __init__(
        self,
        decisions: Decisions,
        strata: Sequence[Mapping[str, Any]],
        categories: Mapping[str, str | None],
        threshold: int,
    ) -> None:
        import polars as pl

        names = ("function", "category", "route", "template", "length", "language")
        self._decisions, self._categories, self._threshold = decisions, dict(categories), threshold
        # These columns follow from the stratum, so they need not be read from the shards.
        self._strata = pl.DataFrame({name: [str(row[name]) for row in strata] for name in names}).with_columns(
            number=pl.Series([row.get("calls", 1) for row in strata], dtype=pl.Int64),
            hidden=pl.Series([row.get("hidden") and [row["hidden"]] for row in strata], dtype=pl.List(pl.String)),
        )

    def __call__(
        self, block: tuple[int, pl.DataFrame, pl.Series | None]
    ) -> tuple[int, Survey, tuple[pl.DataFrame, pl.DataFrame], pl.DataFrame]:
        import numpy as np
        import polars as pl

        low, frame, slots = block
        part = slice(low, low + frame.height)
        codes = np.array(self._decisions.codes[part])
        frame = frame.with_columns(index=pl.Series(np.arange(part.start, part.stop)))
        if slots is not None:
            frame = frame.with_columns(slots=slots)
        kept = np.isin(codes, KEPT)
        found = Survey(rows=int(kept.sum()), generated=int((frame["query"].fill_null("") != "").sum()))
        rejected = self._rejected(
            frame.filter(~pl.Series(kept)), codes[~kept], self._decisions.kept[part][~kept], found
        )
        groups = self._decisions.group_of(part.start, part.stop)[kept]
        strata = self._strata[self._decisions.strata[part][kept]]
        final = self._examples(
            frame.filter(pl.Series(kept)).hstack(strata).with_columns(group=pl.Series(groups)), found
        )
        held_out = pl.Series(
            np.ones(len(groups), dtype=bool) if self._threshold >= 1 << 64 else groups < np.uint64(self._threshold)
        )
        return low, found, (final.filter(~held_out), final.filter(held_out)), rejected

    def _rejected(self, frame: pl.DataFrame, codes: np.ndarray, kept: np.ndarray, found: Survey) -> pl.DataFrame:
        import polars as pl

        code = pl.Series(codes)
        frame = frame.with_columns(code=code, kept=pl.Series(kept))
        by_check = pl.col("code") == int(Decision.REJECTED)
        names = {int(decision): decision.reason for decision in DROPPED}
        detail = {
            int(Decision.SURPLUS): "its stratum's quota is full",
            int(Decision.GOLDEN_LEAK): "same as a golden query",
            int(Decision.GOLDEN_NEAR_LEAK): "nearly the same as a golden query",
        }
        neighbours = self._neighbours(frame["index"])
        like = (
            pl.when(pl.col("code") == int(Decision.NEAR_DUPLICATE))
            .then(pl.lit(" has nearly"))
            .otherwise(pl.lit(" has"))
        )
        rows = frame.select(
            "index",
            "query",
            reason=pl.when(by_check)
            .then(pl.col("reason").fill_null("unknown"))
            .otherwise(pl.col("code").replace_strict(names, default=None, return_dtype=pl.String)),
            detail=pl.when(by_check)
            .then(pl.col("detail"))
            .when(pl.col("code").is_in([int(decision) for decision in REPLACED]))
            .then(pl.concat_str(pl.lit("row "), pl.col("kept"), like, pl.lit(" the same query")))
            .when(pl.col("code") == int(Decision.AMBIGUOUS))
            .then(pl.col("index").replace_strict(neighbours, default=None, return_dtype=pl.String))
            .otherwise(pl.col("code").replace_strict(detail, default=None, return_dtype=pl.String)),
        )
        found.rejected.update(dict(rows.filter(code == int(Decision.REJECTED)).group_by("reason").len().iter_rows()))
        return rows

    def _neighbours(self, index: pl.Series) -> dict[int, str]:
        """Index -> detail text with the nearest queries, for the ambiguous rows of a block."""
        import numpy as np

        if index.is_empty():
            return {}
        table = self._decisions.neighbours
        low, high = np.searchsorted(table[:, 0], (index[0], index[-1] + 1))
        details = {}
        for row, others, of, *named in table[low:high].tolist():
            functions = self._strata["function"].gather(
                self._decisions.strata[[place for place in named if place >= 0]]
            )
            shown = ", ".join(f"row {place} ({name})" for place, name in zip(named, functions, strict=False))
            details[row] = f"{others} of its {of} nearest queries belong to another function: {shown}"
        return details

    def _examples(self, frame: pl.DataFrame, found: Survey) -> pl.DataFrame:
        """Return all columns of an example but the split, and ``parts`` and ``asked``; the group is still a number."""
        import polars as pl

        parts = call_parts(frame, list(self._categories))
        frame = frame.with_columns(words=keys.word_counts(frame), parts=parts, asked=keys.asked(frame))
        single = frame.filter(pl.col("number") == 1)
        for function, words, count in single.group_by("function", "words").len().iter_rows():
            found.words.setdefault(function, Counter())[words] += count
        for generator, count in frame.group_by("generator").len().iter_rows():
            found.generators[generator or "unknown"] += count
        if "slots" in frame.columns:
            self._look_closer(frame, found)
            frame = frame.drop("slots")
        return frame.drop("generator", "reason", "detail")

    def _look_closer(self, frame: pl.DataFrame, found: Survey) -> None:
        import polars as pl

        thirds = frame.select("function", third=keyword_third(self._categories)).drop_nulls("third")
        for function, third, count in thirds.group_by("function", "third").len().iter_rows():
            found.positions.setdefault(function, Counter())[third] += count
        # Combinations of functions count as one kind of rows, or else they would be most of what is shown.
        kind = pl.when(pl.col("number") > 1).then(pl.lit("several")).otherwise("function")
        few = frame.with_columns(kind=kind).sort("group", "index")
        few = few.group_by("kind", "route", maintain_order=True).head(_SHOWN)
        shown = ("index", "query", "calls", "reply", "function", "category", "route", "template", "length")
        for row in few.select(*shown, "group", "kind").iter_rows(named=True):
            group, kind = row.pop("group"), row.pop("kind")
            row["calls"] = json.loads(row["calls"])
            found.shown.setdefault((kind, row["route"]), []).append((group, row["index"], row))
