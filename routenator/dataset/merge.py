"""Decides which candidates become examples: leakage, duplicates, conflicts, near-duplicates, ambiguity, exact quotas.

Every candidate gets one ``Decision``. Each shard is read once to hash its queries (``hashing``). Hashes go to disk in
partitions by a hash that equal queries share, so duplicates are always in the same partition, and each partition is
sorted by itself. Quotas are filled in index order. Arrays by index (decision, stratum, kept row, group) are memory-
mapped files. So memory holds only a few blocks and partitions per core, whatever the number of rows.

Hashes have 64 bits: among n different queries, the probability that any two collide and are taken for the same is about
n**2 / 2**65, or 3% at 10**9.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from routenator.dataset import ambiguity as ambiguities
from routenator.dataset import hashing, near
from routenator.dataset.ambiguity import Ambiguity
from routenator.dataset.calls import single_arguments
from routenator.dataset.decisions import DROPPED, KEPT, Decision, Decisions
from routenator.dataset.quotas import fill_quotas
from routenator.dataset.sources import BLOCK_ROWS, Source, blocks, open_sources, ordered_map, stream
from routenator.dataset.spill import Partitions, partition_count
from routenator.errors import StageError

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

__all__ = ["BLOCK_ROWS", "DROPPED", "KEPT", "Decision", "Decisions", "Source", "blocks", "decide", "open_sources"]

PARTITION_ROWS = 2_000_000  # candidates whose hashes each core sorts at once; 64 MB of records
_RECORD = [("text", "u8"), ("bag", "u8"), ("call", "u8"), ("index", "i8")]

Near = Literal["off", "bag", "minhash"]
Progress = Callable[[int, int], None]


@dataclass
class _Look:
    """The result of a block's first pass, computed on any thread."""

    low: int
    codes: np.ndarray
    strata: np.ndarray
    groups: np.ndarray
    records: list[np.ndarray]


