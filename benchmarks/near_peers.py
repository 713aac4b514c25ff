"""Near-duplicate removal by other libraries, for ``benchmarks/near.py``.

It runs in another environment, so it imports nothing of this project.

    python benchmarks/near_peers.py datatrove|rensa FOLDER OUT.json

FOLDER holds parquet files with the columns ``id`` and ``text``. OUT.json gets {"version", "seconds", "kept": ids,
sorted}.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

TASKS = 2


def datatrove(folder: Path) -> list[int]:
    """Signatures, buckets, clusters and filter as in its minhash example, with its defaults: word 5-grams, 14 bands
    of 8.
    """
    from datatrove.executor.local import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers.jsonl import JsonlWriter

    config = MinhashConfig()
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        reader = ParquetReader(str(folder), text_key="text", id_key="id", doc_progress=False, file_progress=False)
        steps = [
            ([reader, MinhashDedupSignature(f"{work}/signatures", config=config)], TASKS),
            ([MinhashDedupBuckets(f"{work}/signatures", f"{work}/buckets", config=config)], config.num_buckets),
            ([MinhashDedupCluster(f"{work}/buckets", f"{work}/remove", config=config)], 1),
            ([reader, MinhashDedupFilter(f"{work}/remove"), JsonlWriter(f"{work}/kept", compression=None)], TASKS),
        ]
        for number, (steps_of, tasks) in enumerate(steps):
            LocalPipelineExecutor(
                pipeline=steps_of, tasks=tasks, workers=min(TASKS, tasks), logging_dir=f"{work}/logs/{number}"
            ).run()
        lines = [line for path in sorted(Path(work, "kept").glob("*.jsonl")) for line in path.read_text().splitlines()]
        return sorted(int(json.loads(line)["id"]) for line in lines)


def rensa(folder: Path) -> list[int]:
    """R-MinHash of 4-character shingles, 16 bands of 6; drops a row whose similarity (by signature) to one that is kept
    is at least 0.8.
    """
    import polars as pl
    import rensa as library

    kept: list[int] = []
    seen: dict[int, Any] = {}
    lsh = library.RMinHashLSH(threshold=0.8, num_perm=96, num_bands=16)
    for path in sorted(folder.glob("*.parquet")):
        frame = pl.read_parquet(path)
        for part in frame.iter_slices(100_000):
            texts = part["text"].to_list()
            sets = [list({text[start : start + 4] for start in range(max(1, len(text) - 3))}) for text in texts]
            hashes = library.RMinHash.from_token_sets(sets, num_perm=96, seed=1)
            for row, minhash in zip(map(int, part["id"]), hashes, strict=True):
                near = any(minhash.jaccard(seen[other]) >= 0.8 for other in lsh.query(minhash))
                if not near:
                    kept.append(row)
                    seen[row] = minhash
                    lsh.insert(row, minhash)
    return kept


def main() -> None:
    name, folder, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    started = time.perf_counter()
    kept = {"datatrove": datatrove, "rensa": rensa}[name](folder)
    seconds = time.perf_counter() - started
    out.write_text(json.dumps({"version": version(name), "seconds": seconds, "kept": sorted(kept)}))


if __name__ == "__main__":
    main()
