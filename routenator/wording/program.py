"""Compiles a domain into a program for the loop in kernel.py; tables.py says what it consists of."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routenator.casing import is_dotless, lowered
from routenator.domain.domain import Domain
from routenator.domain.forms import forms_of
from routenator.domain.templates import Template
from routenator.sampling.walk import Graph
from routenator.validation import letters
from routenator.validation.segments import segment_tables
from routenator.wording.grammars import Grammars
from routenator.wording.layout import Layout
from routenator.wording.tables import (
    ALONE,
    IN_WORD,
    NEED,
    PLACE_COLUMNS,
    SLOT_COLUMNS,
    TYPED,
    Program,
    Work,
    counting,
    threshold,
)

_LETTERS = 1 << 16  # typos are made in letters below this code point


@dataclass
class Compiled:
    """A program, and tables from names to its numbers.

    Attributes:
        program: the tables.
        work: its scratch memory.
        function: name -> row of ``program.functions``.
        root: (function, heuristic template) -> node.
        language: number of a template's language among those of the statistics, by its node; shape (nodes,).
    """

    program: Program
    work: Work
    function: dict[str, int]
    root: dict[tuple[str, str], int]
    language: NDArray[np.int64]


class Compiler:
    """Compiles one domain."""

    def __init__(self, domain: Domain, graph: Graph) -> None:
        self.domain, self.graph = domain, graph
        self.grammars = Grammars(domain)

    def compile(self) -> Compiled:
        """Compile the whole domain.

        Raises:
            InputError: a function has too many slots, with all items of its lists.
        """
        domain, grammars = self.domain, self.grammars
        slots: list[list[int]] = []
        functions: list[tuple[int, ...]] = []
        roots: dict[tuple[str, str], int] = {}
        languages: dict[int, int] = {}
        longest, items, numbers, walk = [1, 1, 1, 1], 64, 1, 1
        tongues = {language: number for number, language in enumerate(domain.statistics.languages)}
        for name in domain.rules:
            layout = Layout(grammars, self.graph, name, forms_of(domain, name))
            for template in domain.templates.values():
                if template.grammar is not None and name in template.functions:
                    roots[name, template.name] = root = grammars.node(template.grammar, layout.scope)
                    languages[root] = tongues.get((template.languages or [""])[0], 0)
                    longest[0] = max(longest[0], grammars.sizes[root])
                    # A draw has at most as many pieces as its nodes put entries on the stack.
                    items = max(items, layout.depth + grammars.depths[root] + 64)
            longest[1] = max(longest[1], layout.written[1], layout.texts)
            longest[2] = max(longest[2], layout.written[0], layout.texts)
            steps, size = self._path(name)
            longest[3] = max(longest[3], size)
            functions.append((len(slots), len(layout.rows), steps, layout.scope.category))
            slots.extend(layout.rows)
            numbers, walk = max(numbers, layout.numbers), max(walk, layout.steps)
        program = self._program(slots, functions, longest)
        work = self._work(program, items, numbers, walk)
        language = np.zeros(len(program.nodes), dtype=np.int64)
        language[list(languages)] = list(languages.values())
        return Compiled(program, work, {name: number for number, name in enumerate(domain.rules)}, roots, language)

    def _program(self, slots: list[Any], functions: list[Any], longest: list[int]) -> Program:
        grammars, languages = self.grammars, list(self.domain.statistics.languages)
        pool, places = bytearray(), []
        for texts in (grammars.pieces, *([lowered(text, case) for text in grammars.pieces] for case in grammars.cases)):
            for text in texts:
                data = text.encode()
                places.append([len(pool), len(data), counting(text)])
                pool += data
        noise = self.domain.statistics.noise
        return Program(
            pool=np.frombuffer(bytes(pool) or b"\0", dtype=np.uint8).copy(),
            pieces=np.array(places, dtype=np.int32),
            lower=np.array([len(grammars.pieces) * (1 + is_dotless(each)) for each in languages or ["en"]], np.int64),
            nodes=np.array(self.grammars.nodes or [(0,) * 5], dtype=np.int64).reshape(-1, 5)[:, :NEED].copy(),
            table=np.array(self.grammars.table or [0], dtype=np.int64),
            # The loop also reads the row after a function's last one.
            slots=np.array([*slots, [0] * SLOT_COLUMNS], dtype=np.int64),
            functions=np.array(functions, dtype=np.int64).reshape(-1, 4),
            noise=np.array(
                [threshold(share) for share in (noise.lowercase, noise.typo, noise.no_punctuation)], dtype=np.int64
            ),
            alpha=letter_bits(),
            # Room for a typo that doubles a letter, which has up to four bytes.
            longest=np.array([longest[0] + 8, *longest[1:]], dtype=np.int64),
            segments=segment_tables(languages or ["en"]),
        )

    def _work(self, program: Program, items: int, numbers: int, walk: int) -> Work:
        raw = int(program.longest[:3].sum()) + 16
        deep = max(self.grammars.depths, default=0) + 16
        return Work(
            items=np.zeros(items, dtype=np.int64),
            places=np.zeros((numbers, PLACE_COLUMNS), dtype=np.int64),
            raw=np.zeros(raw, dtype=np.uint8),
            spoken=np.zeros(raw, dtype=np.uint8),
            stack=np.zeros(deep, dtype=np.int64),
            marks=np.zeros((deep, 4), dtype=np.int64),
            steps=np.zeros(walk, dtype=np.int64),
            letters=np.zeros(raw, dtype=np.int64),
            state=np.zeros(10, dtype=np.uint64),  # random.SIZE; not imported, because that would import numba
        )

    def _path(self, function: str) -> tuple[int, int]:
        """Add the JSON pieces of a function's steps; return where their starts are in ``table``, and maximum bytes."""
        starts, size = [], 2
        for step in self.domain.rules[function].path:
            texts = [
                f"{json.dumps(step.name, ensure_ascii=False)}: {json.dumps(n.id, ensure_ascii=False)}, "
                for n in self.grammars.types[step.type]
            ]
            starts.append(self.grammars.run([self.grammars.piece(text, clean=False) for text in texts]))
            size += max(len(text.encode()) for text in texts)
        return self.grammars.run(starts), size


def serving_templates(domain: Domain, function: str) -> list[Template]:
    """The heuristic templates of a function with a weight above 0."""
    return [t for t in domain.templates.values() if t.grammar is not None and function in t.functions and t.weight > 0]


@cache
def letter_bits() -> NDArray[np.uint8]:
    """``Program.alpha``. A mark is typed by a key of its own, so typing can slip at it as at a letter."""
    kinds = letters.letter_tables().kinds[:_LETTERS]
    typed = [chr(point).isalpha() or unicodedata.category(chr(point))[0] == "M" for point in range(_LETTERS)]
    alone = kinds == letters.ALONE
    bits: NDArray[np.uint8] = (
        TYPED * np.array(typed, dtype=np.uint8)
        | ALONE * alone.astype(np.uint8)
        | IN_WORD * (alone | (kinds == letters.LETTER) | (kinds == letters.MARK)).astype(np.uint8)
    )
    return bits
