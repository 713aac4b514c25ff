"""Synthetic candidates for the merge benchmarks: realistic queries, a known share of repeats, any number of rows.

The text of row i depends only on its content number: i itself, or for a repeat the number of an earlier row. A repeat
differs from the original in case and punctuation (an exact duplicate) or in one word (a near-duplicate). Rejected rows
and golden queries are included.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from routenator.schemas import CANDIDATE_COLUMNS, arrow_schema

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

BLOCK = 250_000
REPEATS = 0.2  # share of rows that repeat an earlier one
NEAR = 0.5  # share of those that differ in a word
REJECTED = 0.03
KEEP = 0.7  # quotas add up to this share of the candidates

FUNCTIONS = ("search", "generate")
CATEGORIES = (
    "poster", "logo", "flyer", "banner", "photo", "presentation", "social_post", "invitation", "business_card",
    "resume", "menu", "brochure",
)  # fmt: skip
ROUTES = ("heuristic", "text", "vision")
TEMPLATES = ("question", "fragment", "command")
LENGTHS = ("short", "medium", "long")
OPENINGS = (
    "find me", "show me", "i need", "looking for", "can you get", "please make", "create", "got any",
    "where can i find", "design", "help me with", "let's see", "give me", "we want", "make",
)  # fmt: skip
LINKS = ("of", "with", "about", "showing", "featuring", "that has", "for", "in the style of")
ENDINGS = (
    "",
    "",
    "",
    "",
    "please",
    "for my team",
    "thanks",
    "asap",
    "in blue",
    "for print",
    "on white",
    "with gold letters",
)
_ONSETS = ("b", "br", "c", "d", "f", "g", "gr", "h", "k", "l", "m", "n", "p", "pl", "r", "s", "st", "t", "tr", "v", "w")
_RIMES = (
    "ade",
    "amp",
    "ane",
    "ark",
    "ello",
    "ench",
    "iddle",
    "ight",
    "ilo",
    "inter",
    "ocket",
    "olden",
    "onic",
    "ower",
    "umble",
    "undra",
)


def strata(rows: int) -> list[dict[str, Any]]:
    """Rows of strata.json for that many candidates, with equal quotas."""
    keys = [
        (function, category, route, f"{route}/{template}", length)
        for function in FUNCTIONS
        for category in CATEGORIES
        for route in ROUTES
        for template in TEMPLATES
        for length in LENGTHS
    ]
    quota = int(rows * KEEP) // len(keys)
    return [
        {
            "stratum": number,
            **dict(zip(("function", "category", "route", "template", "length"), key, strict=True)),
            "language": "en",
            "target": 1 / len(keys),
            "quota": quota,
            "requested": rows // len(keys),
        }
        for number, key in enumerate(keys)
    ]


def golden(count: int = 500) -> list[str]:
    """Queries of a golden set, some of which the candidates repeat."""
    import numpy as np

    return _texts(np.arange(count, dtype=np.uint64) * np.uint64(7919))["query"].to_list()


def content(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Content number of each row, and whether it is a repeat (0 no, 1 exact, 2 near)."""
    import numpy as np

    draw = _mix(index, 1)
    share = draw.astype(np.float64) / 2.0**64
    kind = np.where(share < REPEATS * NEAR, 2, np.where(share < REPEATS, 1, 0))
    earlier = _mix(index, 2) % np.maximum(index, np.uint64(1))
    return np.where(kind > 0, earlier, index), kind


def frame(start: int, stop: int) -> pl.DataFrame:
    """Candidates start .. stop-1 with the columns of a generate shard."""
    import numpy as np
    import polars as pl

    index = np.arange(start, stop, dtype=np.uint64)
    number, kind = content(index)
    table = _texts(number)
    word = _word(_mix(index, 3) % np.uint64(9973))
    upper = pl.Series(kind == 1)
    swapped = pl.Series(kind == 2)
    rejected = pl.Series(_mix(index, 4) % np.uint64(1000) < np.uint64(int(REJECTED * 1000)))
    query = (
        pl.when(upper)
        .then(pl.concat_str(pl.col("query").str.to_titlecase(), pl.lit("!")))
        .when(swapped)
        .then(pl.concat_str("query", pl.lit(" "), word))
        .otherwise("query")
    )
    none = pl.lit(None, dtype=pl.String)
    numbers = {"index": index.astype(np.int64), "seed": (_mix(index, 5) >> np.uint64(1)).astype(np.int64)}
    heuristic = pl.col("route") == "heuristic"
    raw = pl.concat_str(pl.lit('{"query": "'), "query", pl.lit('"}'))
    return table.with_columns(**{name: pl.Series(values) for name, values in numbers.items()}).select(
        "index", "stratum", "function", "category", "route", "template", "length", "language", "seed", "path",
        "slots", "calls", none.alias("reply"), none.alias("today"),
        pl.col("query").alias("draft"), "record", query.alias("query"),
        pl.when(heuristic).then(none).otherwise(raw).alias("raw"),
        pl.when(heuristic).then(pl.lit("heuristic")).otherwise(pl.lit("some-model-8b")).alias("generator"),
        pl.lit(0, dtype=pl.Int32).alias("prompt_tokens"), pl.lit(0, dtype=pl.Int32).alias("completion_tokens"),
        pl.Series(~rejected).alias("accepted"),
        pl.when(rejected).then(pl.lit("length")).otherwise(none).alias("reason"),
        pl.when(rejected).then(pl.lit("11 words, bucket short has 3 to 5")).otherwise(none).alias("detail"),
    )  # fmt: skip


