"""What a function does, in the words that people use: a verb, its synonyms, and what it acts on.

From the name (``find_pets_by_status``: find pets), else from the first sentence of the description, else from the HTTP
method. A wording that another function owns is never used.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from routenator.authoring.door.english import base_form, is_mass, is_plural, singular, split_name, spoken
from routenator.authoring.door.tools import Tool
from routenator.parsing import read_yaml

_VERBS = Path(__file__).resolve().parent / "words" / "verbs.yaml"
_PREPOSITIONS = {
    "by",
    "from",
    "to",
    "in",
    "with",
    "for",
    "of",
    "on",
    "at",
    "into",
    "via",
    "using",
    "and",
    "or",
    "as",
    "per",
}
_DROPPED = {"v1", "v2", "v3", "v4", "api", "the", "a", "an", "all", "request", "endpoint"}
_STOPS = re.compile(
    r"\s+(?:which|that|using|based on|by specifying|given|via|according to|as well as|if|when|so that|including|"
    r"such as|from the server|in the system|for the authenticated user|by|per|and returns?|"
    r"with the (?:given|specified))\b.*|[,;:(\[].*| - .*",
    re.IGNORECASE | re.DOTALL,
)  # fmt: skip
_METHOD = {"get": "get", "post": "create", "put": "update", "patch": "update", "delete": "delete", "head": "check"}
_READ_NOUNS = {"info", "status", "history", "stats", "statistics", "details", "series"}  # nobody makes them
_LONGEST = 8  # words of an object that is taken from a description
_SHARED = 0.6  # a first word that so many names have is the API's, not the function's


@dataclass(frozen=True)
class Phrase:
    """How a function is called in words.

    Attributes:
        verb: base form, as in the name or the description.
        verbs: all that is said for it, the verb first.
        object: what it acts on, without an article if it comes from the name; may be empty.
        read: it asks for something and changes nothing.
        whole: the object has its articles, since it comes from a sentence.
        preposition: goes before a search term.
        origin: where the words come from, for the file's header.
    """

    verb: str
    verbs: tuple[str, ...]
    object: str
    read: bool
    whole: bool = False
    preposition: str = ""
    origin: str = "its name"

    @property
    def plural(self) -> bool:
        return is_plural(self.object)

    @property
    def mass(self) -> bool:
        return is_mass(self.object)


@cache
def verbs() -> dict[str, dict[str, Any]]:
    """Verbs with their synonyms."""
    return dict(read_yaml(_VERBS))


def phrases(tools: Sequence[Tool], names: Sequence[str]) -> list[Phrase]:
    """A phrase for each tool; the same words never stand for two of them unless they have nothing else.

    Args:
        names: of the functions, in the order of the tools.
    """
    prefix = _shared_prefix(names)
    made = [phrase_of(tool, name, prefix) for tool, name in zip(tools, names, strict=True)]
    made = _told_apart(made, tools, names, prefix)
    own = {(phrase.verb, phrase.object.lower()) for phrase in made}
    said_by = [_said_by(tool, name) for tool, name in zip(tools, names, strict=True)]
    claims = Counter(
        (verb, phrase.object.lower(), parameter)
        for phrase, parameter in zip(made, said_by, strict=True)
        for verb in phrase.verbs[1:]
    )
    result = []
    for phrase, parameter in zip(made, said_by, strict=True):
        kept = [
            verb
            for verb in phrase.verbs[1:]
            if (verb, phrase.object.lower()) not in own
            and (verb.removesuffix(" me").removesuffix(" for"), phrase.object.lower()) not in own
            and claims[verb, phrase.object.lower(), parameter] == 1
        ]
        result.append(replace(phrase, verbs=(phrase.verbs[0], *kept)))
    return result


def _shared_prefix(names: Sequence[str]) -> str:
    """A first word of most names that is not a verb: ``git`` of ``git_status``."""
    firsts = [words[0] for words in map(split_name, names) if len(words) > 1]
    for word in dict.fromkeys(firsts):
        if len(names) >= 3 and firsts.count(word) >= _SHARED * len(names) and word not in verbs():
            return word
    return ""


def _told_apart(made: list[Phrase], tools: Sequence[Tool], names: Sequence[str], prefix: str) -> list[Phrase]:
    """Give the functions of one phrase longer objects: all words of their names, then their descriptions."""
    for attempt in (_longer, _described):
        seen: dict[tuple[str, str], list[int]] = {}
        for number, phrase in enumerate(made):
            seen.setdefault((phrase.verb, phrase.object.lower()), []).append(number)
        for numbers in seen.values():
            if len(numbers) > 1:
                for number in numbers:
                    if _said_by(tools[number], names[number]):
                        continue  # it is told apart by the parameter, which queries then always say
                    made[number] = attempt(made[number], tools[number], names[number], prefix) or made[number]
    return made


def _longer(phrase: Phrase, tool: Tool, name: str, prefix: str) -> Phrase | None:
    words = [word for word in _name_words(name, prefix) if word not in _DROPPED]
    rest = [word for word in words if word != phrase.verb]
    return replace(phrase, object=spoken(rest), whole=False) if rest else None


def _said_by(tool: Tool, name: str) -> str | None:
    return named_parameter(name, list(tool.parameters.get("properties", {})))


def named_parameter(name: str, parameters: Sequence[str]) -> str | None:
    """The parameter that a function's name ends in: ``status`` of ``find_pets_by_status``."""
    words = split_name(name)
    if "by" not in words[1:-1]:
        return None
    tail = [singular(word) for word in words[len(words) - words[::-1].index("by") :]]
    return next((each for each in parameters if [singular(word) for word in split_name(each)] == tail), None)


