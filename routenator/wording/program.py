"""Compiles a domain's grammars into a program for the loop in kernel.py: flat integer tables and one pool of bytes.

Every text that a grammar can produce is a *piece* of the pool, stored unchanged and in lower case (lower case in
Unicode is done here, as it can change a text's length). A grammar is a tree of nodes; a node is a row of ``nodes``:
kind and three operands. Lists are runs of integers in ``table``: a node's children followed by their needs (the slots
that each requires, as bits), the pieces of a step's nodes, of a word list, and of the metadata records.

Plain arrays rather than Python objects, because numba compiles them to direct memory access and caches the code for all
domains: a program is data, only the loop is compiled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from routenator import grammar
from routenator.domain.domain import Domain
from routenator.domain.templates import Template
from routenator.errors import InputError

# Columns of nodes; then the kinds of nodes, with their operands A, B, C.
KIND, A, B, C, NEED = range(5)
TEXT = 0  # piece
SEQUENCE = 1  # children: first in table, count
CHOICE = 2  # children: first in table, count; 1 if none needs a slot
CONDITIONAL = 3  # child; the slots that must be present, as bits
PARTS = 4  # children: first in table, count
SLOT = 5  # number of the slot; 1 if it is the category's
STEP = 6  # step; where its nodes' pairs (first piece in table, count) begin in table
ATTRIBUTE = 7  # step; where its nodes' pieces begin in table
# Pieces: first in table, count; where the running sums of the weights (32 bits) begin in table, -1 for equal weights.
LEXICON = 8
RECORD = 9  # where the records' pieces begin in table
NOTHING = 10  # the empty result of a choice without a usable option
# Columns of slots.
PRESENCE, SHARE, EXCLUDES, NEEDS, VALUE, SURFACE, TYPE, KEY = range(8)
ALWAYS, CATEGORY, SHARED = range(3)
# Columns of functions.
FIRST_SLOT, SLOTS, FIRST_STEP, CATEGORY_SLOT = range(4)

PUNCTUATION = ",.?!;:"
_WORD = 1 << 32  # random words are below this; a share becomes a threshold on them
SPACE_PIECE = 0
MOST_SLOTS = 62  # slots are bits of an int64
_LETTERS = 1 << 16  # typos are made in letters below this code point


class Program(NamedTuple):
    """Input of the compiled loop.

    Attributes:
        pool: bytes of all pieces.
        pieces: start and size unchanged, start and size in lower case, and the facts for counting words (``counting``);
            shape (pieces, 5).
        nodes: kind and operands, shape (nodes, 4).
        table: runs of integers that the nodes point into.
        slots, functions: shape (slots of all functions, 8), (functions, 4).
        noise: thresholds on 32 random bits for lower case, typo, no punctuation, shape (3,).
        alpha: code point -> whether it is a letter.
        longest: maximum bytes of a query, of the JSON of slots, of arguments, and of a path, shape (4,).
    """

    pool: NDArray[np.uint8]
    pieces: NDArray[np.int32]
    nodes: NDArray[np.int64]
    table: NDArray[np.int64]
    slots: NDArray[np.int64]
    functions: NDArray[np.int64]
    noise: NDArray[np.int64]
    alpha: NDArray[np.bool_]
    longest: NDArray[np.int64]


class Work(NamedTuple):
    """Scratch memory of the compiled loop, allocated once and large enough for the longest text of its program.

    Attributes:
        items: one draw: pieces, or -1 - k for slot k; first the slots' values and surfaces, then the template.
        places: where each slot's value begins and ends in ``items``, then its surface, then its value and surface in
            ``spoken``; then the number of its words and of those in doubt; shape (slots, 10).
        raw: a text before tidying.
        spoken: values and surfaces of one row's slots and the query, tidied.
        stack: nodes to expand.
        marks: the state before each part of <...>, shape (depth, 4).
        letters: places where a typo could be made.
        state: state of the random stream (random.py).
    """

    items: NDArray[np.int64]
    places: NDArray[np.int64]
    raw: NDArray[np.uint8]
    spoken: NDArray[np.uint8]
    stack: NDArray[np.int64]
    marks: NDArray[np.int64]
    letters: NDArray[np.int64]
    state: NDArray[np.uint64]


@dataclass
class Compiled:
    """A program, and tables from names to its numbers.

    Attributes:
        program: the tables.
        work: its scratch memory.
        function: name -> row of ``program.functions``.
        root: (function, heuristic template) -> node.
    """

    program: Program
    work: Work
    function: dict[str, int]
    root: dict[tuple[str, str], int]


@dataclass
class _Scope:
    """Resolves names in a grammar: a function's steps and, while compiling a template, its slots."""

    function: str
    steps: dict[str, int]
    slots: dict[str, int] = field(default_factory=dict)
    said: list[int] = field(default_factory=list)  # maximum bytes of each slot's surface

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.slots)

    def bits(self, names: Any) -> int:
        return sum(1 << self.slots[name] for name in names if name in self.slots)


