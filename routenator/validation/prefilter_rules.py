"""Tables for the compiled half of the prefilter: a domain's functions and the languages' words as flat arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from routenator.domain.functions import ROLE_KEY, Function
from routenator.validation.words import DANGLING, FUNCTION_WORDS

# Kinds of properties of a call.
STRING, INTEGER, NUMBER, BOOLEAN, ENUM = range(5)
# Marks of a word, in addition to the bits of the other languages that have it: a word of this language; a word that no
# complete request ends with.
OWN, ENDING = 1 << 40, 1 << 41
_MASK, _PRIME, _OFFSET = (1 << 64) - 1, 0x100000001B3, 0xCBF29CE484222325
_TYPES = {"string": STRING, "integer": INTEGER, "number": NUMBER, "boolean": BOOLEAN}
_SAYS_NOTHING = {"description", "title", "examples", "default", ROLE_KEY}
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
        keys, kinds: hashes of the functions' parameters and their kinds, shape (parameters,).
        values: hashes of the enums' values.
        enums: where a parameter's values stand in ``values``, shape (parameters, 2).
        functions: first parameter and one past the last, how many of them are required (these come first), 1 if unknown
            ones are allowed, 1 if the schema has no other conditions; shape (functions, 5).
        openings: hashes of the words that begin a chat model's stock phrases; then words of the first person, then
            words that make a stock phrase after one of those.
    """

    words: NDArray[np.uint64]
    marks: NDArray[np.int64]
    spans: NDArray[np.int64]
    checked: NDArray[np.bool_]
    keys: NDArray[np.uint64]
    kinds: NDArray[np.int64]
    values: NDArray[np.uint64]
    enums: NDArray[np.int64]
    functions: NDArray[np.int64]
    openings: NDArray[np.uint64]


def hashed(text: str) -> int:
    """64-bit FNV-1a hash of a text's UTF-8 bytes, as prefilter_kernel.py computes it."""
    value = _OFFSET
    for byte in text.encode():
        value = (value ^ byte) * _PRIME & _MASK
    return value


def make_rules(languages: list[str], checked: bool, functions: Mapping[str, Function]) -> Rules:
    """Build the tables.

    Args:
        languages: languages of the rows; a row refers to its language by position.
        checked: whether languages are checked at all.
        functions: functions by name; a row refers to its function by position.
    """
    words: list[int] = []
    marks: list[int] = []
    spans: list[tuple[int, int]] = []
    for language in languages:
        table: dict[int, int] = {}
        for number, (code, others) in enumerate(FUNCTION_WORDS.items()):
            for word in others if code != language else ():
                table[hashed(word)] = table.get(hashed(word), 0) | 1 << number
        for mark, own in ((OWN, FUNCTION_WORDS), (ENDING, DANGLING)):
            for word in own.get(language, ()):
                table[hashed(word)] = table.get(hashed(word), 0) | mark
        spans.append((len(words), len(words) + len(table)))
        words.extend(sorted(table))
        marks.extend(table[word] for word in sorted(table))
    keys: list[int] = []
    kinds: list[int] = []
    values: list[int] = []
    enums: list[tuple[int, int]] = []
    rows = []
    for function in functions.values():
        required = function.required
        names = sorted(function.properties, key=lambda name: name not in required)
        first, simple = (
            len(keys),
            set(function.parameters) <= {"type", "properties", "required", "additionalProperties", *_SAYS_NOTHING},
        )
        more = function.parameters.get("additionalProperties", True)
        for name in names:
            schema: Any = function.properties[name]
            plain = isinstance(schema, dict) and set(schema) <= {"type", "enum", *_SAYS_NOTHING}
            kind = _TYPES.get(schema["type"]) if plain and isinstance(schema.get("type"), str) else None
            enum = schema.get("enum") if plain else None
            if kind is None or (
                enum is not None and not (kind == STRING and all(isinstance(value, str) for value in enum))
            ):
                simple, kind, enum = False, STRING, None
            keys.append(hashed(name))
            enums.append((len(values), len(values) + len(enum or ())))
            values.extend(hashed(value) for value in enum or ())
            kinds.append(ENUM if enum is not None else kind)
        simple = simple and isinstance(more, bool) and set(required) <= set(function.properties) and len(names) < 63
        rows.append((first, len(keys), len(required), int(bool(more)), int(simple)))
    return Rules(
        words=np.array(words or [0], dtype=np.uint64),
        marks=np.array(marks or [0], dtype=np.int64),
        spans=np.array(spans, dtype=np.int64).reshape(-1, 2),
        checked=np.array([checked and language in FUNCTION_WORDS for language in languages], dtype=np.bool_),
        keys=np.array(keys or [0], dtype=np.uint64),
        kinds=np.array(kinds or [0], dtype=np.int64),
        values=np.array(values or [0], dtype=np.uint64),
        enums=np.array(enums or [(0, 0)], dtype=np.int64),
        functions=np.array(rows, dtype=np.int64),
        openings=np.array([hashed(word) for word in (*_OPENINGS, *_FIRST_PERSON, *_THEN)], dtype=np.uint64),
    )
