"""Finds the drafts of a table that certainly pass the checks, in compiled code.

A filter in front of ``routenator.validation.checks``: every check in ``COVERED`` passes each draft that the filter
accepts (tests enforce this); the rest are undecided and go through the checks one by one. Where an exact answer would
be slow, the filter uses a cheaper, stricter condition; prefilter_kernel.py says why each is strict enough.

It is meant for drafts of the heuristic route, which makes three checks easy. By definition of ``contradicts``, the
words between a draft's slots name no other category. All of its words are the domain's own, so the language detector is
not used. And no prompt was involved whose text it could repeat.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from routenator.domain.calls import opening
from routenator.validation import checks
from routenator.validation.checks import Check, Context
from routenator.validation.prefilter_kernel import sure_rows
from routenator.validation.prefilter_rules import make_rules

# The checks that a row accepted by ``surely_accepted`` is certain to pass. Any other check, such as a new one, runs on
# every row; add it here only once the compiled half is at least as strict.
COVERED: frozenset[Check] = frozenset(
    {
        checks.empty,
        checks.too_long,
        checks.boilerplate,
        checks.markup,
        checks.prompt_echo,
        checks.quotes,
        checks.repetition,
        checks.language,
        checks.schema,
        checks.ungrounded,
        checks.contradicts,
        checks.length,
        checks.incomplete,
    }
)


def surely_accepted(details: pa.Table, context: Context) -> NDArray[np.bool_]:
    """Find the rows that certainly pass all covered checks with their draft as the query.

    Args:
        details: rows of ``DETAIL_COLUMNS``.
        context: as for ``first_failure``.

    Returns:
        Mask of shape (rows,); False means undecided.
    """
    if not details.num_rows:
        return np.zeros(0, dtype=np.bool_)
    if any(context.echoes(template) for template in pc.unique(details["template"]).to_pylist()):
        return np.zeros(details.num_rows, dtype=np.bool_)
    functions, languages = list(context.domain.functions), pc.unique(details["language"]).to_pylist()
    buckets = context.domain.statistics.length_buckets
    bounds = np.array(
        list(buckets.values()) if context.config.length else [(0, 1 << 30)] * len(buckets), dtype=np.int64
    )
    columns = [_bytes(details[name]) for name in ("draft", "slots", "calls")]
    ascii_only = not any(_has_others(data, ends) for data, ends in columns[:2])
    rules = make_rules(languages, context.config.language, context.domain.functions, ascii_only=ascii_only)

    def numbers(name: str, known: list[str]) -> NDArray[np.int64]:
        found = pc.index_in(details[name], value_set=pa.array(known, pa.string()))
        return found.fill_null(-1).to_numpy().astype(np.int64)

    function = numbers("function", functions)  # -1, and so undecided, for rows without a call or with several
    skipped = np.array([len(opening(name).encode()) for name in functions], dtype=np.int64)[function]
    rows = np.column_stack(
        [function, numbers("language", languages), bounds[numbers("length", list(buckets))], skipped]
    )
    mask: NDArray[np.bool_] = sure_rows(
        rules, np.ascontiguousarray(rows), *(part for column in columns for part in column)
    )
    return mask


def _bytes(column: pa.ChunkedArray) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Bytes and offsets of a string column, without a copy where possible; shapes (bytes,), (rows + 1,)."""
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[array.offset : array.offset + len(array) + 1]
    return np.frombuffer(data, dtype=np.uint8) if data is not None and data.size else np.zeros(1, dtype=np.uint8), ends


def _has_others(data: NDArray[np.uint8], ends: NDArray[np.int32]) -> bool:
    """Whether texts have bytes beyond ASCII."""
    return bool((data[ends[0] : ends[-1]] >= 0x80).any())
