"""Sample: graph traversal and router. Shard k writes its slice of the requests; shard 0 also the strata with their quotas."""

from __future__ import annotations

import json

from jobs.task import Task
from routenator.files import write_atomic
from routenator.schemas import REQUEST_COLUMNS, arrow_schema

VERSION = 1
_BATCH = 16_384  # rows composed and written at once


def run(task: Task) -> None:
    """Write the shard's requests as parquet (role ``data``), ordered by index."""
    if task.is_done():
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    from routenator.domain.load import load_domain
    from routenator.sampling.sampler import Sampler

    sampler = Sampler(load_domain(task.run.domain_dir), task.config)
    start, stop = sampler.slice(task.index, task.shards)
    schema = arrow_schema(REQUEST_COLUMNS)
    data = task.output(".parquet")
    files = {"data": data}
    with pq.ParquetWriter(data, schema, compression="zstd") as writer:
        for low in range(start, stop, _BATCH):
            high = min(stop, low + _BATCH)
            columns = sampler.requests(low, high)
            writer.write_table(pa.table({name: columns[name] for name in schema.names}, schema=schema))
            task.progress(high - start, stop - start)
    if task.index == 0:
        files["strata"] = task.output(".strata.json")
        write_atomic(files["strata"], json.dumps([stratum.as_dict() for stratum in sampler.strata], ensure_ascii=False))
    task.commit(files, rows=stop - start, metrics={"strata": len(sampler.strata), "requests": sampler.size})
