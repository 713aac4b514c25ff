"""What the path of an operation says: what it acts on, and whose that is.

``GET /boards/{idBoard}/cards/{id}/members`` is about the members of the card ``id`` of the board ``idBoard``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from routenator.authoring.door.english import compound, is_mass, is_plural, singular, split_name, spoken
from routenator.authoring.door.tools import Tool, argument_name

# Parts of a path that say nothing: versions, and words of every path.
_EMPTY = re.compile(r"v\d+\w*|\d{4}-\d{2}-\d{2}|api|rest", re.IGNORECASE)
_NUMBERED = re.compile(r"v?\d+(\.\d+)*")
_EXTENSION = re.compile(r"\.(json|xml)$")
# Words of a parameter that say which one, not of what.
NAMING_ONE = {
    "id", "ids", "name", "slug", "key", "code", "number", "no", "uuid", "uid", "guid", "sid", "or", "alias", "by",
    "identifier", "handle",
}  # fmt: skip
_PROPERTY = {"field", "property", "attribute"}
_NARROWING = {"filter", "format", "type", "status", "extension"}  # choose among several: not the one that is meant
_ASKING = {
    "search", "export", "download", "preview", "check", "validate", "verify", "count", "compare", "cancel",
    "invalidate", "resend", "create", "delete", "update", "edit", "remove",
}  # fmt: skip
_ASKING_ALL = {"show", "find", "list", "query", "lookup", "get", "fetch"}
_CLEAR = {
    "create", "add", "update", "edit", "delete", "destroy", "remove", "cancel", "archive", "restore", "enable",
    "disable", "retweet", "unretweet",
}  # fmt: skip
_NOUNS_FIRST = {"check", "view", "display", "track", "preview", "test", "monitor", "show"}  # check items, view settings
_OWN = {"me", "self", "mine", "my"}
_ADJECTIVES = {
    "recent", "popular", "latest", "new", "top", "hot", "active", "inactive", "public", "private", "current", "pending",
    "full", "open", "upcoming", "unread", "similar", "available", "random", "default", "global", "nearby", "online",
    "overdue", "incoming", "outgoing", "trending", "sent", "paid", "hidden", "lost", "held",
}  # fmt: skip


class Owner(NamedTuple):
    """What the object of an operation belongs to: a parameter and the noun before it, or a noun alone.

    Attributes:
        noun: singular, without an article.
        parameter: which one it is; empty: there is but one.
    """

    noun: str
    parameter: str = ""


@dataclass(frozen=True)
class Resource:
    """What an operation acts on.

    Attributes:
        noun: without an article; empty if the path only says whose it is.
        own: the parameter that says which one; empty: all of them, or the only one.
        owners: what it belongs to, the nearest first.
        words: of the path, in the singular.
        levels: how many nouns the path has.
        by: the parameter by which it is searched; empty if the path names none.
        mine: the path is about the one who asks: ``/me/badges``.
        action: words of a last part that starts with a verb, such as ``archive``, ``all``, ``cards``.
    """

    noun: str
    own: str
    owners: tuple[Owner, ...]
    words: frozenset[str]
    levels: int
    by: str = ""
    action: tuple[str, ...] = ()
    mine: bool = False


class _Level(NamedTuple):
    """A noun of a path and the parameters after it."""

    words: tuple[str, ...]
    parameters: list[str]


def resource_of(tool: Tool, actions: Collection[str], name: Sequence[str] = ()) -> Resource | None:
    """What the path of an operation says; None if a tool has no path, or one without words.

    Args:
        actions: verbs that the last part of a path may start with.
        name: words of the operation's name, which decide whether ``store`` belongs to ``/store/orders``.
    """
    _, _, whole = tool.origin.partition(" ")
    path, _, fragment = whole.partition("#")
    levels = _levels(path) if tool.method and path.startswith("/") else []
    if not levels:
        return None
    properties = tool.parameters.get("properties", {})
    words = frozenset(
        singular(word)
        for level in levels
        for word in (*level.words, *(word for parameter in level.parameters for word in split_name(parameter)))
    )
    count = len([level for level in levels if level.words])
    action: tuple[str, ...] = ()
    by = ""
    mine = bool(levels[0].words) and set(levels[0].words) <= _OWN and not levels[0].parameters
    read = tool.method in ("get", "head")
    searching = [level for level in levels[:-1] if level.words in (("search",), ("find",)) and not level.parameters]
    if searching:  # /businesses/search/phone, /search/issues
        action = searching[0].words
        levels = [level for level in levels if level not in searching]
        by = next((each for each in properties if tuple(split_name(each)) == levels[-1].words), "")
        if len(levels) > 1 and by:
            levels.pop()
    elif fragment and split_name(fragment)[:1] and split_name(fragment)[0] in actions:
        action = tuple(split_name(fragment))  # PUT /files/{id}#add_shared_link
    elif len(levels) > 1 and _is_action(levels, actions, properties, read, name):
        action = levels.pop().words
    elif len(levels) > 1 and _acts_on_one(levels, read):  # /statuses/destroy/{id}
        action = levels[-1].words
        levels = [*levels[:-2], _Level(levels[-2].words, levels[-1].parameters)]
    elif len(levels) == 1 and levels[0].words == ("search",) and not levels[0].parameters:
        return Resource("", "", (), words, count, action=("search",))
    by = by or next((each for each in levels[-1].parameters if _narrows(each)), "")
    noun, own, owners = _noun(levels, {singular(word) for word in name})
    return Resource(noun, own, tuple(owners), words, count, by, action, mine)


def _is_action(
    levels: list[_Level], actions: Collection[str], properties: Collection[str], read: bool, name: Sequence[str]
) -> bool:
    """Whether the last part of a path says what is done: ``archive`` of a POST; of a GET only what asks."""
    last = levels[-1]
    if any(not _narrows(each) for each in last.parameters) or not last.words or last.words[0] not in actions:
        return False
    if last.words[0] == (name or ("",))[0] and len(name) >= len(last.words):
        return True  # logoutUser at /user/logout
    if not read:
        noun = len(last.words) > 1 and last.words[0] in _NOUNS_FIRST
        return "value" not in properties and not noun
    if len(last.words) > 1 and last.words[1] != "by":
        return False  # the states of check items
    return last.words[0] in (_ASKING if levels[-2].parameters else _ASKING | _ASKING_ALL)


def _acts_on_one(levels: list[_Level], read: bool) -> bool:
    last = levels[-1]
    clear = {"show", "get", "find"} if read else _CLEAR
    return len(last.words) == 1 and last.words[0] in clear and bool(last.parameters) and not levels[-2].parameters


def _levels(path: str) -> list[_Level]:
    levels: list[_Level] = []
    for part in path.split("/"):
        found = [argument_name(name) for name in re.findall(r"\{([^}]*)\}", part)]
        text = _EXTENSION.sub("", part.partition("{")[0])
        if found and not re.search("[A-Za-z]", text):
            if not levels:
                levels.append(_Level((), []))
            levels[-1].parameters.extend(found)
        elif text and not _NUMBERED.fullmatch(text) and not (_EMPTY.fullmatch(text) and not levels):
            levels.append(_Level(tuple(split_name(text)), found))
    return levels


def _noun(levels: list[_Level], name: set[str]) -> tuple[str, str, list[Owner]]:
    """The object's noun, its own parameter, and its owners."""
    last, before = levels[-1], levels[:-1]
    noun, own = spoken(compound(list(last.words))), ""
    if set(last.words) <= _OWN and last.words and not last.parameters:
        noun = "my profile"
    owners: list[Owner] = []
    naming, others = _named(last)
    if others and _is_property(others[-1], last):
        owners.append(Owner(singular(noun), naming))
        noun, own = spoken([word for word in split_name(others[-1]) if word in _PROPERTY][:1]), others[-1]
    elif naming:
        noun, own = singular(noun), naming
        owners += [Owner(_label(other, ""), other) for other in reversed(others) if not _narrows(other)]
    while before and not before[-1].parameters and before[-1].words:
        context = before.pop()
        noun, joined = _with_context(noun, context.words, name)
        theirs = any(level.parameters for level in before)
        if theirs and not joined and not is_plural(noun) and not is_plural(spoken(list(context.words))):
            owners.append(Owner(spoken([word for word in context.words if word not in _OWN])))
    for level in reversed(before):
        naming, others = _named(level)
        text = singular(spoken(compound(list(level.words))))
        if naming:
            owners.append(Owner(_label(naming, text), naming))
        owners += [Owner(_label(other, ""), other) for other in reversed(others) if not _narrows(other)]
    return noun, own, [owner for owner in owners if owner.noun]


