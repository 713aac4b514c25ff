"""Near-duplicates: this project's MinHash against datatrove's and rensa's, and against brute force on a sample.

    python benchmarks/near.py --rows 5000000 --peer-rows 5000000 --peer-python /venv/bin/python --scratch /fast/disk
    python benchmarks/near.py                                                     # a smoke run without peers

The peers' interpreter needs ``pip install "datatrove[processing]" spacy orjson pyarrow rensa polars``. rensa gets
``--rensa-rows`` (its time grows faster than the rows). Recall: of the rows that are at least as similar to an earlier
row as the threshold, the share that was dropped. Precision: of the dropped rows, the share that are so. Brute force
compares all pairs of the first ``--sample`` rows by the Jaccard similarity of their 4-byte shingles, so datatrove,
which uses word shingles, is not measured by its own metric. For this comparison all tools run on just these rows.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that the program runs by its path, too

from benchmarks.candidates import strata, write_shards  # noqa: E402

THRESHOLD = 0.8
PEERS = ("datatrove", "rensa")


def own(folder: Path, rows: int) -> dict[str, Any]:
    """Find exact and near-duplicates with this project; also return the accepted rows and the kept rows."""
    import numpy as np

    from routenator.dataset.decisions import Decision
    from routenator.dataset.merge import decide
    from routenator.dataset.sources import open_sources

    sources = open_sources([(path.stem, path) for path in sorted((folder / "shards").glob("*.parquet"))])
    started = time.perf_counter()
    decisions = decide(sources, strata(rows), [], folder / "spill", near_duplicates="minhash", near_threshold=THRESHOLD)
    seconds = time.perf_counter() - started
    gone = (Decision.DUPLICATE, Decision.CONFLICT, Decision.NEAR_DUPLICATE, Decision.REJECTED)
    kept = np.flatnonzero(~np.isin(decisions.codes, gone)).tolist()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    near = int(decisions.count(Decision.NEAR_DUPLICATE))
    del decisions
    shutil.rmtree(folder / "spill")
    return {"seconds": seconds, "kept": kept, "near_duplicates": near, "peak_gib": peak}


def own_in_process(folder: Path, rows: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.near", "--own", str(folder), "--rows", str(rows)]
    subprocess.run(command, check=True, cwd=ROOT)
    found: dict[str, Any] = json.loads((folder / "own.json").read_text())
    return found


def texts_for_peers(folder: Path, files: int) -> None:
    """The accepted queries of the shards, in their normal form, for the peers."""
    import polars as pl

    from routenator.normalform import normal_forms

    (folder / "texts").mkdir()
    frame = pl.scan_parquet(sorted((folder / "shards").glob("*.parquet"))).filter("accepted")
    table = frame.select(pl.col("index").cast(pl.String).alias("id"), text="query").collect(engine="streaming")
    table = table.with_columns(normal_forms(table["text"]))
    size = -(-table.height // files)
    for number in range(files):
        table.slice(number * size, size).write_parquet(folder / "texts" / f"{number}.parquet")


def peer(name: str, python: Path, folder: Path) -> dict[str, Any]:
    """Run a peer on the texts of a folder."""
    out = folder / f"{name}.json"
    program = Path(__file__).with_name("near_peers.py")
    done = subprocess.run(
        [str(python), str(program), name, str(folder / "texts"), str(out)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def truth(folder: Path) -> dict[int, bool]:
    """Accepted row -> whether an earlier one is at least as similar as the threshold, by comparing all pairs."""
    import numpy as np
    import polars as pl

    from routenator.dataset.near import GRAM

    table = pl.read_parquet(sorted((folder / "texts").glob("*.parquet")))
    sets = []
    for text in table["text"]:
        data = f" {text} ".ljust(GRAM).encode()
        sets.append({data[start : start + GRAM] for start in range(len(data) - GRAM + 1)})
    numbers = {gram: number for number, gram in enumerate(set().union(*sets))}
    matrix = np.zeros((len(sets), len(numbers)), dtype=np.float32)
    for row, grams in enumerate(sets):
        matrix[row, [numbers[gram] for gram in grams]] = 1
    shared = matrix @ matrix.T
    sizes = matrix.sum(axis=1)
    alike = np.tril(shared / (sizes[:, None] + sizes[None, :] - shared) >= THRESHOLD, -1).any(axis=1)
    return dict(zip(table["id"].cast(pl.Int64).to_list(), alike.tolist(), strict=True))


def quality(kept: list[int], alike: dict[int, bool]) -> dict[str, float]:
    stay = set(kept)
    dropped = [row for row in alike if row not in stay]
    wanted = [row for row, is_alike in alike.items() if is_alike]
    right = sum(alike[row] for row in dropped)
    return {
        "recall": right / max(1, len(wanted)),
        "precision": right / max(1, len(dropped)),
        "dropped": len(dropped),
        "alike": len(wanted),
    }


def compare(options: argparse.Namespace) -> dict[str, Any]:
    def prepared(name: str, rows: int, shards: int) -> Path:
        folder: Path = options.scratch / name
        write_shards(folder / "shards", rows, shards)
        texts_for_peers(folder, 2)
        return folder

    found: dict[str, Any] = {"rows": options.rows, "threshold": THRESHOLD, "own": {}, "peers": {}}
    sample = prepared("sample", options.sample, 2)
    alike = truth(sample)
    found["quality"] = {"own": quality(own_in_process(sample, options.sample)["kept"], alike)}
    whole = prepared("whole", options.rows, 10)
    found["own"] = {key: value for key, value in own_in_process(whole, options.rows).items() if key != "kept"}
    if options.peer_python is None or not options.peer_python.exists():
        print("*** PEERS LEFT OUT: no --peer-python with datatrove and rensa ***")
        return found
    for name, rows in zip(PEERS, (options.peer_rows, options.rensa_rows), strict=True):
        folder = whole if rows == options.rows else prepared(name, rows, 2)
        result = peer(name, options.peer_python, folder)
        found["peers"][name] = {"rows": rows, "seconds": result["seconds"], "version": result["version"]}
        found["quality"][name] = quality(peer(name, options.peer_python, sample)["kept"], alike)
    return found


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--peer-rows", type=int, default=20_000, help="for datatrove")
    parser.add_argument("--rensa-rows", type=int, default=20_000)
    parser.add_argument("--sample", type=int, default=2_000)
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument(
        "--scratch", type=Path, default=Path("runs/benchmark-near"), help="a folder for input and spill"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--own", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.own:
        result = own(options.own, options.rows)
        (options.own / "own.json").write_text(json.dumps(result))
        return result
    options.scratch = options.scratch.absolute()
    try:
        found = compare(options)
    finally:
        shutil.rmtree(options.scratch, ignore_errors=True)
    speed = options.rows / found["own"]["seconds"]
    print(
        f"threshold {THRESHOLD}; {found['own']['near_duplicates']:,} near-duplicates of {options.rows:,} rows, "
        "not counting exact ones"
    )
    print(f"{'':24}{'rows':>12}{'seconds':>10}{'rows/s':>12}{'recall':>9}{'precision':>11}{'speed-up':>10}")
    table = [("this project", options.rows, found["own"]["seconds"], found["quality"]["own"])]
    for name, side in found["peers"].items():
        table.append((f"{name} {side['version']}", side["rows"], side["seconds"], found["quality"][name]))
    for name, rows, seconds, good in table:
        line = f"{name:24}{rows:>12,}{seconds:>10.1f}{rows / seconds:>12,.0f}"
        print(line + f"{good['recall']:>9.3f}{good['precision']:>11.3f}{speed / (rows / seconds):>10.1f}")
    alike = found["quality"]["own"]["alike"]
    print(
        f"peak {found['own']['peak_gib']:.2f} GiB; quality on {options.sample:,} rows, "
        f"of which {alike:,} are similar to an earlier one"
    )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return found


if __name__ == "__main__":
    main()
