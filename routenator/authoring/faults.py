"""Counts what no person would write: wrong articles and numbers, repeated words, prepositions without an object.

English only, by ``inflect`` and closed lists of words. Made to be trusted rather than complete: where a sentence could
be read in two ways, it has no fault.
"""

from __future__ import annotations

import re
from itertools import pairwise

from routenator.authoring.door.english import article_of, is_mass, is_plural

KINDS = ("article", "number", "repeated", "dangling")
_TOKEN = re.compile(r"[^\W_]+(?:[-'’&/.:][^\W_]+)*(?:'(?=\s|$))?|[^\w\s]")
_ARTICLES = {"a", "an"}
_DETERMINERS = _ARTICLES | {"the", "my", "our", "your", "some", "any", "every"}
_SECOND = {"a", "an", "the", "my", "our", "your", "some"}  # none of these can follow a determiner
_ONE = _ARTICLES | {"another", "each", "every"}
_MANY = {"these", "those", "several", "many", "few"}
_COUNTS = {"few", "lot", "dozen", "hundred", "thousand", "million", "couple", "number", "pair", "bunch", "set", "great"}
_PREPOSITIONS = {"of", "for", "with", "about", "from", "into", "by", "at", "without", "than", "on", "in", "to", "near"}
_LINKING = {"of", "with", "about", "from", "into", "by", "without", "for"}  # no other preposition follows directly
_AFTER_LINKING = {"of", "for", "with", "about", "by", "into", "without", "than"}
_STOPS = _PREPOSITIONS | {
    "and", "or", "but", "so", "that", "which", "who", "whose", "where", "when", "if", "as", "like", "around", "over",
    "under", "between", "behind", "before", "after", "until", "since", "is", "are", "was", "were", "be", "can",
    "could", "will", "would", "should", "has", "have", "had", "do", "does", "did", "not", "please", "i", "you", "we",
    "they", "it", "he", "she", "me", "us", "the", "a", "an", "my", "our", "your", "his", "her", "their", "this",
    "these", "some", "any", "all", "called", "named", "titled", "made", "showing", "featuring", "depicting", "left",
    "available", "playing", "via", "using", "against", "through", "across", "off", "up", "down", "out", "next", "now",
    "thanks", "cheers", "asap", "pls", "thx", "what", "how", "half",
}  # fmt: skip
_ECHOES = {"that", "had", "very", "really", "so", "no", "yes", "ha", "la", "hey", "bye", "knock", "please", "is"}
_IS = re.compile(r"(?:is there|(?:what|where|who) is)(?: (?:the|a|an|any|some))?$", re.IGNORECASE)
_ARE = re.compile(r"(?:are there|what are)(?: (?:the|any|some))?$", re.IGNORECASE)
_QUESTION = {"what", "who", "which", "where", "that", "how"}


def faults(text: str) -> list[tuple[str, str]]:
    """Faults of a query.

    Returns:
        Kind, one of ``KINDS``, and the words that show it.
    """
    tokens = _TOKEN.findall(text)
    low = [token.lower() for token in tokens]
    found: list[tuple[str, str]] = []
    for place, (word, after) in enumerate(pairwise(low)):
        if not after[0].isalnum():
            continue
        shown = f"{tokens[place]} {tokens[place + 1]}"
        doubled = word in _DETERMINERS and after in _SECOND
        echo = word == after and word not in _ECHOES and not word.isdigit()
        if word in _ARTICLES and after not in _STOPS and word != article_of(tokens[place + 1]):
            found.append(("article", shown))
        elif doubled or echo:
            found.append(("repeated", shown))
        elif word in _LINKING and after in _AFTER_LINKING and low[max(0, place - 1)] != "close":
            found.append(("dangling", shown))
    found += _numbers(low)
    return found + _loose_ends(low)


def _noun_phrase(low: list[str], start: int) -> list[str]:
    """The words from a place up to what ends a noun phrase; a participle ends it unless it begins it."""
    phrase: list[str] = []
    for token in low[start:]:
        if not token[0].isalnum() or token in _STOPS or (phrase and re.search(r"[a-z]{2}(ing|ed)$", token)):
            break
        phrase.append(token)
    return phrase


def _numbers(low: list[str]) -> list[tuple[str, str]]:
    found = []
    for place, word in enumerate(low):
        phrase = _noun_phrase(low, place + 1)
        if not phrase or phrase[0] in _COUNTS:
            continue
        many, said = is_plural(phrase[-1]), " ".join([word, *phrase])
        singular = phrase[-1].isalpha() and not many and not is_mass(phrase[-1])
        before = " ".join(low[max(0, place - 2) : place + 1])
        several = word in _MANY and before.split()[-2:-1] not in (["how"], ["so"], ["too"], ["as"])
        if (word in _ONE and many) or (several and singular):
            found.append(("number", said))
        elif (_IS.search(before) and many and word not in _ONE) or (_ARE.search(before) and singular):
            found.append(("number", f"{before} {' '.join(phrase)}"))
    return found


def _loose_ends(low: list[str]) -> list[tuple[str, str]]:
    """Prepositions before punctuation or the end, except in questions and relative clauses, which may end in one."""
    found = []
    for place, word in enumerate(low):
        if word not in _LINKING:
            continue
        after = low[place + 1] if place + 1 < len(low) else "."
        verb = "to" in low[max(0, place - 2) : place] or low[max(0, place - 1) : place + 1] == ["close", "by"]
        if after in ".,;!?)" and not verb and not _QUESTION & set(low[:place]):  # "something to choose from"
            found.append(("dangling", f"{' '.join(low[max(0, place - 1) : place + 1])} {after}"))
    return found