class Compiler:
    """Compiles one domain."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self._pieces: dict[str, int] = {" ": SPACE_PIECE}
        self._nodes: list[tuple[int, int, int, int, int]] = []
        self._sizes: list[int] = []  # maximum bytes that each node produces
        self._depths: list[int] = []  # maximum stack entries that each node needs
        self._table: list[int] = []
        self._runs: dict[tuple[Any, ...], int] = {}
        # Name in a template -> where the pieces of its texts are in the table, and the maximum bytes of one.
        self._lists: dict[tuple[str, ...], tuple[int, int]] = {}
        self._types: dict[str, list[Any]] = {}
        for node in domain.nodes.values():
            self._types.setdefault(node.type, []).append(node)

    def compile(self) -> Compiled:
        """Compile the whole domain.

        Raises:
            InputError: a function has more slots than fit into a machine word.
        """
        domain = self.domain
        slots: list[tuple[int, ...]] = []
        functions: list[tuple[int, ...]] = []
        roots: dict[tuple[str, str], int] = {}
        longest, items = [1, 1, 1, 1], 64
        for name, rule in domain.rules.items():
            if len(rule.slots) > MOST_SLOTS:
                raise InputError(
                    "too many slots", file=domain.path / "domain.yaml", key=f"functions.{name}.slots",
                    found=len(rule.slots), expected=f"at most {MOST_SLOTS}",
                )  # fmt: skip
            scope = _Scope(name, {step.name: number for number, step in enumerate(rule.path)})
            first = len(slots)
            made = [self._slot(name, slot, number, scope) for number, slot in enumerate(rule.slots)]
            slots.extend(row for row, _, _ in made)
            scope.slots = {slot: number for number, slot in enumerate(rule.slots)}
            scope.said = [said for _, _, said in made]
            for template in domain.templates.values():
                if template.grammar is not None and name in template.functions:
                    roots[name, template.name] = root = self._node(template.grammar, scope)
                    longest[0] = max(longest[0], self._sizes[root])
                    grammars = [row[column] for row, _, _ in made for column in (VALUE, SURFACE) if row[column] >= 0]
                    # A draw has at most as many pieces as its nodes put entries on the stack.
                    items = max(items, sum(self._depths[node] for node in (*grammars, root)) + 64)
            keys = sum(len(json.dumps(slot, ensure_ascii=False).encode()) + 4 for slot in rule.slots)
            # Escaping in JSON can double each byte.
            longest[1] = max(longest[1], 2 * sum(value + said for _, value, said in made) + keys + 8)
            steps, size = self._path(name)
            longest[3] = max(longest[3], size)
            category = domain.functions[name].category
            functions.append((first, len(rule.slots), steps, scope.slots.get(category or "", -1)))
        program = self._program(slots, functions, longest)
        return Compiled(
            program, self._work(program, items), {name: number for number, name in enumerate(domain.rules)}, roots
        )

    def _program(self, slots: list[Any], functions: list[Any], longest: list[int]) -> Program:
        pool, places = bytearray(), []
        for text in self._pieces:
            place: list[int] = []
            for variant in (text, text.lower()):
                place += [len(pool), len(variant.encode())]
                pool += variant.encode()
            places.append([*place, counting(text)])
        noise = self.domain.statistics.noise
        return Program(
            pool=np.frombuffer(bytes(pool) or b"\0", dtype=np.uint8).copy(),
            pieces=np.array(places or [[0] * 5], dtype=np.int32).reshape(-1, 5),
            nodes=np.array(self._nodes or [(0,) * 5], dtype=np.int64).reshape(-1, 5)[:, :NEED].copy(),
            table=np.array(self._table or [0], dtype=np.int64),
            slots=np.array(slots or [[0] * 8], dtype=np.int64).reshape(-1, 8),
            functions=np.array(functions, dtype=np.int64).reshape(-1, 4),
            noise=np.array(
                [threshold(share) for share in (noise.lowercase, noise.typo, noise.no_punctuation)], dtype=np.int64
            ),
            alpha=np.array([chr(point).isalpha() for point in range(_LETTERS)], dtype=np.bool_),
            # Room for a typo that doubles a letter, which has up to four bytes.
            longest=np.array([longest[0] + 8, longest[1], longest[1], longest[3]], dtype=np.int64),
        )

    def _work(self, program: Program, items: int) -> Work:
        raw = int(program.longest[:3].sum()) + 16
        deep = max(self._depths, default=0) + 16
        return Work(
            items=np.zeros(items, dtype=np.int64),
            places=np.zeros((MOST_SLOTS + 1, 10), dtype=np.int64),
            raw=np.zeros(raw, dtype=np.uint8),
            spoken=np.zeros(raw, dtype=np.uint8),
            stack=np.zeros(deep, dtype=np.int64),
            marks=np.zeros((deep, 4), dtype=np.int64),
            letters=np.zeros(raw, dtype=np.int64),
            state=np.zeros(10, dtype=np.uint64),  # random.SIZE; not imported, because that would import numba
        )

    def _slot(self, name: str, slot: str, number: int, scope: _Scope) -> tuple[tuple[int, ...], int, int]:
        """Return a row of ``Program.slots``, and the maximum bytes of the slot's value and surface."""
        function, rule = self.domain.functions[name], self.domain.rules[name]
        above = {other: position for position, other in enumerate(rule.slots) if position < number}
        share = self.domain.statistics.slots.get(name, {}).get(slot, 1.0)
        if slot in function.required:
            presence = ALWAYS
        elif slot == function.category and rule.category is not None:
            presence = CATEGORY
        else:
            presence = ALWAYS if share >= 1 else SHARED
        spec, surface = rule.slots[slot], self.domain.surfaces[name, slot]
        value_node = self._node(self.domain.values[name, slot], scope)
        surface_node = -1 if surface is None else self._node(surface, scope)
        value, said = self._sizes[value_node], self._sizes[value_node if surface is None else surface_node]
        row = (
            presence,
            threshold(share),
            sum(1 << above[other] for other in spec.excludes if other in above),
            sum(1 << above[other] for other in spec.needs if other in above),
            value_node,
            surface_node,
            function.kind(slot),
            self._piece(f"{json.dumps(slot, ensure_ascii=False)}: ", clean=False),
        )
        return row, value, said

    def _path(self, function: str) -> tuple[int, int]:
        """Add the JSON pieces of a function's steps; return where their starts are in ``table``, and maximum bytes."""
        starts, size = [], 2
        for step in self.domain.rules[function].path:
            texts = [
                f"{json.dumps(step.name, ensure_ascii=False)}: {json.dumps(n.id, ensure_ascii=False)}, "
                for n in self._types[step.type]
            ]
            starts.append(self._run([self._piece(text, clean=False) for text in texts]))
            size += max(len(text.encode()) for text in texts)
        return self._run(starts), size

    def _piece(self, text: str, *, clean: bool = True) -> int:
        """Return the number of a text. White space and control characters become spaces, as tidying would do."""
        if clean:
            text = "".join(" " if sign.isspace() or sign < " " or sign == "\x7f" else sign for sign in text)
        return self._pieces.setdefault(text, len(self._pieces))

    def _bytes(self, piece_texts: Sequence[str]) -> int:
        return max((len(variant.encode()) for text in piece_texts for variant in (text, text.lower())), default=0)

    def _list(self, key: tuple[str, ...], texts: Callable[[], list[str]]) -> tuple[int, int]:
        """Return where the pieces of some texts are in ``table``, and the maximum bytes of one.

        Computed once for each ``key``: a large domain's templates name the same long lists many thousand times.
        """
        if key not in self._lists:
            made = texts()
            self._lists[key] = self._run([self._piece(text) for text in made]), self._bytes(made)
        return self._lists[key]

    def _surfaces(self, nodes: Sequence[Any]) -> tuple[int, int]:
        """Return where the nodes' lists of surfaces are in ``table``, and the maximum bytes of one."""
        entries = [(self._run([self._piece(surface) for surface in n.surfaces]), len(n.surfaces)) for n in nodes]
        size = self._bytes([surface for n in nodes for surface in n.surfaces])
        return self._run([value for entry in entries for value in entry]), size

    def _run(self, values: Sequence[int]) -> int:
        """Return where a run of integers is in ``table``; equal runs are stored once."""
        key = tuple(values)
        if key not in self._runs:
            self._runs[key] = len(self._table)
            self._table.extend(key)
        return self._runs[key]

    def _add(self, kind: int, a: int = 0, b: int = 0, c: int = 0, need: int = 0, size: int = 0, depth: int = 1) -> int:
        self._nodes.append((kind, a, b, c, need))
        self._sizes.append(size)
        self._depths.append(depth)
        return len(self._nodes) - 1

    def _node(self, node: grammar.Node, scope: _Scope) -> int:
        need = scope.bits(grammar.demanded(node, scope.names))
        if isinstance(node, grammar.Text):
            return self._add(TEXT, self._piece(node.text), size=self._bytes([node.text]))
        if isinstance(node, grammar.Reference):
            return self._reference(node, scope, need)
        if isinstance(node, grammar.Conditional):
            bits = scope.bits(reference.name for reference in grammar.references(node))
            child = self._node(node.part, scope)
            return self._add(CONDITIONAL, child, bits, size=self._sizes[child], depth=1 + self._depths[child])
        parts = node.options if isinstance(node, grammar.Choice) else node.parts
        children = [self._node(part, scope) for part in parts]
        sizes, depth = [self._sizes[child] for child in children], sum(self._depths[child] for child in children)
        needs = [self._nodes[child][NEED] for child in children]
        # The needs of the children follow the children, in the same order.
        run = self._run([*children, *needs])
        if isinstance(node, grammar.Sequence):
            return self._add(SEQUENCE, run, len(children), need=need, size=sum(sizes), depth=1 + depth)
        if isinstance(node, grammar.Choice):
            return self._add(CHOICE, run, len(children), int(not any(needs)), size=max(sizes), depth=1 + depth)
        return self._add(PARTS, run, len(children), size=sum(sizes) + len(sizes), depth=4 + 3 * len(children) + depth)

    def _reference(self, node: grammar.Reference, scope: _Scope, need: int) -> int:
        name, _, attribute = node.name.partition(".")
        if node.name in scope.slots:
            number = scope.slots[name]
            category = name == self.domain.functions[scope.function].category
            return self._add(SLOT, number, int(category), need=need, size=scope.said[number] + 2)
        if name == "record":
            records = self.domain.records.values()
            run, size = self._list((name, attribute), lambda: [record_field(record, attribute) for record in records])
            return self._add(RECORD, run, size=size)
        if name in scope.steps:
            number = scope.steps[name]
            kind = self.domain.rules[scope.function].path[number].type
            nodes = self._types[kind]
            if attribute:
                run, size = self._list(("node", kind, attribute), lambda: [node_attribute(n, attribute) for n in nodes])
                return self._add(ATTRIBUTE, number, run, size=size)
            key = ("surfaces", kind)
            if key not in self._lists:
                self._lists[key] = self._surfaces(nodes)
            run, size = self._lists[key]
            return self._add(STEP, number, run, size=size)
        items = self.domain.lexicon[name]
        sums = -1
        if len({item.weight for item in items}) > 1:
            running = np.cumsum([item.weight for item in items])
            sums = self._run([threshold(value / running[-1]) for value in running])
        run, size = self._list(("lexicon", name), lambda: [item.text for item in items])
        return self._add(LEXICON, run, len(items), sums, size=size)


