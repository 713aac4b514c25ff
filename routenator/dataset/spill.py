"""The merge's scratch files: arrays by index, records partitioned by hash, and a check of the free disk space."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routenator.errors import InputError
from routenator.files import check_writable, nearest_folder

if TYPE_CHECKING:
    import numpy as np

# Bytes per candidate: decision 1, stratum 4, kept row 8, group 8, and 32 for the hashes that find duplicates.
ROW_BYTES = 53
MARGIN = 256 * 1024**2


def check_spill(folder: Path, key: str, rows: int, near_bytes: int) -> None:
    """Check that the folder for spill is writable and has enough free space.

    Args:
        folder: the folder.
        key: the config key that names it, for the message.
        rows: number of candidates.
        near_bytes: additional bytes per candidate for near-duplicates.

    Raises:
        InputError: it is not writable or too full.
    """
    check_writable(folder, key)
    needed = rows * (ROW_BYTES + near_bytes) + MARGIN
    free = shutil.disk_usage(nearest_folder(folder)).free
    if free < needed:
        raise InputError(
            f"not enough disk space for the merge of {rows:,} candidates",
            file=folder,
            key=key,
            found=f"{free / 1024**3:.2f} GiB free",
            expected=f"{needed / 1024**3:.2f} GiB; choose a folder on a larger disk",
        )


def new_array(path: Path, dtype: Any, rows: int) -> np.ndarray:
    """Create an array of zeros in a file, whose unused pages the kernel can evict from memory."""
    import numpy as np

    if rows == 0:
        np.zeros(0, dtype=dtype).tofile(path)
        return np.zeros(0, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="w+", shape=(rows,))


def old_array(path: Path, dtype: Any) -> np.ndarray:
    """Open the array in a file, read-only."""
    import numpy as np

    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype=dtype)


class Partitions:
    """Records partitioned by hash, with one file per partition; each file keeps the order of arrival.

    Args:
        folder: folder for the files; created if needed.
        name: prefix of the files' names.
        count: number of partitions, 1 to 512 (each is an open file).
        fields: numpy's description of a record, e.g. [("text", "u8"), ("index", "i8")].
    """

    def __init__(self, folder: Path, name: str, count: int, fields: list[tuple[str, str]]) -> None:
        import numpy as np

        folder.mkdir(parents=True, exist_ok=True)
        self.count = count
        self._dtype = np.dtype(fields)
        self._paths = [folder / f"{name}-{number:03d}.bin" for number in range(count)]
        self._files = [open(path, "wb") for path in self._paths]  # noqa: SIM115  (read() closes them)

    def sort(self, hashes: np.ndarray, **columns: np.ndarray) -> list[np.ndarray]:
        """Partition rows by hash: one array of records per partition, in the given order. Safe on any thread."""
        import numpy as np

        part = self.of(hashes)
        order = np.argsort(part, kind="stable")
        bounds = np.searchsorted(part[order], np.arange(self.count + 1))
        records = np.empty(len(hashes), dtype=self._dtype)
        for name, values in columns.items():
            records[name] = values[order]
        return [records[low:high] for low, high in pairwise(bounds)]

    def of(self, hashes: np.ndarray) -> np.ndarray:
        """Partition of each hash, by its upper 32 bits; uint16 of shape (rows,)."""
        import numpy as np

        part: np.ndarray = (((hashes >> np.uint64(32)) * np.uint64(self.count)) >> np.uint64(32)).astype(np.uint16)
        return part

    def append(self, parts: list[np.ndarray]) -> None:
        """Write the result of ``sort``."""
        for file, part in zip(self._files, parts, strict=True):
            if len(part):
                part.tofile(file)

    def close(self) -> None:
        """Close the files; ``take`` does so as well."""
        for file in self._files:
            file.close()

    def take(self) -> Iterator[np.ndarray]:
        """Yield each partition's records in turn, removing its file."""
        import numpy as np

        self.close()
        for path in self._paths:
            records = np.fromfile(path, dtype=self._dtype)
            path.unlink()
            yield records


def partition_count(rows: int, partition_rows: int) -> int:
    """Number of partitions that gives each about ``partition_rows`` rows."""
    return min(512, max(1, -(-rows // partition_rows)))
