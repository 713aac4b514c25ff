"""What a function does, in the words that people use: a verb, its synonyms, and what it acts on.

From the name (``find_pets_by_status``: find pets), else from the first sentence of the description, else from the HTTP
method. A wording that another function owns is never used.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from routenator.authoring.door.english import (
    base_form,
    compound,
    is_mass,
    is_plural,
    plural,
    singular,
    split_name,
    spoken,
)
from routenator.authoring.door.names import (
    DROPPED,
    METHOD_VERBS,
    NOUNS_TOO,
    bare,
    name_words,
    shared_prefix,
    unglued,
    verb_first,
    verbs,
)
from routenator.authoring.door.paths import NAMING_ONE, Owner, Resource, adjective_first, is_adjective, resource_of
from routenator.authoring.door.tools import Tool

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
_STOPS = re.compile(
    r"\s+(?:which|that|using|based on|by specifying|given|via|according to|as well as|if|when|so that|including|"
    r"such as|from the server|in the system|for the authenticated user|by|per|and returns?|"
    r"with the (?:given|specified))\b.*|[,;:(\[].*| - .*",
    re.IGNORECASE | re.DOTALL,
)  # fmt: skip
_ANY_OWNER = r"\s(?:of|for|in|on|from|to|at)\s(?:an?|the|this|your|any)\s(?:\w+\s)?"
_READ_NOUNS = {"info", "status", "history", "stats", "statistics", "details", "series"}  # nobody makes them
_LONGEST = 8  # words of an object that is taken from a description


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
        own: the parameter that says which one the object is, as the path has it; may be empty.
        owners: what the object belongs to, as the path has it, the nearest first.
        tail: comes after the object and its owners: ``as viewed``.
        by: the parameter that tells it from others of its words, as the path has it; may be empty.
        origin: where the words come from, for the file's header.
    """

    verb: str
    verbs: tuple[str, ...]
    object: str
    read: bool
    whole: bool = False
    preposition: str = ""
    origin: str = "its name"
    own: str = ""
    owners: tuple[Owner, ...] = ()
    tail: str = ""
    by: str = ""

    @property
    def full(self) -> str:
        """The object and its owners, in lower case: what tells functions of one verb apart."""
        return " of ".join((self.object, *(owner.noun for owner in self.owners))).lower()

    @property
    def plural(self) -> bool:
        return is_plural(self.object)

    @property
    def mass(self) -> bool:
        return is_mass(self.object)


def phrases(tools: Sequence[Tool], names: Sequence[str]) -> list[Phrase]:
    """A phrase for each tool; the same words never stand for two of them unless they have nothing else.

    Args:
        names: of the functions, in the order of the tools.
    """
    prefix = shared_prefix(names)
    made = [phrase_of(tool, name, prefix) for tool, name in zip(tools, names, strict=True)]
    made = _told_apart(made, tools, names, prefix)
    own = {(phrase.verb, phrase.full) for phrase in made}
    said_by = [phrase.by or _said_by(tool, name) for phrase, tool, name in zip(made, tools, names, strict=True)]
    claims = Counter(
        (verb, phrase.full, parameter)
        for phrase, parameter in zip(made, said_by, strict=True)
        for verb in phrase.verbs[1:]
    )
    result = []
    for phrase, parameter in zip(made, said_by, strict=True):
        kept = [
            verb
            for verb in phrase.verbs[1:]
            if (verb, phrase.full) not in own
            and (verb.removesuffix(" me").removesuffix(" for"), phrase.full) not in own
            and claims[verb, phrase.full, parameter] == 1
        ]
        result.append(replace(phrase, verbs=(phrase.verbs[0], *kept)))
    return result


def _told_apart(made: list[Phrase], tools: Sequence[Tool], names: Sequence[str], prefix: str) -> list[Phrase]:
    """Give the functions of one phrase longer objects: all words of their names, then their descriptions."""
    for attempt in (_longer, _described):
        seen: dict[tuple[str, str], list[int]] = {}
        for number, phrase in enumerate(made):
            seen.setdefault((phrase.verb, phrase.full), []).append(number)
        for numbers in seen.values():
            if len(numbers) > 1:
                for number in numbers:
                    if made[number].by or _said_by(tools[number], names[number]):
                        continue  # it is told apart by the parameter, which queries then always say
                    made[number] = attempt(made[number], tools[number], names[number], prefix) or made[number]
    return made


