"""The compiled loop over rows: draw slots and query, count words, draw again until the query fits, write the texts.

Rejection sampling keeps the joint distribution right: slot presence, slot values and the query are drawn together until
the query is in the row's length bucket. The first half of the attempts also require the target position of the category
word. A draw is a list of pieces whose word counts are precomputed, so most draws are judged without touching a byte;
only the accepted one is written out. The exception is a draw with free-standing punctuation, which tidying and noise
may remove: its text must be written to count its words. So must every draw in a script without spaces between words.
Draws are pure functions of (seed, stream, attempt), so the best earlier attempt is not stored but drawn again.

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
from routenator.validation.segments import Segments
from routenator.validation.segments_kernel import count_segments
from routenator.wording import tables as p
from routenator.wording.expand import below_sum, expand
from routenator.wording.memory import bare_of, room
from routenator.wording.parts import is_there, of_parts
from routenator.wording.random import begin, word
from routenator.wording.text import CLOSING, OPENING, copy, third_at, third_by_letters, tidy, typo
from routenator.wording.writing import piece, say, write_slots

discard_stale(Path(__file__).parent)

STREAM_NOISE, STREAM_SLOTS, STREAM_TEMPLATE = 20, 21, 22
_NO_BOUND = 1 << 30


@njit(cache=True, nogil=True)
def compose(program: Any, work: Any, seeds: Any, rows: Any, starts: Any, walks: Any, order: Any, tries: Any) -> Any:
    """Write the words of rows.

    Args:
        program: ``routenator.wording.tables.Program``.
        work: ``routenator.wording.tables.Work``.
        seeds: int64, shape (n,).
        rows: see ``Writer.write``, and the numbers of the row's language and day; int64, shape (n, 10).
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
        bare_of(program.pool), bare_of(program.pieces), bare_of(program.lower), bare_of(program.nodes),
        bare_of(program.table), bare_of(program.slots), bare_of(program.functions), bare_of(program.noise),
        bare_of(program.alpha), bare_of(program.longest),
        Segments(bare_of(program.segments.keys), bare_of(program.segments.scores), bare_of(program.segments.spans)),
    )  # fmt: skip
    work = p.Work(
        bare_of(work.items), bare_of(work.places), bare_of(work.raw), bare_of(work.spoken), bare_of(work.stack),
        bare_of(work.marks), bare_of(work.steps), bare_of(work.letters), bare_of(work.state),
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
        low *= program.lower[rows[row, 8]]
        position, where, kind = word(state), word(state), word(state)
        wanted: Any = -1  # target position, -1 for none
        if rows[row, 7] >= 0:
            wanted = np.int64(position >= rows[row, 6]) + np.int64(position >= rows[row, 7])
        today = rows[row, 9]
        language, category = rows[row, 8], functions[function, p.CATEGORY_SLOT]
        spaceless = program.segments.spans[language, 1] > 0
        first, row_count = functions[function, p.FIRST_SLOT], functions[function, p.SLOTS]
        for k in range(starts[row + 1] - starts[row]):
            work.steps[k] = walks[starts[row] + k]
        # best: the first attempt of the right length, whatever its position; again: it is drawn once more, to be used.
        best, attempt, again, said, stop = -1, 0, False, 0, 0
        while True:
            begin(state, seed, STREAM_SLOTS, attempt)
            # Slots in the call, and those of them that are said, as bits.
            present, voiced = 0, 0
            at, words, doubt, before, inside, begun, spoken = 0, 0, 0, -1, 0, 0, 0
            most = _NO_BOUND if again or spaceless else rows[row, 5]
            # For each row of slots its value, then its surface; the template comes last.
            job = 0
            while job <= 2 * row_count:
                k, last, surface = job >> 1, job == 2 * row_count, job & 1
                job += 1
                here, root, seen = first + k, template, 0
                number, form = slots[here, p.NUMBER], slots[here, p.ROW]
                if last:
                    begin(state, seed, STREAM_TEMPLATE, attempt)
                    seen = voiced
                elif form == p.LEAF:
                    if surface:
                        root = slots[here, p.SURFACE]
                        if root < 0 or places[number, p.THERE] != p.SAID:
                            continue
                        if slots[here, p.PHRASES] >= 0:
                            root = program.table[places[number, p.PHRASE] + 1]
                    else:
                        if not is_there(program, work, here, present, named, state):
                            places[number, p.THERE] = p.ABSENT
                            continue
                        root, heard = slots[here, p.VALUE], p.SAID
                        if slots[here, p.PHRASES] >= 0:
                            phrases = slots[here, p.PHRASES]
                            options = program.table[phrases]
                            chosen = below_sum(program.table, phrases + 1, options, word(state))
                            chosen = phrases + 1 + options + 2 * chosen
                            places[number, p.PHRASE], root = chosen, program.table[chosen]
                            heard = p.SAID if program.table[chosen + 1] >= 0 else p.SILENT
                        places[number, p.THERE] = heard
                        if slots[here, p.BIT] >= 0:
                            present |= 1 << slots[here, p.BIT]
                            if heard == p.SAID:
                                voiced |= 1 << slots[here, p.BIT]
                elif form == p.CLOSE:
                    if not surface:
                        # What has no items is in the call, but there is nothing to say.
                        if places[number, p.LENGTH] != 0 and slots[here, p.SURFACE] >= 0:
                            places[number, p.THERE] = p.SAID
                            if slots[here, p.BIT] >= 0:
                                voiced |= 1 << slots[here, p.BIT]
                        continue
                    root = slots[here, p.SURFACE]
                    if places[number, p.THERE] != p.SAID:
                        continue
                elif form == p.FORM:
                    root = slots[here, p.VALUE]
                    if surface or places[slots[here, p.LIST], p.THERE] != p.SAID:
                        continue
                else:
                    if not surface:
                        job, at, present = of_parts(program, work, here, job, at, present, named, state)
                    continue
                if spoken > most:
                    words, doubt = spoken, 0
                    break  # the slots alone have too many words
                begun, bound = at, most if last else _NO_BOUND
                at, words, doubt, before, inside = expand(
                    program, root, record, today, language, seen, bound, state, work, at
                )
                if not last:
                    if slots[here, p.FLAGS] & p.NAMED and (surface or slots[here, p.SURFACE] < 0):
                        spoken += words - doubt
                    places[number, p.SURFACE_AT], places[number, p.SURFACE_AT + 1] = begun, at
                    places[number, p.COUNT], places[number, p.DOUBT] = words, doubt
                    if not surface:
                        places[number, p.VALUE_AT], places[number, p.VALUE_AT + 1] = begun, at
            if spaceless:
                words, doubt = _NO_BOUND, _NO_BOUND  # only the written text can be counted
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
            said, job = 0, 0
            while job <= 2 * row_count:
                k, last, surface = job >> 1, job == 2 * row_count, job & 1
                job += 1
                small: Any = low
                here, from_, to = first + k, begun, at
                number, form = slots[here, p.NUMBER], slots[here, p.ROW]
                if not last:
                    if form == p.LEAF:
                        if places[number, p.THERE] == p.ABSENT or (surface and places[number, p.THERE] == p.SILENT):
                            continue
                        if slots[here, p.SURFACE] < 0:
                            # A value without its own surface is a span of the query: it gets the query's letter case.
                            if surface:
                                continue
                        elif not surface:
                            small = 0
                    elif form == p.CLOSE:
                        if not surface or places[number, p.THERE] != p.SAID:
                            continue
                    else:
                        if form == p.OPEN and places[number, p.THERE] == p.ABSENT:
                            job = 2 * (slots[here, p.END] + 1)
                        elif form == p.ITEM and slots[here, p.INDEX] >= places[slots[here, p.LIST], p.LENGTH]:
                            job = 2 * slots[here, p.END]
                        continue
                    from_, to = places[number, 2 * surface], places[number, 2 * surface + 1]
                end = say(program, from_, to, small, category, work)
                if last and slip:
                    end = typo(work.raw, end, where, kind, program.alpha, work.letters)
                stop, words, third = tidy(work.raw, 0, end, last and bare, work.spoken, said)
                if last and spaceless:
                    third = third_by_letters(work.raw, 0, end, program.alpha)
                    words = count_segments(
                        program.segments.keys, program.segments.scores, program.segments.spans, language, work.spoken,
                        said, stop,
                    )  # fmt: skip
                if not last:
                    places[number, p.SURFACE_SAID], places[number, p.SURFACE_SAID + 1] = said, stop
                    if not surface:
                        places[number, p.VALUE_SAID], places[number, p.VALUE_SAID + 1] = said, stop
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
        end, at = end + 1, at + 1
        end, at = write_slots(program, work, first, row_count, surfaces, end, arguments, at)
        surfaces[end], arguments[at] = CLOSING, CLOSING
        ends[1, place + 1], ends[2, place + 1] = end + 1, at + 1
        all_paths = room(all_paths, ends[3, place], program.longest[3])
        paths = bare_of(all_paths)
        end = ends[3, place]
        paths[end] = OPENING
        end += 1
        for k in range(starts[row + 1] - starts[row]):
            step = program.table[functions[function, p.FIRST_STEP] + k]
            end = piece(program, program.table[step + walks[starts[row] + k]], 0, paths, end)
        # Each step's piece ends with a comma and a space; the closing brace replaces the last pair.
        paths[end - 2] = CLOSING
        ends[3, place + 1] = end - 1
    return all_query, all_slots, all_arguments, all_paths, all_ends, all_facts
