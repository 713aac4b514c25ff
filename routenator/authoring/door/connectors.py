"""How queries join a parameter to what they ask for: ``in /data/docs``, ``sorted by name``, ``whose tags are new``.

Ways that people use more often stand in a list more than once: each entry of a choice is equally frequent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from routenator.authoring.door.english import is_plural, singular, split_name, spoken, with_article
from routenator.authoring.door.paths import NAMING_ONE, Owner
from routenator.authoring.door.phrases import Phrase

NEW = {"create", "add", "make", "register", "generate", "new", "insert", "post", "build"}
ASSIGNING = {"set", "change", "switch", "update"}
REMOVING = {"delete", "remove", "clear", "detach", "unlink", "unassign", "drop"}
ADDING = {"add", "append", "attach", "assign", "invite", "insert", "upload", "import", "submit", "send", "publish"}
_SETTING = NEW | ASSIGNING | {"edit", "modify", "adjust", "configure", "replace", "patch"}
JOINTS = {"from", "to", "into", "by", "in", "at", "on", "for", "since", "until", "before", "after", "near", "with"}
NAMING = {"name", "names", "title", "titles"}
NUMBERS = {"number", "digits"}
"""Kinds of numbers, also of such as are texts."""
_REFERRING = {"identifier", "code_number", "slug", "person", "email", "username", "uuid", "hash"}  # to something else
PATHS = {"file", "folder"}
"""Kinds of values that say where something is."""
WRAPPERS = {
    "body", "data", "payload", "input", "inputs", "items", "entries", "records", "requests", "operations", "updates",
    "changes", "deletions", "additions", "params", "parameters", "arguments", "args", "objects", "list", "values",
    "elements",
}  # fmt: skip
"""Names of a function's only object that say nothing: *create users with body Ann*."""
_START = {"start", "from", "since", "begin", "after", "origin", "source", "departure"}
_END = {"end", "to", "until", "before", "target", "destination", "arrival", "recipient", "dest"}
_COUNTING = {
    "max", "maximum", "limit", "count", "top", "k", "n", "num", "number", "results", "page", "size", "per", "total",
    "first",
}  # fmt: skip
_COUNTS = {"limit", "count", "max", "maximum", "top", "size", "results", "first"}
_DIRECTIONS = [["order"], ["direction"], ["dir"], *(["sort", word] for word in ("order", "direction", "dir"))]
_PARTS = {"fields", "columns", "properties", "attributes"}
_UNITS = {
    "ms", "milliseconds", "seconds", "minutes", "hours", "days", "weeks", "months", "years", "px", "pixels", "bytes",
    "kb", "mb", "gb", "percent", "meters", "km", "miles",
}  # fmt: skip
_NAMED = {"screen", "user", "display", "first", "last", "full", "given", "family", "host", "domain", "real", "middle"}
_SPECIAL = re.compile(r"([\[\](){}<>|\\])")
_WRITTEN = ("message", "text", "body", "comment", "note", "content", "reply")


@dataclass(frozen=True)
class Slot:
    """A parameter that queries say.

    Attributes:
        kind: of its values' source.
        required: every call has it.
    """

    name: str
    kind: str
    required: bool


def label_of(parameter: str) -> str:
    """What people call a parameter."""
    words = split_name(parameter)
    return spoken(words) if words else parameter


def label_beside(slot: Slot, phrase: Phrase) -> str:
    """What people call a parameter right after the object: ``ID`` after ``pet`` for ``petId``; may be empty."""
    return label_without(slot.name, words_of(phrase))


def label_without(parameter: str, about: set[str]) -> str:
    """A parameter's label without the words of what it belongs to and its second name: ``ID`` of ``id_or_alias``."""
    words = [word for word in split_name(parameter) if not {word, singular(word)} & about]
    return spoken(words[: words.index("or")] if "or" in words[1:] else words)


def of_owner(owner: Owner, phrase: Phrase, slot: Slot | None) -> str:
    """How a query says what the object belongs to: ``of card {idCard}``."""
    joints = ["of", "for"]
    if phrase.verb in REMOVING:
        joints = ["from", "from", "of"]
    elif phrase.verb in ADDING:
        joints = ["to", "to", "for"]
    elif phrase.verb in NEW:
        joints = ["for", "in"]
    joint = f"[{'|'.join(joints)}]" if len(joints) > 1 else joints[0]
    noun = escaped(owner.noun)
    if slot is None:
        return f"of the {noun}"
    name = f"{{{slot.name}}}"
    label = singular(label_without(slot.name, words_of_noun(owner.noun)))
    forms = [f"{noun} {name}", f"{noun} {name}", f"the {noun} {name}"]
    if label and slot.kind not in PATHS:
        forms.append(f"the {noun} with {'the ' if label in NAMING else ''}{label} {name}")
    return f"{joint} [{'|'.join(forms)}]"


