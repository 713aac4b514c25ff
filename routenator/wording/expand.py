"""Draws from a grammar, inside compiled code."""

from __future__ import annotations

from typing import Any

from numba import njit

from routenator.wording import tables as p
from routenator.wording.random import below, word

# Marks on the stack of nodes to expand; real nodes are not negative.
_PARTS_BEGIN, _PART_BEGIN, _PART_END, _PARTS_END = -1, -2, -3, -4
_GUESSES = 8  # random options tried before the usable ones are counted


@njit(cache=True, inline="always")
def met(program: Any, work: Any, need: Any, present: Any, least: Any) -> Any:
    """Whether the slots that a node or slot needs are there: as bits of ``present``, or listed, at least ``least``."""
    if need >= 0:
        return need & present == need
    return _listed(program.table, work.places, -1 - need, least) == program.table[-1 - need]


@njit(cache=True, inline="always")
def any_there(program: Any, work: Any, slots: Any, present: Any) -> Any:
    """Whether one of some slots is in the call."""
    if slots >= 0:
        return slots & present != 0
    return _listed(program.table, work.places, -1 - slots, p.SILENT) > 0


@njit(cache=True)
def _listed(table: Any, places: Any, first: Any, least: Any) -> Any:
    """How many slots of a run of the table are there. Not inlined: it is rare, and the loop is faster without it."""
    count = 0
    for k in range(first + 1, first + 1 + table[first]):
        count += places[table[k], p.THERE] >= least
    return count


@njit(cache=True, inline="always")
def _choose(program: Any, work: Any, node: Any, present: Any, state: Any) -> Any:
    """Draw an option of a choice, uniformly among those whose slots are all present; -1 if there is none."""
    nodes, table = program.nodes, program.table
    first, count, free = nodes[node, p.A], nodes[node, p.B], nodes[node, p.C]
    chosen = -1
    # Guess first: most options are usable, so this is faster than counting them. The result is uniform either way.
    for _ in range(_GUESSES):
        k = below(state, count)
        need = 0 if free else table[first + count + k]
        if met(program, work, need, present, p.SAID):
            chosen = table[first + k]
            break
    if chosen < 0:
        usable = 0
        for k in range(count):
            need = table[first + count + k]
            usable += met(program, work, need, present, p.SAID)
        pick = below(state, max(usable, 1))
        for k in range(count):
            need = table[first + count + k]
            if met(program, work, need, present, p.SAID):
                if pick == 0:
                    chosen = table[first + k]
                pick -= 1
    return chosen


@njit(cache=True, inline="always")
def _push_parts(program: Any, work: Any, node: Any, present: Any, state: Any, stack: Any, top: Any) -> Any:
    """Put the usable parts of <...> on the stack in a random order; return the new top."""
    nodes, table = program.nodes, program.table
    first, size = nodes[node, p.A], nodes[node, p.B]
    stack[top] = _PARTS_END
    base, count = top + 1, 0
    for k in range(size):
        if met(program, work, table[first + size + k], present, p.SAID):
            stack[base + count] = table[first + k]
            count += 1
    for k in range(count - 1, 0, -1):
        other = below(state, k + 1)
        swapped = stack[base + k]
        stack[base + k] = stack[base + other]
        stack[base + other] = swapped
    # Spread the parts, each between its marks; from the last down, so that no part is overwritten before it is moved.
    for k in range(count - 1, -1, -1):
        part = stack[base + k]
        stack[base + 3 * k] = _PART_END
        stack[base + 3 * k + 1] = part
        stack[base + 3 * k + 2] = _PART_BEGIN
    stack[base + 3 * count] = _PARTS_BEGIN
    return base + 3 * count + 1


@njit(cache=True, inline="always")
def weighted(program: Any, first: Any, count: Any, sums: Any, state: Any) -> Any:
    """Draw from a run of the table, by the running sums at ``sums``; uniformly for -1."""
    table = program.table
    value = word(state)
    place = (value * count) >> 32
    if sums >= 0:
        place = below_sum(table, sums, count, value)
    return table[first + place]


@njit(cache=True, inline="always")
def below_sum(table: Any, sums: Any, count: Any, value: Any) -> Any:
    """The first of ``count`` running sums that a random word is below."""
    place, high = 0, count - 1
    while place < high:
        middle = (place + high) >> 1
        if value < table[sums + middle]:
            high = middle
        else:
            place = middle + 1
    return place