def counting(text: str) -> int:
    """Pack the facts needed to count a piece's words into bits.

    Bits 0 to 15: words; 16: starts without a space; 17: ends without a space; 18: the first word is punctuation only,
    which counts as a word unless it is glued to the text before; 19: is empty; 20 and up: further words that are
    punctuation only, which tidying and noise may remove.
    """
    tokens = text.split()
    signs = [not token.strip(PUNCTUATION) for token in tokens]
    begins, ends = bool(text) and text[0] != " ", bool(text) and text[-1] != " "
    first = bool(begins and signs[0])
    return len(tokens) | begins << 16 | ends << 17 | first << 18 | (not text) << 19 | (sum(signs) - first) << 20


def threshold(share: float) -> int:
    """Turn a share into a threshold: a random 32-bit word is below it with this probability (always, for 1)."""
    return round(min(max(float(share), 0.0), 1.0) * _WORD)


def record_field(record: dict[str, Any], name: str) -> str:
    """A field of a metadata record as text; "" if it is missing."""
    value = record.get(name, "")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def node_attribute(node: Any, name: str) -> str:
    """An attribute of a node as text; "" if it is missing."""
    return {"label": node.label, "id": node.id, "type": node.type}.get(name) or node.attributes.get(name, "")


def serving_templates(domain: Domain, function: str) -> list[Template]:
    """The heuristic templates of a function with a weight above 0."""
    return [t for t in domain.templates.values() if t.grammar is not None and function in t.functions and t.weight > 0]
