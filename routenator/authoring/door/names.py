"""The words of a function's name: its verb, wherever it stands, and what the name says besides."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from routenator.authoring.door.english import singular, split_name
from routenator.authoring.door.tools import Tool
from routenator.parsing import read_yaml

_VERBS = Path(__file__).resolve().parent / "words" / "verbs.yaml"
DROPPED = {"v1", "v2", "v3", "v4", "api", "the", "a", "an", "all", "request", "endpoint"}
_SHARED = 0.6  # a first word that so many names have is the API's, not the function's
NOUNS_TOO = {"test", "order", "review", "record", "log", "link", "type"}  # verbs that a name's end seldom means
# Verbs that a name's start may mean as nouns: check_retrieve.
_NOUNS_FIRST = {
    "check", "tag", "block", "call", "filter", "report", "share", "book", "transfer", "schedule", "import", "export",
    "upload", "download", "query", "star", "invite", "build", "track", "rate", "lock", "stage",
}  # fmt: skip
_PLAIN = {"list", "create", "retrieve", "get", "update", "delete", "remove"}  # verbs that are seldom nouns in names
METHOD_VERBS = {"get": "get", "post": "create", "put": "update", "patch": "update", "delete": "delete", "head": "check"}


@cache
def verbs() -> dict[str, dict[str, Any]]:
    """Verbs with their synonyms."""
    return dict(read_yaml(_VERBS))


def shared_prefix(names: Sequence[str]) -> str:
    """A first word of most names that is not a verb: ``git`` of ``git_status``."""
    firsts = [words[0] for words in map(split_name, names) if len(words) > 1]
    for word in dict.fromkeys(firsts):
        if len(names) >= 3 and firsts.count(word) >= _SHARED * len(names) and word not in verbs():
            return word
    return ""


def name_words(name: str, prefix: str) -> list[str]:
    """A name's words without the prefix that most names share."""
    words = split_name(name)
    return words[1:] if prefix and words[:1] == [prefix] and len(words) > 1 else words


def bare(words: list[str]) -> list[str]:
    """A name's words without the number that tells it from another and without ``list of``."""
    if len(words) > 2 and words[-1].isdigit():
        words = words[:-1]
    if words[1:2] in (["or"], ["and"]) and words[0] in verbs() and words[2:3] and words[2] in verbs():
        words = [words[0], *words[3:]]  # reorder-or-replace-items
    return [words[0], *words[3:]] if words[1:3] == ["list", "of"] and len(words) > 3 else words


def unglued(words: list[str], tool: Tool) -> list[str]:
    """A name's words with a verb that it writes together with a word of the path: ``getfacets`` at ``/facets``."""
    first = words[0]
    if first in verbs():
        return words
    parts = set(split_name(tool.origin)) if tool.method else set()
    for verb in ("get", "list", "create", "add", "update", "set", "delete", "remove", "reset", "search", "post"):
        rest = first.removeprefix(verb)
        if rest != first and {rest, singular(rest)} & {*parts, *map(singular, parts)}:
            return [verb, rest, *words[1:]]
    return words


def verb_first(words: list[str], tool: Tool) -> list[str]:
    """A name's words with the verb that it has last, as ``link_update``; a method's name stands for what it does."""
    noun_first = words[0] not in verbs() or words[0] in NOUNS_TOO | _NOUNS_FIRST
    if len(words) > 1 and words[-1] in _PLAIN and noun_first and "by" not in words:
        verb, *rest = words[-1], *words[:-1]
        words = [verb, *rest] if verbs()[verb].get("read") else [verb, *rest[:-1], singular(rest[-1])]
    if words[0] == tool.method and words[0] in ("post", "put", "patch"):
        words = [METHOD_VERBS[words[0]], *words[1:]]
    return words
