"""Grammars that ask for a function: commands, questions, wishes, fragments, with its parameters in any order."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

from routenator.authoring.door.connectors import (
    ASSIGNING,
    JOINTS,
    NAMING,
    NEW,
    PATHS,
    WRAPPERS,
    Slot,
    connectors,
    escaped,
    label_beside,
    label_of,
    of_owner,
    words_of,
)
from routenator.authoring.door.english import head_of, singular, split_name, spoken, with_article
from routenator.authoring.door.names import verbs
from routenator.authoring.door.paths import Owner
from routenator.authoring.door.phrases import Phrase
from routenator.authoring.door.shapes import Shape

_QUESTIONED = {"get", "list", "show", "fetch", "retrieve", "find", "search", "view", "lookup", "query", "read"}
_COUNTED = ("multiple ", "several ", "many ", "some ", "more ")
_COORDINATES = {"lat": "lat", "latitude": "lat", "lon": "lon", "lng": "lon", "long": "lon", "longitude": "lon"}
_CONTENTS = (["content"], ["contents"], ["text"], ["value"], ["values"])
_FOLDERS = {"directory", "folder", "dir"}


@dataclass(frozen=True)
class Pattern:
    """One template of a function: its key, weight and grammar."""

    key: str
    weight: float
    text: str


def boolean_wordings(parameter: str) -> tuple[list[str], list[str]]:
    """How people say that a flag is set, and that it is not."""
    words = split_name(parameter)
    if words[:1] in (["is"], ["be"], ["are"]):
        words = words[1:] or words
    label = spoken(words)
    if words == ["value"]:
        return ["to true", "to yes"], ["to false", "to no"]
    if words[:1] in (["has"], ["with"]) and len(words) > 1:
        rest = spoken(words[1:])
        return [f"with {rest}", f"that has {rest}"], [f"without {rest}", f"with no {rest}"]
    if (
        words
        and len(words) > 1
        and (
            words[0] in verbs()
            or words[0]
            in ("include", "allow", "force", "skip", "use", "ignore", "return", "keep", "exclude", "overwrite")
        )
    ):
        rest = spoken(words[1:])
        return (
            [f"{gerund(words[0])} {rest}", f"and {words[0]} {rest}", f"with {label} on"],
            [f"without {gerund(words[0])} {rest}", f"but do not {words[0]} {rest}", f"with {label} off"],
        )
    return (
        [f"with {label} on", f"with {label} set to true", f"{label} yes", f"with {label} turned on"],
        [f"with {label} off", f"with {label} set to false", f"{label} no", f"with {label} turned off"],
    )


def gerund(verb: str) -> str:
    """The -ing form of a verb."""
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")):
        return verb[:-1] + "ing"
    if re.fullmatch(r"(get|set|put|run|stop|skip|cut|drop|log|tag|plan|plot|let|begin|commit|submit)", verb):
        return verb + verb[-1] + "ing"
    return verb + "ing"


def fields_surface(shape: Shape, about: Collection[str] = ()) -> str:
    """The pattern that says an object in one piece: its first field alone, the others after their names.

    A field that is what the function acts on comes last, without a name: *add observations* for Ann: likes tea.

    Args:
        about: words of what the function acts on.
    """
    first = next(iter(shape.fields))
    itself = {*map(singular, split_name(shape.name))} <= {*about}
    told = [
        name
        for name in shape.fields
        if name != first
        and ({*map(singular, words := split_name(name))} <= {*about} or (itself and words[-1:] in _CONTENTS))
    ]
    head, parts = f"{{{first}}}", []
    for name, (part, _) in shape.fields.items():
        label = label_of(name)
        if name != first and name not in told:
            said = f"{label} {{{name}}}"
            parts.append(
                f"{{{name}}}"
                if part.kind == "boolean"
                else said
                if label in JOINTS
                else f"[with {said}|with {said}|{said}]"
            )
    if not _stands_alone(first, shape.fields[first][0]):
        head = f"{label_of(first)} {head}"
    elif told:
        head = f"for {head}"
    whole = f"{head} <{'|'.join(parts)}>" if parts else head
    return whole + "".join(f": {{{name}}}" for name in told)


def _stands_alone(name: str, part: Shape) -> bool:
    """Whether a field needs no name before it."""
    return part.kind in ("boolean", "object", "list") or (split_name(name) or [""])[-1] in (
        "name",
        "title",
        "path",
        "text",
    )


def patterns(phrase: Phrase, slots: list[Slot]) -> list[Pattern]:
    """The templates of a function."""
    if not phrase.object and (slots or phrase.verb == "search") and phrase.verb not in ("login", "logout"):
        belonging = {owner.parameter for owner in phrase.owners}
        phrase = replace(phrase, object=_object_of(phrase, [slot for slot in slots if slot.name not in belonging]))
    head, rest = _primary(phrase, slots)
    said = {slot.name: slot for slot in slots}
    owners = [owner for owner in phrase.owners if not owner.parameter or owner.parameter in said]
    chain = " ".join(of_owner(owner, phrase, said.get(owner.parameter)) for owner in owners)
    rest = f"{rest} {chain} {phrase.tail}".strip()
    named = {owner.parameter for owner in owners}
    others = [slot for slot in slots if slot is not head and slot.name not in named]
    spot = _coordinates(others)
    others = [slot for slot in others if slot.name not in (spot or ())]
    near = [_near(*spot)] if spot else []
    full = _permutation([*near, *(_choice(_fully(slot, phrase, len(others) > 1), slot) for slot in others)])
    terse = _permutation([*near, *(_choice(_tersely(slot, phrase), slot) for slot in others)])
    core = f"{_verb(phrase)} {rest}".strip()
    asked = f"{_verb(phrase, own=True)} {rest}".strip()
    made = [
        Pattern("command", 2, f"{core} {full}[|||, please| please|, thanks]"),
        Pattern("polite", 1, f"please {core} {full}[||, thanks]"),
        Pattern(
            "question", 2, f"[can you|could you|would you|will you|can you please|could you please] {asked} {full}[?|]"
        ),
        Pattern("wish", 2, f"[I want to|I need to|I would like to|I'd like to|help me] {asked} {full}[||, please]"),
        Pattern("plan", 1, f"[let's|go ahead and|hey, please|hi, can you|ok, now|next,] {asked} {full}"),
        Pattern("terse", 2, f"{_terse(phrase, head)} {_owners_tersely(owners, phrase, said)} {phrase.tail} {terse}"),
    ]
    if phrase.read and phrase.verb in _QUESTIONED and phrase.object:
        noun = _noun(phrase)
        tail = f" {_head_choice(head, phrase) if head is not None else ''} {chain} {phrase.tail}"
        what = "what are" if phrase.plural else "what is"
        asked_for = (phrase.plural or phrase.mass) and not phrase.object.startswith(_COUNTED)
        if asked_for and (not phrase.whole or noun.split()[0] in ("the", "all")):
            bare = re.sub("^(all )?(the )?", "", noun) if phrase.whole else escaped(phrase.object)
            made.append(Pattern("what", 2, f"[{what}|what about|where can I find] the {bare}{tail} {full}[?|]"))
            made.append(
                Pattern(
                    "fragment",
                    1,
                    f"[{bare}|the {bare}|all {bare}]{tail} {terse}[| please]"
                    if phrase.plural
                    else f"[{bare}|the {bare}]{tail} {terse}[| please]",
                )
            )
        made.append(
            Pattern("interest", 1, f"[I am looking for|I am interested in|I need|do you have] {noun}{tail} {full}")
        )
    elif phrase.verb in NEW and phrase.object and not phrase.whole:
        noun = _noun(phrase)
        tail = f" {_head_choice(head, phrase) if head is not None else ''} {chain} {phrase.tail}"
        made.append(Pattern("need", 1, f"[I need|we need|there should be] {noun}{tail} {full}"))
    return [Pattern(each.key, each.weight, " ".join(each.text.split())) for each in made]


def _coordinates(slots: list[Slot]) -> tuple[str, str] | None:
    """A latitude and a longitude that every call has: people say them together."""
    found: dict[str, str] = {}
    for slot in slots:
        words = split_name(slot.name)
        if slot.required and slot.kind == "number" and words and words[-1] in _COORDINATES:
            found.setdefault(_COORDINATES[words[-1]], slot.name)
    return (found["lat"], found["lon"]) if len(found) == 2 else None


def _near(latitude: str, longitude: str) -> str:
    both = f"{{{latitude}}}, {{{longitude}}}"
    return f"[near {both}|around {both}|at {both}|at latitude {{{latitude}}} and longitude {{{longitude}}}]"


def _owners_tersely(owners: list[Owner], phrase: Phrase, said: dict[str, Slot]) -> str:
    if len(owners) == 1 and owners[0].parameter:
        noun, name = escaped(owners[0].noun), f"{{{owners[0].parameter}}}"
        return f"[{noun} {name}|{noun}: {name}|{of_owner(owners[0], phrase, said.get(owners[0].parameter))}]"
    return " ".join(of_owner(owner, phrase, said.get(owner.parameter)) for owner in owners)


def _fully(slot: Slot, phrase: Phrase, beside: bool) -> list[str]:
    """The ways to join a parameter; beside others none with *whose*, which would follow what it does not belong to."""
    forms = connectors(slot, phrase)[0]
    plain = [form for form in forms if not form.startswith("whose ")] if beside else []
    return plain or forms


def _tersely(slot: Slot, phrase: Phrase) -> list[str]:
    """The terse ways to join a parameter; after an owner none without a word: *project workspace 7 red nebula*."""
    forms = connectors(slot, phrase)[1]
    named = [form for form in forms if form != "{}"]
    return named if named and phrase.owners else forms


def _object_of(phrase: Phrase, slots: list[Slot]) -> str:
    """What a function acts on if its name is just a verb: the last of its required parameters."""
    if any(slot.kind == "search" and slot.required for slot in slots):
        return ""
    if phrase.verb == "search":
        return "results"
    if not slots:
        return ""
    named = [slot for slot in slots if slot.required] or slots
    named = [slot for slot in named if not set(split_name(slot.name)) & _COORDINATES.keys()] or named
    words = split_name(named[-1].name) or [named[-1].name]
    while len(words) > 1 and words[-1] in ("id", "name", "path", "uuid", "key", "type", "text"):
        words.pop()
    return spoken(words) if words[0] not in ("id", "query", "q", "name", "text", "value") else ""


def _verb(phrase: Phrase, own: bool = False) -> str:
    """The verbs to choose from.

    Args:
        own: only what the speaker may do too: not ``I want to show me``.
    """
    every = [verb for verb in phrase.verbs if not (own and re.search(r"\bme\b", verb))]
    # The verb of the API twice, so that it stays the most frequent one.
    every = [phrase.verbs[0], *every]
    return f"[{'|'.join(escaped(verb) for verb in every)}]" if len(every) > 2 else escaped(every[0])


def _noun(phrase: Phrase) -> str:
    """The object with its article."""
    noun = escaped(phrase.object)
    if phrase.whole or not noun:
        return noun
    if phrase.verb in NEW:
        if phrase.plural or phrase.mass:
            return f"[|new |some ]{noun}"
        return f"[{with_article(noun)}|a new {noun}]"
    if noun.startswith(_COUNTED):
        return noun
    if phrase.plural:
        return f"[|the |all |all the ]{noun}" if phrase.read else f"[|the ]{noun}"
    return f"the {noun}"


def _primary(phrase: Phrase, slots: list[Slot]) -> tuple[Slot | None, str]:
    """The required parameter that comes right after the object, and the object with it."""
    needed = [slot for slot in slots if slot.required]
    if phrase.owners or phrase.own:
        needed = [slot for slot in needed if slot.name not in {owner.parameter for owner in phrase.owners}]
    own = next((slot for slot in needed if slot.name == phrase.own), None)
    head = own or next((slot for slot in needed if _is_primary(slot, phrase, len(needed))), None)
    if head is None:
        return None, _noun(phrase)
    return head, f"{_head_object(head, phrase)}"


def _is_primary(slot: Slot, phrase: Phrase, needed: int) -> bool:
    words = split_name(slot.name) or [slot.name]
    if slot.kind == "search":
        return True
    about = words_of(phrase)
    if slot.kind in ("object", "map") and set(words) <= WRAPPERS:
        return needed == 1
    if slot.kind in ("object", "map") or (slot.kind not in ("boolean", "enum") and singular(words[-1]) in about):
        return needed == 1 and bool(set(words) & about)
    if phrase.verb in NEW:
        return False
    own = words[-1].removesuffix("s") in (
        "id",
        "name",
        "path",
        "uuid",
        "key",
        "slug",
        "number",
        "code",
        "title",
        "username",
        "file",
        "filename",
        "sku",
        "symbol",
        "url",
    )
    return (
        own
        and (len(words) == 1 or bool(set(words[:-1]) & about) or needed == 1)
        and not {"source", "destination", "from", "to", "new"} & set(words)
    )


def _head_object(head: Slot, phrase: Phrase) -> str:
    if head.kind == "search":
        noun = f"{_noun(phrase)} " if phrase.object else ""
        joint = (
            ""
            if phrase.preposition and not noun
            else "[about|matching|like] "
            if phrase.preposition
            else "[for|about] "
        )
        return f"{noun}{joint}{{{head.name}}}"
    return f"{_noun(phrase)} {_head_choice(head, phrase)}".strip()


def _head_choice(head: Slot, phrase: Phrase) -> str:
    if head.kind == "search":
        return f"[about|matching|like] {{{head.name}}}"
    label, name, words = label_beside(head, phrase), f"{{{head.name}}}", split_name(head.name) or [head.name]
    if head.kind != "enum" and not label:
        # The object is its name: "delete the relations ...", "set the volume to ...".
        return f"to {name}" if phrase.verb in ASSIGNING and head.kind not in ("object", "map") else name
    if head.kind == "object" and set(words) <= WRAPPERS:
        return name
    if head.kind in PATHS:
        return _located(head, phrase)
    if label in NAMING:
        if phrase.verb == "switch":
            return f"to {name}"
        return f"[{name}|{name}|called {name}|with the {label} {name}]"
    loose = phrase.whole and head_of(phrase.object) != phrase.object  # a sentence's object has other nouns
    label = label_of(head.name) if loose or not label else label
    label = label if phrase.plural else singular(label)
    joints = [f"with {label} {name}", f"with the {label} {name}"]
    told = len(words) == 1 or label != label_of(head.name) or set(words[:-1]) & words_of(phrase)
    if not phrase.plural and not loose and told:
        joints.append(name if words[-1] not in NAMING else f"called {name}")
        if label != label_of(head.name):
            joints.append(f"{label} {name}")
    return f"[{'|'.join(joints)}]"


def _located(head: Slot, phrase: Phrase) -> str:
    """The path of what a function acts on: ``the file X``, ``the tree of X``, ``the log in X``."""
    label, name = label_of(head.name), f"{{{head.name}}}"
    if singular(phrase.object.lower().rpartition(" ")[2]) in (
        _FOLDERS if head.kind == "folder" else {"file", *_FOLDERS}
    ):
        return f"[{name}|{name}|{name}|with the {label} {name}]"
    holds = phrase.plural or not set(split_name(head.name)) <= {"path", *words_of(phrase)}
    if head.kind == "folder" and holds:
        return f"[in {name}|in {name}|in {name}|with the {label} {name}]"
    return f"[of {name}|for {name}|{'in' if head.kind == 'folder' else 'of'} {name}|with the {label} {name}]"


def _terse(phrase: Phrase, head: Slot | None) -> str:
    noun = escaped(phrase.object)
    if phrase.whole:
        noun = re.sub(r"^(the|a|an|all) ", "", noun)
    tail = ""
    if head is not None:
        label = label_beside(head, phrase) or label_of(head.name)
        tail = f" [{label} {{{head.name}}}|{label}: {{{head.name}}}|{{{head.name}}}]"
        if label in NAMING or head.kind in PATHS:
            tail = f" [{{{head.name}}}|{{{head.name}}}|{label} {{{head.name}}}]"
        if head.kind == "object" and (not label_beside(head, phrase) or set(split_name(head.name)) <= WRAPPERS):
            tail = f" {{{head.name}}}"
        if head.kind == "search":
            tail = f" [{{{head.name}}}|for {{{head.name}}}]"
    return f"{escaped(phrase.verbs[0])} {noun}{tail}"


def _choice(forms: list[str], slot: Slot) -> str:
    said = [form.replace("{}", f"{{{slot.name}}}") for form in forms]
    return said[0] if len(said) == 1 else f"[{'|'.join(said)}]"


def _permutation(parts: list[str]) -> str:
    return "" if not parts else f"<{'|'.join(parts)}>"
