"""The program of the loop in kernel.py: flat integer tables and one pool of bytes.

Every text that a grammar can produce is a *piece* of the pool, stored unchanged and in lower case (lower case in
Unicode is done here, as it can change a text's length and depends on the language). A grammar is a tree of nodes; a
node is a row of ``nodes``: kind and three operands. Lists are runs of integers in ``table``: a node's children followed
by their needs (the slots that each requires), the pieces of a step's nodes, of a word list, and of the metadata
records.

Slots are rows too, in the order in which their texts are drawn and their arguments written: a row for each value, and
rows that open and close what has parts. Each item of a list has rows of its own, as many as the list can have items, so
nothing nests while the loop runs. Values and what has parts are numbered; ``Work.places`` holds what was drawn.

The slots that a node or slot requires are bits of a word, where each of them has one; otherwise -1 - k for the run at k
in ``table``: their count, then their numbers.

Plain arrays rather than Python objects, because numba compiles them to direct memory access and caches the code for all
domains: a program is data, only the loop is compiled.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from routenator.validation.segments import Segments

# Columns of pieces.
START, SIZE, FACTS = range(3)

# What the letters of a text are, as bits: typing can slip at it; it is a word alone; it is part of words.
TYPED, ALONE, IN_WORD = 1, 2, 4

# Columns of nodes; then the kinds of nodes, with their operands A, B, C.
KIND, A, B, C, NEED = range(5)
TEXT = 0  # piece
SEQUENCE = 1  # children: first in table, count
CHOICE = 2  # children: first in table, count; 1 if none needs a slot
CONDITIONAL = 3  # child; the slots that must be present
PARTS = 4  # children: first in table, count
SLOT = 5  # number of the slot; 1 if it is the category's; number of the form that says it, 0 for its surface
STEP = 6  # position in the walk; where its nodes' pairs (first piece in table, count) begin in table
ATTRIBUTE = 7  # position in the walk; where its nodes' pieces begin in table
# Pieces: first in table, count; where the running sums of the weights (32 bits) begin in table, -1 for equal weights.
LEXICON = 8
RECORD = 9  # where the records' pieces begin in table
NOTHING = 10  # the empty result of a choice without a usable option
# Nodes of the items, one each: first in table; number of the list; where pairs of nodes (put between two items; put
# before the last) begin in table, one for each language.
JOIN = 11
DAY = 12  # where the pieces of its texts begin in table, one for each day that the row's today can be

# Columns of slots:
#   PHRASES: where the phrases of ``said`` begin in table, -1 for none: their count, the running sums of their weights,
#       then for each the nodes of its value and surface (-1 if it is not said)
#   NAME: piece of the slot's key in the record of surfaces
#   END: the row that closes it, or the list that it belongs to
#   FIRST, LAST: numbers of its parts, without LAST; of an END_ITEM row, FIRST is the row that begins the item
#   LIST, INDEX: number of the list that an ITEM or END_ITEM row belongs to, and which item it is
#   SUMS: where a list's counts begin in table, -1 for none: how many, running sums of their shares, the counts
#   SAME: of an END_ITEM row, where the run of what makes items equal begins in table, -1 if they may be
(
    ROW, NUMBER, PRESENCE, SHARE, EXCLUDES, NEEDS, VALUE, SURFACE, PHRASES, BIT, FLAGS, TYPE, KEY, NAME, END, FIRST,
    LAST, LIST, INDEX, SUMS, SAME, SLOT_COLUMNS,
) = range(22)  # fmt: skip
ALWAYS, CATEGORY, SHARED = range(3)
LEAF = 0  # a value
OPEN = 1  # what has parts begins; KEY is written
CLOSE = 2  # ... and ends; if it is said in one piece, SURFACE says it
ITEM = 3  # an item of a list begins, if the list has that many; END is the list's CLOSE
# A step of the walk is drawn anew for an item: its position (NUMBER), that of its parent (FIRST, -1 for none), and for
# each node of the parent a triple (first in table, count, running sums); the triples begin in table at SUMS.
AGAIN = 4
END_ITEM = 5
# Another form of a slot's surface (VALUE), such as {room.dat}, drawn after it; LIST is the slot's number.
FORM = 6
# Flags of slots: templates can name it, so its surface is recorded; no comma before it; its value is its surface.
NAMED, GLUED, COPIED = 1, 2, 4
NO_BIT = -1

# Columns of Work.places; of a pair, the start (the next column is the end).
VALUE_AT, SURFACE_AT, VALUE_SAID, SURFACE_SAID, COUNT, DOUBT, THERE, LENGTH, PHRASE, BEGUN, RETRIES, PLACE_COLUMNS = (
    0, 2, 4, 6, 8, 9, 10, 11, 12, 13, 14, 15,
)  # fmt: skip
ABSENT, SILENT, SAID = range(3)  # values of THERE

# Columns of functions.
FIRST_SLOT, SLOTS, FIRST_STEP, CATEGORY_SLOT = range(4)

PUNCTUATION = ",.?!;:"
WIDE_PUNCTUATION = "¿¡،؛؟।。、，！？：；"  # what other scripts have instead
_WORD = 1 << 32  # random words are below this; a share becomes a threshold on them
SPACE_PIECE = 0
BITS = 62  # slots that are bits of an int64


class Program(NamedTuple):
    """Input of the compiled loop.

    Attributes:
        pool: bytes of all pieces.
        pieces: start, size, and the facts for counting words (``counting``), int32; first all pieces unchanged, then in
            lower case, then in Turkish lower case if a language has it; shape (rows, 3).
        lower: for each language, how many rows after a piece its lower-case form comes.
        nodes: kind and operands, shape (nodes, 4).
        table: runs of integers that the nodes point into.
        slots, functions: shape (rows of all functions, SLOT_COLUMNS), (functions, 4).
        noise: thresholds on 32 random bits for lower case, typo, no punctuation, shape (3,).
        alpha: code point -> the bits TYPED, ALONE and IN_WORD.
        segments: models that count words where a script has no spaces, by language.
        longest: maximum bytes of a query, of the JSON of slots, of arguments, and of a path, shape (4,).
    """

    pool: NDArray[np.uint8]
    pieces: NDArray[np.int32]
    lower: NDArray[np.int64]
    nodes: NDArray[np.int64]
    table: NDArray[np.int64]
    slots: NDArray[np.int64]
    functions: NDArray[np.int64]
    noise: NDArray[np.int64]
    alpha: NDArray[np.uint8]
    longest: NDArray[np.int64]
    segments: Segments


class Work(NamedTuple):
    """Scratch memory of the compiled loop, allocated once and large enough for the longest text of its program.

    Attributes:
        items: one draw: pieces, or -1 - k for slot k; first the slots' values and surfaces, then the template.
        places: where each slot's value begins and ends in ``items``, then its surface, then its value and surface in
            ``spoken``; the number of its words and of those in doubt; whether it is in the call, and said; a list's
            number of items; which phrase says it; where the last item begins, and how often it was drawn again;
            shape (slots, PLACE_COLUMNS).
        raw: a text before tidying.
        spoken: values and surfaces of one row's slots and the query, tidied.
        stack: nodes to expand.
        marks: the state before each part of <...>, shape (depth, 4).
        steps: the row's walk, then the steps that are drawn anew for items; node positions.
        letters: places where a typo could be made.
        state: state of the random stream (random.py).
    """

    items: NDArray[np.int64]
    places: NDArray[np.int64]
    raw: NDArray[np.uint8]
    spoken: NDArray[np.uint8]
    stack: NDArray[np.int64]
    marks: NDArray[np.int64]
    steps: NDArray[np.int64]
    letters: NDArray[np.int64]
    state: NDArray[np.uint64]


def counting(text: str) -> int:
    """Pack the facts needed to count a piece's words into bits.

    Bits 0 to 15: words; 16: starts without a space; 17: ends without a space; 18: the first word is punctuation only,
    which counts as a word unless it is glued to the text before; 19: is empty; 20 and up: further words that are
    punctuation only, which tidying and noise may remove.
    """
    tokens = text.split()
    signs = [not token.strip(PUNCTUATION + WIDE_PUNCTUATION) for token in tokens]
    begins, ends = bool(text) and text[0] != " ", bool(text) and text[-1] != " "
    first = bool(begins and signs[0])
    return len(tokens) | begins << 16 | ends << 17 | first << 18 | (not text) << 19 | (sum(signs) - first) << 20


def threshold(share: float) -> int:
    """Turn a share into a threshold: a random 32-bit word is below it with this probability (always, for 1)."""
    return round(min(max(float(share), 0.0), 1.0) * _WORD)
