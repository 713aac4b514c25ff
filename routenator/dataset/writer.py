"""The files of the data set, written block by block in index order.

Two passes: the first writes the final rows to work files and gathers what must be known of all of them (how many, the range of group
hashes, word counts, keyword positions); the second gives each row its split and writes Parquet and the training formats.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from routenator.dataset import keys
from routenator.dataset.export import FORMATS, Row
from routenator.dataset.merge import BLOCK_ROWS, CELL, DROPPED, Decisions, Progress, Source, Verdict, blocks, read_block
from routenator.schemas import EXAMPLE_COLUMNS, arrow_schema

if TYPE_CHECKING:
    import polars as pl

SPLITS = ("train", "validation")
REJECTED_COLUMNS = {"index": "int64", "query": "string", "reason": "string", "detail": "string"}
THIRDS = ("first", "middle", "last")
_SHOWN = 30  # examples kept for the report, a function and route


@dataclass
class Survey:
    """What the first pass learnt.

    Attributes:
        rows: of the final set.
        generated: candidates that have a query at all; a request may have been refused before there was one.
        rejected: reasons of the generate stage, and how often.
        words: function -> words in a query -> rows.
        positions: function -> first | middle | last | absent -> rows: where the query says the category.
        generators: name -> rows of the final set.
        lowest, highest: the range of group hashes.
        shown: (function, route) -> a few rows, those with the least group hashes.
    """

    rows: int = 0
    generated: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    words: dict[str, Counter[int]] = field(default_factory=dict)
    positions: dict[str, Counter[str]] = field(default_factory=dict)
    generators: Counter[str] = field(default_factory=Counter)
    lowest: str = "g"
    highest: str = ""
    shown: dict[tuple[str, str], list[tuple[str, int, dict[str, Any]]]] = field(default_factory=dict)
    work: list[Path] = field(default_factory=list)

    def examples(self, count: int) -> list[dict[str, Any]]:
        """A spread of examples: one of each function and route in turn."""
        piles = [sorted(pile, key=lambda item: item[:2]) for _, pile in sorted(self.shown.items())]
        rows = [pile[turn][2] for turn in range(_SHOWN) for pile in piles if turn < len(pile)]
        return rows[:count]


def survey(
    sources: Sequence[Source],
    decisions: Decisions,
    categories: dict[str, str | None],
    seed: int,
    work_dir: Path,
    rejected_file: Path,
    *,
    block_rows: int = BLOCK_ROWS,
    progress: Progress = lambda done, total: None,
) -> Survey:
    """First pass: final rows to work files, all others to ``rejected_file``.

    Args:
        categories: function -> its category parameter, if it has one.
        seed: the plan's, for the groups.
    """
    import pyarrow.parquet as pq

    found = Survey()
    total = len(decisions.codes)
    columns = [*CELL, "route", "template", "query", "arguments", "slots", "generator", "reason", "detail"]
    with pq.ParquetWriter(rejected_file, arrow_schema(REJECTED_COLUMNS), compression="zstd") as rejected:
        for number, (low, high) in enumerate(blocks(total, block_rows)):
            frame = _with_verdicts(read_block(sources, low, high, columns), decisions, low, high)
            found.generated += int((frame["query"].fill_null("") != "").sum())
            rejected.write_table(_rejected(frame, found).to_arrow().cast(arrow_schema(REJECTED_COLUMNS)))
            final = _final(frame, categories, seed)
            _gather(final, found)
            path = work_dir / f"final-{number:06d}.parquet"
            final.write_parquet(path)
            found.work.append(path)
            progress(high, total)
    return found


def _with_verdicts(frame: pl.DataFrame, decisions: Decisions, low: int, high: int) -> pl.DataFrame:
    import polars as pl

    return frame.with_columns(verdict=pl.Series(decisions.codes[low:high]), kept=pl.Series(decisions.kept[low:high]))


def _rejected(frame: pl.DataFrame, found: Survey) -> pl.DataFrame:
    import polars as pl

    rows = frame.filter(pl.col("verdict") > int(Verdict.BACKFILLED))
    by_check = pl.col("verdict") == int(Verdict.REJECTED)
    instead = pl.col("verdict").is_in([int(v) for v in (Verdict.DUPLICATE, Verdict.CONFLICT, Verdict.NEAR_DUPLICATE)])
    names = {int(verdict): verdict.reason for verdict in DROPPED}
    rows = rows.select(
        "index",
        "query",
        reason=pl.when(by_check)
        .then(pl.col("reason").fill_null("unknown"))
        .otherwise(pl.col("verdict").replace_strict(names, default=None, return_dtype=pl.String)),
        detail=pl.when(by_check)
        .then(pl.col("detail"))
        .when(instead)
        .then(pl.format("row {} has the same query", "kept"))
        .when(pl.col("verdict") == int(Verdict.SURPLUS))
        .then(pl.lit("its stratum has its quota"))
        .otherwise(pl.lit("a golden query")),
        by_check=by_check,
    )
    for reason, count in rows.filter("by_check").group_by("reason").len().iter_rows():
        found.rejected[reason] += count
    return rows.drop("by_check")


def _final(frame: pl.DataFrame, categories: dict[str, str | None], seed: int) -> pl.DataFrame:
    """Rows of the final set: the columns of an example but for the split, plus ``third`` and ``generator``."""
    import polars as pl

    frame = frame.filter(pl.col("verdict") <= int(Verdict.BACKFILLED))
    groups = keys.group_hashes(frame.select(keys.group_text()).to_series().to_list(), seed)
    name = pl.col("function").replace_strict({name: json.dumps(name) for name in categories}, return_dtype=pl.String)
    return frame.select(
        "index",
        "query",
        # Text, not a struct: a struct would give every row the parameters of all functions, filled with nulls.
        pl.concat_str(pl.lit('{"name": '), name, pl.lit(', "arguments": '), pl.col("arguments"), pl.lit("}")).alias("call"),
        "function",
        "category",
        "route",
        "template",
        "length",
        "language",
        keys.word_count("query").alias("words"),
        pl.Series("group", groups, dtype=pl.String),
        keyword_third(categories).alias("third"),
        "generator",
    )


def keyword_third(categories: dict[str, str | None]) -> pl.Expr:
    """Where the query says the category: the third of its words in which the middle of the phrase lies, or absent.

    Null for functions without a category parameter, or when the call has none.

    Args:
        categories: function -> its category parameter, if it has one.
    """
    import polars as pl

    surface = pl.lit(None, dtype=pl.String)
    for function, parameter in categories.items():
        if parameter is not None:
            value = pl.col("slots").str.json_path_match(f"$['{parameter}']")
            surface = pl.when(pl.col("function") == function).then(value).otherwise(surface)
    return third_of(pl.col("query"), surface)


def third_of(query: pl.Expr, surface: pl.Expr) -> pl.Expr:
    """first | middle | last | absent: where ``query`` says ``surface``; null if there is no surface."""
    import polars as pl

    def padded(text: pl.Expr) -> pl.Expr:
        return pl.format(" {} ", text.str.to_lowercase().str.extract_all(r"[^\W_]+").list.join(" "))

    text, phrase = padded(query), padded(surface)
    # Split, not find and slice: polars finds in bytes and slices in characters.
    parts = text.str.splitn(phrase, 2).struct
    found = parts.field("field_1").is_not_null()
    # Spaces before the phrase are the words before it: the padding's one space stands for none.
    before = parts.field("field_0").str.count_matches(" ", literal=True)
    middle = before + (phrase.str.count_matches(" ", literal=True) - 1) / 2
    share = middle / (text.str.count_matches(" ", literal=True) - 1)
    return (
        pl.when(surface.is_null())
        .then(None)
        .when(~found)
        .then(pl.lit("absent"))
        .when(share < 1 / 3)
        .then(pl.lit("first"))
        .when(share < 2 / 3)
        .then(pl.lit("middle"))
        .otherwise(pl.lit("last"))
    )


def _gather(final: pl.DataFrame, found: Survey) -> None:
    if final.is_empty():
        return
    found.rows += final.height
    for function, words, count in final.group_by("function", "words").len().iter_rows():
        found.words.setdefault(function, Counter())[words] += count
    for function, third, count in final.drop_nulls("third").group_by("function", "third").len().iter_rows():
        found.positions.setdefault(function, Counter())[third] += count
    for generator, count in final.group_by("generator").len().iter_rows():
        found.generators[generator or "unknown"] += count
    found.lowest = min(found.lowest, str(final["group"].min()))
    found.highest = max(found.highest, str(final["group"].max()))
    few = final.sort("group", "index").group_by("function", "route", maintain_order=True).head(_SHOWN)
    for row in few.select("index", "query", "call", "function", "category", "route", "template", "length", "group").iter_rows(named=True):
        group = row.pop("group")
        pile = found.shown.setdefault((row["function"], row["route"]), [])
        row["call"] = json.loads(row["call"])
        pile.append((group, row["index"], row))
    for key, pile in found.shown.items():
        found.shown[key] = heapq.nsmallest(_SHOWN, pile, key=lambda item: item[:2])


@dataclass
class SplitWriter:
    """Parquet and text files of one split, cut at ``rows_per_file``."""

    folder: Path
    split: str
    rows: int
    rows_per_file: int
    formats: Sequence[str]
    tools: list[dict[str, Any]]
    written: int = 0
    files: list[str] = field(default_factory=list)

    def __enter__(self) -> SplitWriter:
        self._open = ExitStack()
        self._start(0)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _start(self, number: int) -> None:
        """Close the files that are open and open those of part ``number``."""
        import pyarrow.parquet as pq

        self._open.close()
        stem = file_stem(self.split, number, max(1, -(-self.rows // self.rows_per_file)))
        path = self.folder / f"{stem}.parquet"
        self._parquet = self._open.enter_context(pq.ParquetWriter(path, arrow_schema(EXAMPLE_COLUMNS), compression="zstd"))
        self._texts: list[tuple[TextIO, Row]] = []
        self.files.append(path.name)
        for suffix, row in ((suffix, row) for name in self.formats for suffix, row in FORMATS[name].rows.items()):
            path = self.folder / f"{stem}{suffix}"
            handle = self._open.enter_context(open(path, "w", encoding="utf-8"))  # noqa: SIM115  (the stack closes it)
            self._texts.append((handle, row))
            self.files.append(path.name)

    def write(self, frame: pl.DataFrame) -> None:
        """Append rows, in index order."""
        while frame.height:
            if self.written and self.written % self.rows_per_file == 0:
                self._start(self.written // self.rows_per_file)
            room = self.rows_per_file - self.written % self.rows_per_file
            part, frame = frame.head(room), frame.slice(room)
            self._parquet.write_table(part.select(*EXAMPLE_COLUMNS).to_arrow().cast(arrow_schema(EXAMPLE_COLUMNS)))
            if self._texts:
                for example in part.iter_rows(named=True):
                    for handle, row in self._texts:
                        handle.write(json.dumps(row(example, self.tools), ensure_ascii=False) + "\n")
            self.written += part.height


def file_stem(split: str, number: int, files: int) -> str:
    """``train`` for a single file, ``train-00000-of-00003`` for several."""
    return split if files == 1 else f"{split}-{number:05d}-of-{files:05d}"


def split_files(dataset: Path, split: str, suffix: str = ".parquet") -> list[Path]:
    """The files of a split in order, however many there are.

    Args:
        dataset: the data set's folder.
        suffix: ``.parquet``, or the suffix of a format, e.g. ``.jsonl``.
    """
    single = dataset / f"{split}{suffix}"
    return [single] if single.exists() else sorted(dataset.glob(f"{split}-*-of-?????{suffix}"))


def write_splits(
    found: Survey,
    folder: Path,
    *,
    share: float,
    rows_per_file: int,
    formats: Sequence[str],
    tools: list[dict[str, Any]],
) -> dict[str, SplitWriter]:
    """Second pass: train and validation, each as Parquet and in every format.

    Args:
        share: of the rows that validation gets, in expectation.
        tools: the API as OpenAI tools.

    Returns:
        The writer of each split: ``.written`` rows, ``.files`` names.
    """
    import polars as pl

    threshold = keys.split_threshold(share, found.lowest, found.highest)
    in_validation = pl.col("group") < threshold
    validation = sum(pl.scan_parquet(path).select(in_validation.sum()).collect().item() for path in found.work) if found.rows else 0
    sizes = {"train": found.rows - validation, "validation": validation}
    writers = {split: SplitWriter(folder, split, sizes[split], rows_per_file, formats, tools) for split in SPLITS}
    with writers["train"] as train, writers["validation"] as held_out:
        for path in found.work:
            frame = pl.read_parquet(path).with_columns(split=pl.when(in_validation).then(pl.lit("validation")).otherwise(pl.lit("train")))
            train.write(frame.filter(~in_validation))
            held_out.write(frame.filter(in_validation))
    return writers
