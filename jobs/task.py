"""One task of a stage, and the receipt that says that its shard is done.

A shard is done if and only if its receipt is there. The data is written under a name of its own for each attempt and
fsynced; the receipt is made last, with ``link(2)``, which fails when it exists. So two attempts at once cannot mix: one
wins, whole, and the other removes what it wrote.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.plan import Run
from routenator.config import RunConfig
from routenator.errors import CorruptShardError, StageError
from routenator.files import read_json, sha256_file, write_json

RECEIPT_SUFFIX = ".receipt.json"


def shard_name(index: int) -> str:
    """File stem of a shard: shard-00042."""
    return f"shard-{index:05d}"


@dataclass(frozen=True)
class Receipt:
    """What a committed shard says of itself.

    Attributes:
        files: role -> {"name", "sha256", "bytes"}; names are relative to the stage's directory.
        rows: rows of output.
        seconds: wall-clock seconds of the attempt that won.
        metrics: stage-specific numbers (tokens, rejections by reason ...).
    """

    stage: str
    shard: int
    rows: int
    seconds: float
    host: str
    attempt: int
    job: str | None
    finished: str
    files: dict[str, dict[str, Any]]
    metrics: dict[str, Any] = field(default_factory=dict)

    def path(self, stage_dir: Path, role: str = "data") -> Path:
        """Absolute path of one of its files."""
        return stage_dir / self.files[role]["name"]


def receipt_path(stage_dir: Path, index: int) -> Path:
    return stage_dir / f"{shard_name(index)}{RECEIPT_SUFFIX}"


def read_receipt(stage_dir: Path, index: int) -> Receipt | None:
    """The receipt of a shard, or None if the shard is not done."""
    try:
        return Receipt(**read_json(receipt_path(stage_dir, index)))
    except FileNotFoundError:
        return None


def done_shards(stage_dir: Path, shards: int) -> set[int]:
    """Which shards have a receipt: one directory listing, whatever the number of shards."""
    found = set()
    if stage_dir.is_dir():
        for entry in os.scandir(stage_dir):
            if entry.name.startswith("shard-") and entry.name.endswith(RECEIPT_SUFFIX):
                found.add(int(entry.name[6 : -len(RECEIPT_SUFFIX)]))
    return {index for index in found if index < shards}


def missing_shards(run: Run, stage: str) -> set[int]:
    """Shards of a stage without a receipt; empty where the stage is done and used again."""
    shards = run.plan.stages[stage].shards
    return set(range(shards)) - done_shards(run.stage_dir(stage), shards)


@dataclass
class Task:
    """One shard of one stage of one run, as a stage's ``run`` sees it.

    Attributes:
        index: the shard, 0-based.
        attempt: 1 for the first try; from the scheduler's restart count where there is one.
        job: the scheduler's id of this task, if any.
    """

    run: Run
    stage: str
    index: int
    attempt: int = 1
    job: str | None = None
    started: float = field(default_factory=time.time)
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    _last_progress: float = 0.0

    @property
    def config(self) -> RunConfig:
        return self.run.config

    @property
    def dir(self) -> Path:
        """The stage's directory (shared by all its shards; made on first use)."""
        path = self.run.stage_dir(self.stage)
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def shards(self) -> int:
        return self.run.plan.stages[self.stage].shards

    @property
    def work_dir(self) -> Path:
        """A folder for checkpoints of this shard; it survives attempts and is removed by ``commit``'s caller when no
        longer needed.
        """
        path = self.dir / f"{shard_name(self.index)}.work"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def is_done(self) -> bool:
        return receipt_path(self.dir, self.index).exists()

    def output(self, suffix: str) -> Path:
        """A name for a file of this attempt, e.g. shard-00042.1f3c9a7e.parquet for ``.parquet``."""
        return self.dir / f"{shard_name(self.index)}.{self.token}{suffix}"

    def discard(self) -> None:
        """Remove what this attempt wrote beside the shard's checkpoints, after it failed."""
        self._sweep(lambda name: self.token in name)

    def progress(self, done: int, total: int, unit: str = "rows", **more: float) -> None:
        """Tell how far this shard is; written at most once a second, and when done."""
        now = time.time()
        if now - self._last_progress < 1.0 and done < total:
            return
        self._last_progress = now
        value = {"done": done, "total": total, "unit": unit, "time": now, "started": self.started, **more}
        path = self._progress_path
        temporary = path.with_name(f".{path.name}.{self.token}")
        # No fsync: progress is a courtesy, and a node's crash may lose it.
        temporary.write_text(json.dumps(value))
        os.replace(temporary, path)

    def input_receipts(self, stage: str) -> Iterator[tuple[Receipt, Path]]:
        """The receipts of an earlier stage, in shard order, each with that stage's directory.

        Raises:
            StageError: a shard is missing.
        """
        directory = self.run.stage_dir(stage)
        for index in range(self.run.plan.stages[stage].shards):
            receipt = read_receipt(directory, index)
            if receipt is None:
                raise StageError(f"{stage} shard {index} is not done: no {receipt_path(directory, index)}")
            yield receipt, directory

    def input_files(self, stage: str, role: str = "data", verify: bool = True) -> list[Path]:
        """Files of an earlier stage, in shard order, each checked against its receipt.

        Raises:
            CorruptShardError: a file is missing or its size or sha256 differs.
        """
        paths = []
        for receipt, directory in self.input_receipts(stage):
            path = receipt.path(directory, role)
            if verify:
                verify_file(path, receipt, role)
            paths.append(path)
        return paths

    def commit(self, files: dict[str, Path], rows: int, metrics: dict[str, Any] | None = None) -> bool:
        """Make this shard done.

        Args:
            files: role -> path; already written, below the stage's directory. The role of a single data file is
                ``data``.
            rows: rows of output.
            metrics: JSON-able numbers for the report.

        Returns:
            True if this attempt won; False if another had committed first (this one's files are removed then).
        """
        entries = {}
        try:
            for role, path in files.items():
                with open(path, "rb") as handle:
                    os.fsync(handle.fileno())
                entries[role] = {
                    "name": path.relative_to(self.dir).as_posix(),
                    "sha256": sha256_file(path),
                    "bytes": path.stat().st_size,
                }
        except FileNotFoundError:
            # Whoever committed meanwhile has removed the files of the attempts that lost.
            if self.is_done():
                return False
            raise
        receipt = Receipt(
            stage=self.stage,
            shard=self.index,
            rows=rows,
            seconds=round(time.time() - self.started, 3),
            host=os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
            attempt=self.attempt,
            job=self.job,
            finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            files=entries,
            metrics=metrics or {},
        )
        final = receipt_path(self.dir, self.index)
        temporary = final.with_name(f".{final.name}.{self.token}")
        write_json(temporary, receipt.__dict__)
        try:
            os.link(temporary, final)
        except (FileExistsError, FileNotFoundError):
            if not self.is_done():
                raise
            for path in files.values():
                if self.token in path.name:  # shared names belong to the winner too
                    path.unlink(missing_ok=True)
            self._progress_path.unlink(missing_ok=True)
            return False
        finally:
            temporary.unlink(missing_ok=True)
        directory = os.open(self.dir, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self._progress_path.unlink(missing_ok=True)
        if self.attempt > 1:
            # Of attempts that were killed. One that is still at work has lost: it finds the receipt when it commits.
            kept = {final.name, *(str(entry["name"]).partition("/")[0] for entry in entries.values())}
            self._sweep(lambda name: name not in kept)
        return True

    @property
    def _progress_path(self) -> Path:
        return self.dir / f"{shard_name(self.index)}.progress.json"

    def _sweep(self, unwanted: Callable[[str], bool]) -> None:
        """Remove files of this shard by name; not its folder of checkpoints."""
        stem = f"{shard_name(self.index)}."
        for entry in os.scandir(self.dir):
            name = entry.name
            if name.removeprefix(".").startswith(stem) and entry.is_file(follow_symlinks=False) and unwanted(name):
                Path(entry.path).unlink(missing_ok=True)


def verify_file(path: Path, receipt: Receipt, role: str = "data") -> None:
    """Check a committed file against its receipt.

    Raises:
        CorruptShardError: it is missing, or size or sha256 differ.
    """
    expected = receipt.files[role]
    name = f"{receipt.stage} shard {receipt.shard} ({path})"
    if not path.is_file():
        raise CorruptShardError(f"{name} is missing; remove its receipt and run `retry`")
    if path.stat().st_size != expected["bytes"]:
        raise CorruptShardError(
            f"{name} has {path.stat().st_size} bytes, its receipt says {expected['bytes']}; "
            "remove its receipt and run `retry`"
        )
    if sha256_file(path) != expected["sha256"]:
        raise CorruptShardError(f"{name} differs from its receipt's sha256; remove its receipt and run `retry`")
