"""The rows of the page that its reader can search: wrong answers, examples and rejected rows.

A listing is data in the page, as JSON; routenator/report/script.py shows it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from routenator.dataset import keys
from routenator.dataset.files import split_files
from routenator.dataset.hashing import mix
from routenator.dataset.likeness import Likeness
from routenator.domain.dates import asked

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from markupsafe import Markup

MOST = 20_000  # examples, rejected rows, or wrong answers; of more rows of data, a random sample
_MOST_BYTES = 12_000_000  # of text of the examples, and of the rejected rows: a page of more is slow to open

# How a field is shown: the row's heading, text, code, or a name that rows can be filtered by.
Kind = Literal["head", "text", "code", "pick"]


@dataclass(frozen=True)
class Listing:
    """Rows to search.

    Attributes:
        fields: label -> kind, in the order of the cells.
        rows: a cell for each field: text, None where there is none, or for a ``pick`` also a list of names.
        total: rows that there are; more than ``rows`` if these are a sample.
    """

    fields: Mapping[str, Kind]
    rows: list[list[Any]] = field(default_factory=list)
    total: int = 0

    def coded(self) -> dict[str, Any]:
        """The listing as JSON: cells of picks are numbers of the names, which are listed once, most common first."""
        picks: dict[int, list[str]] = {}
        coded = [list(row) for row in self.rows]
        for place, kind in enumerate(self.fields.values()):
            if kind != "pick":
                continue
            counts = Counter(name for row in self.rows for name in _names(row[place]))
            picks[place] = sorted(counts, key=lambda name: (-counts[name], name))
            number = {name: at for at, name in enumerate(picks[place])}
            for row in coded:
                row[place] = [number[name] for name in _names(row[place])]
        return {"fields": list(self.fields.items()), "picks": picks, "rows": coded, "total": self.total}


def _names(cell: Any) -> list[str]:
    return [] if cell is None else cell if isinstance(cell, list) else [cell]


def listings_json(listings: Mapping[str, Listing]) -> Markup:
    """Return listings as JSON for a script element; no text in it can end the element."""
    from jinja2.utils import htmlsafe_json_dumps

    return htmlsafe_json_dumps(
        {name: one.coded() for name, one in listings.items()},
        dumps=json.dumps,
        ensure_ascii=False,
        separators=(",", ":"),
    )


def data_listing(
    dataset: Path, candidates: Sequence[Path], meanings: Mapping[str, str], seed: int, most: int = MOST
) -> Listing:
    """List the data set's examples and the rejected rows, at most ``most`` of each.

    Args:
        dataset: the data set's folder.
        candidates: files of candidates that are still there: they know the route, function, category and language of
            rejected rows, which are shown without them otherwise.
        meanings: reason of a rejection -> explanation.
        seed: which rows a sample has depends on it and on their index, not on how they are spread over files.
    """
    import polars as pl

    listing = Listing(
        {
            "query": "head",
            "calls": "code",
            "why": "text",
            "set": "pick",
            "reason": "pick",
            "route": "pick",
            "function": "pick",
            "category": "pick",
            "language": "pick",
        }
    )
    frames, total = [], 0
    kept = [file for split in ("train", "validation") for file in split_files(dataset, split)]
    rejected = split_files(dataset, "rejected")
    for files in (kept, rejected):
        frame, rows = _sampled(files, seed, most)
        total += rows
        if not frame.height:
            continue
        if files is rejected:
            frame = _with_details(frame, candidates)
            why = pl.col("reason").replace_strict(dict(meanings), default=None, return_dtype=pl.String)
            detail = pl.col("detail").fill_null("")
            frame = frame.with_columns(
                split=pl.lit("rejected"),
                why=pl.when(detail == "").then(why).otherwise(pl.concat_str(why.fill_null("") + ": ", detail)),
            )
        frames.append(frame)
    names = ["query", "calls", "why", "split", "reason", "route", "function", "category", "language"]
    for frame in frames:
        stated = _within(frame.with_columns(query=keys.asked(frame)), seed)
        cells = stated.select(
            pl.col(name) if name in stated.columns else pl.lit(None, pl.String).alias(name) for name in names
        )
        listing.rows.extend(map(list, cells.iter_rows()))
    return Listing(listing.fields, listing.rows, total)


def _sampled(files: Sequence[Path], seed: int, most: int) -> tuple[pl.DataFrame, int]:
    """Read at most ``most`` rows in index order: those with the smallest ranks.

    Returns:
        (the rows, the number of rows that there are).
    """
    import numpy as np
    import polars as pl

    if not files:
        return pl.DataFrame(), 0
    scan = pl.scan_parquet(list(files), glob=False)
    total: int = scan.select(pl.len()).collect().item()
    if total > most:
        ranks, indices = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        for file in files:
            index = pl.read_parquet(file, columns=["index"])["index"].to_numpy()
            ranks, indices = np.append(ranks, _ranks(index, seed)), np.append(indices, index)
            if len(ranks) > most:
                place = np.argpartition(ranks, most - 1)[:most]
                ranks, indices = ranks[place], indices[place]
        scan = scan.filter(pl.col("index").is_in(indices.tolist()))
    # Runs made before rows had lists of calls have one ``call``.
    return scan.collect(engine="streaming").rename({"call": "calls"}, strict=False).sort("index"), total


def _ranks(index: np.ndarray, seed: int) -> np.ndarray:
    """Return a random number for each row's index."""
    import numpy as np

    key = mix(np.array([seed % 2**63], np.uint64))
    return mix(index.astype(np.uint64) ^ key)


