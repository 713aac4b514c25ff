"""Generate: turns requests into candidates. A shard saves each chunk, so a killed task resumes where it stopped.

Chunks are ranges of indices over all requests, and shards consist of whole chunks: a model's replies depend on the rest
of the batch (sums are rounded differently), so a chunk is the unit of work whatever the number of shards or attempts.
Within a shard all chunks of one engine come before those of the next, so that one model is loaded at a time. Rows whose
draft is the query depend only on themselves and are generated in large blocks.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.chunks import Cost, open_shard, write_chunk
from jobs.engines import EnginePool, Order, release_pool, use_pool
from jobs.task import Task, verify_file
from routenator.config import EngineConfig
from routenator.generation.generator import Generator
from routenator.generation.loading import release_engine
from routenator.generation.places import Place, engine_places
from routenator.routes import ROUTES
from routenator.schemas import CANDIDATE_COLUMNS, REQUEST_COLUMNS, arrow_schema
from routenator.wording.composer import Composer

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 7
DRAFT_ROWS = 65_536  # requests per checkpoint where the draft is the query


def run(task: Task) -> None:
    """Write the shard's candidates as one parquet file (role ``data``), ordered by index."""
    make_candidates(task, "sample")


def make_candidates(task: Task, source: str) -> None:
    """Turn this shard's part of the requests of a stage into candidates.

    Args:
        source: the stage that wrote the requests.
    """
    if task.is_done():
        return
    try:
        _make_candidates(task, source)
    except FileNotFoundError:
        # Another attempt of this shard won and removed the checkpoints.
        if not task.is_done():
            raise


def _make_candidates(task: Task, source: str) -> None:
    import pyarrow.parquet as pq

    size = task.config.generate.chunk_rows
    start, stop = row_range(
        sum(receipt.rows for receipt, _ in task.input_receipts(source)), size, task.index, task.shards
    )
    requests = read_rows(task, start, stop, source)
    generator, composer = open_shard(task)
    paths: list[Path] = []
    done, cost, start_seconds, engines = 0, Cost(), 0.0, 0
    work = list(groups(generator, composer, requests, start, size))
    replies = Replies(sum(rows.num_rows for config, chunks in work if config is not None for _, rows in chunks))
    for config, chunks in work:
        orders = {task.work_dir / f"{name}.parquet": rows for name, rows in chunks}
        kept = [path for path in orders if path.exists()]
        missing = {path: rows for path, rows in orders.items() if path not in kept}
        pool = None
        if config is not None:
            places = engine_places(config)
            engines = max(engines, len(places))
            pool = _pool(generator, config, places) if missing else None
        began, loaded = time.time(), generator.start_seconds
        loading = "loading the engine" if config is not None and missing else ""
        if loading:
            task.progress(done, requests.num_rows, doing=loading, **replies.report())
        for path in chain(kept, _make(task, generator, composer, pool, missing)):
            paths.append(path)
            done += orders[path].num_rows
            cost.add(path)
            if config is not None:
                replies.add(
                    orders[path].num_rows, began + (pool.start_seconds if pool else generator.start_seconds - loaded)
                )
            speed = cost.a_second(cost.tokens)
            doing = "" if path in missing else loading
            task.progress(done, requests.num_rows, doing=doing, tokens_per_second=speed, **replies.report())
        start_seconds += pool.start_seconds if pool else 0.0
    table = _gather(paths)
    data = task.output(".parquet")
    pq.write_table(table, data, compression="zstd")
    numbers = metrics(table, cost)
    if engines:
        numbers |= {"engines": engines, "engine_start_seconds": round(start_seconds + generator.start_seconds, 1)}
    if task.commit({"data": data}, rows=table.num_rows, metrics=numbers):
        shutil.rmtree(task.work_dir, ignore_errors=True)


@dataclass
class Replies:
    """A shard's rows that a model writes, which take nearly all of the time; those of drafts come first.

    Attributes:
        total, done: rows.
        since: when the first model began to answer, seconds since the epoch; 0 if none has.
    """

    total: int
    done: int = 0
    since: float = 0.0

    def add(self, rows: int, since: float) -> None:
        self.done += rows
        self.since = self.since or since

    def report(self) -> dict[str, Any]:
        """Return their part of the progress record; empty if there are none."""
        return {"slow_done": self.done, "slow_total": self.total, "slow_since": self.since} if self.total else {}


def _pool(generator: Generator, config: EngineConfig, places: Sequence[Place]) -> EnginePool | None:
    """Return the pool for an engine; None if it runs in the task's process, as a single text model on one device does.

    An image model may need modules that others must not see (routenator/generation/imaging.py).
    """
    if len(places) > 1 or config.tensor_parallel_size > 1 or generator.is_shown_images(config):
        release_engine()
        return use_pool(config, places)
    release_pool()
    return None


