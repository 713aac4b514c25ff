"""The merge's scratch on disk: arrays by index, records parted by a hash, and a check that there is room for them."""

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

# Bytes a candidate: decision 1, stratum 4, what was kept 8, group 8, and 32 for the hashes among which duplicates are
# found.
ROW_BYTES = 53
MARGIN = 256 * 1024**2


def check_spill(folder: Path, key: str, rows: int, near_bytes: int) -> None:
    """Whether the folder for spill can be written and has room for so many candidates.

    Args:
        key: the config key that names it, for the message.
        near_bytes: a candidate, for near-duplicates.

    Raises:
        InputError: no.
    """
    check_writable(folder, key)
    needed = rows * (ROW_BYTES + near_bytes) + MARGIN
    free = shutil.disk_usage(nearest_folder(folder)).free
    if free < needed:
        raise InputError(
            f"the merge of {rows} candidates has no room for its spill",
            file=folder,
            key=key,
            found=f"{free / 1024**3:.1f} GiB free",
            expected=f"{needed / 1024**3:.1f} GiB; name a folder on a larger disk",
        )


def new_array(path: Path, dtype: Any, rows: int) -> np.ndarray:
    """An array of zeros in a file: pages that were not used lately can leave memory."""
    import numpy as np

    if rows == 0:
        np.zeros(0, dtype=dtype).tofile(path)
        return np.zeros(0, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="w+", shape=(rows,))


def old_array(path: Path, dtype: Any) -> np.ndarray:
    """The array in a file, for reading."""
    import numpy as np

    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype=dtype)


class Partitions:
    """Records in one file a partition of a hash, each file in the order in which its records came.

    Args:
        folder: where; made if it is not there.
        name: begins the files' names.
        count: partitions, 1 to 512 (each is an open file).
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
        """Records of the columns, parted by hash: one array a partition, in the given order. Safe in any thread."""
        import numpy as np

        part = self.of(hashes)
        order = np.argsort(part, kind="stable")
        bounds = np.searchsorted(part[order], np.arange(self.count + 1))
        records = np.empty(len(hashes), dtype=self._dtype)
        for name, values in columns.items():
            records[name] = values[order]
        return [records[low:high] for low, high in pairwise(bounds)]

    def of(self, hashes: np.ndarray) -> np.ndarray:
        """uint16 of shape (rows,): the partition of each hash, by its upper bits."""
        import numpy as np

        part: np.ndarray = (((hashes >> np.uint64(32)) * np.uint64(self.count)) >> np.uint64(32)).astype(np.uint16)
        return part

    def append(self, parts: list[np.ndarray]) -> None:
        """Write what ``sort`` returned."""
        for file, part in zip(self._files, parts, strict=True):
            if len(part):
                part.tofile(file)

    def close(self) -> None:
        """Close the files; ``take`` does so, too."""
        for file in self._files:
            file.close()

    def take(self) -> Iterator[np.ndarray]:
        """Each partition's records in turn; its file is removed."""
        import numpy as np

        self.close()
        for path in self._paths:
            records = np.fromfile(path, dtype=self._dtype)
            path.unlink()
            yield records


def partition_count(rows: int, partition_rows: int) -> int:
    """How many partitions keep each at about so many rows."""
    return min(512, max(1, -(-rows // partition_rows)))
