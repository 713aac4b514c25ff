"""Generate: requests to candidates. A shard works through its chunks and commits each, so a killed task goes on where it was.

Chunks are cut by index over all requests, and shards are made of whole chunks: a model's replies depend on what else is in the batch
(sums are rounded differently), so a chunk is the unit of work whatever the number of shards or attempts. Within a shard all chunks of one
engine come first, then those of the next, so that one model is loaded at a time.
"""

from __future__ import annotations

import io
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.task import Task, verify_file
from routenator.files import write_atomic
from routenator.models import cache_folder
from routenator.schemas import CANDIDATE_COLUMNS, REQUEST_COLUMNS, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

    from routenator.generation.generator import Generator

VERSION = 1
ROUTE_ORDER = ("heuristic", "text", "vision")
_SECONDS = b"engine_seconds"


def run(task: Task) -> None:
    """Write the shard's candidates as one parquet file (role ``data``), ordered by index."""
    if task.is_done():
        return
    try:
        _run(task)
    except FileNotFoundError:
        # Another attempt of this shard won and removed the checkpoints.
        if not task.is_done():
            raise


def _run(task: Task) -> None:
    import pyarrow.parquet as pq

    from routenator.domain.load import load_domain
    from routenator.generation.generator import Generator

    size = task.config.generate.chunk_rows
    start, stop = row_range(sum(receipt.rows for receipt, _ in task.input_receipts("sample")), size, task.index, task.shards)
    requests = read_rows(task, start, stop)
    generator = Generator(load_domain(task.run.domain_dir), task.config, cache_folder(task.config.cache))
    paths: list[Path] = []
    done, tokens, seconds = 0, 0, 0.0
    for name, rows in units(generator, requests, start, size):
        path = task.work_dir / f"{name}.parquet"
        if not path.exists():
            _write_unit(path, generator, rows)
        paths.append(path)
        done += len(rows)
        unit = pq.read_table(path, columns=["completion_tokens"])
        tokens += sum(unit["completion_tokens"].to_pylist())
        seconds += _seconds(unit)
        task.progress(done, requests.num_rows, tokens_per_second=round(tokens / seconds, 1) if seconds else 0.0)
    table = _gather(paths)
    data = task.output(".parquet")
    pq.write_table(table, data, compression="zstd")
    if task.commit({"data": data}, rows=table.num_rows, metrics=metrics(table, seconds)):
        shutil.rmtree(task.work_dir, ignore_errors=True)


def row_range(rows: int, chunk_rows: int, shard: int, shards: int) -> tuple[int, int]:
    """First and last-plus-one row of a shard: whole chunks, as even as they can be; the last chunk of all may be short.

    A shard gets nothing if there are more shards than chunks.
    """
    chunks = -(-rows // chunk_rows)
    return min(rows, chunks * shard // shards * chunk_rows), min(rows, chunks * (shard + 1) // shards * chunk_rows)


def read_rows(task: Task, start: int, stop: int) -> pa.Table:
    """Requests start..stop-1, counted over sample's shards in order; only the files that hold some are read, and checked.

    Raises:
        StageError: a shard of sample is missing.
        CorruptShardError: a file differs from its receipt.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [arrow_schema(REQUEST_COLUMNS).empty_table()]
    offset = 0
    for receipt, directory in task.input_receipts("sample"):
        low, high = max(start, offset), min(stop, offset + receipt.rows)
        if low < high:
            path = receipt.path(directory)
            verify_file(path, receipt)
            tables.append(pq.read_table(path).slice(low - offset, high - low))
        offset += receipt.rows
    return pa.concat_tables(tables)


def units(generator: Generator, requests: pa.Table, start: int, chunk_rows: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Names and requests of the units of work: for each engine in turn, its rows of each chunk.

    Args:
        requests: the shard's rows; the first is row ``start`` of all.
    """
    routes = requests["route"].to_pylist()
    groups: dict[str, set[str]] = {}
    for route in ROUTE_ORDER:
        if route in routes:
            config = generator.engine_config(route)
            groups.setdefault(config.model_dump_json() if config else "", set()).add(route)
    for group in groups.values():
        label = "-".join(route for route in ROUTE_ORDER if route in group)
        for offset in range(0, requests.num_rows, chunk_rows):
            rows = [row for row in requests.slice(offset, chunk_rows).to_pylist() if row["route"] in group]
            if rows:
                yield f"{label}-{start + offset:012d}", rows


def metrics(table: pa.Table, seconds: float) -> dict[str, Any]:
    """What the receipt says of a shard.

    Args:
        table: candidates.
        seconds: spent in replies, loading of models left out.
    """
    columns = ("route", "accepted", "reason", "query", "draft", "completion_tokens", "prompt_tokens")
    rows = table.select(columns).to_pylist()
    tokens = sum(row["completion_tokens"] for row in rows)
    by_route = {}
    for route in ROUTE_ORDER:
        own = [row for row in rows if row["route"] == route]
        if own:
            by_route[route] = {
                "requested": len(own),
                "accepted": sum(row["accepted"] for row in own),
                "rejected": dict(Counter(row["reason"] for row in own if not row["accepted"])),
            }
            if route != "heuristic":
                # A model that only repeats its draft adds nothing; the merge drops such rows where the draft is there too.
                by_route[route]["copied_draft"] = sum(row["accepted"] and row["query"] == row["draft"] for row in own)
    return {
        "requested": len(rows),
        "generated": sum(bool(row["query"]) for row in rows),
        "accepted": sum(row["accepted"] for row in rows),
        "rejected": dict(Counter(row["reason"] for row in rows if not row["accepted"])),
        "tokens": tokens,
        "prompt_tokens": sum(row["prompt_tokens"] for row in rows),
        "engine_seconds": round(seconds, 3),
        "tokens_per_second": round(tokens / seconds, 1) if seconds else 0.0,
        "by_route": by_route,
    }


def _write_unit(path: Path, generator: Generator, rows: list[dict[str, Any]]) -> None:
    """Make a unit's candidates and commit them whole, with the seconds that their replies took."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    before = generator.engine_seconds
    candidates = generator.candidates(rows)
    seconds = generator.engine_seconds - before
    schema = arrow_schema(CANDIDATE_COLUMNS).with_metadata({_SECONDS: repr(seconds)})
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(candidates, schema=schema), buffer, compression="zstd")
    write_atomic(path, buffer.getvalue())


def _seconds(table: pa.Table) -> float:
    return float((table.schema.metadata or {}).get(_SECONDS, b"0"))


def _gather(paths: list[Path]) -> pa.Table:
    """All units' candidates, ordered by index."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema(CANDIDATE_COLUMNS)
    tables = [pq.read_table(path).replace_schema_metadata(None) for path in paths]
    return pa.concat_tables([schema.empty_table(), *tables]).sort_by("index")
