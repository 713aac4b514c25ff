"""Tables for the compiled half of the prefilter: a domain's functions and the languages' words as flat arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from routenator.domain.functions import Function
from routenator.validation.letters import Letters, letter_tables
from routenator.validation.prefilter_schema import Shapes, hashed, make_shapes
from routenator.validation.segments import Segments, segment_tables
from routenator.validation.words import DANGLING, FUNCTION_WORDS, OWN_WORDS, longest_word

# Marks of a word, in addition to the bits of the other languages that have it: a word of this language; a word that no
# complete request ends with.
OWN, ENDING = 1 << 40, 1 << 41
_OPENINGS = ("sure", "certainly", "absolutely", "of", "as")
_FIRST_PERSON = ("i", "i'm")
_THEN = ("sorry", "am", "apologize", "apologise", "cannot", "can't")


class Rules(NamedTuple):
    """Input of the compiled half.

    Attributes:
        words, marks, spans: hashes of function words, sorted within each language; for each word a bit per other
            language that has it, plus OWN and ENDING; where each language's words begin and end. Shapes (words,),
            (words,), (languages, 2).
        checked: whether a language's function words are checked, shape (languages,).
        longest: the most letters of a word, by language.
        shapes: the schemas of the functions' arguments.
        openings: hashes of the words that begin a chat model's stock phrases; then words of the first person, then
            words that make a stock phrase after one of those.
        letters: which characters are letters.
        segments: models that count the words of languages without spaces between them.
    """

    words: NDArray[np.uint64]
    marks: NDArray[np.int64]
    spans: NDArray[np.int64]
    checked: NDArray[np.bool_]
    longest: NDArray[np.int64]
    shapes: Shapes
    openings: NDArray[np.uint64]
    letters: Letters
    segments: Segments


def make_rules(
    languages: list[str], checked: bool, functions: Mapping[str, Function], *, ascii_only: bool = False
) -> Rules:
    """Build the tables.

    Args:
        languages: languages of the rows; a row refers to its language by position.
        checked: whether languages are checked at all.
        functions: functions by name; a row refers to its function by position.
        ascii_only: no text has other characters, so that small tables will do.
    """
    words: list[int] = []
    marks: list[int] = []
    spans: list[tuple[int, int]] = []
    for language in languages:
        table: dict[int, int] = {}
        for number, (code, others) in enumerate(FUNCTION_WORDS.items()):
            for word in others if code != language else ():
                table[hashed(word)] = table.get(hashed(word), 0) | 1 << number
        for mark, own in ((OWN, OWN_WORDS), (ENDING, DANGLING)):
            for word in own.get(language, ()):
                table[hashed(word)] = table.get(hashed(word), 0) | mark
        spans.append((len(words), len(words) + len(table)))
        words.extend(sorted(table))
        marks.extend(table[word] for word in sorted(table))
    return Rules(
        words=np.array(words or [0], dtype=np.uint64),
        marks=np.array(marks or [0], dtype=np.int64),
        spans=np.array(spans, dtype=np.int64).reshape(-1, 2),
        checked=np.array([checked and language in OWN_WORDS for language in languages], dtype=np.bool_),
        longest=np.array([longest_word(language) for language in languages], dtype=np.int64),
        shapes=make_shapes(functions.values()),
        openings=np.array([hashed(word) for word in (*_OPENINGS, *_FIRST_PERSON, *_THEN)], dtype=np.uint64),
        letters=letter_tables(128) if ascii_only else letter_tables(),
        segments=segment_tables(languages),
    )