def escaped(text: str) -> str:
    """A text as a grammar writes it."""
    return _SPECIAL.sub(r"\\\1", text)


def words_of(phrase: Phrase) -> set[str]:
    """The words of what a function acts on, as they are and in the singular."""
    return words_of_noun(phrase.object)


def words_of_noun(noun: str) -> set[str]:
    """The words of a noun phrase, as they are and in the singular."""
    words = noun.lower().split()
    return {*words, *map(singular, words)}


def connectors(slot: Slot, phrase: Phrase) -> tuple[list[str], list[str]]:
    """How a parameter is joined to the rest: in full, and tersely. ``{}`` stands for the value."""
    label, kind, words = label_of(slot.name), slot.kind, split_name(slot.name) or [slot.name]
    if kind == "boolean":
        return ["{}"], ["{}"]
    if kind == "object" and words and set(words) <= WRAPPERS:
        return ["{}"], ["{}"]
    if label in JOINTS:
        return [f"{label} {{}}"], [f"{label} {{}}"]
    if words in (["value"], ["body"]) and kind not in ("object", "map") and phrase.verb in ASSIGNING:
        return ["to {}"], ["to {}", "{}", "= {}"]
    plain = [f"with {label} {{}}", f"with the {label} {{}}"]
    terse = [f"{label} {{}}", f"{label}: {{}}", f"{label} = {{}}"]
    if not label_beside(slot, phrase):
        if phrase.verb in ASSIGNING:
            return ["to {}"], ["{}", "to {}"]
        terse = ["{}"]  # not the object's words twice in a row
    by_name = _by_name(kind, words, label, phrase)
    if by_name is not None:
        return by_name, [by_name[0]] if words[-1:] == ["extension"] else [by_name[0], f"{label} {{}}"]
    found = _by_kind(kind, words, label, phrase, plain, terse)
    if found is not None:
        return found
    if kind == "enum" and phrase.read and phrase.plural and words[-1:] in (["status"], ["state"]):
        return ["that are {}", f"with {label} {{}}", f"whose {label} is {{}}"], terse
    more = [f"whose {label} {'are' if is_plural(label) else 'is'} {{}}"] if phrase.read and phrase.plural else []
    settable = phrase.verb in _SETTING and not slot.required and kind not in _REFERRING
    more += [f"and set the {label} to {{}}"] if settable else []
    return [*plain, *more], terse


def _by_name(kind: str, words: list[str], label: str, phrase: Phrase) -> list[str] | None:
    """Ways that only the words of a name decide."""
    if words in (["sort", "by"], ["order", "by"], ["sort"], ["sorting"], ["sorted", "by"], ["ordering"]):
        return ["sorted by {}", "sorted by {}", "ordered by {}"]
    if words in (["group", "by"], ["grouped", "by"]):
        return ["grouped by {}"]
    if kind == "enum" and words in _DIRECTIONS:
        return ["in {} order", "in {} order", "ordered {}"]
    if words[-1:] == ["filter"] and kind in ("enum", "label"):
        return ["filtered by {}", "with the {} filter", f"with {label} {{}}"]
    if words[-1:] in (["extension"], ["format"]) and kind == "enum":
        return ["as {}", "in {} format", "as {}"]
    if words in (["expand"], ["include"], ["embed"]) and phrase.read and kind in ("enum", "field"):
        return ["including {}", "with {} included", "including the {}"]
    if words == ["channel"]:
        return [f"in {label} {{}}", f"in the {label} {{}}", f"for the {label} {{}}"]
    if words == ["site"]:
        return ["on {}", "on {}", "on the site {}"]
    if words and words[-1] in _PARTS and phrase.read and kind in ("enum", "field"):
        return [f"with just the {label} {{}}", f"with only the {label} {{}}", f"with the {label} {{}}"]
    if words in (["page", "size"], ["per", "page"], ["batch", "size"]) and kind in NUMBERS:
        return ["{} per page", "with {} per page", "{} at a time"]
    if len(words) == 2 and words[0] in ("insert", "move", "place") and words[1] in ("before", "after"):
        return [f"{words[1]} {{}}", f"right {words[1]} {{}}"]
    if words[:1] in (["exclude"], ["excluded"], ["excluding"], ["except"]):
        return ["excluding {}", "except for {}", "without {}"]
    if words[:1] == ["not"] and words[1:] in (["contains"], ["containing"], ["contain"]):
        return ["not containing {}", "without {}"]
    if words in (["contains"], ["containing"], ["contain"]):
        return ["containing {}"]
    if words[-1:] in (["pattern"], ["regex"], ["glob"], ["regexp"]):
        return ["matching {}", "matching {}", f"with the {label} {{}}"]
    return None


