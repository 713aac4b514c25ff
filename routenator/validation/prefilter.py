"""Which drafts pass all checks for certain, told at once for a table of them, in compiled code.

``surely_accepted`` is a filter in front of ``routenator.validation.checks.first_failure``: what it accepts, ``first_failure`` accepts too (tests
hold it to that); about the rest it says nothing, and they are judged one by one. Where a check's exact answer would
cost much, something stricter and cheap stands for it; each is argued at its place in prefilter_kernel.py. It is meant for
drafts of the heuristic route: what they say between their slots is no other category by the check's own definition and
in the domain's own words, so that no detector is asked for their language, and no prompt stands behind them that they
could repeat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from routenator.domain.functions import ROLE_KEY, Function
from routenator.validation.checks import Context
from routenator.validation.words import DANGLING, FUNCTION_WORDS

if TYPE_CHECKING:
    import pyarrow as pa

# Kinds of properties of a call.
STRING, INTEGER, NUMBER, BOOLEAN, ENUM = range(5)
# Marks of a word beside the bits of the other languages that have it: of the language; none to end with.
OWN, ENDING = 1 << 40, 1 << 41
_MASK, _PRIME, _OFFSET = (1 << 64) - 1, 0x100000001B3, 0xCBF29CE484222325
_TYPES = {"string": STRING, "integer": INTEGER, "number": NUMBER, "boolean": BOOLEAN}
_SAYS_NOTHING = {"description", "title", "examples", "default", ROLE_KEY}
_OPENINGS = ("sure", "certainly", "absolutely", "of", "as")
_FIRST_PERSON = ("i", "i'm")
_THEN = ("sorry", "am", "apologize", "apologise", "cannot", "can't")


class Rules(NamedTuple):
    """What the compiled check reads.

    Attributes:
        words, marks: hashes of function words, sorted, with a bit for each other language that has the word and marks;
            of all languages one after the other, ``spans`` says where each begins and ends; shape (words,), (words,),
            (languages, 2).
        checked: whether a language's function words are looked at, shape (languages,).
        keys, kinds: hashes of the functions' parameters and their kinds, shape (parameters,).
        values: hashes of the enums' values.
        enums: where a parameter's values stand in ``values``, shape (parameters, 2).
        functions: first and last-plus-one parameter, how many of them are required (they stand first), 1 if unknown
            ones are allowed, 1 if the schema says no more than this; shape (functions, 5).
        openings: hashes of words with which a chat model's habits begin; then those of the first person, then those
            that follow them.
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
    """FNV-1a, 64 bits, of a text's UTF-8, as prefilter_kernel.py computes it."""
    value = _OFFSET
    for byte in text.encode():
        value = (value ^ byte) * _PRIME & _MASK
    return value


def surely_accepted(details: pa.Table, context: Context) -> NDArray[np.bool_]:
    """Which rows pass all checks for certain, with their draft as the query.

    Args:
        details: rows of ``DETAIL_COLUMNS``.
        context: as for ``first_failure``.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from routenator.validation.prefilter_kernel import sure_rows

    if not details.num_rows:
        return np.zeros(0, dtype=np.bool_)
    if any(context.echoes(template) for template in pc.unique(details["template"]).to_pylist()):
        return np.zeros(details.num_rows, dtype=np.bool_)
    functions, languages = list(context.domain.functions), pc.unique(details["language"]).to_pylist()
    buckets = context.domain.statistics.length_buckets
    bounds = np.array(
        list(buckets.values()) if context.config.length else [(0, 1 << 30)] * len(buckets), dtype=np.int64
    )
    rules = _rules(languages, context.config.language, context.domain.functions)

    def numbers(name: str, known: list[str]) -> NDArray[np.int64]:
        return pc.index_in(details[name], value_set=pa.array(known, pa.string())).to_numpy().astype(np.int64)

    rows = np.column_stack(
        [numbers("function", functions), numbers("language", languages), bounds[numbers("length", list(buckets))]]
    )
    texts = [part for name in ("draft", "slots", "arguments") for part in _bytes(details[name])]
    mask: NDArray[np.bool_] = sure_rows(rules, np.ascontiguousarray(rows), *texts)
    return mask


def _bytes(column: pa.ChunkedArray) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Bytes and offsets of a string column, shape (bytes,), (rows + 1,)."""
    import pyarrow as pa

    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[array.offset : array.offset + len(array) + 1]
    return np.frombuffer(data, dtype=np.uint8) if data is not None and data.size else np.zeros(1, dtype=np.uint8), ends


def _rules(languages: list[str], checked: bool, functions: dict[str, Function]) -> Rules:
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
