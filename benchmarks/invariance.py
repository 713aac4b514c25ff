"""Shows that the number of shards changes nothing: requests made as 1, 7 and 1,000 shards have equal digests.

    python benchmarks/invariance.py --rows 1e7

Every shard is written as parquet by the sample stage's own code, in a shuffled order of shards, and read back; each
column's values are hashed over all shards in the order of the index. Their files differ; their rows must not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from routenator.sampling.sampler import Sampler


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark, print its table, and return the ``--json`` value. Exits with 1 if digests differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=lambda text: int(float(text)), default=200_000)
    parser.add_argument("--shards", nargs="+", type=int, default=[1, 7, 1000])
    parser.add_argument("--domain", default="creative", help="a name below configs/domains, or a folder")
    parser.add_argument("--traversal", nargs="+", choices=("weighted", "coverage"), default=["weighted", "coverage"])
    parser.add_argument(
        "--work", type=Path, help="folder for the shards, 20 bytes a row (default: the temporary folder)"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    results = []
    print(f"{'traversal':>10} {'shards':>7} {'requests':>12} {'CPU s':>8}  digest of the rows")
    for traversal in options.traversal:
        sampler = make_sampler(options.rows, options.domain, traversal)
        for shards in options.shards:
            started = time.process_time()
            with tempfile.TemporaryDirectory(prefix="invariance-", dir=options.work) as folder:
                digest = shard_digest(sampler, shards, Path(folder))
            seconds = time.process_time() - started
            results.append(
                {"traversal": traversal, "shards": shards, "rows": sampler.size, "cpu_s": seconds, "digest": digest}
            )
            print(f"{traversal:>10} {shards:>7,} {sampler.size:>12,} {seconds:>8.2f}  {digest}", flush=True)
    equal = all(
        len({r["digest"] for r in results if r["traversal"] == traversal}) == 1 for traversal in options.traversal
    )
    print("equal for every number of shards" if equal else "NOT EQUAL")
    report = {"domain": options.domain, "results": results, "equal": equal}
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    if not equal:
        raise SystemExit(1)
    return report


def make_sampler(rows: int, name: str, traversal: str) -> Sampler:
    """Return a sampler of exactly this many requests."""
    from routenator.compose import find_domain
    from routenator.config import RunConfig
    from routenator.domain.loader import load_domain
    from routenator.sampling.sampler import Sampler

    path = find_domain(name)
    config = RunConfig.model_validate(
        {
            "name": "benchmark",
            "domain": str(path),
            "dataset": {"size": rows},
            "sample": {"traversal": traversal},
            "generate": {"oversample": {"heuristic": 1, "text": 1, "vision": 1}},
            "model": {"generator": {"model": "none"}, "trainee": "none", "embedder": "none"},
        }
    )
    return Sampler(load_domain(path), config)


def shard_digest(sampler: Sampler, shards: int, folder: Path) -> str:
    """Write all shards in a shuffled order, read them in the order of the index, and hash every column's values."""
    import numpy as np
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from jobs.sample import write_requests

    order = list(range(shards))
    random.Random(shards).shuffle(order)
    for shard in order:
        for _ in write_requests(sampler, *sampler.slice(shard, shards), folder / f"{shard}.parquet"):
            pass
    hashes = {name: hashlib.sha256() for name in ("index", "stratum", "seed", "lengths", "path", "record")}
    for shard in range(shards):
        for batch in pq.ParquetFile(folder / f"{shard}.parquet").iter_batches(batch_size=1 << 18):
            columns = {name: batch.column(name) for name in ("index", "stratum", "seed")}
            columns["lengths"] = pc.list_value_length(batch.column("path"))
            columns["path"] = batch.column("path").flatten()
            columns["record"] = batch.column("record").fill_null(-1)
            for name, column in columns.items():
                hashes[name].update(np.ascontiguousarray(column.to_numpy()).tobytes())
        (folder / f"{shard}.parquet").unlink()
    return hashlib.sha256(b"".join(value.digest() for value in hashes.values())).hexdigest()[:32]


if __name__ == "__main__":
    main()