def _by_kind(
    kind: str, words: list[str], label: str, phrase: Phrase, plain: list[str], terse: list[str]
) -> tuple[list[str], list[str]] | None:
    """Ways for the kind of a value; None: nothing is special about it."""
    start, end = bool(_START & set(words)), bool(_END & set(words))
    if kind in ("date", "date_time", "loose_date", "time", "time_of_format", "birth_date"):
        return _of_times(kind, words, label, start, end) or (plain, terse)
    if kind in ("city", "place", "country", "state", "address", "country_code", "street"):
        return _of_places(words, label, start, end) or (plain, terse)
    if kind in ("file", "folder", "url", "hostname", "repository") and (start or end) and "path" not in words[:1]:
        joint = "from" if start else "to"
        return [f"{joint} {{}}", f"{joint} {{}}", f"with {label} {{}}"], [f"{joint} {{}}", f"{label} {{}}"]
    if kind in PATHS and phrase.verb in NEW and set(words) <= words_of(phrase) | {"path", "file", "name"}:
        return ["at {}", "at {}", "called {}", f"with the {label} {{}}"], ["{}", "{}", f"{label} {{}}"]
    if kind == "folder":
        return ["in {}", "in {}", "in {}", f"with {label} {{}}"], ["in {}", "{}", f"{label} {{}}"]
    if kind in ("currency", "language", "language_code") and (start or end):
        joint = "from" if start else "to"
        return [f"{joint} {{}}", f"with {label} {{}}"], [f"{joint} {{}}", f"{label} {{}}"]
    if kind in ("language", "language_code"):
        return ["in {}", f"with {label} {{}}"], ["in {}", f"{label} {{}}"]
    if kind in ("revision", "hash"):
        return ["for {}", "for {}", *plain], ["{}", *terse]
    if kind == "search":
        return ["about {}", "matching {}", "for {}"], ["{}", f"{label} {{}}"]
    if words[-1:] in (["subject"], ["topic"]) and kind in ("title", "topic"):
        return ["about {}", "about {}", f"with the {label} {{}}"], terse
    if words and (words[-1] in NAMING or kind == "title"):
        return _of_names(words, label, phrase) or (plain, terse)
    if kind == "message" and phrase.read:
        return ["for {}", f"with the {label} {{}}", f"with {label}: {{}}"], terse
    if kind in ("message", "prompt", "review", "description", "task", "code", "sql"):
        said = ["saying {}"] if words and words[-1] in _WRITTEN else []
        return [*said, f"with the {label} {{}}", f"with {label}: {{}}"], terse
    if kind in ("person", "email", "username"):
        return _of_people(words, label) or plain, terse
    if kind == "duration":
        return ["for {}", f"with {label} {{}}"], terse
    return _of_numbers(words, label, plain, terse) if kind in NUMBERS else None


def _of_times(kind: str, words: list[str], label: str, start: bool, end: bool) -> tuple[list[str], list[str]] | None:
    if len(words) > 1 and words[0] in ("before", "after", "since", "until"):
        about = spoken([word for word in words[1:] if word not in ("at", "on", "date", "time")])
        return [f"{about} {words[0]} {{}}".strip()], [f"{about} {words[0]} {{}}".strip(), f"{label} {{}}"]
    if start:
        return ["from {}", "starting {}", "since {}", f"with {label} {{}}"], ["from {}", f"{label} {{}}"]
    if end:
        return ["until {}", "up to {}", f"with {label} {{}}"], ["until {}", f"{label} {{}}"]
    if "due" in words or "deadline" in words:
        return ["due {}", "due on {}", f"with {label} {{}}"], ["due {}", f"{label} {{}}"]
    if words in (["date"], ["day"], ["time"], ["datetime"], ["when"]):
        joint = "at" if kind.startswith("time") else "on" if kind in ("date", "birth_date") else "for"
        return [f"{joint} {{}}", "for {}", f"with {label} {{}}"], ["{}", f"{label} {{}}"]
    return None


