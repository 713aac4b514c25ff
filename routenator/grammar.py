"""The small grammar of slot values and heuristic templates (docs/domains.md): parser, tree and static analysis.

    {name}      a reference        [a|b|c]   one alternative      (a)   only if every slot in it is present
    <a|b|c>     all parts, in a random order                      \\    takes the next character literally

routenator/wording compiles the trees of a domain and draws from them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from routenator.errors import InputError

_MOST_DEPTH = 50  # brackets within each other; whatever reads a tree of a grammar calls itself for each
_PLAIN = re.compile(r"[^\\{}()<>|\[\]]+")  # text without a special character
_NAME = re.compile(r"[A-Za-z_$@][\w$@-]*(\.[\w$@-]+)*\Z")


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Reference:
    name: str  # with its .attribute, if any


@dataclass(frozen=True)
class Sequence:
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    options: tuple[Node, ...]


@dataclass(frozen=True)
class Conditional:
    part: Node


@dataclass(frozen=True)
class Permutation:
    parts: tuple[Node, ...]


Node = Text | Reference | Sequence | Choice | Conditional | Permutation

_NOTHING = Text("")


class GrammarError(ValueError):
    """A syntax error in a grammar. ``position`` is 0-based."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} at character {position + 1}")
        self.position = position


class _Parser:
    _CLOSERS = {"[": "]", "(": ")", "<": ">"}

    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text, 0, 0

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
            plain = _PLAIN.match(self.text, self.at)
            if plain is None and sign != "\\":
                raise GrammarError(f"a stray {sign!r} (write \\{sign} for the character itself)", self.at)
            literal += plain.group() if plain else sign
            self.at = plain.end() if plain else self.at + 1
        if literal:
            parts.append(Text(literal))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def reference(self) -> Reference:
        end = self.text.find("}", self.at)
        name = self.text[self.at + 1 : end].strip() if end >= 0 else ""
        if not _NAME.match(name):
            raise GrammarError(f"an invalid reference {self.text[self.at : max(end + 1, self.at + 10)]!r}", self.at)
        self.at = end + 1
        return Reference(name)

    def group(self, opener: str) -> Node:
        start, closer = self.at, self._CLOSERS[opener]
        self.depth += 1
        if self.depth > _MOST_DEPTH:
            raise GrammarError(f"brackets nested deeper than {_MOST_DEPTH} levels", start)
        self.at += 1
        options = [self.sequence("|" + closer if opener != "(" else closer)]
        while self.at < len(self.text) and self.text[self.at] == "|":
            self.at += 1
            options.append(self.sequence("|" + closer))
        if self.at >= len(self.text):
            raise GrammarError(f"{opener!r} is never closed", start)
        self.at += 1
        self.depth -= 1
        if opener == "[":
            return Choice(tuple(options))
        if opener == "<":
            return Permutation(tuple(options))
        return Conditional(options[0])


@functools.lru_cache(1024)
def parse(text: str) -> Node:
    """Parse a grammar; line breaks count as spaces.

    A command may load a domain, its copy in a run and what was derived from it, whose texts are mostly the same.

    Raises:
        GrammarError: unbalanced or stray brackets, brackets nested too deeply, or invalid references.
    """
    parser = _Parser(re.sub(r"\s+", " ", text.strip()))
    return parser.sequence("")


def references(node: Node) -> Iterator[Reference]:
    """All references of a grammar, in order."""
    left = [node]  # the next one last
    while left:
        node = left.pop()
        if isinstance(node, Reference):
            yield node
        elif isinstance(node, Sequence):
            left.extend(reversed(node.parts))
        elif isinstance(node, Choice):
            left.extend(reversed(node.options))
        elif isinstance(node, Conditional):
            left.append(node.part)
        elif isinstance(node, Permutation):
            left.extend(reversed(node.parts))


def slot_of(name: str, slots: frozenset[str]) -> str:
    """The slot that a reference says: ``{room}``, or ``{room.dat}``, which says it by an attribute; else ""."""
    base = name.rpartition(".")[0]
    return name if name in slots else base if base in slots else ""


def demanded(node: Node, slots: frozenset[str]) -> frozenset[str]:
    """Slots that must be present for this node to be usable: those that it names unconditionally."""
    if isinstance(node, Reference):
        return slots & {slot_of(node.name, slots)}
    if isinstance(node, Sequence):
        return frozenset().union(*(demanded(part, slots) for part in node.parts))
    return frozenset()


def skeleton(node: Node, slots: frozenset[str]) -> Node:
    """The grammar reduced to its slots: ``said`` and ``demanded`` are the same for it, and far quicker."""
    if isinstance(node, Reference):
        slot = slot_of(node.name, slots)
        return Reference(slot) if slot else _NOTHING
    if isinstance(node, Conditional):
        part = skeleton(node.part, slots)
        return Conditional(part) if part != _NOTHING else _NOTHING
    if isinstance(node, Text):
        return _NOTHING
    if isinstance(node, Choice):
        options = tuple(dict.fromkeys(skeleton(option, slots) for option in node.options))
        return Choice(options) if options != (_NOTHING,) else _NOTHING
    parts = tuple(part for part in (skeleton(each, slots) for each in node.parts) if part != _NOTHING)
    return type(node)(parts) if parts else _NOTHING


def said(node: Node, slots: frozenset[str], present: frozenset[str]) -> frozenset[str]:
    """Slots that every draw of ``node`` mentions when exactly the slots in ``present`` are present."""
    if isinstance(node, Reference):
        return present & {slot_of(node.name, slots)}
    if isinstance(node, Sequence):
        return frozenset().union(*(said(part, slots, present) for part in node.parts))
    if isinstance(node, Conditional):
        inner = frozenset(slot_of(r.name, slots) for r in references(node.part)) & slots
        return said(node.part, slots, present) if inner <= present else frozenset()
    if isinstance(node, Permutation):
        usable = [part for part in node.parts if demanded(part, slots) <= present]
        return frozenset().union(*(said(part, slots, present) for part in usable))
    if isinstance(node, Choice):
        options = [option for option in node.options if demanded(option, slots) <= present]
        sets = [said(option, slots, present) for option in options]
        return frozenset.intersection(*sets) if sets else frozenset()
    return frozenset()


_BEFORE_PUNCTUATION = re.compile(r" (?=[,.?!;:](?: |$))")


def tidy(text: str) -> str:
    """Collapse whitespace, strip it, and remove it before punctuation."""
    return _BEFORE_PUNCTUATION.sub("", " ".join(text.split()))


def parse_or_refuse(text: str, file: object, key: str) -> Node:
    """``parse``, but with syntax errors raised as InputErrors that name file and key."""
    try:
        return parse(text)
    except GrammarError as error:
        raise InputError("cannot parse this grammar", file=str(file), key=key, found=str(error)) from None
