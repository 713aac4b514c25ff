"""A task of a stage, and the receipt that marks its shard as done.

A shard is done if and only if its receipt exists. Each attempt writes its data under names of its own and fsyncs it;
the receipt comes last, by ``link(2)``, which fails if one exists; ``claim`` has the way for file systems without
links. So two concurrent attempts cannot mix: one wins as a whole, and the other removes what it wrote.
"""

from __future__ import annotations

import calendar
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from jobs.plan import Run
from routenator.config import RunConfig
from routenator.errors import CorruptShardError, InputError, StageError
from routenator.files import read_json, sha256_file, write_json
from routenator.locks import claim
from routenator.trust import make_folder, user_name

# Names of a shard's files: shard-NUMBER followed by one of these, or by .TOKEN.SUFFIX for the data of an attempt.
SHARD_PREFIX = "shard-"
RECEIPT_SUFFIX = ".receipt.json"
PROGRESS_SUFFIX = ".progress.json"
FAILURE_SUFFIX = ".failed.json"
WORK_SUFFIX = ".work"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"  # of receipts, UTC; sorting the text sorts by time


def shard_name(index: int) -> str:
    """Return the file stem of a shard: shard-00042."""
    return f"{SHARD_PREFIX}{index:05d}"


def receipt_path(stage_dir: Path, index: int) -> Path:
    return stage_dir / f"{shard_name(index)}{RECEIPT_SUFFIX}"


def work_path(stage_dir: Path, index: int) -> Path:
    """Return the folder of a shard's checkpoints."""
    return stage_dir / f"{shard_name(index)}{WORK_SUFFIX}"


def shard_files(folder: Path) -> Iterator[tuple[int, str, int]]:
    """Yield index, suffix and inode of each ``shard-NUMBER.*.json`` by one listing; nothing if there is no folder.

    Raises:
        InputError: this user may not read the folder.
    """
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    except PermissionError:
        raise InputError(
            "you may not read this run",
            file=folder,
            found=f"owner {user_name(folder.stat().st_uid)}, and no permission",
            expected="a run of yours, or of a group that shares its runs (shared_group in docs/security.md)",
        ) from None
    with entries:
        for entry in entries:
            name = entry.name
            if name.startswith(SHARD_PREFIX) and name.endswith(".json"):
                number, _, rest = name[len(SHARD_PREFIX) :].partition(".")
                if number.isdigit():
                    yield int(number), f".{rest}", entry.inode()