def write_shards(folder: Path, rows: int, shards: int) -> list[tuple[str, Path]]:
    """Write ``rows`` candidates in ``shards`` files; return (label, path) of each, as ``open_sources`` takes them."""
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    schema = arrow_schema(CANDIDATE_COLUMNS)
    files = []
    for shard in range(shards):
        path = folder / f"shard-{shard:05d}.parquet"
        start, stop = rows * shard // shards, rows * (shard + 1) // shards
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for low in range(start, stop, BLOCK):
                writer.write_table(frame(low, min(low + BLOCK, stop)).select(schema.names).to_arrow().cast(schema))
        files.append((f"generate shard {shard}", path))
    return files


def _texts(number: np.ndarray) -> pl.DataFrame:
    import numpy as np
    import polars as pl

    table = strata(0)
    stratum = _mix(number, 6) % np.uint64(len(table))

    def pick(values: tuple[str, ...], stream: int) -> pl.Series:
        return pl.Series(values).gather(_mix(number, stream) % np.uint64(len(values)))

    def of(key: str) -> pl.Series:
        return pl.Series([row[key] for row in table]).gather(stratum)

    words = [_word(_mix(number, 10 + place) % np.uint64(size)) for place, size in enumerate((211, 1009, 9973))]
    long = pl.Series(_mix(number, 20) % np.uint64(2) == 0)
    base = pl.DataFrame(
        {
            "stratum": stratum.astype(np.int32), "function": of("function"), "category": of("category"),
            "route": of("route"), "template": of("template"), "length": of("length"),
            "opening": pick(OPENINGS, 7), "link": pick(LINKS, 8), "ending": pick(ENDINGS, 9),
            "a": words[0], "b": words[1], "c": words[2], "long": long,
        }
    )  # fmt: skip
    prompt = pl.when("long").then(pl.format("{} {} near a {}", "a", "b", "c")).otherwise(pl.format("{} {}", "a", "c"))
    spoken = pl.col("category").str.replace("_", " ", literal=True)
    return base.with_columns(prompt=prompt, spoken=spoken).with_columns(
        language=pl.lit("en"),
        query=pl.format("{} {} {} {} {}", "opening", "spoken", "link", "prompt", "ending").str.strip_chars_end(),
        calls=pl.concat_str(
            pl.lit('[{"name": "'), "function", pl.lit('", "arguments": {"content_type": "'), "category",
            pl.lit('", "extracted_prompt": "'), "prompt", pl.lit('"}}]'),
        ),
        slots=pl.concat_str(
            pl.lit('[{"content_type": "'), "spoken", pl.lit('", "extracted_prompt": "'), "prompt", pl.lit('"}]')
        ),
        path=pl.concat_str(
            pl.lit('{"UserIntent": "ui_'), "a", pl.lit('", "DesignType": "dt_'), "category",
            pl.lit('", "Motif": "so_'), "b", pl.lit('_splash", "SceneObject": "so_'), "c",
            pl.lit('", "Action": "ac_sliced_in_'), "a", pl.lit('", "Companion": "so_'), "b", pl.lit('"}'),
        ),
        record=pl.concat_str(pl.lit("m"), pl.Series(_mix(number, 21) % np.uint64(5000)).cast(pl.String).str.zfill(5)),
    )  # fmt: skip


def _word(number: np.ndarray) -> pl.Series:
    """A made-up word for each number below 21 * 16 * 21 * 16."""
    import numpy as np
    import polars as pl

    first, second = number % np.uint64(336), number // np.uint64(336)
    syllables = pl.Series([onset + rime for rime in _RIMES for onset in _ONSETS])
    return syllables.gather(first) + pl.Series(["", *syllables.to_list()]).gather(second)


def _mix(value: np.ndarray, stream: int) -> np.ndarray:
    """splitmix64 of value and stream."""
    import numpy as np

    x = value.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(stream * 0xD1B54A32D192ED03 % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
