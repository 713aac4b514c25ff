"""Estimates how much a stage will write, and explains a full disk: which file, which disk, how much is needed."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Sequence
from math import ceil
from pathlib import Path

from jobs.plan import Run
from jobs.stages import EXAMPLE_BYTES, STAGES, Volume
from routenator.config import RunConfig
from routenator.dataset.export import FORMATS
from routenator.errors import StageError
from routenator.place import command_line

_CODES = (errno.ENOSPC, errno.EDQUOT)
# Native libraries raise errors of their own types, with the system's message in them.
_WORDS = tuple(os.strerror(code) for code in _CODES)


class DiskFullError(StageError):
    """The disk or quota is full where a stage writes."""


class Reserve:
    """A small file that reserves space on the disk, so that a full disk can still be reported.

    Logs and failure records often lie on the same disk as the data. Once it is full, they could not be written and the
    task would fail without a reason. Deleting this file makes room for them.

    Args:
        file: path of the file, unique to this task.
    """

    BYTES = 32 * 1024

    def __init__(self, file: Path) -> None:
        self._file = file
        # If the disk is full already, there is nothing to reserve.
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            # A killed attempt leaves its file. Where others may write too, the name may also be a link of theirs to a
            # file of mine, which would grow. So the name is removed, and only a new file is opened.
            file.unlink(missing_ok=True)
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            try:
                # Not a truncate: that would make a hole, which takes no space.
                os.posix_fallocate(handle, 0, self.BYTES)
            finally:
                os.close(handle)

    def __enter__(self) -> Reserve:
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()

    def give_back(self) -> None:
        """Free the space. Safe to repeat."""
        self._file.unlink(missing_ok=True)


def is_full(error: BaseException) -> bool:
    """Whether an error means that a disk or a quota is full."""
    return (isinstance(error, OSError) and error.errno in _CODES) or any(word in str(error) for word in _WORDS)


def disk_full(error: BaseException, folder: Path, need_bytes: int, run: Path) -> DiskFullError:
    """Return an error that explains a full disk.

    Args:
        error: an error for which ``is_full`` holds.
        folder: the folder where the stage writes.
        need_bytes: estimated size of the shard; 0 if unknown.
        run: the run to retry.
    """
    named = getattr(error, "filename", None)
    file = Path(os.fsdecode(named)) if isinstance(named, str | bytes) else folder
    disk = mount_of(file)
    usage, inodes = shutil.disk_usage(disk), os.statvfs(disk)
    state = f"{size(usage.free)} of {size(usage.total)} free"
    if isinstance(error, OSError) and error.errno == errno.EDQUOT:
        state += ", but your quota there is used up"
    elif inodes.f_files and not inodes.f_favail:
        state += ", but no inodes"
    need = f"; this shard needs about {size(need_bytes)}" if need_bytes else ""
    return DiskFullError(
        f"no space to write {file}: disk {disk} has {state}{need}. Free some space, then: {command_line('retry', run)}"
    )


def mount_of(path: Path) -> Path:
    """Return the mount point of the file system that holds a path."""
    path = Path(os.path.abspath(path))
    while path != path.parent and not os.path.ismount(path):
        path = path.parent
    return path


def size(count: int) -> str:
    """Format a number of bytes: ``1.5 GiB``."""
    value, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.0f} {units[0]}" if units[0] == "bytes" else f"{value:.1f} {units[0]}"


def estimate_bytes(config: RunConfig, tools_bytes: int, requested: Sequence[int] | None = None) -> dict[str, int]:
    """Estimate the bytes that each stage will write: rows times measured bytes per row.

    A request becomes a parquet row, then a candidate (its columns again, query and raw reply). Of the candidates
    ``dataset.size`` become examples: parquet, and one JSON line in each format, which repeats the API; a table
    holds it once.

    Args:
        tools_bytes: bytes of the API as JSON.
        requested: rows of each stratum, if the plan has its own numbers.
    """
    size = config.dataset.size
    routes = config.generate.routes
    factors = config.generate.oversample
    used = (
        [factors.get(route, 1.0) for route, share in routes.items() if share > 0] if routes else list(factors.values())
    )
    requests = int(size * max(used, default=1.0)) if requested is None else sum(requested)
    formats = config.merge.formats
    example = EXAMPLE_BYTES * (1 + len(formats)) + tools_bytes * sum(bool(FORMATS[name].lines) for name in formats)
    volume = Volume(requests, ceil(requests * config.generate.refill), size, example)
    return {name: stage.disk_bytes(volume) for name, stage in STAGES.items()}


def shard_bytes(run: Run, stage: str) -> int:
    """Estimate the bytes that one shard of a stage will write."""
    tools = (run.domain_dir / "functions.json").stat().st_size
    return round(estimate_bytes(run.config, tools, run.plan.requested)[stage] / run.plan.stages[stage].shards)
