"""Reads a stage's receipts, progress files and failure records; a refresh costs one listing of each folder.

A receipt never changes once written and a failure record is replaced as a whole, so each is read once, and again only
if its inode differs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jobs.plan import Run
from jobs.task import FAILURE_SUFFIX, PROGRESS_SUFFIX, RECEIPT_SUFFIX, Receipt, shard_files, shard_name

# A network file system serves many concurrent opens about as fast as one. Below _FEW files threads do not pay off.
_THREADS = 16
_FEW = 200
_METRICS = ("tokens", "tokens_per_second", "note")  # of a receipt, for the status
_T = TypeVar("_T")


class Progress(NamedTuple):
    """Progress of a running shard.

    Attributes:
        done, total: units (rows, steps, queries).
        time: when it was reported, seconds since the epoch.
        started: when the attempt started, seconds since the epoch.
        tokens_per_second: rate of the model; 0 if there is none.
        doing: what the task does before the next unit, such as loading a model; empty: nothing else.
        slow: where some of a shard's units take nearly all of its time, the progress of those, by which the remaining
            time is estimated; None if all units are alike.
    """

    done: float
    total: float
    unit: str
    time: float
    started: float
    tokens_per_second: float
    doing: str = ""
    slow: Progress | None = None


class StageFiles:
    """The files of one stage, refreshed repeatedly.

    Attributes:
        receipts: shard -> receipt, for finished shards.
        failures: shard -> record of its last failure.
        at_work: shards that have a progress file and no receipt.
        unreadable: files that are not JSON of the expected form.
    """

    def __init__(self, run: Run, stage: str) -> None:
        self.dir = run.stage_dir(stage)
        self.logs = run.log_dir(stage)
        self.shards = run.plan.stages[stage].shards
        self.receipts: dict[int, Receipt] = {}
        self.failures: dict[int, dict[str, Any]] = {}
        self.done: set[int] = set()
        self.at_work: set[int] = set()
        self.unreadable: list[Path] = []
        self._receipt_inodes: dict[int, int] = {}
        self._failure_inodes: dict[int, int] = {}

    def look(self) -> None:
        """List both folders and read what has changed."""
        receipts, progress, failures = {}, set(), {}
        for index, suffix, inode in shard_files(self.dir):
            if index < self.shards:
                if suffix == RECEIPT_SUFFIX:
                    receipts[index] = inode
                elif suffix == PROGRESS_SUFFIX:
                    progress.add(index)
        for index, suffix, inode in shard_files(self.logs):
            if index < self.shards and suffix == FAILURE_SUFFIX:
                failures[index] = inode
        self.unreadable = []
        self.done = set(receipts)
        self.at_work = progress - self.done
        self._refresh(self.receipts, self._receipt_inodes, receipts, self._receipt_path, _receipt)
        self._refresh(self.failures, self._failure_inodes, failures, self._failure_path, _as_is)

    def progress(self, indices: Iterable[int]) -> dict[int, Progress]:
        """Read the progress of those of these shards that are running."""
        wanted = [index for index in indices if index in self.at_work]
        found = {}
        for index, value in zip(
            wanted, _read_all([f"{self.dir}/{shard_name(index)}{PROGRESS_SUFFIX}" for index in wanted]), strict=True
        ):
            if isinstance(value, dict):
                found[index] = _progress(value)
        return found

    # Strings: creating ten thousand Path objects would take a third as long as reading the files.
    def _receipt_path(self, index: int) -> str:
        return f"{self.dir}/{shard_name(index)}{RECEIPT_SUFFIX}"

    def _failure_path(self, index: int) -> str:
        return f"{self.logs}/{shard_name(index)}{FAILURE_SUFFIX}"

    def _refresh(
        self,
        known: dict[int, _T],
        inodes: dict[int, int],
        found: dict[int, int],
        path: Callable[[int], str],
        parse: Callable[[Any], _T],
    ) -> None:
        for index in [index for index in known if index not in found]:
            del known[index], inodes[index]
        fresh = [index for index, inode in found.items() if inodes.get(index) != inode]
        paths = [path(index) for index in fresh]
        for index, file, value in zip(fresh, paths, _read_all(paths), strict=True):
            if value is None:  # gone since the listing
                continue
            try:
                known[index] = parse(value)
                inodes[index] = found[index]
            except (KeyError, TypeError):
                self.unreadable.append(Path(file))


def _read_all(paths: list[str]) -> Iterable[Any]:
    """Return the JSON of each file; None if it is gone, a string if it is not JSON."""
    if len(paths) <= _FEW:
        return [_read(path) for path in paths]
    with ThreadPoolExecutor(_THREADS) as pool:
        parts = pool.map(
            lambda part: [_read(path) for path in part],
            [paths[start : start + _FEW] for start in range(0, len(paths), _FEW)],
        )
        return [value for part in parts for value in part]


def _read(path: str) -> Any:
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        data = os.read(handle, 1 << 20)
    finally:
        os.close(handle)
    try:
        return json.loads(data)
    except ValueError:
        return "no JSON"


def _progress(value: dict[str, Any]) -> Progress:
    progress = Progress(
        done=float(value["done"]),
        total=float(value["total"]),
        unit=str(value["unit"]),
        time=float(value["time"]),
        started=float(value["started"]),
        tokens_per_second=float(value.get("tokens_per_second", 0.0)),
        doing=str(value.get("doing", "")),
    )
    if not value.get("slow_total"):
        return progress
    slow = progress._replace(
        done=float(value["slow_done"]), total=float(value["slow_total"]), started=float(value["slow_since"])
    )
    return progress._replace(slow=slow)


def _receipt(value: Any) -> Receipt:
    """Parse a receipt, keeping only what status shows, as there may be ten thousand."""
    metrics = {name: number for name in _METRICS if (number := value["metrics"].get(name)) is not None}
    return Receipt(**{**value, "files": {}, "metrics": metrics})


def _as_is(value: Any) -> dict[str, Any]:
    # A record of an earlier version does not say how often.
    times = {"times": value.get("times", 1)}
    return {key: value[key] for key in ("kind", "message", "attempt", "job", "host", "time")} | times