def _make(
    task: Task, generator: Generator, composer: Composer, pool: EnginePool | None, chunks: dict[Path, pa.Table]
) -> Iterator[Path]:
    """Generate these chunks and yield each path once it is written."""
    if pool is not None:
        run = str(task.run.path)
        yield from pool.make([Order(run, task.stage, task.index, path, rows) for path, rows in chunks.items()])
        return
    for path, rows in chunks.items():
        write_chunk(path, generator, composer, rows)
        yield path


def row_range(rows: int, chunk_rows: int, shard: int, shards: int) -> tuple[int, int]:
    """Return the first row of a shard and one past its last: whole chunks, distributed evenly; the last may be short.

    A shard can be empty if there are more shards than chunks.
    """
    chunks = -(-rows // chunk_rows)
    return min(rows, chunks * shard // shards * chunk_rows), min(rows, chunks * (shard + 1) // shards * chunk_rows)


def read_rows(task: Task, start: int, stop: int, source: str = "sample") -> pa.Table:
    """Read requests start..stop-1, numbered across a stage's shards; reads and verifies only the files that hold some.

    Raises:
        StageError: a shard of that stage is missing.
        CorruptShardError: a file differs from its receipt.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [arrow_schema(REQUEST_COLUMNS).empty_table()]
    offset = 0
    for receipt, directory in task.input_receipts(source):
        low, high = max(start, offset), min(stop, offset + receipt.rows)
        if low < high:
            path = receipt.path(directory)
            verify_file(path, receipt)
            tables.append(pq.read_table(path).slice(low - offset, high - low))
        offset += receipt.rows
    return pa.concat_tables(tables)


def groups(
    generator: Generator, composer: Composer, requests: pa.Table, start: int, chunk_rows: int
) -> Iterator[tuple[EngineConfig | None, list[tuple[str, pa.Table]]]]:
    """Yield each engine (None: the draft is the query) with the names and requests of its chunks.

    An engine's chunk holds its rows of one range of indices.

    Args:
        requests: the shard's rows; the first is row ``start`` of all rows.
    """
    import numpy as np

    order = list(ROUTES)
    number = np.array([order.index(stratum.route) for stratum in composer.strata])[requests["stratum"].to_numpy()]
    present = {order[n] for n in np.unique(number)}
    routes: dict[str, list[str]] = {}
    for route in order:
        if route in present:
            config = generator.engine_config(route)
            routes.setdefault(config.model_dump_json() if config else "", []).append(route)
    for group in routes.values():
        label = "-".join(group)
        config = generator.engine_config(group[0])
        size = DRAFT_ROWS if config is None else chunk_rows
        chunks = []
        for offset in range(0, requests.num_rows, size):
            wanted = np.isin(number[offset : offset + size], [order.index(route) for route in group])
            rows = requests.slice(offset, size).filter(wanted)
            if rows.num_rows:
                chunks.append((f"{label}-{start + offset:012d}", rows))
        yield config, chunks


def metrics(table: pa.Table, cost: Cost) -> dict[str, Any]:
    """Return a shard's metrics for the receipt.

    Args:
        table: the candidates.
        cost: the cost of their replies.
    """
    import pyarrow.compute as pc

    by_route = {}
    for route, kind in ROUTES.items():
        own = table.filter(pc.equal(table["route"], route))
        if own.num_rows:
            by_route[route] = {
                "requested": own.num_rows,
                "accepted": _total(own["accepted"]),
                "rejected": _rejected(own),
            }
            if not kind.is_draft:
                # A model that only repeats its draft adds nothing; the merge drops such rows if the draft itself is in
                # the data too.
                by_route[route]["copied_draft"] = _total(pc.and_(own["accepted"], pc.equal(own["query"], own["draft"])))
    return {
        "requested": table.num_rows,
        "generated": _total(pc.not_equal(table["query"], "")),
        "accepted": _total(table["accepted"]),
        "rejected": _rejected(table),
        "tokens": cost.tokens,
        "prompt_tokens": cost.prompt_tokens,
        "chunks": cost.chunks,
        "engine_seconds": round(cost.seconds, 3),
        "tokens_per_second": cost.a_second(cost.tokens),
        "prompt_tokens_per_second": cost.a_second(cost.prompt_tokens),
        "by_route": by_route,
    }


def _total(column: pa.ChunkedArray) -> int:
    import pyarrow.compute as pc

    return pc.sum(column).as_py() or 0


def _rejected(table: pa.Table) -> dict[str, int]:
    """Return the number of rows rejected for each reason, in the order in which the reasons first occur."""
    import pyarrow.compute as pc

    reasons = table["reason"].filter(pc.invert(table["accepted"]))
    return {row["values"]: row["counts"] for row in pc.value_counts(reasons).to_pylist()}


def _gather(paths: list[Path]) -> pa.Table:
    """Return all chunks' candidates, ordered by index."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema(CANDIDATE_COLUMNS)
    tables = [pq.read_table(path).replace_schema_metadata(None) for path in paths]
    return pa.concat_tables([schema.empty_table(), *tables]).sort_by("index")