def _described(phrase: Phrase, tool: Tool, name: str, prefix: str) -> Phrase | None:
    return _from_sentence(tool)


def _name_words(name: str, prefix: str) -> list[str]:
    words = split_name(name)
    return words[1:] if prefix and words[:1] == [prefix] and len(words) > 1 else words


def phrase_of(tool: Tool, name: str, prefix: str = "") -> Phrase:
    """A tool's phrase by itself."""
    words = [word for word in _name_words(name, prefix) if word not in _DROPPED] or split_name(name)
    known = verbs()
    from_path = _from_path(tool) if words[0] in ("create", "post") else None
    if from_path is not None:
        return from_path
    if words and words[0] in known:
        rest = _before_preposition(words[1:])
        if rest or known[words[0]].get("intransitive"):
            return _phrase(words[0], spoken(rest), "its name")
        described = _from_sentence(tool)
        return described or _phrase(words[0], "", "its name")
    if (
        len(words) > 1
        and words[-1] in known
        and words[-1] not in ("test", "order", "review", "record", "log", "link", "type")
    ):
        return _phrase(words[-1], spoken(words[:-1]), "its name")
    described = _from_sentence(tool)
    if described is not None:
        return described
    verb = _METHOD.get(tool.method, "")
    if not verb:
        verb = "get" if words and (is_plural(words[-1]) or is_mass(words[-1]) or len(words) > 1) else "run"
    return _phrase(verb, spoken(_before_preposition(words)), "its name")


def _from_path(tool: Tool) -> Phrase | None:
    """A phrase from a path that ends in a verb: ``POST /ips/start-warmup`` is start IP warmup.

    Such APIs post whatever they do, so that the method says nothing.
    """
    method, _, path = tool.origin.partition(" ")
    parts = [split_name(re.sub(r"\.json$", "", part)) for part in path.split("/") if part and "{" not in part]
    if method != "POST" or len(parts) < 2 or not parts[-1] or not parts[-2]:
        return None
    verb, *rest = ["get", *parts[-1]] if parts[-1][-1] in _READ_NOUNS else parts[-1]
    if verb not in verbs():
        return None
    about = parts[-2] if not rest else [*parts[-2][:-1], singular(parts[-2][-1])]
    return _phrase(verb, spoken([*about, *(word for word in rest if word not in about)]), "its path")


def _before_preposition(words: list[str]) -> list[str]:
    """The words before the first preposition, unless it leads: ``pets by status`` is pets."""
    for place, word in enumerate(words):
        if word in _PREPOSITIONS and place:
            return words[:place]
    return words if not words or words[0] not in _PREPOSITIONS else words[1:]


def _phrase(verb: str, noun: str, origin: str, *, whole: bool = False) -> Phrase:
    entry = verbs().get(verb, {})
    said = [verb, *entry.get("said", ())]
    if entry.get("intransitive"):
        said = list(entry["said"])
    elif entry.get("preposition"):
        said = [f"{verb} {entry['preposition']}", *said[1:]]
    read, preposition = bool(entry.get("read")), str(entry.get("preposition", ""))
    return Phrase(verb, tuple(dict.fromkeys(said)), noun, read, whole, preposition, origin)


def first_sentence(text: str) -> str:
    """The first sentence of a description, without mark-up."""
    plain = re.sub(r"<[^>]*>|[*`_#]{1,3}(?=\S)|(?<=\S)[*`#]{1,3}", "", text.strip().split("\n\n")[0]).replace("\n", " ")
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", plain)
    return re.split(r"(?<=[.!?])\s", plain.strip(), maxsplit=1)[0].strip().rstrip(".!? ")


def _from_sentence(tool: Tool) -> Phrase | None:
    """A phrase from the summary or the description, if it starts with a verb that is known."""
    for text in (tool.summary, tool.description):
        whole = re.split(r"[,;:(\[]| - ", first_sentence(text))[0].strip() if text else ""
        words = (whole if len(whole.split()) <= _LONGEST + 2 else _STOPS.sub("", whole).strip()).split()
        if not words or not all(re.fullmatch(r"[A-Za-z0-9'/-]+", word) for word in words):
            continue
        verb = words[0].lower() if words[0].lower() in verbs() else base_form(words[0])
        rest = words[1 : 2 + _LONGEST]
        while rest and rest[-1].lower() in _PREPOSITIONS | {"a", "an", "the", "your", "its", "their"}:
            rest.pop()
        if _said_by(tool, " ".join(rest)):  # "pets by status": queries say the status itself
            rest = rest[: -1 - rest[::-1].index("by")]
        if verb in verbs() and rest and len(words) <= _LONGEST + 4:
            return _phrase(verb, _lowered(" ".join(rest)), "its description", whole=True)
        if words[0].lower() in ("the", "a", "an", "current", "all") and len(words) <= _LONGEST:
            return _phrase("get", _lowered(" ".join(words)), "its description", whole=True)
    return None


def _lowered(text: str) -> str:
    """Lower case for words of ordinary capitals; ``GitHub`` and ``ID`` stay."""
    return " ".join(word.lower() if re.fullmatch(r"[A-Z][a-z]+", word) else word for word in text.split())
