"""Generate: requests to candidates. A shard works through its chunks and commits each, so a killed task goes on where it was.

Chunks are cut by index over all requests, and shards are made of whole chunks: a model's replies depend on what else is in the batch
(sums are rounded differently), so a chunk is the unit of work whatever the number of shards or attempts. Within a shard all chunks of one
engine come first, then those of the next, so that one model is loaded at a time. Rows of the heuristic route depend on nothing but
themselves and are made in large blocks.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.task import Task, verify_file
from routenator.files import read_json, write_atomic
from routenator.models import cache_folder
from routenator.schemas import CANDIDATE_COLUMNS, REQUEST_COLUMNS, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

    from routenator.generation.generator import Generator
    from routenator.sampling.strata import Stratum
    from routenator.wording.composer import Composer

VERSION = 3
ROUTE_ORDER = ("heuristic", "text", "vision")
HEURISTIC_ROWS = 65_536  # requests looked through for one checkpoint of the heuristic route
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
    from routenator.wording.composer import Composer

    size = task.config.generate.chunk_rows
    start, stop = row_range(sum(receipt.rows for receipt, _ in task.input_receipts("sample")), size, task.index, task.shards)
    requests = read_rows(task, start, stop)
    domain = load_domain(task.run.domain_dir)
    composer = Composer(domain, task.config, read_strata(task))
    generator = Generator(domain, task.config, cache_folder(task.config.cache))
    paths: list[Path] = []
    done, tokens, seconds = 0, 0, 0.0
    for name, rows in units(generator, composer, requests, start, size):
        path = task.work_dir / f"{name}.parquet"
        if not path.exists():
            _write_unit(path, generator, composer, rows)
        paths.append(path)
        done += rows.num_rows
        unit = pq.read_table(path, columns=["completion_tokens"])
        tokens += _total(unit["completion_tokens"])
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


def read_strata(task: Task) -> list[Stratum]:
    """What the requests' stratum numbers mean.

    Raises:
        StageError: a shard of sample is missing.
        CorruptShardError: the file differs from its receipt.
    """
    from routenator.sampling.strata import Stratum

    receipt, directory = next(iter(task.input_receipts("sample")))
    verify_file(receipt.path(directory, "strata"), receipt, "strata")
    return [Stratum(**row) for row in read_json(receipt.path(directory, "strata"))]


def units(generator: Generator, composer: Composer, requests: pa.Table, start: int, chunk_rows: int) -> Iterator[tuple[str, pa.Table]]:
    """Names and requests of the units of work: for each engine in turn, its rows of each chunk; of the heuristic route, of each block.

    Args:
        requests: the shard's rows; the first is row ``start`` of all.
    """
    import numpy as np

    number = np.array([ROUTE_ORDER.index(stratum.route) for stratum in composer.strata])[requests["stratum"].to_numpy()]
    routes = {ROUTE_ORDER[n] for n in np.unique(number)}
    groups: dict[str, set[str]] = {}
    for route in ROUTE_ORDER:
        if route in routes:
            config = generator.engine_config(route)
            groups.setdefault(config.model_dump_json() if config else "", set()).add(route)
    for group in groups.values():
        label = "-".join(route for route in ROUTE_ORDER if route in group)
        size = HEURISTIC_ROWS if label == "heuristic" else chunk_rows
        for offset in range(0, requests.num_rows, size):
            wanted = np.isin(number[offset : offset + size], [ROUTE_ORDER.index(route) for route in group])
            rows = requests.slice(offset, size).filter(wanted)
            if rows.num_rows:
                yield f"{label}-{start + offset:012d}", rows


def metrics(table: pa.Table, seconds: float) -> dict[str, Any]:
    """What the receipt says of a shard.

    Args:
        table: candidates.
        seconds: spent in replies, loading of models left out.
    """
    import pyarrow.compute as pc

    tokens = _total(table["completion_tokens"])
    by_route = {}
    for route in ROUTE_ORDER:
        own = table.filter(pc.equal(table["route"], route))
        if own.num_rows:
            by_route[route] = {"requested": own.num_rows, "accepted": _total(own["accepted"]), "rejected": _rejected(own)}
            if route != "heuristic":
                # A model that only repeats its draft adds nothing; the merge drops such rows where the draft is there too.
                by_route[route]["copied_draft"] = _total(pc.and_(own["accepted"], pc.equal(own["query"], own["draft"])))
    return {
        "requested": table.num_rows,
        "generated": _total(pc.not_equal(table["query"], "")),
        "accepted": _total(table["accepted"]),
        "rejected": _rejected(table),
        "tokens": tokens,
        "prompt_tokens": _total(table["prompt_tokens"]),
        "engine_seconds": round(seconds, 3),
        "tokens_per_second": round(tokens / seconds, 1) if seconds else 0.0,
        "by_route": by_route,
    }


def _total(column: pa.ChunkedArray) -> int:
    import pyarrow.compute as pc

    return pc.sum(column).as_py() or 0


def _rejected(table: pa.Table) -> dict[str, int]:
    """How many rows each reason rejects, in the order in which the reasons first occur."""
    import pyarrow.compute as pc

    reasons = table["reason"].filter(pc.invert(table["accepted"]))
    return {row["values"]: row["counts"] for row in pc.value_counts(reasons).to_pylist()}


def _write_unit(path: Path, generator: Generator, composer: Composer, requests: pa.Table) -> None:
    """Make a unit's candidates and commit them whole, with the seconds that their replies took."""
    import pyarrow.parquet as pq

    before = generator.engine_seconds
    candidates = generator.table(composer.details(requests))
    seconds = generator.engine_seconds - before
    buffer = io.BytesIO()
    pq.write_table(candidates.replace_schema_metadata({_SECONDS: repr(seconds)}), buffer, compression="zstd")
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
