"""Lays out a function's slots as rows for the compiled loop (tables.py): each field, item and entry has its own."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

import numpy as np

from routenator import grammar
from routenator.domain.domain import Domain
from routenator.domain.forms import form_step
from routenator.domain.kinds import kind_of
from routenator.domain.slots import ENTRY, LEAF, LIST, MAP, OBJECT, TUPLE, Slot, every, spoken
from routenator.errors import InputError
from routenator.language import base_code
from routenator.sampling.alias import Ints
from routenator.sampling.walk import Floats, Graph, Walker, parent_of
from routenator.wording import tables as t
from routenator.wording.grammars import Grammars, Scope

MOST_NUMBERS = 4096  # of one function: every field of every item that its lists can have
_BRACKETS = {OBJECT: ("{", "}"), MAP: ("{", "}"), LIST: ("[", "]"), TUPLE: ("[", "]")}
# Before the last item, by language; where it is unknown, items are joined by commas only.
_AND = {
    "en": "and", "de": "und", "fr": "et", "es": "y", "it": "e", "pt": "e", "nl": "en", "sv": "och", "da": "og",
    "nb": "og", "no": "og", "fi": "ja", "pl": "i", "cs": "a", "sk": "a", "ro": "și", "tr": "ve", "id": "dan", "hr": "i",
    "ru": "и", "uk": "і", "el": "και", "hu": "és", "ca": "i",
}  # fmt: skip


class Layout:
    """The rows of one function's slots.

    Attributes:
        rows: rows of ``Program.slots``.
        scope: what the function's templates can name.
        steps: positions of the walk and of the steps that are drawn anew.
        numbers: how many slots are numbered.
        texts: maximum bytes of all values and surfaces together.
        written: maximum bytes of the JSON of arguments, and of that of surfaces.
        depth: maximum pieces of a draw of all slots.

    Args:
        grammars: of the domain.
        graph: of the domain.
        function: name.
        forms: forms of slots that the function's templates name, such as ``room.dat``.
    """

    def __init__(self, grammars: Grammars, graph: Graph, function: str, forms: Collection[str] = ()) -> None:
        self.domain: Domain = grammars.domain
        self.function = self.domain.functions[function]
        self.rule = self.domain.rules[function]
        self._shares = self.domain.statistics.slots.get(function, {})
        self._grammars, self._graph = grammars, graph
        self._forms: dict[str, list[str]] = {}  # attributes, by slot
        for slot, _, attribute in (form.rpartition(".") for form in forms):
            self._forms.setdefault(slot, []).append(attribute)
        self.rows: list[list[int]] = []
        self._latest: dict[str, int] = {}  # the latest number of each slot, by full name
        self._reached: dict[tuple[int, frozenset[str]], int] = {}
        self.numbers = self.texts = self.depth = 0
        self.written = [8, 8]
        self.steps = len(self.rule.path)
        self.scope = Scope(function, {step.name: number for number, step in enumerate(self.rule.path)})
        self._fields(self.domain.slots[function], self.scope, top=True)
        self.scope.category = self.scope.slots.get(self.function.category or "", -1)

    def _fields(self, slots: Sequence[Slot], scope: Scope, *, top: bool) -> None:
        """Rows of fields, some of which may depend on those above.

        Args:
            top: the function's templates can name them.
        """
        above: dict[str, int] = {}
        for slot in slots:
            share = self._shares.get(slot.name, 1.0)
            presence = t.ALWAYS if slot.required or share >= 1 else t.SHARED
            if top and not slot.required and slot.key == self.function.category and self.rule.category is not None:
                presence = t.CATEGORY if slot.name == slot.key else presence
            when = {
                t.PRESENCE: presence,
                t.SHARE: t.threshold(share),
                t.EXCLUDES: self._need(slot.rule.excludes, above, scope),
                t.NEEDS: self._need(slot.rule.needs, above, scope),
            }
            above[slot.key] = self._slot(slot, scope, f"{json.dumps(slot.key, ensure_ascii=False)}: ", when, top=top)

    def _need(self, names: Sequence[str], above: dict[str, int], scope: Scope) -> int:
        return self._grammars.need((above[name] for name in names if name in above), scope.bits)

    def _slot(
        self, slot: Slot, scope: Scope, key: str, when: dict[int, int], *, top: bool = False, glued: bool = False
    ) -> int:
        """Rows of a slot and its parts; return its number.

        Args:
            scope: gets the slot's name, and the steps that its grammars name.
            key: written before the value.
            when: columns that say when it is in the call.
            glued: no comma before it.
        """
        number = self._numbered(slot.name)
        if top and len(scope.bits) < t.BITS:
            scope.bits[number] = len(scope.bits)
        flags = t.GLUED * glued + t.NAMED * (top and slot.whole) + t.COPIED * slot.rule.copied
        row = {**when, t.NUMBER: number, t.FLAGS: flags, t.BIT: scope.bits.get(number, t.NO_BIT)}
        if flags & t.NAMED:
            row[t.NAME] = self._piece(f"{json.dumps(slot.local, ensure_ascii=False)}: ")
        if slot.shape == LEAF:
            said = self._leaf(slot, scope, key, row)
        else:
            said = self._with_parts(slot, scope, key, row, number, top=top)
        if slot.whole:
            if slot.local:
                scope.slots[slot.local] = number
            if top and slot.shape == LEAF:
                said = max([said, *(self._form(slot, scope, number, each) for each in self._forms.get(slot.local, ()))])
            scope.said[number] = said
            if flags & t.COPIED:
                self.written[0] += 2 * said
            if flags & t.NAMED:
                self.written[1] += 2 * said + len(json.dumps(slot.local, ensure_ascii=False).encode()) + 8
        return number

    def _form(self, slot: Slot, scope: Scope, number: int, attribute: str) -> int:
        """The row of another form of a slot's surface; return its maximum bytes."""
        step = form_step(self.domain, scope.function, slot)
        kind = next(each.type for each in self.rule.path if each.name == step)
        node = self._grammars.form(scope.steps[step], kind, attribute)
        scope.forms[f"{slot.local}.{attribute}"] = form = self._numbered(f"{slot.name}.{attribute}")
        self._add({t.ROW: t.FORM, t.NUMBER: form, t.LIST: number, t.VALUE: node})
        self.depth += 1
        self.texts += self._grammars.sizes[node]
        return self._grammars.sizes[node]

    def _leaf(self, slot: Slot, scope: Scope, key: str, row: dict[int, int]) -> int:
        """The row of a value; return the maximum bytes of its surface."""
        name, bare = (scope.function, slot.name), Scope(scope.function, scope.steps)
        kind = kind_of(self.function.parameters, slot.schema)
        phrases, sizes = -1, self._grammars.sizes
        if slot.rule.said is None:
            surface, value = self.domain.surfaces[name], self.domain.values[name]
            if surface is None and slot.local in self._forms:
                # What is said in several forms has a value apart from them: the node's label.
                value = surface = grammar.Reference(f"{form_step(self.domain, scope.function, slot)}.label")
            node = self._node(value, bare)
            said_node = -1 if surface is None else self._node(surface, bare)
            longest, said = sizes[node], sizes[node if surface is None else said_node]
        else:
            options = [option for option in self.domain.phrases[name] if option.weight > 0]
            pairs = [
                (
                    self._node(o.relative or grammar.Text(o.value), bare),
                    -1 if o.surface is None else self._node(o.surface, bare),
                )
                for o in options
            ]
            running = np.cumsum([option.weight for option in options])
            sums = [t.threshold(total / running[-1]) for total in running]
            phrases = self._run([len(pairs), *sums, *(node for pair in pairs for node in pair)])
            node, said_node = pairs[0][0], 0  # any node: PHRASES says which one it is
            longest = max(sizes[first] for first, _ in pairs)
            said = max(sizes[second] if second >= 0 else 0 for _, second in pairs)
        self._add(
            {**row, t.ROW: t.LEAF, t.VALUE: node, t.SURFACE: said_node, t.TYPE: kind, t.KEY: self._piece(key),
             t.PHRASES: phrases}
        )  # fmt: skip
        self.texts += longest + said
        self.written[0] += 2 * longest + len(key.encode()) + 4
        return said

    def _with_parts(self, slot: Slot, scope: Scope, key: str, row: dict[int, int], number: int, *, top: bool) -> int:
        """Rows of an object, list, tuple or map; return the maximum bytes of its surface."""
        opening, closing = _BRACKETS[slot.shape]
        begin = self._add({**row, t.ROW: t.OPEN, t.KEY: self._piece(key + opening)})
        self.written[0] += len(key.encode()) + 8
        surface = -1
        if slot.shape == OBJECT:
            surface = self._object(slot, scope, top=top)
        else:
            said = self._elements(slot, scope) if slot.shape == TUPLE else self._items(slot, scope, number)
            surface = self._grammars.joined(said, number, self._separators(slot))
            self.depth += self._grammars.depths[surface]
        self._close(begin, {**row, t.KEY: self._piece(closing), t.SURFACE: surface})
        counts = ((len(slot.parts), 1.0),) if slot.shape == TUPLE else slot.counts
        if counts:
            running = np.cumsum([share for _, share in counts])
            sums = [t.threshold(total / running[-1]) for total in running]
            self.rows[begin][t.SUMS] = self._run([len(counts), *sums, *(count for count, _ in counts)])
        return self._grammars.sizes[surface] if surface >= 0 else 0

    def _close(self, begin: int, row: dict[int, int]) -> None:
        """The row that closes the one at ``begin``; rows of items between them learn where it is."""
        end = self._add({**row, t.ROW: t.CLOSE})
        opened = self.rows[begin]
        opened[t.END], opened[t.FIRST], opened[t.LAST] = end, opened[t.NUMBER] + 1, self.numbers
        for inner in self.rows[begin:end]:
            if inner[t.ROW] in (t.ITEM, t.END_ITEM) and inner[t.LIST] == opened[t.NUMBER]:
                inner[t.END] = end
        if row[t.SURFACE] >= 0:
            self.texts += self._grammars.sizes[row[t.SURFACE]]

    def _object(self, slot: Slot, scope: Scope, *, top: bool) -> int:
        """Rows of an object's fields; return the node of its surface, -1 if it has none."""
        if not slot.whole:
            self._fields(slot.parts, scope, top=top)
            return -1
        inner = Scope(scope.function, scope.steps)
        self._fields(slot.parts, inner, top=False)
        return self._pattern(slot.name, inner)

    def _elements(self, slot: Slot, scope: Scope) -> dict[int, int]:
        """Rows of a tuple's elements; return the maximum bytes of each one's surface, by number."""
        inner = Scope(scope.function, scope.steps)
        for part in slot.parts:
            self._slot(part, inner, "", {})
        return inner.said

    def _items(self, slot: Slot, scope: Scope, number: int) -> dict[int, int]:
        """Rows of the items or entries that a list or map can have; as ``_elements``."""
        said: dict[int, int] = {}
        same, first, stride = -1, self.numbers, 0
        for index in range(max(count for count, _ in slot.counts)):
            place = {t.LIST: number, t.INDEX: index}
            begin = self._add({**place, t.ROW: t.ITEM})
            inner = Scope(scope.function, scope.steps if index == 0 else self._again(slot, scope))
            base = self.numbers
            if slot.shape == LIST:
                self._slot(slot.parts[0], inner, "", {})
                said[base] = inner.said[base]
            else:
                said[base] = self._entry(slot, inner)
            if index == 1:
                stride = base - first
                same = self._same(slot, first, stride)
            self._add({**place, t.ROW: t.END_ITEM, t.FIRST: begin, t.SAME: same})
        return said

    def _entry(self, slot: Slot, scope: Scope) -> int:
        """Rows of a key and its value; return the maximum bytes of the entry's surface."""
        name = f"{slot.name}{ENTRY}"
        row = {t.NUMBER: self._numbered(name), t.KEY: self._piece("")}
        begin = self._add({**row, t.ROW: t.OPEN})
        key, value = slot.parts
        self._slot(key, scope, "", {})
        self._slot(value, scope, ": ", {}, glued=True)
        surface = self._pattern(name, scope)
        self._close(begin, {**row, t.SURFACE: surface})
        return self._grammars.sizes[surface]

    def _same(self, slot: Slot, first: int, stride: int) -> int:
        """What makes two items equal: a run of the first item's number, the distance to the next, and offsets.

        An offset is doubled, plus 1 for a value, whose text is compared too.
        """
        leaves = {row[t.NUMBER] for row in self.rows if row[t.ROW] == t.LEAF}
        if slot.shape == MAP:
            wanted = [first + 1]
        elif isinstance(slot.rule.unique, str):
            wanted = [first + self._offset(slot.parts[0], slot.rule.unique)]
        elif slot.rule.unique:
            wanted = list(range(first, first + stride))
        else:
            return -1
        return self._run([first, stride, len(wanted), *(2 * (n - first) + (n in leaves) for n in wanted)])

    def _offset(self, item: Slot, name: str) -> int:
        """Distance from an item's number to that of one of its fields."""
        field = next(part for part in spoken(item.parts) if part.local == name)
        return self._latest[field.name] - self._latest[item.name]

    def _again(self, slot: Slot, scope: Scope) -> dict[str, int]:
        """Rows that draw the steps of an item anew; return the positions of all steps within the item."""
        named = self._steps_of(slot) & set(scope.steps)
        steps = dict(scope.steps)
        for number, step in enumerate(self.rule.path):
            if step.name in named:
                parent = parent_of(self.rule.path, number)
                before = -1 if parent is None else steps[self.rule.path[parent].name]
                steps[step.name] = self.steps
                self._add({t.ROW: t.AGAIN, t.NUMBER: self.steps, t.FIRST: before,
                           t.SUMS: self._successors(number, frozenset(named))})  # fmt: skip
                self.steps += 1
        return steps

    def _steps_of(self, slot: Slot) -> set[str]:
        """Names in the grammars of a list's items or a map's entries; some are steps."""
        found: set[str] = set()
        for name in [*(part.name for part in every(slot.parts)), f"{slot.name}{ENTRY}"]:
            key = (self.scope.function, name)
            grammars = [self.domain.values.get(key), self.domain.surfaces.get(key)]
            grammars += [phrase.surface for phrase in self.domain.phrases.get(key, ())]
            for node in grammars:
                if node is not None:
                    found |= {reference.name.partition(".")[0] for reference in grammar.references(node)}
        return found

    def _successors(self, number: int, named: frozenset[str]) -> int:
        """Where the triples of a step that is drawn anew begin: first node in table, count, running sums.

        Only nodes from which the other steps in ``named`` can be reached count.
        """
        if (number, named) not in self._reached:
            walker, path = self._graph.walker(self.scope.function), self.rule.path
            able = [np.ones(len(self._graph.types[step.type])) for step in path]
            for child in reversed(range(1, len(path))):
                parent = walker.parents[child]
                if path[child].name in named and parent is not None:
                    able[parent] = able[parent] * (walker.edges(child).reach(able[child]) > 0)
            triples: list[int] = []
            for targets, weights in self._targets(walker, number, able[number]):
                kept = np.flatnonzero(weights > 0)
                running = np.cumsum(weights[kept])
                sums = [t.threshold(total / running[-1]) for total in running]
                triples += [self._run(targets[kept].tolist()), len(kept), self._run(sums)]
            self._reached[number, named] = self._run(triples)
        return self._reached[number, named]

    def _targets(self, walker: Walker, number: int, able: Floats) -> Iterator[tuple[Ints, Floats]]:
        """Nodes of a step and their weights, for each node of its parent; once for the root."""
        if walker.parents[number] is None:
            yield np.arange(len(able)), walker.roots * able
            return
        edges = walker.edges(number)
        for low, high in pairwise(edges.start.tolist()):
            targets = edges.target[low:high]
            yield targets, edges.weight[low:high] * able[targets]

    def _separators(self, slot: Slot) -> list[tuple[str, str]]:
        """Texts between items, and before the last, by language."""
        found = []
        for language in self.domain.statistics.languages:
            join = slot.rule.join
            if isinstance(join, dict):
                join = join.get(language)
            if join is None and slot.shape == TUPLE:
                join = " "
            if join is None:
                word = _AND.get(base_code(language))
                join = [", ", f" {word} "] if word else [", "]
            texts = [join] if isinstance(join, str) else join
            found.append((texts[0], texts[-1]))
        return found

    def _pattern(self, name: str, scope: Scope) -> int:
        pattern = self.domain.surfaces[scope.function, name]
        assert pattern is not None
        return self._node(pattern, scope)

    def _node(self, node: grammar.Node, scope: Scope) -> int:
        made = self._grammars.node(node, scope)
        self.depth += self._grammars.depths[made]
        return made

    def _piece(self, text: str) -> int:
        return self._grammars.piece(text, clean=False)

    def _run(self, values: Sequence[int]) -> int:
        return self._grammars.run(values)

    def _numbered(self, name: str) -> int:
        self._latest[name] = number = self.numbers
        self.numbers += 1
        if self.numbers > MOST_NUMBERS:
            raise InputError(
                "too many slots, with every field of every item", file=self.domain.path / "domain.yaml",
                key=f"functions.{self.scope.function}.slots", found=f"more than {MOST_NUMBERS:,}",
                expected="lists with fewer items",
            )  # fmt: skip
        return number

    def _add(self, columns: dict[int, int]) -> int:
        row = [0] * t.SLOT_COLUMNS
        row[t.BIT], row[t.SURFACE], row[t.PHRASES], row[t.SUMS], row[t.SAME] = t.NO_BIT, -1, -1, -1, -1
        for column, value in columns.items():
            row[column] = value
        self.rows.append(row)
        return len(self.rows) - 1
