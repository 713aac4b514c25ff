"""Writes drawn texts, inside compiled code: the bytes of a draw, and the JSON of arguments and surfaces."""

from __future__ import annotations

from typing import Any

from numba import njit

from routenator.wording import tables as p
from routenator.wording.text import CLOSE, COMMA, OPEN, OPEN_CATEGORY, SPACE, copy, quoted, typed


@njit(cache=True, inline="always")
def piece(program: Any, number: Any, low: Any, out: Any, at: Any) -> Any:
    """Append a piece of text, unchanged (0) or in lower case (an offset of ``Program.lower``); return the new end."""
    first = program.pieces[number + low, p.START]
    return copy(program.pool, first, first + program.pieces[number + low, p.SIZE], out, at)


@njit(cache=True, inline="always")
def say(program: Any, first: Any, stop: Any, low: Any, category: Any, work: Any) -> Any:
    """Write items as bytes into ``work.raw``, with marks around the slots; return the end."""
    out, items, end = work.raw, work.items, 0
    for i in range(first, stop):
        item = items[i]
        if item >= 0:
            end = piece(program, item, low, out, end)
        else:
            slot = -1 - item
            out[end] = OPEN_CATEGORY if slot == category else OPEN
            end = copy(
                work.spoken, work.places[slot, p.SURFACE_SAID], work.places[slot, p.SURFACE_SAID + 1], out, end + 1
            )
            out[end] = CLOSE
            end += 1
    return end


@njit(cache=True, inline="always")
def write_slots(
    program: Any, work: Any, first: Any, row_count: Any, surfaces: Any, end: Any, arguments: Any, at: Any
) -> Any:
    """Append the members of the JSON objects of surfaces and arguments; return their new ends.

    Args:
        first, row_count: the rows of the function's slots.
    """
    slots, places = program.slots, work.places
    some, some_said = False, False
    k = 0
    while k < row_count:
        here = first + k
        number, form, flags = slots[here, p.NUMBER], slots[here, p.ROW], slots[here, p.FLAGS]
        k += 1
        if form == p.ITEM:
            if slots[here, p.INDEX] >= places[slots[here, p.LIST], p.LENGTH]:
                k = slots[here, p.END]
            continue
        if form > p.ITEM:
            continue
        heard = places[number, p.THERE]
        if heard == p.ABSENT:
            k = slots[here, p.END] + 1 if form == p.OPEN else k
            continue
        if form != p.CLOSE and some and not flags & p.GLUED:
            arguments[at], arguments[at + 1] = COMMA, SPACE
            at += 2
        at = piece(program, slots[here, p.KEY], 0, arguments, at)
        some = form != p.OPEN
        if form == p.LEAF:
            said = p.SURFACE_SAID if flags & p.COPIED else p.VALUE_SAID
            at = typed(work.spoken, places[number, said], places[number, said + 1], slots[here, p.TYPE], arguments, at)
        if form != p.OPEN and heard == p.SAID and flags & p.NAMED:
            if some_said:
                surfaces[end], surfaces[end + 1] = COMMA, SPACE
                end += 2
            some_said = True
            end = piece(program, slots[here, p.NAME], 0, surfaces, end)
            end = quoted(work.spoken, places[number, p.SURFACE_SAID], places[number, p.SURFACE_SAID + 1], surfaces, end)
    return end, at
