"""Measures the variety of a data set's queries: words and frames outside the values, by route or by template.

    python benchmarks/diversity.py RUN_OR_PARQUET ... [--by template] [--rows 500]

A frame is a query with its call's values masked ("play _ by _ on _"): values come from the graph, so only the rest
shows how varied the wording is. All measures depend on the number of rows, so each group is cut to the same number (the
first by index), and smaller groups are left out.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from routenator.domain.calls import read_calls

MASK = "_"
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*|_")


def frame(query: str, values: Iterable[object]) -> tuple[str, ...]:
    """Lower-case words of a query with each value in it replaced by a mask; longer values are replaced first."""
    text = query.lower()
    for value in sorted({str(value).lower() for value in values if str(value)}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", f" {MASK} ", text)
    return tuple(_WORD.findall(text))


def measures(frames: Sequence[tuple[str, ...]]) -> dict[str, float]:
    """Measure the variety of frames.

    Returns:
        vocabulary: distinct words; distinct_1, distinct_2: distinct words, and pairs of neighbours in a frame, as a
            share of all
        (Li et al. 2016);
        frames: distinct frames as a share of the rows; openings: distinct first two words as a share of the rows;
            words: mean number.
    """
    said = [tuple(word for word in words if word != MASK) for words in frames]
    singles = [word for words in said for word in words]
    pairs = [pair for words in frames for pair in itertools.pairwise(words)]
    return {
        "vocabulary": len(set(singles)),
        "distinct_1": len(set(singles)) / max(len(singles), 1),
        "distinct_2": len(set(pairs)) / max(len(pairs), 1),
        "frames": len(set(frames)) / len(frames),
        "openings": len({words[:2] for words in frames}) / len(frames),
        "words": len(singles) / len(frames),
    }


def grouped(file: Path, by: str) -> dict[str, list[tuple[str, ...]]]:
    """Frames of a data set by the values of a column, each group in the order of the rows' indices."""
    import polars as pl

    rows = pl.read_parquet(file, columns=["index", "query", "calls", by]).sort("index")
    groups: dict[str, list[tuple[str, ...]]] = {}
    for query, calls, name in rows.select("query", "calls", by).iter_rows():
        values = [value for call in read_calls(calls) for value in call.arguments.values()]
        groups.setdefault(name, []).append(frame(query, values))
    return groups


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", type=Path, help="a run, or a Parquet file of its data set")
    parser.add_argument("--by", choices=("route", "template", "function", "language"), default="route")
    parser.add_argument(
        "--rows", type=int, default=0, help="of each group; 0: as many as the smallest group of at least 30 has"
    )
    arguments = parser.parse_args()
    found: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for path in arguments.data:
        file = path / "dataset" / "train.parquet" if path.is_dir() else path
        if not file.exists():
            parser.error(f"no such file: {file}")
        for name, frames in grouped(file, arguments.by).items():
            found[path.name, name] = frames
    rows = arguments.rows or min((len(frames) for frames in found.values() if len(frames) >= 30), default=0)
    shown = {key: measures(frames[:rows]) for key, frames in found.items() if rows and len(frames) >= rows}
    if not shown:
        parser.error(f"no group of {rows or 30} rows")
    width = max(len(f"{run} {name}") for run, name in shown) + 2
    names = list(next(iter(shown.values())))
    print(f"\n{rows} rows of each {arguments.by}\n\n" + " " * width + "".join(f"{name:>12}" for name in names))
    for (run, name), values in sorted(shown.items()):
        numbers = (f"{values[key]:>12.0f}" if key == "vocabulary" else f"{values[key]:>12.3f}" for key in names)
        print(f"{run} {name}".ljust(width) + "".join(numbers))
    left = [f"{run} {name} ({len(found[run, name])})" for run, name in sorted(found) if (run, name) not in shown]
    if left:
        print("\ntoo few rows: " + ", ".join(left))


if __name__ == "__main__":
    main()
