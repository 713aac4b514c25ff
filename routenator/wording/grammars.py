"""Compiles grammars into nodes, pieces and runs (tables.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from routenator import grammar
from routenator.casing import is_dotless, lowered
from routenator.domain.dates import MARK, day_texts
from routenator.domain.domain import Domain
from routenator.wording.tables import (
    ATTRIBUTE,
    CHOICE,
    CONDITIONAL,
    DAY,
    JOIN,
    LEXICON,
    NEED,
    PARTS,
    RECORD,
    SEQUENCE,
    SLOT,
    SPACE_PIECE,
    STEP,
    TEXT,
    threshold,
)


@dataclass
class Scope:
    """Resolves names in a grammar.

    Attributes:
        steps: position of a step in the walk; other positions for steps that are drawn anew for an item.
        slots: number of each slot that the grammar can name.
        bits: number of a slot -> its bit, where it has one.
        said: number of a slot -> maximum bytes of its surface.
        category: number of the category's slot, -1 if it has none.
        forms: number of each slot in another form, such as ``room.dat``; never 0.
    """

    function: str
    steps: dict[str, int]
    slots: dict[str, int] = field(default_factory=dict)
    bits: dict[int, int] = field(default_factory=dict)
    said: dict[int, int] = field(default_factory=dict)
    category: int = -1
    forms: dict[str, int] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.slots)


class Grammars:
    """The nodes, pieces and runs of one domain.

    Attributes:
        nodes: kind, three operands, and the slots needed, by node.
        pieces: number of each piece.
        sizes: maximum bytes that each node produces.
        cases: a language for each kind of lower case that the domain's languages have; the first is not Turkish.
        depths: maximum stack entries that each node needs.
    """

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.pieces: dict[str, int] = {" ": SPACE_PIECE}
        self.nodes: list[tuple[int, int, int, int, int]] = []
        self.sizes: list[int] = []
        self.depths: list[int] = []
        self.table: list[int] = []
        self.types: dict[str, list[Any]] = {}
        for node in domain.nodes.values():
            self.types.setdefault(node.type, []).append(node)
        self.cases = ["en", *[language for language in domain.statistics.languages if is_dotless(language)][:1]]
        self._runs: dict[tuple[Any, ...], int] = {}
        # Name in a template -> where the pieces of its texts are in the table, and the maximum bytes of one.
        self._lists: dict[tuple[str, ...], tuple[int, int]] = {}

    def need(self, numbers: Iterable[int], bits: dict[int, int]) -> int:
        """Slots that must be present, as a node or a slot holds them."""
        wanted = sorted(set(numbers))
        if all(number in bits for number in wanted):
            return sum(1 << bits[number] for number in wanted)
        return -1 - self.run([len(wanted), *wanted])

    def joined(self, items: Mapping[int, int], number: int, separators: Sequence[tuple[str, str]]) -> int:
        """Add the node that says the items of a list.

        Args:
            items: maximum bytes of the items' surfaces, by number.
            number: of the list.
            separators: by language: put between two items, put before the last.
        """
        slots = [self._add(SLOT, item, size=size + 2) for item, size in items.items()]
        texts = [self._add(TEXT, self.piece(text), size=self._bytes([text])) for pair in separators for text in pair]
        between = max(self.sizes[text] for text in texts)
        size = sum(self.sizes[slot] + between for slot in slots)
        return self._add(JOIN, self.run(slots), number, self.run(texts), size=size, depth=2 * len(items) + 1)

    def piece(self, text: str, *, clean: bool = True) -> int:
        """Return the number of a text. White space and control characters become spaces, as tidying would do."""
        if clean:
            text = "".join(" " if sign.isspace() or sign < " " or sign == "\x7f" else sign for sign in text)
        return self.pieces.setdefault(text, len(self.pieces))

    def _bytes(self, piece_texts: Sequence[str]) -> int:
        return max(
            (len(form.encode()) for text in piece_texts for form in (text, *(lowered(text, c) for c in self.cases))),
            default=0,
        )

    def _list(self, key: tuple[str, ...], texts: Callable[[], list[str]]) -> tuple[int, int]:
        """Return where the pieces of some texts are in ``table``, and the maximum bytes of one.

        Computed once for each ``key``: a large domain's templates name the same long lists many thousand times.
        """
        if key not in self._lists:
            made = texts()
            self._lists[key] = self.run([self.piece(text) for text in made]), self._bytes(made)
        return self._lists[key]

    def _texts(self, lists: Sequence[Sequence[str]]) -> tuple[int, int]:
        """Return where lists of texts, one for each node, are in ``table``, and the maximum bytes of a text."""
        entries = [(self.run([self.piece(text) for text in texts]), len(texts)) for texts in lists]
        size = self._bytes([text for texts in lists for text in texts])
        return self.run([value for entry in entries for value in entry]), size

    def form(self, step: int, kind: str, attribute: str) -> int:
        """Add the node that says a step's node by an attribute, whose wordings are separated by ``|``.

        A node without the attribute is said by its label.
        """
        key = ("form", kind, attribute)
        if key not in self._lists:
            said = [
                tuple(text.strip() for text in node_attribute(n, attribute).split("|"))
                if node_attribute(n, attribute)
                else (n.label,)
                for n in self.types[kind]
            ]
            self._lists[key] = self._texts(said)
        run, size = self._lists[key]
        return self._add(STEP, step, run, size=size)

    def run(self, values: Sequence[int]) -> int:
        """Return where a run of integers is in ``table``; equal runs are stored once."""
        key = tuple(values)
        if key not in self._runs:
            self._runs[key] = len(self.table)
            self.table.extend(key)
        return self._runs[key]

    def _add(self, kind: int, a: int = 0, b: int = 0, c: int = 0, need: int = 0, size: int = 0, depth: int = 1) -> int:
        self.nodes.append((kind, a, b, c, need))
        self.sizes.append(size)
        self.depths.append(depth)
        return len(self.nodes) - 1

    def node(self, node: grammar.Node, scope: Scope) -> int:
        """Compile a grammar; return its node."""
        need = self.need((scope.slots[name] for name in grammar.demanded(node, scope.names)), scope.bits)
        if isinstance(node, grammar.Text):
            return self._add(TEXT, self.piece(node.text), size=self._bytes([node.text]))
        if isinstance(node, grammar.Reference):
            return self._reference(node, scope, need)
        if isinstance(node, grammar.Conditional):
            named = [grammar.slot_of(reference.name, scope.names) for reference in grammar.references(node)]
            bits = self.need((scope.slots[name] for name in named if name in scope.slots), scope.bits)
            child = self.node(node.part, scope)
            return self._add(CONDITIONAL, child, bits, size=self.sizes[child], depth=1 + self.depths[child])
        parts = node.options if isinstance(node, grammar.Choice) else node.parts
        children = [self.node(part, scope) for part in parts]
        sizes, depth = [self.sizes[child] for child in children], sum(self.depths[child] for child in children)
        needs = [self.nodes[child][NEED] for child in children]
        # The needs of the children follow the children, in the same order.
        run = self.run([*children, *needs])
        if isinstance(node, grammar.Sequence):
            return self._add(SEQUENCE, run, len(children), need=need, size=sum(sizes), depth=1 + depth)
        if isinstance(node, grammar.Choice):
            return self._add(CHOICE, run, len(children), int(not any(needs)), size=max(sizes), depth=1 + depth)
        return self._add(PARTS, run, len(children), size=sum(sizes) + len(sizes), depth=4 + 3 * len(children) + depth)

    def _reference(self, node: grammar.Reference, scope: Scope, need: int) -> int:
        name, _, attribute = node.name.partition(".")
        slot = grammar.slot_of(node.name, scope.names)
        if slot:
            number, form = scope.slots[slot], 0 if node.name == slot else scope.forms[node.name]
            return self._add(SLOT, number, int(number == scope.category), form, need, scope.said[number] + 2)
        if name.startswith(MARK):
            days = self.domain.today
            assert days is not None
            run, size = self._list((name, attribute), lambda: day_texts(days, node.name))
            return self._add(DAY, run, size=size)
        if name == "record":
            records = self.domain.records.values()
            run, size = self._list((name, attribute), lambda: [record_field(record, attribute) for record in records])
            return self._add(RECORD, run, size=size)
        if name in scope.steps:
            number = scope.steps[name]
            kind = next(step.type for step in self.domain.rules[scope.function].path if step.name == name)
            nodes = self.types[kind]
            if attribute:
                run, size = self._list(("node", kind, attribute), lambda: [node_attribute(n, attribute) for n in nodes])
                return self._add(ATTRIBUTE, number, run, size=size)
            key = ("surfaces", kind)
            if key not in self._lists:
                self._lists[key] = self._texts([n.surfaces for n in nodes])
            run, size = self._lists[key]
            return self._add(STEP, number, run, size=size)
        items = self.domain.lexicon[name]
        sums = -1
        if len({item.weight for item in items}) > 1:
            running = np.cumsum([item.weight for item in items])
            sums = self.run([threshold(value / running[-1]) for value in running])
        run, size = self._list(("lexicon", name), lambda: [item.text for item in items])
        return self._add(LEXICON, run, len(items), sums, size=size)


def record_field(record: dict[str, Any], name: str) -> str:
    """A field of a metadata record as text; "" if it is missing."""
    value = record.get(name, "")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def node_attribute(node: Any, name: str) -> str:
    """An attribute of a node as text; "" if it is missing."""
    return {"label": node.label, "id": node.id, "type": node.type}.get(name) or node.attributes.get(name, "")
