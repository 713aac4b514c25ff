"""The small grammar of slot values and heuristic templates (docs/domains.md), expanded over many rows at once.

    {name}      a reference        [a|b|c]   one alternative      (a)   only if every slot in it is present
    <a|b|c>     all parts, in a random order                      \\    takes the next sign as it is

Each choice is a *site*; row i's draw at a site comes from the caller's ``draw(site, rows)``, so an expansion is a pure function of
the rows' keys and can be computed in any order or batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from routenator.errors import InputError

if TYPE_CHECKING:
    import numpy as np

Rows = Any  # np.ndarray of row positions, int64
Strings = Any  # np.ndarray of Python strings, object
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?\Z")
_PERMUTATION_SITES = 64  # sites are numbered in steps of this, so that the parts of <...> draw apart


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Reference:
    name: str  # with .attribute, if any
    site: int


@dataclass(frozen=True)
class Sequence:
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    options: tuple[Node, ...]
    site: int


@dataclass(frozen=True)
class Conditional:
    part: Node


@dataclass(frozen=True)
class Permutation:
    parts: tuple[Node, ...]
    site: int


Node = Text | Reference | Sequence | Choice | Conditional | Permutation


class GrammarError(ValueError):
    """A grammar that cannot be read. ``position`` is the 0-based place in the text."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} at character {position + 1}")
        self.position = position


class _Parser:
    _CLOSERS = {"[": "]", "(": ")", "<": ">"}

    def __init__(self, text: str) -> None:
        self.text, self.at, self.sites = text, 0, 0

    def site(self) -> int:
        self.sites += _PERMUTATION_SITES
        return self.sites

    def sequence(self, closers: str) -> Node:
        parts: list[Node] = []
        literal = ""
        while self.at < len(self.text):
            sign = self.text[self.at]
            if sign == "\\" and self.at + 1 < len(self.text):
                literal += self.text[self.at + 1]
                self.at += 2
                continue
            if sign in closers:
                break
            if sign in "{[(<":
                if literal:
                    parts.append(Text(literal))
                    literal = ""
                parts.append(self.reference() if sign == "{" else self.group(sign))
                continue
            if sign in "}])>|":
                raise GrammarError(f"a stray {sign!r} (write \\{sign} for the sign itself)", self.at)
            literal += sign
            self.at += 1
        if literal:
            parts.append(Text(literal))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def reference(self) -> Reference:
        end = self.text.find("}", self.at)
        name = self.text[self.at + 1 : end].strip() if end >= 0 else ""
        if not _NAME.match(name):
            raise GrammarError(f"a bad reference {self.text[self.at : max(end + 1, self.at + 10)]!r}", self.at)
        self.at = end + 1
        return Reference(name, self.site())

    def group(self, opener: str) -> Node:
        start, closer = self.at, self._CLOSERS[opener]
        site = self.site()
        self.at += 1
        options = [self.sequence("|" + closer if opener != "(" else closer)]
        while self.at < len(self.text) and self.text[self.at] == "|":
            self.at += 1
            options.append(self.sequence("|" + closer))
        if self.at >= len(self.text):
            raise GrammarError(f"{opener!r} is never closed", start)
        self.at += 1
        if opener == "[":
            return Choice(tuple(options), site)
        if opener == "<":
            return Permutation(tuple(options), site)
        return Conditional(options[0])


def parse(text: str) -> Node:
    """Parse a grammar; line breaks count as spaces.

    Raises:
        GrammarError: unbalanced or stray signs, bad references.
    """
    parser = _Parser(re.sub(r"\s+", " ", text.strip()))
    return parser.sequence("")


def references(node: Node) -> Iterator[Reference]:
    """All references of a grammar, in order."""
    if isinstance(node, Reference):
        yield node
    elif isinstance(node, Sequence | Permutation):
        for part in node.parts:
            yield from references(part)
    elif isinstance(node, Choice):
        for option in node.options:
            yield from references(option)
    elif isinstance(node, Conditional):
        yield from references(node.part)


def demanded(node: Node, slots: frozenset[str]) -> frozenset[str]:
    """The slots that must be present for this node to be used: those it names outside conditional parts."""
    if isinstance(node, Reference):
        return slots & {node.name}
    if isinstance(node, Sequence):
        return frozenset().union(*(demanded(part, slots) for part in node.parts))
    return frozenset()