@njit(cache=True, inline="always")
def expand(
    program: Any,
    root: Any,
    record: Any,
    today: Any,
    language: Any,
    present: Any,
    most: Any,
    state: Any,
    work: Any,
    at: Any,
) -> Any:
    """Draw from a grammar and append the result to ``work.items``.

    Args:
        root: node of the grammar.
        record: number of the metadata record, -1 for none.
        today: number of the row's day.
        language: number of the row's language.
        present: the slots that are present and said, as bits.
        most: drawing stops above this number of words, not counting those in doubt: the draw is too long anyway.
        at: the end of the items so far.

    Returns:
        New end; number of words; how many of those are in doubt, that is may be removed later; words before the
        category's surface (-1 if it does not occur); words in it.
    """
    # ``edge`` is 1 if the text so far ends without a space: then the next piece continues its last word.
    nodes, table, stack, marks, items = program.nodes, program.table, work.stack, work.marks, work.items
    words, doubt, before, inside, edge = 0, 0, -1, 0, 0
    stack[0] = root
    top, marked = 1, 0
    while top > 0 and words - doubt <= most:
        top -= 1
        node = stack[top]
        if node < 0:
            if node == _PARTS_BEGIN:
                marks[marked, 0], marks[marked, 1], marks[marked, 2], marks[marked, 3] = at, words, edge, doubt
                marked += 1
            elif node == _PART_BEGIN:
                marks[marked, 0], marks[marked, 1], marks[marked, 2], marks[marked, 3] = at, words, edge, doubt
                if words > marks[marked - 1, 1]:
                    items[at] = p.SPACE_PIECE
                    at, edge = at + 1, 0
                marked += 1
            elif node == _PART_END:
                marked -= 1
                # An empty part leaves no space behind: undo what it added.
                if words == marks[marked, 1]:
                    at, edge, doubt = marks[marked, 0], marks[marked, 2], marks[marked, 3]
            else:
                marked -= 1
            continue
        kind = nodes[node, p.KIND]
        while kind == p.CHOICE:
            node = _choose(program, work, node, present, state)
            kind = nodes[node, p.KIND] if node >= 0 else p.NOTHING
        piece = -1
        if kind == p.TEXT:
            piece = nodes[node, p.A]
        elif kind == p.SEQUENCE:
            first = nodes[node, p.A]
            for k in range(nodes[node, p.B] - 1, -1, -1):
                stack[top] = table[first + k]
                top += 1
        elif kind == p.SLOT:
            slot, form = nodes[node, p.A], nodes[node, p.C]
            if work.places[slot, p.THERE] == p.SAID:
                if form > 0:  # from here on this is the slot's surface: a template says a slot once
                    for k in (p.SURFACE_AT, p.SURFACE_AT + 1, p.COUNT, p.DOUBT):
                        work.places[slot, k] = work.places[form, k]
                items[at] = -1 - slot
                at += 1
                count = work.places[slot, p.COUNT]
                glued = edge if count > 0 else 0
                if nodes[node, p.B] and before < 0:
                    before, inside = words - glued, count
                words += count - glued
                doubt += work.places[slot, p.DOUBT]
                edge = 1 if count > 0 else edge
        elif kind == p.STEP:
            entry = nodes[node, p.B] + 2 * work.steps[nodes[node, p.A]]
            piece = table[table[entry] + below(state, table[entry + 1])]
        elif kind == p.LEXICON:
            piece = weighted(program, nodes[node, p.A], nodes[node, p.B], nodes[node, p.C], state)
        elif kind == p.CONDITIONAL:
            if met(program, work, nodes[node, p.B], present, p.SAID):
                stack[top] = nodes[node, p.A]
                top += 1
        elif kind == p.ATTRIBUTE:
            piece = table[nodes[node, p.B] + work.steps[nodes[node, p.A]]]
        elif kind == p.DAY:
            piece = table[nodes[node, p.A] + today]
        elif kind == p.RECORD:
            if record >= 0:
                piece = table[nodes[node, p.A] + record]
        elif kind == p.PARTS:
            top = _push_parts(program, work, node, present, state, stack, top)
        elif kind == p.JOIN:
            size = work.places[nodes[node, p.B], p.LENGTH]
            between = nodes[node, p.C] + 2 * language
            for k in range(size - 1, -1, -1):
                stack[top] = table[nodes[node, p.A] + k]
                top += 1
                if k > 0:
                    stack[top] = table[between + (k == size - 1)]
                    top += 1
        if piece >= 0:
            items[at] = piece
            at += 1
            facts = program.pieces[piece, p.FACTS]
            words += (facts & 0xFFFF) - (edge & facts >> 16)
            doubt += (facts >> 20) + (facts >> 18 & 1 & (1 - edge))
            edge = edge if facts >> 19 & 1 else facts >> 17 & 1
    return at, words, doubt, before, inside
