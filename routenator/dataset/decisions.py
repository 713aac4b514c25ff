"""The merge's decision on every candidate, with the data behind it, by index."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routenator.dataset.spill import new_array, old_array
from routenator.files import read_json, write_json

if TYPE_CHECKING:
    import numpy as np


class Decision(enum.IntEnum):
    """The outcome of a candidate. The names in lower case are the reasons in rejected.parquet."""

    PENDING = 0
    FINAL = 1
    BACKFILLED = 2
    REJECTED = 3  # by a check of the generate stage, whose reason is kept
    GOLDEN_LEAK = 4  # has a golden query's words in the same order
    DUPLICATE = 5
    CONFLICT = 6  # a duplicate with a different call
    NEAR_DUPLICATE = 7
    SURPLUS = 8
    GOLDEN_NEAR_LEAK = 9  # a near-duplicate of a golden query
    AMBIGUOUS = 10  # its nearest queries belong to another function

    @property
    def reason(self) -> str:
        return self.name.lower()


KEPT = (Decision.FINAL, Decision.BACKFILLED)
DROPPED = (
    Decision.GOLDEN_LEAK, Decision.GOLDEN_NEAR_LEAK, Decision.DUPLICATE, Decision.CONFLICT, Decision.NEAR_DUPLICATE,
    Decision.AMBIGUOUS, Decision.SURPLUS,
)  # fmt: skip
REPLACED = (Decision.DUPLICATE, Decision.CONFLICT, Decision.NEAR_DUPLICATE)  # dropped in favour of an earlier row
# Explanations of the merge's reasons; routenator/generation/reasons.py has all reasons.
MEANINGS: dict[Decision, str] = {
    Decision.GOLDEN_LEAK: "has the words of a golden query, ignoring case and most punctuation",
    Decision.GOLDEN_NEAR_LEAK: "is nearly the same as a golden query",
    Decision.DUPLICATE: "has the words and the call of an earlier row, ignoring case and most punctuation",
    Decision.CONFLICT: "has the words of an earlier row, ignoring case and most punctuation, but a different call",
    Decision.NEAR_DUPLICATE: "is nearly the same as an earlier row",
    Decision.AMBIGUOUS: "its nearest queries belong to another function",
    Decision.SURPLUS: "nothing is wrong with it, but its stratum's quota is already full",
}
CODES = "codes.bin"  # the file of ``Decisions.codes``
NAMED = 3  # how many neighbours of another function an ambiguous row's detail names


@dataclass
class Decisions:
    """The decision on every candidate. The arrays by index are files in ``folder``, mapped into memory.

    Attributes:
        folder: holds the files.
        codes: uint8 of shape (candidates,), a ``Decision`` each, by index.
        strata: int32 of shape (candidates,), by index.
        kept: int64 of shape (candidates,): for a duplicate, conflict or near-duplicate, the index of the earlier row
            that it repeats.
        groups: uint64 of shape (candidates,): rows of one group go to the same side of the split; read them through
            ``group_of``, which applies ``joined_groups``.
        joined_groups: uint64 of shape (2, n): groups that near-duplicates connect, and the group that each counts as;
            sorted.
        neighbours: int64 of shape (ambiguous rows, 3 + NAMED), sorted: a row's index, how many of its neighbours belong
            to another function, of how many, and the indices of the nearest of these, padded with -1.
        table: int64 of shape (strata, decisions): how many candidates of each stratum got each decision.
        deficits: one row for each stratum that did not fill its quota by itself.
    """

    folder: Path
    codes: np.ndarray
    strata: np.ndarray
    kept: np.ndarray
    groups: np.ndarray
    joined_groups: np.ndarray
    neighbours: np.ndarray
    table: np.ndarray
    deficits: list[dict[str, Any]] = field(default_factory=list)

    @staticmethod
    def new(folder: Path, rows: int, strata: int) -> Decisions:
        """Create the files, with every candidate pending."""
        import numpy as np

        folder.mkdir(parents=True, exist_ok=True)
        return Decisions(
            folder,
            codes=new_array(folder / CODES, np.uint8, rows),
            strata=new_array(folder / "strata.bin", np.int32, rows),
            kept=new_array(folder / "kept.bin", np.int64, rows),
            groups=new_array(folder / "groups.bin", np.uint64, rows),
            joined_groups=np.zeros((2, 0), dtype=np.uint64),
            neighbours=np.zeros((0, 3 + NAMED), dtype=np.int64),
            table=np.zeros((strata, len(Decision)), dtype=np.int64),
        )

    def save(self) -> None:
        """Write everything to the folder; ``load`` restores it."""
        import numpy as np

        for array in (self.codes, self.strata, self.kept, self.groups):
            if isinstance(array, np.memmap):
                array.flush()
        np.save(self.folder / "joined_groups.npy", self.joined_groups)
        np.save(self.folder / "neighbours.npy", self.neighbours)
        np.save(self.folder / "table.npy", self.table)
        write_json(self.folder / "deficits.json", self.deficits)

    @staticmethod
    def load(folder: Path, stem: str = "") -> Decisions:
        """Read what ``save`` wrote.

        Args:
            folder: holds the files.
            stem: what their names begin with, if they were copied.
        """
        import numpy as np

        def file(name: str) -> Path:
            return folder / f"{stem}{name}"

        return Decisions(
            folder,
            codes=old_array(file(CODES), np.uint8),
            strata=old_array(file("strata.bin"), np.int32),
            kept=old_array(file("kept.bin"), np.int64),
            groups=old_array(file("groups.bin"), np.uint64),
            joined_groups=np.load(file("joined_groups.npy")),
            neighbours=np.load(file("neighbours.npy")),
            table=np.load(file("table.npy")),
            deficits=read_json(file("deficits.json")),
        )

    def group_of(self, low: int, high: int) -> np.ndarray:
        """Return the groups of a range of candidates; uint64 of shape (high - low,)."""
        import numpy as np

        groups = np.array(self.groups[low:high])
        if self.joined_groups.shape[1]:
            place = np.minimum(np.searchsorted(self.joined_groups[0], groups), self.joined_groups.shape[1] - 1)
            found = self.joined_groups[0, place] == groups
            groups[found] = self.joined_groups[1, place[found]]
        return groups

    def count(self, decision: Decision) -> int:
        """Number of candidates with a decision."""
        return int(self.table[:, decision].sum())

    def per_stratum(self, decisions: Iterable[Decision]) -> list[int]:
        """Number of candidates of each stratum with any of these decisions."""
        return [int(number) for number in self.table[:, list(decisions)].sum(axis=1)]