def _longer(phrase: Phrase, tool: Tool, name: str, prefix: str) -> Phrase | None:
    words = [word for word in name_words(name, prefix) if word not in DROPPED]
    rest = [word for word in words if word not in (phrase.verb, tool.method)]
    parameters = {tuple(split_name(each)) for each in tool.parameters.get("properties", {})}
    for place in range(1, len(rest)):
        if rest[place] == "with" and tuple(rest[place + 1 :]) in parameters:
            rest = rest[:place]  # update with media: queries say the media anyway
            break
    if not rest:
        return None
    longer = replace(phrase, object=spoken(compound(rest)), whole=False)
    return _placed(longer, resource_of(tool, verbs().keys() - NOUNS_TOO, words))


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
    found = _from_sentence(tool)
    return found and _placed(found, resource_of(tool, verbs().keys() - NOUNS_TOO, split_name(name)))


def phrase_of(tool: Tool, name: str, prefix: str = "") -> Phrase:
    """A tool's phrase by itself."""
    words = bare([word for word in name_words(name, prefix) if word not in DROPPED]) or split_name(name)
    if not words:  # a name in another script
        return _from_name(tool, words)
    actions = verbs().keys() - NOUNS_TOO
    words = verb_first(unglued(words, tool), tool)
    resource = resource_of(tool, actions, words)
    if resource is not None and _made_of_path(words, resource):
        return _from_path(tool, words, resource)
    return _placed(_from_name(tool, words), resource)


def _from_name(tool: Tool, words: list[str]) -> Phrase:
    """A phrase from a name, else from the description, else from the method."""
    known = verbs()
    if words and words[0] in known:
        rest = _before_preposition(words[1:])
        if rest or known[words[0]].get("intransitive"):
            return _phrase(words[0], spoken(compound(rest)), "its name")
        described = _from_sentence(tool)
        return described or _phrase(words[0], "", "its name")
    if len(words) > 1 and words[-1] in known and words[-1] not in NOUNS_TOO:
        noun = spoken(compound(adjective_first(words[:-1])))
        # files.delete deletes one; files.list lists them.
        return _phrase(words[-1], noun if known[words[-1]].get("read") else singular(noun), "its name")
    for place in range(1, len(words) - 1):  # users.setPresence
        if words[place] in known and words[place] not in NOUNS_TOO:
            rest = _before_preposition(words[place + 1 :])
            if rest:
                return _phrase(words[place], spoken(compound(rest)), "its name")
    described = _from_sentence(tool)
    if described is not None:
        return described
    verb = METHOD_VERBS.get(tool.method, "")
    if not verb:
        verb = "get" if words and (is_plural(words[-1]) or is_mass(words[-1]) or len(words) > 1) else "run"
    return _phrase(verb, spoken(compound(_before_preposition(words))), "its name")


def _made_of_path(words: list[str], resource: Resource) -> bool:
    """Whether a name only strings the parts of its path together: ``getBoardsMembersByIdBoard``."""
    rest = words[1:] if words[0] in verbs() else words
    said = {singular(word) for word in rest} - _PREPOSITIONS - NAMING_ONE
    if not said <= resource.words or resource.action[1:2] == ("by",):
        return False
    return bool(resource.own) or bool(resource.action) or bool(resource.owners) or resource.levels > 1


