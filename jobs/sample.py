"""Sample: graph traversal and router. Shard k writes its slice of the requests; shard 0 also writes the strata."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from jobs.task import Task
from routenator.domain.loader import load_domain
from routenator.files import write_atomic
from routenator.sampling import GENERATOR
from routenator.sampling.sampler import Sampler
from routenator.schemas import REQUEST_COLUMNS, arrow_schema

VERSION = 3
BATCH = 32_768  # rows drawn at once: their columns fit into the cache
ROW_GROUP = 8  # batches


def run(task: Task) -> None:
    """Write the shard's requests as parquet (role ``data``), ordered by index."""
    if task.is_done():
        return
    plan = task.run.plan
    sampler = Sampler(load_domain(task.run.domain_dir), task.config, plan.requested, plan.first)
    start, stop = sampler.slice(task.index, task.shards)
    files = {"data": task.output(".parquet")}
    for done in write_requests(sampler, start, stop, files["data"]):
        task.progress(done, stop - start)
    if task.index == 0:
        files["strata"] = task.output(".strata.json")
        write_atomic(files["strata"], json.dumps([stratum.as_dict() for stratum in sampler.strata], ensure_ascii=False))
    task.commit(
        files,
        rows=stop - start,
        metrics={"strata": len(sampler.strata), "requests": sampler.size, "generator": GENERATOR},
    )


def write_requests(sampler: Sampler, start: int, stop: int, path: Path) -> Iterator[int]:
    """Write requests start..stop-1 as one parquet file; yields the number of rows so far after each row group.

    Seeds are random and indices a sequence, so neither a dictionary nor compression would pay off.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema(REQUEST_COLUMNS)
    with pq.ParquetWriter(
        path,
        schema,
        use_dictionary=["stratum", "path.list.element", "record"],
        column_encoding={"index": "DELTA_BINARY_PACKED"},
        compression={"index": "none", "stratum": "none", "seed": "none", "path.list.element": "zstd", "record": "none"},
        compression_level={"path.list.element": 1},
        write_statistics=["index", "stratum"],
    ) as writer:
        for low in range(start, stop, ROW_GROUP * BATCH):
            high = min(stop, low + ROW_GROUP * BATCH)
            parts = [sampler.requests(cut, min(high, cut + BATCH)) for cut in range(low, high, BATCH)]
            writer.write_table(pa.concat_tables(parts), row_group_size=ROW_GROUP * BATCH)
            yield high - start
