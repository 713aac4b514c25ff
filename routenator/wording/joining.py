"""Joins several requests into one query, as people do."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from routenator.casing import capitalised, lowered
from routenator.domain.schema import Join
from routenator.validation.text import words

_END = ".?!,;: "
_SENTENCE_END = (".", "?", "!")


def joined(drafts: Sequence[str], surfaces: Collection[str], join: Join, language: str = "en") -> str:
    """Join queries: within a sentence they lose their final punctuation and all but the first their capital letter.

    Args:
        drafts: at least two queries.
        surfaces: wordings of values; a capital letter of theirs stays.
        join: what goes before, between and before the last.
        language: of the queries.
    """
    values = {word for surface in surfaces for word in words(surface)}
    texts = [draft.rstrip(_END) for draft in drafts[:-1]]
    parts = [join.open, _lowered(texts[0], values, language) if join.open else texts[0]]
    for number, draft in enumerate([*texts[1:], drafts[-1]], 1):
        before = join.last if number == len(drafts) - 1 else join.between
        starts = before.rstrip().endswith(_SENTENCE_END) and drafts[0][:1].isupper()
        parts += [before, capitalised(draft, language) if starts else _lowered(draft, values, language)]
    return "".join(parts)


def _lowered(text: str, values: Collection[str], language: str) -> str:
    """The text without the capital letter that only its place at the start gave it."""
    first, _, rest = text.partition(" ")
    plain = first[:1].isupper() and first[1:].islower() and not {*words(first)} & {*values}
    return f"{lowered(first, language)} {rest}".rstrip() if plain else text