def _named(level: _Level) -> tuple[str, list[str]]:
    """The parameter that says which one of a level is meant, and the others of the level."""
    about = {singular(word) for word in level.words}
    wanted = [each for each in level.parameters if not _narrows(each) and not _is_property(each, level)]
    if not wanted:
        return "", list(level.parameters)
    fitting = [each for each in wanted if set(map(singular, split_name(each))) <= about | NAMING_ONE]
    chosen = fitting[0] if fitting else wanted[-1]
    return chosen, [each for each in level.parameters if each != chosen]


def _is_property(parameter: str, level: _Level) -> bool:
    """Whether a parameter says which property of a level is meant: ``/cards/{id}/{field}``, not ``/fields/{field}``."""
    words = set(split_name(parameter))
    return bool(words & _PROPERTY) and words <= _PROPERTY | NAMING_ONE and not words & set(map(singular, level.words))


def _narrows(parameter: str) -> bool:
    return split_name(parameter)[-1:] != [] and split_name(parameter)[-1] in _NARROWING


def _label(parameter: str, noun: str) -> str:
    """What a parameter says which one of: its level's noun, else its own words without ``id``."""
    if noun:
        return noun
    words = [word for word in split_name(parameter) if word not in NAMING_ONE]
    return singular(spoken(words))


def adjective_first(words: list[str]) -> list[str]:
    """A noun's words with an adjective that the name has last: ``requests approved`` are approved requests."""
    if len(words) > 1 and is_plural(words[-2]) and is_adjective(words[-1]):
        return [words[-1], *words[:-1]]
    return words


def is_adjective(word: str) -> bool:
    """Whether a word of a path only says which ones: ``featured``, ``unread``, ``recent``."""
    return word in _ADJECTIVES or re.fullmatch(r"un\w+|\w+[^e]ed", word) is not None


def _with_context(noun: str, words: tuple[str, ...], name: set[str]) -> tuple[str, bool]:
    """A noun with the part of the path before it: ``featured questions``, ``account settings``, ``my badges``."""
    if set(words) <= _OWN:
        return f"my {noun}", True
    last = noun.lower().split()
    many = is_plural(spoken(list(words)))
    if len(last) == 1 and is_adjective(last[0]) and (many or not last[0].endswith("ed")):
        return f"{noun} {spoken(compound(list(words)))}", True
    if {singular(word) for word in words} <= name and not set(words) & set(last) and len(words) + len(last) <= 4:
        first = spoken([singular(word) if not is_mass(word) else word for word in words])
        return f"{first} {noun}", True
    return noun, False
