"""The compiled loop over rows: draw slots and query, count words, draw again until the query fits, write the texts.

Rejection sampling keeps the joint distribution right: slot presence, slot values and the query are drawn together until
the query is in the row's length bucket. The first half of the attempts also require the target position of the category
word. A draw is a list of pieces whose word counts are precomputed, so most draws are judged without touching a byte;
only the accepted one is written out. The exception is a draw with free-standing punctuation, which tidying and noise
may remove: its text must be written to count its words. Draws are pure functions of (seed, stream, attempt), so the
best earlier attempt is not stored but drawn again.

Written by hand for numba because each row draws until it fits, which whole-array operations cannot express. All helpers
that take arrays are inlined into one function, since a call would count references for each array. Grammars are walked
with an explicit stack, since inlined functions cannot recurse.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from routenator.compiled import discard_stale
from routenator.wording import program as p
from routenator.wording.memory import bare_of, room
from routenator.wording.random import begin, below, word
from routenator.wording.text import (
    CLOSE,
    CLOSING,
    COMMA,
    OPEN,
    OPEN_CATEGORY,
    OPENING,
    SPACE,
    copy,
    quoted,
    third_at,
    tidy,
    typed,
    typo,
)

discard_stale(Path(__file__).parent)

STREAM_NOISE, STREAM_SLOTS, STREAM_TEMPLATE = 20, 21, 22
# Marks on the stack of nodes to expand; real nodes are not negative.
_PARTS_BEGIN, _PART_BEGIN, _PART_END, _PARTS_END = -1, -2, -3, -4
_GUESSES = 8  # random options tried before the usable ones are counted
_NO_BOUND = 1 << 30
# Columns of Work.places; of a pair, the start (the next column is the end).
_VALUE, _SURFACE, _VALUE_SAID, _SURFACE_SAID, _COUNT, _DOUBT = 0, 2, 4, 6, 8, 9


@njit(cache=True, inline="always")
def _piece(program: Any, number: Any, low: Any, out: Any, at: Any) -> Any:
    """Append a piece of text, unchanged or in lower case; return the new end."""
    first = program.pieces[number, 2 * low]
    return copy(program.pool, first, first + program.pieces[number, 2 * low + 1], out, at)


@njit(cache=True, inline="always")
def _choose(program: Any, node: Any, present: Any, state: Any) -> Any:
    """Draw an option of a choice, uniformly among those whose slots are all present; -1 if there is none."""
    nodes, table = program.nodes, program.table
    first, count, free = nodes[node, p.A], nodes[node, p.B], nodes[node, p.C]
    chosen = -1
    # Guess first: most options are usable, so this is faster than counting them. The result is uniform either way.
    for _ in range(_GUESSES):
        k = below(state, count)
        need = 0 if free else table[first + count + k]
        if need & present == need:
            chosen = table[first + k]
            break
    if chosen < 0:
        usable = 0
        for k in range(count):
            need = table[first + count + k]
            usable += need & present == need
        pick = below(state, max(usable, 1))
        for k in range(count):
            need = table[first + count + k]
            if need & present == need:
                if pick == 0:
                    chosen = table[first + k]
                pick -= 1
    return chosen


@njit(cache=True, inline="always")
def _push_parts(program: Any, node: Any, present: Any, state: Any, stack: Any, top: Any) -> Any:
    """Put the usable parts of <...> on the stack in a random order; return the new top."""
    nodes, table = program.nodes, program.table
    first, size = nodes[node, p.A], nodes[node, p.B]
    stack[top] = _PARTS_END
    base, count = top + 1, 0
    for k in range(size):
        need = table[first + size + k]
        if need & present == need:
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
def _lexicon(program: Any, node: Any, state: Any) -> Any:
    """Draw a piece of a word list, by weight."""
    nodes, table = program.nodes, program.table
    first, count, sums = nodes[node, p.A], nodes[node, p.B], nodes[node, p.C]
    value = word(state)
    place = (value * count) >> 32
    if sums >= 0:
        place, high = 0, count - 1
        while place < high:
            middle = (place + high) >> 1
            if value < table[sums + middle]:
                high = middle
            else:
                place = middle + 1
    return table[first + place]


@njit(cache=True, inline="always")
def _expand(
    program: Any,
    root: Any,
    walks: Any,
    start: Any,
    record: Any,
    present: Any,
    most: Any,
    state: Any,
    work: Any,
    at: Any,
) -> Any:
    """Draw from a grammar and append the result to ``work.items``.

    Args:
        root: node of the grammar.
        walks, start: the node positions of the row's walk are ``walks[start:]``.
        record: number of the metadata record, -1 for none.
        present: the slots that are present, as bits.
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
            node = _choose(program, node, present, state)
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
            slot = nodes[node, p.A]
            if present >> slot & 1:
                items[at] = -1 - slot
                at += 1
                count = work.places[slot, _COUNT]
                glued = edge if count > 0 else 0
                if nodes[node, p.B] and before < 0:
                    before, inside = words - glued, count
                words += count - glued
                doubt += work.places[slot, _DOUBT]
                edge = 1 if count > 0 else edge
        elif kind == p.STEP:
            entry = nodes[node, p.B] + 2 * walks[start + nodes[node, p.A]]
            piece = table[table[entry] + below(state, table[entry + 1])]
        elif kind == p.LEXICON:
            piece = _lexicon(program, node, state)
        elif kind == p.CONDITIONAL:
            need = nodes[node, p.B]
            if need & present == need:
                stack[top] = nodes[node, p.A]
                top += 1
        elif kind == p.ATTRIBUTE:
            piece = table[nodes[node, p.B] + walks[start + nodes[node, p.A]]]
        elif kind == p.RECORD:
            if record >= 0:
                piece = table[nodes[node, p.A] + record]
        elif kind == p.PARTS:
            top = _push_parts(program, node, present, state, stack, top)
        if piece >= 0:
            items[at] = piece
            at += 1
            facts = program.pieces[piece, 4]
            words += (facts & 0xFFFF) - (edge & facts >> 16)
            doubt += (facts >> 20) + (facts >> 18 & 1 & (1 - edge))
            edge = edge if facts >> 19 & 1 else facts >> 17 & 1
    return at, words, doubt, before, inside