def _from_path(tool: Tool, words: list[str], resource: Resource) -> Phrase:
    """A phrase from a path: ``POST /lists/{id}/archive-cards`` is archive the cards of the list."""
    verb = words[0] if words[0] in verbs() else METHOD_VERBS.get(tool.method, "get")
    if resource.action and verb in {resource.action[0], *METHOD_VERBS.values(), "post", "replace", "add"}:
        verb, *rest = resource.action
        tail = ""
        if rest[:1] and rest[0] in _PREPOSITIONS - {"by"}:  # mark as viewed
            rest, tail = [], spoken(rest)
        rest = [word for word in _before_preposition(rest) if word not in DROPPED]
        if rest and resource.own:
            owners = (Owner(resource.noun, resource.own), *resource.owners)
            return replace(_phrase(verb, spoken(compound(rest)), "its path"), owners=owners)
        if verbs()[verb].get("intransitive"):
            return _phrase(verb, "", "its path")
        parts = resource.noun.split()
        added = [word for word in rest if word not in parts]
        ordered = [*added, *parts] if len(added) == 1 and is_adjective(added[0]) else [*parts, *added]
        about = spoken(compound(ordered))
        if not rest and not verbs()[verb].get("read"):
            about = singular(about)
        phrase = _phrase(verb, about, "its path")
        return replace(phrase, own=resource.own, owners=resource.owners, tail=tail, by=resource.by)
    noun = resource.noun
    if words[1:2] in (["to"], ["into"], ["from"]):  # add-to-queue: what is added, the parameters say
        if resource.own:
            owners = (Owner(noun, resource.own), *resource.owners)
            return replace(_phrase(verb, "", "its path"), owners=owners)
        tail = f"{words[1]} {noun if noun.startswith('my ') else f'the {noun}'}"
        return replace(_phrase(verb, "", "its path"), owners=resource.owners, tail=tail)
    if verb in ("create", "post", "add") and words[-1] in _READ_NOUNS:
        verb = "get"
    elif verb in ("create", "post", "add") and is_plural(noun) and "body" not in tool.parameters.get("properties", {}):
        noun = singular(noun)  # one at a time
    phrase = _phrase(verb, noun, "its path")
    return replace(phrase, own=resource.own, owners=resource.owners, by=resource.by)


def _placed(phrase: Phrase, resource: Resource | None) -> Phrase:
    """A phrase with what its path says of owners."""
    return phrase if resource is None else _mine(_owned(phrase, resource), resource)


def _mine(phrase: Phrase, resource: Resource) -> Phrase:
    """A phrase about the one who asks says so: ``the current user's shows`` are my shows."""
    noun = re.sub(r"\b(?:(?:the|a) )?(?:current |authenticated )?users?(?:'s?)? (?=\w)", "my ", phrase.object, count=1)
    return replace(phrase, object=noun, whole=True) if resource.mine and noun != phrase.object else phrase


def _owned(phrase: Phrase, resource: Resource) -> Phrase:
    """A phrase with the owners that its path names, unless its object names them."""
    owners = resource.owners
    if resource.own:
        owners = (Owner(resource.noun, resource.own), *owners)
    noun = phrase.object
    for owner in owners:
        # "the members of a board": the path says which board.
        noun = re.sub(rf"{_ANY_OWNER}{re.escape(owner.noun)}$", "", noun, flags=re.IGNORECASE)
    about = {singular(word) for word in noun.lower().split()}
    kept = tuple(owner for owner in owners if not about & {singular(word) for word in owner.noun.lower().split()})
    return replace(phrase, object=noun, owners=kept)


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
    whole = whole or noun.startswith("my ")
    if verb == "list" and noun and not whole:
        noun = plural(noun)
    read, preposition = bool(entry.get("read")), str(entry.get("preposition", ""))
    return Phrase(verb, tuple(dict.fromkeys(said)), noun, read, whole, preposition, origin)


def first_sentence(text: str) -> str:
    """The first sentence of a description, without mark-up."""
    plain = re.sub(r"<[^>]*>|[*`_#]{1,3}(?=\S)|(?<=\S)[*`#]{1,3}", "", text.strip().split("\n\n")[0]).replace("\n", " ")
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", plain)
    return re.split(r"(?<=[.!?])\s", plain.strip(), maxsplit=1)[0].strip().rstrip(".!? ")


def _from_sentence(tool: Tool) -> Phrase | None:
    """A phrase from the summary or the description, if it starts with a verb that is known."""
    for given in (tool.summary, tool.description):
        # requiresApproval as people write it; GitHub stays.
        text = re.sub(r"\b[a-z]+(?:[A-Z][a-z]+)+\b", lambda found: spoken(split_name(found.group())), given or "")
        whole = re.split(r"[,;:(\[]| - ", first_sentence(text))[0].strip() if text else ""
        words = (whole if len(whole.split()) <= _LONGEST + 2 else _STOPS.sub("", whole).strip()).split()
        if not words or not all(re.fullmatch(r"[A-Za-z0-9'/-]+", word) for word in words):
            continue
        verb = words[0].lower() if words[0].lower() in verbs() else base_form(words[0])
        rest = words[1 : 2 + _LONGEST]
        while rest and rest[-1].lower() in _PREPOSITIONS | {
            "since",
            "until",
            "before",
            "after",
            "between",
            "a",
            "an",
            "the",
            "your",
            "its",
            "their",
        }:
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