class Receipt(NamedTuple):
    """The record of a committed shard. A plain tuple, because status creates ten thousand of them.

    Attributes:
        files: role -> {"name", "sha256", "bytes"}; names are relative to the stage's directory.
        rows: rows of output.
        seconds: wall-clock seconds of the attempt that won.
        finished: when it was committed, in ``TIME_FORMAT``.
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
    metrics: dict[str, Any]

    @property
    def tokens(self) -> int:
        """Tokens that a model generated; 0 if the stage uses none."""
        return int(self.metrics.get("tokens", 0))

    def path(self, stage_dir: Path, role: str = "data") -> Path:
        """Absolute path of one of its files."""
        return stage_dir / str(self.files[role]["name"])

    def moment(self) -> float:
        """Return when it was committed, in whole seconds since the epoch."""
        return float(calendar.timegm(time.strptime(self.finished, TIME_FORMAT)))


def read_receipt(stage_dir: Path, index: int) -> Receipt | None:
    """Return the receipt of a shard, or None if the shard is not done."""
    try:
        return Receipt(**read_json(receipt_path(stage_dir, index)))
    except FileNotFoundError:
        return None


def done_shards(stage_dir: Path, shards: int) -> set[int]:
    """Return the shards that have a receipt, from one directory listing."""
    return {index for index, suffix, _ in shard_files(stage_dir) if suffix == RECEIPT_SUFFIX and index < shards}


def missing_shards(run: Run, stage: str) -> set[int]:
    """Return the shards of a stage without a receipt; empty if the stage is done or reused."""
    shards = run.plan.stages[stage].shards
    return set(range(shards)) - done_shards(run.stage_dir(stage), shards)


@dataclass
class Task:
    """One attempt at one shard of a stage, as a stage's ``run`` sees it.

    Attributes:
        index: the shard, 0-based.
        attempt: 1 for the first attempt; includes the scheduler's restart count if there is one.
        job: the scheduler's id of this task, if any.
        token: random part of this attempt's file names.
    """

    run: Run
    stage: str
    index: int
    attempt: int = 1
    job: str | None = None
    started: float = field(default_factory=time.time)
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    _last_progress: float = 0.0
    _doing: str = ""

    @property
    def config(self) -> RunConfig:
        return self.run.config

    @property
    def dir(self) -> Path:
        """The stage's directory, shared by all its shards and created on first use."""
        path = self.run.stage_dir(self.stage)
        make_folder(path, self.config.shared_group)
        return path

    @property
    def shards(self) -> int:
        return self.run.plan.stages[self.stage].shards

    @property
    def work_dir(self) -> Path:
        """Folder for checkpoints of this shard; survives attempts. ``commit``'s caller removes it when it is done."""
        path = work_path(self.dir, self.index)
        path.mkdir(exist_ok=True)
        return path

    def is_done(self) -> bool:
        return receipt_path(self.dir, self.index).exists()

    def output(self, suffix: str) -> Path:
        """Return a file name unique to this attempt, e.g. shard-00042.1f3c9a7e.parquet for ``.parquet``."""
        return self.dir / f"{shard_name(self.index)}.{self.token}{suffix}"

    def discard(self) -> None:
        """Remove the files of this failed attempt, but not the shard's checkpoints."""
        self._sweep(lambda name: self.token in name)

    def progress(self, done: int, total: int, unit: str = "rows", doing: str = "", **more: float) -> None:
        """Report progress, at most once a second, when done, and when the task turns to something else.

        Args:
            done, total: of the unit.
            doing: what the task does meanwhile, for people: "loading the engine".
            more: further numbers, as ``slurm.watching.stagefiles`` reads them.
        """
        now = time.time()
        if now - self._last_progress < 1.0 and done < total and doing == self._doing:
            return
        self._last_progress, self._doing = now, doing
        value: dict[str, Any] = {"done": done, "total": total, "unit": unit, "time": now, "started": self.started}
        value |= {**({"doing": doing} if doing else {}), **more}
        path = self._progress_path
        temporary = path.with_name(f".{path.name}.{self.token}")
        # No fsync: progress is only informative and may be lost in a crash. The rename keeps readers from seeing half.
        temporary.write_text(json.dumps(value))
        os.replace(temporary, path)

    def input_receipts(self, stage: str) -> Iterator[tuple[Receipt, Path]]:
        """Yield the receipts of an earlier stage, in shard order, each with that stage's directory.

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
        """Return files of an earlier stage, in shard order, each checked against its receipt.

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
        """Mark this shard as done.

        The order matters, because a task may be killed between any two steps: fsync the data, fsync the receipt under a
        temporary name, link it to its final name, fsync the directory. Until the link there is only data that nothing
        refers to; from the link on the shard is done, and everything that the receipt names is on disk.

        Args:
            files: role -> path of files already written below the stage's directory. A single data file has the role
                ``data``.
            rows: rows of output.
            metrics: JSON-compatible numbers for the report.

        Returns:
            True if this attempt won; False if another committed first, in which case this one's files are removed.
        """
        entries = {}
        try:
            for role, path in files.items():
                # A crash of the node must not leave a receipt whose data never left the page cache.
                with open(path, "rb") as handle:
                    os.fsync(handle.fileno())
                entries[role] = {
                    "name": path.relative_to(self.dir).as_posix(),
                    "sha256": sha256_file(path),
                    "bytes": path.stat().st_size,
                }
        except FileNotFoundError:
            # The attempt that committed meanwhile has removed the files of those that lost.
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
            finished=time.strftime(TIME_FORMAT, time.gmtime()),
            files=entries,
            metrics=metrics or {},
        )
        final = receipt_path(self.dir, self.index)
        temporary = final.with_name(f".{final.name}.{self.token}")
        write_json(temporary, receipt._asdict())
        try:
            # Not rename(2), which would replace the winner's receipt.
            claim(temporary, final)
        except (FileExistsError, FileNotFoundError):  # FileNotFoundError: the winner has swept our temporary file away
            if not self.is_done():
                raise
            for path in files.values():
                if self.token in path.name:  # a file under a shared name is the winner's too
                    path.unlink(missing_ok=True)
            self._progress_path.unlink(missing_ok=True)
            return False
        finally:
            temporary.unlink(missing_ok=True)
        # The link itself is an entry of the directory, so that must reach the disk too.
        directory = os.open(self.dir, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self._progress_path.unlink(missing_ok=True)
        if self.attempt > 1:
            # Remove what killed attempts left. One that is still running has lost: it will find the receipt when it
            # commits. A first attempt has nobody before it, so it saves the listing.
            kept = {final.name, *(str(entry["name"]).partition("/")[0] for entry in entries.values())}
            self._sweep(lambda name: name not in kept)
        return True

    @property
    def _progress_path(self) -> Path:
        return self.dir / f"{shard_name(self.index)}{PROGRESS_SUFFIX}"

    def _sweep(self, unwanted: Callable[[str], bool]) -> None:
        """Remove files of this shard by name, but not its folder of checkpoints."""
        stem = f"{shard_name(self.index)}."
        for entry in os.scandir(self.dir):
            name = entry.name
            if name.removeprefix(".").startswith(stem) and entry.is_file(follow_symlinks=False) and unwanted(name):
                Path(entry.path).unlink(missing_ok=True)


def verify_file(path: Path, receipt: Receipt, role: str = "data") -> None:
    """Check a committed file against its receipt.

    Raises:
        CorruptShardError: it is missing, or its size or sha256 differs.
    """
    expected = receipt.files[role]
    name = f"{receipt.stage} shard {receipt.shard} ({path})"
    if not path.is_file():
        raise CorruptShardError(f"{name} is missing; remove its receipt and run `retry`")
    if path.stat().st_size != expected["bytes"]:
        raise CorruptShardError(
            f"{name} has {path.stat().st_size} bytes, but its receipt says {expected['bytes']}; "
            "remove its receipt and run `retry`"
        )
    if sha256_file(path) != expected["sha256"]:
        raise CorruptShardError(f"{name} differs from its receipt's sha256; remove its receipt and run `retry`")