def said(node: Node, slots: frozenset[str], present: frozenset[str]) -> frozenset[str]:
    """The slots that every draw of ``node`` says when exactly ``present`` are present."""
    if isinstance(node, Reference):
        return present & {node.name}
    if isinstance(node, Sequence):
        return frozenset().union(*(said(part, slots, present) for part in node.parts))
    if isinstance(node, Conditional):
        inner = frozenset(r.name for r in references(node.part)) & slots
        return said(node.part, slots, present) if inner <= present else frozenset()
    if isinstance(node, Permutation):
        usable = [part for part in node.parts if demanded(part, slots) <= present]
        return frozenset().union(*(said(part, slots, present) for part in usable))
    if isinstance(node, Choice):
        options = [option for option in node.options if demanded(option, slots) <= present]
        sets = [said(option, slots, present) for option in options]
        return frozenset.intersection(*sets) if sets else frozenset()
    return frozenset()


@dataclass
class Expansion:
    """Everything an expansion asks of its caller.

    Attributes:
        draw: (site, rows) -> float64 uniforms in [0, 1), shape (len(rows),).
        resolve: (reference, rows) -> strings, shape (len(rows),).
        present: slot -> bool mask over all rows, shape (n,); names that are no slots are missing.
    """

    draw: Callable[[int, Rows], Any]
    resolve: Callable[[Reference, Rows], Strings]
    present: dict[str, Any]

    def expand(self, node: Node, rows: Rows) -> Strings:
        """Strings for ``rows``, shape (len(rows),), spaces not yet collapsed."""
        import numpy as np

        if isinstance(node, Text):
            return np.full(len(rows), node.text, dtype=object)
        if isinstance(node, Reference):
            return self.resolve(node, rows)
        if isinstance(node, Sequence):
            result = np.full(len(rows), "", dtype=object)
            for part in node.parts:
                result = result + self.expand(part, rows)
            return result
        if isinstance(node, Conditional):
            return self._where(self._mask({r.name for r in references(node.part)}, rows), node.part, rows)
        if isinstance(node, Choice):
            return self._choose(node, rows)
        return self._permute(node, rows)

    def _mask(self, names: set[str] | frozenset[str], rows: Rows) -> np.ndarray:
        import numpy as np

        mask = np.ones(len(rows), dtype=bool)
        for name in names:
            if name in self.present:
                mask &= self.present[name][rows]
        return mask

    def _where(self, mask: Any, node: Node, rows: Rows) -> Strings:
        import numpy as np

        result = np.full(len(rows), "", dtype=object)
        if mask.all():
            return self.expand(node, rows)
        if mask.any():
            result[mask] = self.expand(node, rows[mask])
        return result

    def _usable(self, parts: tuple[Node, ...], rows: Rows) -> np.ndarray:
        """Which parts may be used, shape (len(parts), len(rows))."""
        import numpy as np

        slots = frozenset(self.present)
        return np.stack([self._mask(demanded(part, slots), rows) for part in parts])

    def _choose(self, node: Choice, rows: Rows) -> Strings:
        import numpy as np

        usable = self._usable(node.options, rows)
        count = usable.sum(axis=0)
        pick = np.minimum((self.draw(node.site, rows) * count).astype(np.int64), np.maximum(count - 1, 0))
        order = usable.cumsum(axis=0) - 1
        result = np.full(len(rows), "", dtype=object)
        for position, option in enumerate(node.options):
            chosen = usable[position] & (order[position] == pick)
            if chosen.any():
                result[chosen] = self.expand(option, rows[chosen])
        return result

    def _permute(self, node: Permutation, rows: Rows) -> Strings:
        import numpy as np

        usable = self._usable(node.parts, rows)
        texts = np.stack([self._where(usable[i], part, rows) for i, part in enumerate(node.parts)], axis=1)
        keys = np.stack([self.draw(node.site + i, rows) for i in range(len(node.parts))], axis=1)
        order = np.argsort(keys, axis=1, kind="stable")
        shuffled = np.take_along_axis(texts, order, axis=1)
        return np.array([" ".join(part.strip() for part in row if part.strip()) for row in shuffled], dtype=object)


_BEFORE_PUNCTUATION = re.compile(r" (?=[,.?!;:](?: |$))")


def tidy(text: str) -> str:
    """Collapse spaces, drop those before punctuation, strip."""
    return _BEFORE_PUNCTUATION.sub("", " ".join(text.split()))


def parse_or_refuse(text: str, file: object, key: str) -> Node:
    """``parse``, with a GrammarError turned into an InputError that names file and key."""
    try:
        return parse(text)
    except GrammarError as error:
        raise InputError("a grammar that cannot be read", file=str(file), key=key, found=str(error)) from None