def _of_places(words: list[str], label: str, start: bool, end: bool) -> tuple[list[str], list[str]] | None:
    if start or end:
        joint = "from" if start else "to"
        return [f"{joint} {{}}", f"with {label} {{}}"], [f"{joint} {{}}", f"{label} {{}}"]
    if words[-1] in ("city", "location", "place", "country", "where", "town", "state", "region"):
        return ["in {}", "for {}", f"with {label} {{}}"], ["{}", "in {}", f"{label} {{}}"]
    return None


def _of_names(words: list[str], label: str, phrase: Phrase) -> tuple[list[str], list[str]] | None:
    """``called X`` for the object's own name, ``with branch X`` for the name of something else."""
    if not phrase.object and len(words) == 1:
        return ["as {}", f"with the {label} {{}}"], ["as {}", f"{label} {{}}"]
    if phrase.verb in _SETTING - NEW and len(words) == 1:  # not the one called so, but what it is to be called
        return [f"and set the {label} to {{}}", f"with the new {label} {{}}"], [f"{label} {{}}", f"new {label} {{}}"]
    if phrase.owners and len(words) == 1:  # or the owner would be called so
        return [f"with the {label} {{}}", f"with {label} {{}}"], [f"{label} {{}}"]
    if len(words) == 1 or singular(words[0]) in words_of(phrase):
        return ["called {}", "named {}", f"with the {label} {{}}"], ["{}", f"{label} {{}}"]
    if words[-1] in ("name", "names") and words[-2] not in _NAMED:
        other = spoken(words[:-1])
        return [f"with {other} {{}}", f"with the {other} {{}}", f"with {label} {{}}"], [
            f"{other} {{}}",
            f"{label} {{}}",
        ]
    return None


def _of_people(words: list[str], label: str) -> list[str] | None:
    if words[-1] in ("assignee", "assignees"):
        return ["assigned to {}", f"with {label} {{}}"]
    if words[-1] in ("author", "artist", "owner", "director"):
        return ["by {}", f"with {label} {{}}"]
    if words[-1] in ("to", "recipient", "recipients", "attendee", "attendees", "email"):
        return ["to {}"] if "to" in words else ["for {}", f"with {label} {{}}"]
    return None


def _of_numbers(words: list[str], label: str, plain: list[str], terse: list[str]) -> tuple[list[str], list[str]]:
    if words and words[-1] in ("date", "time", "timestamp") and {"from", "since", "start", "after", "min"} & set(words):
        return ["from {}", "since {}", f"with {label} {{}}"], terse
    if words and words[-1] in ("date", "time", "timestamp") and {"to", "until", "end", "before", "max"} & set(words):
        return ["until {}", "up to {}", f"with {label} {{}}"], terse
    if words == ["page"]:
        return ["on page {}", "page {}"], ["page {}", "p. {}"]
    if set(words) <= _COUNTING and set(words) & _COUNTS:
        return ["limited to {}", "at most {} of them", f"with {with_article(label)} of {{}}"], [
            f"{label} {{}}",
            "max {}",
        ]
    rest = spoken([word for word in words if word not in ("min", "max", "minimum", "maximum", "lowest", "highest")])
    if rest and {"max", "maximum", "highest"} & set(words):
        return [f"with {rest} up to {{}}", f"with {label} {{}}"], terse
    if rest and {"min", "minimum", "lowest"} & set(words):
        return [f"with {rest} of at least {{}}", f"with {label} {{}}"], terse
    if words[-1] in _UNITS:
        unit, what = spoken(words[-1:]), spoken(words[:-1])
        return ([f"with {with_article(what)} of {{}} {unit}"] if what else [f"{{}} {unit}", f"of {{}} {unit}"]), terse
    if is_plural(label) and singular(words[-1]) not in NAMING_ONE:
        return [f"with {{}} {label}", f"with {{}} {label}", f"with {label} {{}}"], terse
    return [f"with {label} {{}}", f"with {with_article(label)} of {{}}"] if label[:1].islower() else plain, terse