def _with_details(rejected: pl.DataFrame, candidates: Sequence[Path]) -> pl.DataFrame:
    import polars as pl

    if not candidates:
        return rejected
    scan = pl.scan_parquet(list(candidates), glob=False)
    known = scan.collect_schema().names()
    # Candidates made before rows had lists of calls have none.
    shown = [name for name in ("index", "calls", "route", "function", "category", "language") if name in known]
    details = scan.select(shown).filter(pl.col("index").is_in(rejected["index"].to_list())).collect(engine="streaming")
    return rejected.join(details, on="index", how="left").sort("index")


def _within(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Keep the rows of the smallest ranks whose text stays within the page's limit of bytes, in their order."""
    import polars as pl

    texts = [name for name in ("query", "calls", "why") if name in frame.columns]
    size = frame.select(pl.sum_horizontal(pl.col(name).str.len_bytes().fill_null(0) for name in texts)).to_series()
    order = _ranks(frame["index"].to_numpy(), seed).argsort()
    kept = order[size.to_numpy()[order].cumsum() <= _MOST_BYTES]
    kept.sort()
    return frame[kept]


def failure_listing(
    predictions: Sequence[Mapping[str, Any]],
    categories: Mapping[str, str | None],
    examples: Sequence[tuple[str, str]],
) -> Listing:
    """List the golden queries that the trained model answered wrongly, each with the nearest training example.

    Args:
        predictions: rows of predictions.jsonl.
        categories: function -> its category parameter, if any.
        examples: (query, calls as JSON) of training examples.
    """
    spoken = any("language" in row for row in predictions)  # golden queries need not say theirs
    listing = Listing(
        {
            "query": "head",
            "wanted": "code",
            "answered": "code",
            "reply": "text",
            "nearest example": "text",
            "its calls": "code",
            "answers": "pick",
            "error": "pick",
            "parameter": "pick",
            "function": "pick",
            "category": "pick",
            **({"language": "pick"} if spoken else {}),
        }
    )
    queries: list[str] = []
    sides = [side for side in ("after", "guided") if any(side in row for row in predictions)]
    for row in predictions:
        # Runs made before rows had lists of calls have one ``call`` and one gold call.
        gold = row["gold"] if isinstance(row["gold"], list) else [row["gold"]]
        for side in sides:
            answer = row.get(side)
            if answer is None or answer["exact"]:
                continue
            calls = answer["calls"] if "calls" in answer else [answer["call"]] if answer["call"] else []
            values = (call["arguments"].get(categories.get(call["name"]) or "") for call in gold)
            queries.append(row["query"])
            listing.rows.append(
                [
                    asked(row["query"], row.get("today")),
                    _calls_text(gold),
                    _calls_text(calls) if calls else None,
                    None if calls else answer["reply"],
                    None,
                    None,
                    side,
                    _unique(error["kind"] for error in answer["errors"]),
                    _unique(error["parameter"] for error in answer["errors"] if error["parameter"]),
                    _unique(call["name"] for call in gold) or ["none"],
                    _unique(str(value) for value in values if value is not None),
                    *([row.get("language")] if spoken else []),
                ]
            )
    del listing.rows[MOST:]
    known = Likeness([query for query, _ in examples])
    for cells, found in zip(listing.rows, known.nearest(queries[:MOST], 1), strict=True):
        for place, _ in found:
            cells[4:6] = examples[place]
    return Listing(listing.fields, listing.rows, len(queries))


def _calls_text(calls: Sequence[Mapping[str, Any]]) -> str:
    parts = [{"name": call["name"], "arguments": call["arguments"]} for call in calls]
    return json.dumps(parts, ensure_ascii=False) if parts else "no call"


def _unique(values: Any) -> list[str]:
    return list(dict.fromkeys(values))
