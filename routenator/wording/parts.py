"""Draws what rows of slots without a value say, inside compiled code: presence, number of items, steps drawn anew."""

from __future__ import annotations

from typing import Any

from numba import njit

from routenator.wording import tables as p
from routenator.wording.expand import any_there, below_sum, met, weighted
from routenator.wording.random import word

_RETRIES = 32  # draws of an item that equals an earlier one, before the list ends there


@njit(cache=True, inline="always")
def is_there(program: Any, work: Any, slot: Any, present: Any, named: Any, state: Any) -> Any:
    """Whether a slot is in the call, given those above it."""
    slots = program.slots
    rule = slots[slot, p.PRESENCE]
    if rule == p.CATEGORY:
        there = named != 0
    else:
        there = rule == p.ALWAYS or word(state) < slots[slot, p.SHARE]
    excludes, needs = slots[slot, p.EXCLUDES], slots[slot, p.NEEDS]
    return there and not any_there(program, work, excludes, present) and met(program, work, needs, present, p.SILENT)


@njit(cache=True, inline="always")
def _equals_another(program: Any, work: Any, same: Any, index: Any) -> Any:
    """Whether an item of a list equals one before it.

    Args:
        same: where the run that says what makes items equal begins in table; -1 if they may be.
    """
    table, places, items = program.table, work.places, work.items
    if same < 0:
        return False
    mine = table[same] + index * table[same + 1]
    for other in range(index):
        theirs = table[same] + other * table[same + 1]
        equal = True
        for k in range(same + 3, same + 3 + table[same + 2]):
            a, b = mine + (table[k] >> 1), theirs + (table[k] >> 1)
            equal = equal and places[a, p.THERE] == places[b, p.THERE]
            if equal and table[k] & 1 and places[a, p.THERE] != p.ABSENT:
                first, second = places[a, p.VALUE_AT], places[b, p.VALUE_AT]
                size = places[a, p.VALUE_AT + 1] - first
                equal = size == places[b, p.VALUE_AT + 1] - second
                for i in range(size):
                    equal = equal and items[first + i] == items[second + i]
        if equal:
            return True
    return False


@njit(cache=True, inline="always")
def of_parts(program: Any, work: Any, here: Any, job: Any, at: Any, present: Any, named: Any, state: Any) -> Any:
    """Draw what a row without a value says of the rows after it.

    Args:
        here: the row.
        job: twice the number of the next row.
        at: the end of the items so far.
        present: the slots in the call, as bits.
        named: whether the row of the sample has a category.

    Returns:
        The new ``job``, ``at`` and ``present``.
    """
    slots, places = program.slots, work.places
    number, form = slots[here, p.NUMBER], slots[here, p.ROW]
    owner, index = slots[here, p.LIST], slots[here, p.INDEX]
    if form == p.OPEN:
        there = is_there(program, work, here, present, named, state)
        for part in range(slots[here, p.FIRST], slots[here, p.LAST]):
            places[part, p.THERE] = p.ABSENT
        places[number, p.THERE], places[number, p.LENGTH] = p.ABSENT, -1
        if not there:
            job = 2 * (slots[here, p.END] + 1)
        else:
            places[number, p.THERE] = p.SILENT
            if slots[here, p.BIT] >= 0:
                present |= 1 << slots[here, p.BIT]
            sums = slots[here, p.SUMS]
            if sums >= 0:
                options = program.table[sums]
                chosen = below_sum(program.table, sums + 1, options, word(state))
                places[number, p.LENGTH] = program.table[sums + 1 + options + chosen]
    elif form == p.ITEM:
        places[owner, p.BEGUN], places[owner, p.RETRIES] = at, 0
        if index >= places[owner, p.LENGTH]:
            job = 2 * slots[here, p.END]
    elif form == p.AGAIN:
        triple = slots[here, p.SUMS]
        if slots[here, p.FIRST] >= 0:
            triple += 3 * work.steps[slots[here, p.FIRST]]
        work.steps[number] = weighted(
            program, program.table[triple], program.table[triple + 1], program.table[triple + 2], state
        )
    elif _equals_another(program, work, slots[here, p.SAME], index):
        at = places[owner, p.BEGUN]
        if places[owner, p.RETRIES] < _RETRIES:
            places[owner, p.RETRIES] += 1
            job = 2 * (slots[here, p.FIRST] + 1)
        else:
            places[owner, p.LENGTH] = index
            job = 2 * slots[here, p.END]
    return job, at, present
