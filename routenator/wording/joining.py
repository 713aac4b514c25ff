"""Joins several requests into one query, as people do."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from routenator.domain.schema import Join
from routenator.validation.text import words

_END = ".?!,;: "
_SENTENCE_END = (".", "?", "!")


def joined(drafts: Sequence[str], surfaces: Collection[str], join: Join) -> str:
    """Join queries: within a sentence they lose their final punctuation and all but the first their capital letter.

    Args:
        drafts: at least two queries.
        surfaces: wordings of values; a capital letter of theirs stays.
        join: what stands before, between and before the last.
    """
    values = {word for surface in surfaces for word in words(surface)}
    texts = [draft.rstrip(_END) for draft in drafts[:-1]]
    parts = [join.open, _lowered(texts[0], values) if join.open else texts[0]]
    for number, draft in enumerate([*texts[1:], drafts[-1]], 1):
        before = join.last if number == len(drafts) - 1 else join.between
        starts = before.rstrip().endswith(_SENTENCE_END) and drafts[0][:1].isupper()
        parts += [before, draft[:1].upper() + draft[1:] if starts else _lowered(draft, values)]
    return "".join(parts)


def _lowered(text: str, values: Collection[str]) -> str:
    """The text without the capital letter that only its place at the start gave it."""
    first, _, rest = text.partition(" ")
    plain = first[:1].isupper() and first[1:].islower() and not {*words(first)} & {*values}
    return f"{first.lower()} {rest}".rstrip() if plain else text