@njit(cache=True, inline="always")
def _is_there(program: Any, slot: Any, present: Any, named: Any, state: Any) -> Any:
    """Whether a slot is present, given those above it."""
    slots = program.slots
    rule = slots[slot, p.PRESENCE]
    if rule == p.CATEGORY:
        there = named != 0
    else:
        there = rule == p.ALWAYS or word(state) < slots[slot, p.SHARE]
    needs = slots[slot, p.NEEDS]
    return there and slots[slot, p.EXCLUDES] & present == 0 and needs & present == needs


@njit(cache=True, inline="always")
def _say(program: Any, first: Any, stop: Any, low: Any, work: Any) -> Any:
    """Write items as bytes into ``work.raw``, with marks around the slots; return the end."""
    out, items, end = work.raw, work.items, 0
    for i in range(first, stop):
        item = items[i]
        if item >= 0:
            end = _piece(program, item, low, out, end)
        else:
            slot = -1 - item
            out[end] = OPEN_CATEGORY if slot == work.places[p.MOST_SLOTS, 0] else OPEN
            end = copy(
                work.spoken, work.places[slot, _SURFACE_SAID], work.places[slot, _SURFACE_SAID + 1], out, end + 1
            )
            out[end] = CLOSE
            end += 1
    return end


@njit(cache=True, nogil=True)
def compose(program: Any, work: Any, seeds: Any, rows: Any, starts: Any, walks: Any, order: Any, tries: Any) -> Any:
    """Write the words of rows.

    Args:
        program: ``routenator.wording.program.Program``.
        work: ``routenator.wording.program.Work``.
        seeds: int64, shape (n,).
        rows: see ``Writer.write``; int64, shape (n, 8).
        starts: where each row's walk begins in ``walks``, shape (n + 1,).
        walks: node positions, int32.
        order: the order in which rows are processed and their texts returned, shape (n,).
        tries: how often a query is drawn to find one that fits.

    Returns:
        Bytes of query, slots, arguments and path (the last three are JSON) and the ends of the texts in each, shape
        (4, n + 1), all in the given order; and ``Words.facts`` in the order of the rows.
    """
    # The owners (arguments of this function, all_...) stay alive to the end, so bare arrays are safe here.
    program = p.Program(
        bare_of(program.pool), bare_of(program.pieces), bare_of(program.nodes), bare_of(program.table),
        bare_of(program.slots), bare_of(program.functions), bare_of(program.noise), bare_of(program.alpha),
        bare_of(program.longest),
    )  # fmt: skip
    work = p.Work(
        bare_of(work.items), bare_of(work.places), bare_of(work.raw), bare_of(work.spoken), bare_of(work.stack),
        bare_of(work.marks), bare_of(work.letters), bare_of(work.state),
    )  # fmt: skip
    seeds, rows, starts, walks, order = bare_of(seeds), bare_of(rows), bare_of(starts), bare_of(walks), bare_of(order)
    count, slots, functions, noise, places, state = (
        len(seeds),
        program.slots,
        program.functions,
        program.noise,
        work.places,
        work.state,
    )
    all_ends, all_facts = np.zeros((4, count + 1), dtype=np.int32), np.empty((count, 4), dtype=np.int64)
    all_query, all_slots = np.empty(1, np.uint8), np.empty(1, np.uint8)
    all_arguments, all_paths = np.empty(1, np.uint8), np.empty(1, np.uint8)
    ends, facts = bare_of(all_ends), bare_of(all_facts)
    for place in range(count):
        row = order[place]
        seed, function, record, named, template = seeds[row], rows[row, 0], rows[row, 1], rows[row, 2], rows[row, 3]
        # Noise is drawn once per row, apart from the attempts, so that it does not depend on which attempt fits.
        begin(state, seed, STREAM_NOISE, 0)
        low, slip, bare = np.int64(word(state) < noise[0]), word(state) < noise[1], word(state) < noise[2]
        position, where, kind = word(state), word(state), word(state)
        wanted: Any = -1  # target position, -1 for none
        if rows[row, 7] >= 0:
            wanted = np.int64(position >= rows[row, 6]) + np.int64(position >= rows[row, 7])
        first, slot_count = functions[function, p.FIRST_SLOT], functions[function, p.SLOTS]
        places[p.MOST_SLOTS, 0] = functions[function, p.CATEGORY_SLOT]
        # best: the first attempt of the right length, whatever its position; again: it is drawn once more, to be used.
        best, attempt, again, present, said, stop = -1, 0, False, 0, 0, 0
        while True:
            begin(state, seed, STREAM_SLOTS, attempt)
            present, at, words, doubt, before, inside, begun, spoken = 0, 0, 0, 0, -1, 0, 0, 0
            most = _NO_BOUND if again else rows[row, 5]
            # For each slot its value, then its surface; the template comes last.
            for job in range(2 * slot_count + 1):
                k, last, surface = job >> 1, job == 2 * slot_count, job & 1
                root, seen = template, 0
                if last:
                    begin(state, seed, STREAM_TEMPLATE, attempt)
                    seen = present
                elif surface:
                    root = slots[first + k, p.SURFACE]
                    if root < 0 or not present >> k & 1:
                        continue
                else:
                    if not _is_there(program, first + k, present, named, state):
                        continue
                    present |= 1 << k
                    root = slots[first + k, p.VALUE]
                if spoken > most:
                    words, doubt = spoken, 0
                    break  # the slots alone have too many words
                begun, bound = at, most if last else _NO_BOUND
                at, words, doubt, before, inside = _expand(
                    program, root, walks, starts[row], record, seen, bound, state, work, at
                )
                if not last:
                    if surface or slots[first + k, p.SURFACE] < 0:
                        spoken += words - doubt
                    places[k, _SURFACE], places[k, _SURFACE + 1], places[k, _COUNT], places[k, _DOUBT] = (
                        begun,
                        at,
                        words,
                        doubt,
                    )
                    if not surface:
                        places[k, _VALUE], places[k, _VALUE + 1] = begun, at
            guess, doubts = words, doubt
            if not again:
                fits = rows[row, 4] <= words <= rows[row, 5]
                third = third_at(words, before, inside)
                good = fits and (wanted < 0 or third < 0 or third == wanted or attempt >= tries // 2)
                # Without doubtful words the count is exact. With them it is an upper bound, and ``words - doubt`` a
                # lower one: reject only if no count between the two can fit, else write the text and count again.
                if words < rows[row, 4] or words - doubt > rows[row, 5] or (doubt == 0 and not good):
                    if best < 0 and fits and doubt == 0:
                        best = attempt
                    attempt += 1
                    if attempt == tries or (best >= 0 and attempt == tries // 2):
                        # None meets both conditions: use the first of the right length, else the very first.
                        attempt, again = max(best, 0), True
                    continue
            # Bytes: the slots' values and surfaces, then the query.
            said = 0
            for job in range(2 * slot_count + 1):
                k, last, surface = job >> 1, job == 2 * slot_count, job & 1
                small: Any = low
                from_, to = begun, at
                if not last:
                    if not present >> k & 1:
                        continue
                    from_, to = places[k, 2 * surface], places[k, 2 * surface + 1]
                    if slots[first + k, p.SURFACE] < 0:
                        # A value without its own surface is a span of the query, so it gets the query's letter case.
                        if surface:
                            continue
                    elif not surface:
                        small = 0
                end = _say(program, from_, to, small, work)
                if last and slip:
                    end = typo(work.raw, end, where, kind, program.alpha, work.letters)
                stop, words, third = tidy(work.raw, 0, end, last and bare, work.spoken, said)
                if not last:
                    places[k, _SURFACE_SAID], places[k, _SURFACE_SAID + 1] = said, stop
                    if not surface:
                        places[k, _VALUE_SAID], places[k, _VALUE_SAID + 1] = said, stop
                    said = stop
            facts[row, 0], facts[row, 1], facts[row, 2], facts[row, 3] = words, third, guess, doubts
            fits = rows[row, 4] <= words <= rows[row, 5]
            if again or (fits and (wanted < 0 or third < 0 or third == wanted or attempt >= tries // 2)):
                break
            if best < 0 and fits:
                best = attempt
            attempt += 1
            if attempt == tries or (best >= 0 and attempt == tries // 2):
                attempt, again = max(best, 0), True
        end = ends[0, place]
        all_query = room(all_query, end, stop - said)
        query = bare_of(all_query)
        ends[0, place + 1] = copy(work.spoken, said, stop, query, end)
        all_slots = room(all_slots, ends[1, place], program.longest[1])
        all_arguments = room(all_arguments, ends[2, place], program.longest[2])
        surfaces, arguments = bare_of(all_slots), bare_of(all_arguments)
        end, at = ends[1, place], ends[2, place]
        surfaces[end], arguments[at] = OPENING, OPENING
        end, at, some = end + 1, at + 1, False
        for k in range(slot_count):
            if present >> k & 1:
                if some:
                    surfaces[end], surfaces[end + 1], arguments[at], arguments[at + 1] = COMMA, SPACE, COMMA, SPACE
                    end, at = end + 2, at + 2
                some = True
                key, form = slots[first + k, p.KEY], slots[first + k, p.TYPE]
                end = _piece(program, key, 0, surfaces, end)
                end = quoted(work.spoken, places[k, _SURFACE_SAID], places[k, _SURFACE_SAID + 1], surfaces, end)
                at = _piece(program, key, 0, arguments, at)
                at = typed(work.spoken, places[k, _VALUE_SAID], places[k, _VALUE_SAID + 1], form, arguments, at)
        surfaces[end], arguments[at] = CLOSING, CLOSING
        ends[1, place + 1], ends[2, place + 1] = end + 1, at + 1
        all_paths = room(all_paths, ends[3, place], program.longest[3])
        paths = bare_of(all_paths)
        end = ends[3, place]
        paths[end] = OPENING
        end += 1
        for k in range(starts[row + 1] - starts[row]):
            step = program.table[functions[function, p.FIRST_STEP] + k]
            end = _piece(program, program.table[step + walks[starts[row] + k]], 0, paths, end)
        # Each step's piece ends with a comma and a space; the closing brace replaces the last pair.
        paths[end - 2] = CLOSING
        ends[3, place + 1] = end - 1
    return all_query, all_slots, all_arguments, all_paths, all_ends, all_facts
