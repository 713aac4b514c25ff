"""Functions whose names mean nearly the same, and the words that still tell them apart."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from routenator.authoring.door.english import head_of, split_name
from routenator.authoring.door.names import verbs
from routenator.authoring.door.phrases import first_sentence
from routenator.domain.functions import Function
from routenator.validation.words import FUNCTION_WORDS

_MOST_WORDS = 5  # of those that tell a function apart
_PREPOSITIONS = {"by", "with", "of", "in", "for", "from", "to", "on", "at", "as", "and"}
_SHORTEST = 3  # letters of a description's word that can tell functions apart


def near_synonyms(functions: dict[str, Function]) -> Iterator[tuple[str, str]]:
    """Pairs of names in which the same or a synonymous verb acts on the same thing, one perhaps with a word more.

    ``read_file`` and ``read_text_file`` are such a pair, ``add_user`` and ``create_user`` too. ``get_pet`` and
    ``get_pet_photos`` are not, since they end in different nouns, and neither are ``get_pet`` and ``list_pets``.
    """
    split = {name: words for name in functions if len(words := split_name(name)) > 1}
    parts = {name: (words[0], _content(words), _head(words)) for name, words in split.items()}
    for (one, (verb, a, noun)), (other, (rival, b, same_noun)) in itertools.combinations(parts.items(), 2):
        if not a or not b or noun != same_noun:
            continue
        same = verb == rival and verb in verbs()
        if (same and a != b and (a < b or b < a) and abs(len(a) - len(b)) == 1) or (
            a == b and (same or _synonymous(verb, rival))
        ):
            yield one, other


def telling_words(functions: dict[str, Function], name: str, other: str) -> list[str]:
    """Words of a function's name, parameters and first sentence that the other function does not have."""
    seen = set(_all_words(functions[other]))
    return [word for word in dict.fromkeys(_all_words(functions[name])) if word not in seen][:_MOST_WORDS]


def synonym_warnings(functions: dict[str, Function], most: int) -> Iterator[str]:
    """A sentence for each pair, up to a limit."""
    pairs = list(near_synonyms(functions))
    for one, other in pairs[:most]:
        told = "; ".join(
            f"{name}: {', '.join(telling_words(functions, name, rest)) or 'none'}"
            for name, rest in ((one, other), (other, one))
        )
        yield (
            f"{one} and {other} mean nearly the same. Only these words tell them apart: {told}. Say them in every "
            "pattern, or leave one of the two out"
        )
    if len(pairs) > most:
        yield f"{len(pairs) - most} more pairs of functions mean nearly the same"


def _content(words: list[str]) -> frozenset[str]:
    return frozenset(words[1:]) - _PREPOSITIONS


def _head(words: list[str]) -> str:
    """The noun that is acted on: the last one before a preposition."""
    return head_of(" ".join(words[1:])).rsplit(" ", 1)[-1]


def _synonymous(one: str, other: str) -> bool:
    known = verbs()
    return one in known and other in known and (other in known[one]["said"] or one in known[other]["said"])


def _all_words(function: Function) -> Iterator[str]:
    yield from split_name(function.name)
    for parameter in function.properties:
        yield from split_name(parameter)
    for word in re.findall(r"[A-Za-z]+", first_sentence(function.description)):
        if len(word) >= _SHORTEST and word.lower() not in FUNCTION_WORDS["en"]:
            yield word.lower()
