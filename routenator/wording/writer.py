"""Runs the compiled loop on a domain's compiled grammars and returns Arrow strings."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from routenator.domain.calls import CLOSING, opening
from routenator.domain.domain import Domain
from routenator.domain.schema import NO_CATEGORY
from routenator.sampling.philox import uniforms
from routenator.sampling.records import RecordIndex
from routenator.sampling.walk import Graph, walk_words
from routenator.wording.kernel import compose
from routenator.wording.program import Compiled, Compiler

Ints = NDArray[np.int64]
ANY_POSITION = (-1, -1)  # thresholds of a row whose category word may be anywhere
_ANY_LENGTH = (1, 1 << 30)
STREAM_TODAY = 44  # of random decisions; distinct from those of the composer, others.py and the sampler


class Words(NamedTuple):
    """Texts of many rows.

    Attributes:
        query: Arrow strings.
        slots, arguments, path: JSON objects, Arrow strings.
        facts: number of words; the third that the category word is in (-1 if it does not occur); the number of words as
            counted on pieces, and how many of those were in doubt; shape (n, 4).
    """

    query: pa.Array
    slots: pa.Array
    arguments: pa.Array
    path: pa.Array
    facts: Ints


def one_call(functions: pa.Array, arguments: pa.Array) -> pa.Array:
    """Text of a single call for each row, from the function's name and the JSON text of the arguments."""
    names = functions.dictionary_encode()
    openings = pa.array([opening(name) for name in names.dictionary.to_pylist()], pa.string()).take(names.indices)
    return pc.binary_join_element_wise(openings, arguments, CLOSING, "")


def one_slots(slots: pa.Array) -> pa.Array:
    """Slots of a single call for each row: a JSON list with that one object."""
    return pc.binary_join_element_wise("[", slots, "]", "")


def days_of(domain: Domain, seeds: Ints) -> Ints:
    """Number of each row's day among those that its today can be, shape (n,); zeros if the domain states none."""
    if domain.today is None:
        return np.zeros(len(seeds), dtype=np.int64)
    return (uniforms(seeds, STREAM_TODAY) * domain.today.count).astype(np.int64)


def _writable(values: NDArray[Any], dtype: type) -> NDArray[Any]:
    """Copy an array that cannot be written to, such as one of Arrow's: numba compiles a loop for each kind of array."""
    return np.require(values, dtype, ["C", "W"])


class Writer:
    """Writes words for rows of one domain.

    Args:
        domain: the domain.
        tries: how often a query is drawn to find one that fits.
    """

    def __init__(self, domain: Domain, tries: int) -> None:
        self.domain, self.tries = domain, tries
        self.graph = Graph(domain)
        self.compiled: Compiled = Compiler(domain, self.graph).compile()

    def write(self, seeds: Ints, rows: Ints, starts: Ints, walks: NDArray[np.int32], days: Ints | None = None) -> Words:
        """Write the words of each row.

        Args:
            seeds: shape (n,).
            rows: function, record (-1 for none), 1 if the row has a category, node of its template, lowest and highest
                number of words, two thresholds of its target position (-1 for none); shape (n, 8). Function and node
                are numbers of ``compiled``.
            starts: where each row's walk begins in ``walks``, shape (n + 1,).
            walks: node positions within their types.
            days: number of each row's day, see ``days_of``; None: as the rows' seeds say.
        """
        days = days_of(self.domain, seeds) if days is None else days
        languages = self.compiled.language[rows[:, 3]]
        # Sort rows by template, so that its part of the tables stays in the CPU cache.
        order = np.argsort(rows[:, 3], kind="stable")
        *texts, ends, facts = compose(
            self.compiled.program, self.compiled.work, _writable(seeds, np.int64),
            _writable(np.column_stack([rows, languages, days]), np.int64),
            _writable(starts, np.int64), _writable(walks, np.int32), order, self.tries,
        )  # fmt: skip
        back = np.empty(len(order), dtype=np.int64)
        back[order] = np.arange(len(order))
        strings = [
            pa.StringArray.from_buffers(len(seeds), pa.py_buffer(end), pa.py_buffer(text)).take(pa.array(back))
            for end, text in zip(ends, texts, strict=True)
        ]
        query, slots, arguments, path = strings
        return Words(query, slots, arguments, path, facts)

    def draw(
        self,
        function: str,
        seeds: Ints,
        categories: NDArray[Any],
        roots: Ints,
        bounds: Any = _ANY_LENGTH,
        target: tuple[int, int] = ANY_POSITION,
        records: RecordIndex | None = None,
        days: Ints | None = None,
    ) -> Words:
        """Draw walks and write their words; by default of any length and with no target position.

        Args:
            function: name.
            seeds: shape (n,).
            categories: the walks' categories, strings, shape (n,).
            roots: the templates' nodes, shape (n,).
            bounds: lowest and highest number of words, shape (2,) or (n, 2).
            target: the two thresholds of the target position.
            records: joins a metadata record to each walk; None: no row has one.
            days: as for ``write``.
        """
        count = len(seeds)
        walks = self.graph.walks(function, seeds, categories)
        rows = np.empty((count, 8), dtype=np.int64)
        rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3] = (
            self.compiled.function[function],
            -1 if records is None else self._joined(function, seeds, categories, walks, records),
            categories != NO_CATEGORY,
            roots,
        )
        rows[:, 4:6], rows[:, 6:] = bounds, target
        return self.write(seeds, rows, np.arange(count + 1) * walks.shape[1], walks.ravel().astype(np.int32), days)

    def _joined(
        self, function: str, seeds: Ints, categories: NDArray[Any], walks: Ints, records: RecordIndex
    ) -> NDArray[np.int32]:
        blocks = np.array([records.number.get(str(name), -1) for name in categories], dtype=np.int64)
        types = [step.type for step in self.graph.walker(function).path]
        return records.join(blocks, types, list(walks.T), walk_words(seeds, walks.shape[1] + 1)[-1])