def decide(
    sources: Sequence[Source],
    strata: Sequence[dict[str, Any]],
    golden: Sequence[str],
    work_dir: Path,
    *,
    near_duplicates: Near = "bag",
    near_threshold: float = 0.8,
    ambiguity: Ambiguity | None = None,
    seed: int = 0,
    backfill: bool = True,
    block_rows: int = BLOCK_ROWS,
    partition_rows: int = PARTITION_ROWS,
    progress: Progress = lambda done, total: None,
) -> Decisions:
    """Decide on every candidate; a pure function of the candidates, however they are divided into files.

    Args:
        sources: from ``open_sources``.
        strata: rows of strata.json; row i is stratum i.
        golden: golden queries; candidates with the same or nearly the same words are dropped.
        work_dir: folder for spill, see ``spill.ROW_BYTES``; the decisions' own files stay in its folder ``decisions``.
        near_duplicates: ``bag`` drops queries that differ from an earlier one only in word order; ``minhash`` also
            drops those that are similar by ``near``; ``off`` keeps all, but puts those that ``bag`` would drop on the
            same side of the split.
        near_threshold: Jaccard similarity, for ``minhash``.
        ambiguity: if given, also drop rows whose nearest queries belong to another function.
        seed: the plan's seed, for the groups.
        backfill: fill deficits from surplus of the same function, category, length and language.
        block_rows: candidates in memory at once, on each core.
        partition_rows: candidates whose hashes are sorted at once, on each core.
        progress: called with (candidates done, candidates), counting all passes.

    Raises:
        StageError: a candidate of an unknown stratum, a missing or repeated index, an unreadable file.
    """
    import numpy as np

    total = sum(source.rows for source in sources)
    passes = count_passes(near_duplicates, ambiguity is not None)
    decisions = Decisions.new(work_dir / "decisions", total, len(strata))
    parts = Partitions(work_dir, "hashes", partition_count(total, partition_rows), _RECORD)
    first_look = _FirstLook(strata, golden, seed, parts)
    for look in ordered_map(
        first_look, stream(sources, ("stratum", "accepted", "query", "calls", "today"), block_rows)
    ):
        part = slice(look.low, look.low + len(look.codes))
        decisions.codes[part], decisions.strata[part], decisions.groups[part] = look.codes, look.strata, look.groups
        parts.append(look.records)
        progress(part.stop, passes * total)
    pairs = []
    for repeats in ordered_map(_repeats, parts.take()):
        decisions.kept[repeats.index] = repeats.kept
        decisions.codes[repeats.index] = repeats.codes
        if near_duplicates == "off":
            pairs.append(np.stack([decisions.groups[repeats.near], decisions.groups[repeats.near_kept]]))
        else:
            decisions.kept[repeats.near] = repeats.near_kept
            decisions.codes[repeats.near] = np.uint8(Decision.NEAR_DUPLICATE)
    if pairs:
        decisions.joined_groups = join_groups(np.concatenate(pairs, axis=1))

    def further(begun: int) -> Progress:
        return lambda done, steps: progress(begun * total + done * total // max(1, steps), passes * total)

    if near_duplicates == "minhash":
        near.drop(sources, decisions, golden, near_threshold, work_dir, block_rows, further(1))
    if ambiguity is not None:
        ambiguities.mark(sources, strata, decisions, ambiguity, seed, block_rows, further(passes - 1))
    fill_quotas(decisions, strata, backfill, block_rows)
    for low, high in blocks(total, block_rows):
        cells = decisions.strata[low:high].astype(np.int64) * len(Decision) + decisions.codes[low:high]
        decisions.table += np.bincount(cells, minlength=decisions.table.size).reshape(decisions.table.shape)
    return decisions


def count_passes(near_duplicates: Near, ambiguity: bool) -> int:
    """Number of passes in the progress of ``decide``."""
    return 1 + (near_duplicates == "minhash") + ambiguity


class _FirstLook:
    """Finds rejections and leakage in a block, and hashes its queries. Its calls run on several threads."""

    def __init__(self, strata: Sequence[dict[str, Any]], golden: Sequence[str], seed: int, parts: Partitions) -> None:
        import polars as pl

        names = sorted({str(row["function"]) for row in strata})
        self._strata = len(strata)
        self._functions = hashing.name_hashes(names)[[names.index(str(row["function"])) for row in strata]]
        calls = [row.get("calls", 1) for row in strata]
        self._rows = pl.DataFrame({"function": [str(row["function"]) for row in strata], "number": calls})
        # Rows without a call, or with one without arguments, are grouped by their query: otherwise all rows of such a
        # function would be on one side of the split.
        single = single_arguments(names)
        content = pl.when(pl.col("number") > 1).then("calls").otherwise("query")
        self._content = pl.when((pl.col("number") == 1) & (single != "{}")).then(single).otherwise(content)
        self._golden = hashing.hash_queries(pl.Series(list(golden), dtype=pl.String))
        self._seed = seed
        self._parts = parts

    def __call__(self, block: tuple[int, pl.DataFrame]) -> _Look:
        import numpy as np

        low, frame = block
        strata = frame["stratum"].to_numpy()
        if frame["stratum"].null_count() or strata.min() < 0 or strata.max() >= self._strata:
            wrong = (frame["stratum"].is_null() | ~frame["stratum"].is_between(0, self._strata - 1)).arg_max() or 0
            raise StageError(
                f"candidate {low + wrong} has stratum {frame['stratum'][wrong]}, but there are {self._strata} strata"
            )
        functions = self._functions[strata]
        hashes = hashing.hash_queries(frame["query"])
        # The strongest reason is written last, over weaker ones.
        codes = np.zeros(frame.height, dtype=np.uint8)
        codes[np.isin(hashes.bag, self._golden.bag)] = Decision.GOLDEN_NEAR_LEAK
        codes[np.isin(hashes.text, self._golden.text)] = Decision.GOLDEN_LEAK
        codes[~frame["accepted"].fill_null(False).to_numpy()] = Decision.REJECTED
        pending = np.flatnonzero(codes == Decision.PENDING)
        # The same words on another day are another query. Polars' hash will do for days and calls: it only tells
        # queries apart, and duplicates from conflicts, within this merge.
        if frame["today"].null_count() < frame.height:
            day = np.where(frame["today"].is_null().to_numpy(), 0, frame["today"].hash(seed=3).to_numpy())
            hashes = hashing.Hashes(hashes.text ^ day, hashes.bag ^ day)
        call = frame["calls"].hash(seed=2).to_numpy()
        records = self._parts.sort(
            hashes.bag[pending],
            text=hashes.text[pending],
            bag=hashes.bag[pending],
            call=call[pending],
            index=pending + low,
        )
        keyed = frame.select("calls", "query").hstack(self._rows[strata])
        groups = hashing.group_hashes(functions, keyed.select(self._content).to_series(), self._seed)
        return _Look(low, codes, strata, groups, records)


@dataclass
class _Repeats:
    """Rows with the words of an earlier row.

    Attributes:
        index: rows with the same words in the same order.
        kept: the earlier row of each.
        codes: the decision on each.
        near: rows with the same words in a different order.
        near_kept: the earlier row of each.
    """

    index: np.ndarray
    kept: np.ndarray
    codes: np.ndarray
    near: np.ndarray
    near_kept: np.ndarray


def _repeats(records: np.ndarray) -> _Repeats:
    """Find the repeats in one partition, whose records are in index order; the lowest index of each query stays."""
    import numpy as np

    order, first = first_of(records["text"])
    again = order != first
    rows, leaders = records[order[again]], records[first[again]]
    codes = np.where(rows["call"] == leaders["call"], np.uint8(Decision.DUPLICATE), np.uint8(Decision.CONFLICT))
    rest = records[np.sort(order[~again])]
    order, first = first_of(rest["bag"])
    again = order != first
    return _Repeats(rows["index"], leaders["index"], codes, rest["index"][order[again]], rest["index"][first[again]])


def first_of(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the first row with the same value, for each row.

    Returns:
        (positions sorted by value, then position; for each of these, the first position with the same value).
    """
    import numpy as np

    order = np.argsort(values, kind="stable")
    ordered = values[order]
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    return order, order[np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))] if len(order) else order


def join_groups(pairs: np.ndarray) -> np.ndarray:
    """Merge the two groups of every pair: each group counts as the smallest of its connected component.

    Args:
        pairs: uint64 of shape (2, pairs).

    Returns:
        uint64 of shape (2, groups): groups, sorted, and what they count as; omits groups that stay themselves.
    """
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    groups, number = np.unique(pairs, return_inverse=True)
    if not len(groups):
        return np.zeros((2, 0), dtype=np.uint64)
    left, right = number.reshape(pairs.shape)
    edges = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(len(groups), len(groups)))
    component = connected_components(edges, directed=False)[1]
    least = np.full(component.max() + 1, len(groups), dtype=np.int64)
    np.minimum.at(least, component, np.arange(len(groups)))
    target = groups[least[component]]
    return np.stack([groups[target != groups], target[target != groups]])
