"""Grammars that ask for a function: commands, questions, wishes, fragments, with its parameters in any order."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from routenator.authoring.door.english import is_plural, singular, split_name, spoken, with_article
from routenator.authoring.door.phrases import Phrase, verbs
from routenator.authoring.door.shapes import Shape

_QUESTIONED = {"get", "list", "show", "fetch", "retrieve", "find", "search", "view", "lookup", "query", "read"}
_NEW = {"create", "add", "make", "register", "generate", "new", "insert", "post", "build"}
_ASSIGNING = {"set", "change", "switch", "update"}
_JOINTS = {"from", "to", "by", "in", "at", "on", "for", "since", "until", "before", "after", "near", "with"}
_SPECIAL = re.compile(r"([\[\](){}<>|\\])")


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


@dataclass(frozen=True)
class Pattern:
    """One template of a function: its key, weight and grammar."""

    key: str
    weight: float
    text: str


def escaped(text: str) -> str:
    """A text as a grammar writes it."""
    return _SPECIAL.sub(r"\\\1", text)


def label_of(parameter: str) -> str:
    """What people call a parameter."""
    words = split_name(parameter)
    return spoken(words) if words else parameter


def boolean_wordings(parameter: str) -> tuple[list[str], list[str]]:
    """How people say that a flag is set, and that it is not."""
    words = split_name(parameter)
    if words[:1] in (["is"], ["be"], ["are"]):
        words = words[1:] or words
    label = spoken(words)
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


def connectors(slot: Slot, phrase: Phrase) -> tuple[list[str], list[str]]:
    """How a parameter is joined to the rest: in full, and tersely. ``{}`` stands for the value."""
    label, kind = label_of(slot.name), slot.kind
    words = split_name(slot.name)
    if kind == "boolean":
        return ["{}"], ["{}"]
    if label in _JOINTS:
        return [f"{label} {{}}"], [f"{label} {{}}"]
    plain = [f"with {label} {{}}", f"with the {label} {{}}"]
    terse = [f"{label} {{}}", f"{label}: {{}}", f"{label} = {{}}"]
    if not _label_beside(slot, phrase):
        if phrase.verb in _ASSIGNING:
            return ["to {}"], ["{}", "to {}"]
        terse = ["{}"] if phrase.read else ["{}", "to {}"]  # not the object's words twice in a row
    start = bool({"start", "from", "since", "begin", "after", "origin", "source", "departure"} & set(words))
    end = bool({"end", "to", "until", "before", "target", "destination", "arrival", "recipient", "dest"} & set(words))
    if kind in ("date", "date_time", "loose_date", "time", "time_of_format", "birth_date"):
        if start:
            return ["from {}", "starting {}", "since {}", f"with {label} {{}}"], ["from {}", f"{label} {{}}"]
        if end:
            return ["until {}", "up to {}", f"with {label} {{}}"], ["until {}", f"{label} {{}}"]
        if "due" in words or "deadline" in words:
            return ["due {}", "due on {}", f"with {label} {{}}"], ["due {}", f"{label} {{}}"]
        if words in (["date"], ["day"], ["time"], ["datetime"], ["when"]):
            joint = "at" if kind.startswith("time") else "on" if kind in ("date", "birth_date") else "for"
            return [f"{joint} {{}}", "for {}", f"with {label} {{}}"], ["{}", f"{label} {{}}"]
        return plain, terse
    if kind in ("city", "place", "country", "state", "address", "country_code", "street"):
        if start:
            return ["from {}", f"with {label} {{}}"], ["from {}", f"{label} {{}}"]
        if end:
            return ["to {}", f"with {label} {{}}"], ["to {}", f"{label} {{}}"]
        if words[-1] in ("city", "location", "place", "country", "where", "town", "state", "region"):
            return ["in {}", "for {}", f"with {label} {{}}"], ["{}", f"in {{}}", f"{label} {{}}"]  # noqa: F541
        return plain, terse
    if kind in ("file", "folder", "url", "hostname", "repository") and (start or end) and "path" not in words[:1]:
        joint = "from" if start else "to"
        return [f"{joint} {{}}", f"with {label} {{}}"], [f"{joint} {{}}", f"{label} {{}}"]
    if kind == "folder":
        return ["in {}", f"with {label} {{}}"], ["in {}", f"{label} {{}}"]
    if kind in ("currency", "language", "language_code") and (start or end):
        joint = "from" if start else "to"
        return [f"{joint} {{}}", f"with {label} {{}}"], [f"{joint} {{}}", f"{label} {{}}"]
    if kind in ("language", "language_code"):
        return ["in {}", f"with {label} {{}}"], ["in {}", f"{label} {{}}"]
    if kind == "search":
        return ["about {}", "matching {}", "for {}"], ["{}", f"{label} {{}}"]
    if words[-1:] == ["name"] or kind == "title":
        if len(words) == 1 or words[0] in phrase.object.lower().split():
            return ["called {}", "named {}", f"with the {label} {{}}"], ["{}", f"{label} {{}}"]
        return plain, terse
    if kind in ("message", "prompt", "review", "description", "task", "code", "sql"):
        said = ["saying {}"] if words[-1] in ("message", "text", "body", "comment", "note", "content", "reply") else []
        return [*said, f"with the {label} {{}}", f"with {label}: {{}}"], terse
    if kind in ("person", "email", "username"):
        if words[-1] in ("assignee", "assignees"):
            return ["assigned to {}", f"with {label} {{}}"], terse
        if words[-1] in ("author", "artist", "owner", "director"):
            return ["by {}", f"with {label} {{}}"], terse
        if words[-1] in ("to", "recipient", "recipients", "attendee", "attendees", "email"):
            return ["for {}", f"with {label} {{}}"] if "to" not in words else ["to {}"], terse
        return plain, terse
    if kind == "duration":
        return ["for {}", f"with {label} {{}}"], terse
    if kind == "number":
        return _number_connectors(words, label, plain, terse)
    if kind == "enum" and phrase.read and phrase.plural and words[-1:] in (["status"], ["state"]):
        return ["that are {}", f"with {label} {{}}", f"whose {label} is {{}}"], terse
    more = [f"whose {label} {'are' if is_plural(label) else 'is'} {{}}"] if phrase.read and phrase.plural else []
    more += [f"and set the {label} to {{}}"] if not phrase.read and not slot.required else []
    return [*plain, *more], terse


def _number_connectors(words: list[str], label: str, plain: list[str], terse: list[str]) -> tuple[list[str], list[str]]:
    rest = spoken([word for word in words if word not in ("min", "max", "minimum", "maximum", "lowest", "highest")])
    if rest and {"max", "maximum", "highest"} & set(words):
        return [f"with {rest} up to {{}}", f"with {label} {{}}"], terse
    if rest and {"min", "minimum", "lowest"} & set(words):
        return [f"with {rest} of at least {{}}", f"with {label} {{}}"], terse
    if words in (["limit"], ["count"], ["top", "k"], ["max", "results"], ["page", "size"], ["per", "page"], ["size"]):
        return ["limited to {}", "at most {} of them", f"with {with_article(label)} of {{}}"], [
            f"{label} {{}}",
            "max {}",
        ]
    if words == ["page"]:
        return ["on page {}", "page {}"], ["page {}", "p. {}"]
    return [f"with {label} {{}}", f"with {with_article(label)} of {{}}"] if label[:1].islower() else plain, terse


def fields_surface(shape: Shape) -> str:
    """The pattern that says an object in one piece: its first field alone, the others after their names."""
    first = next(iter(shape.fields))
    head, parts = f"{{{first}}}", []
    for name, (part, _) in shape.fields.items():
        label = label_of(name)
        if name != first:
            said = f"{label} {{{name}}}"
            parts.append(
                f"{{{name}}}" if part.kind == "boolean" else said if label in _JOINTS else f"[with {said}|{said}]"
            )
    if not _stands_alone(first, shape.fields[first][0]):
        head = f"{label_of(first)} {head}"
    return f"{head} <{'|'.join(parts)}>" if parts else head


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
    if not phrase.object and slots and phrase.verb not in ("login", "logout"):
        phrase = replace(phrase, object=_object_of(slots))
    head, rest = _primary(phrase, slots)
    others = [slot for slot in slots if slot is not head]
    full = _permutation([_choice(connectors(slot, phrase)[0], slot) for slot in others])
    terse = _permutation([_choice(connectors(slot, phrase)[1], slot) for slot in others])
    core = f"{_verb(phrase)} {rest}".strip()
    asked = f"{_verb(phrase, own=True)} {rest}".strip()
    made = [
        Pattern("command", 3, f"[|||please ]{core} {full}[|||, please| please|, thanks]"),
        Pattern("question", 2, f"[can|could|would|will] you [please |||]{asked} {full}[?||, please?]"),
        Pattern("wish", 2, f"[I want to|I need to|I would like to|I'd like to|help me] {asked} {full}[||, please]"),
        Pattern("plan", 1, f"[let's|go ahead and|hey, please|hi, can you|ok, now|next,] {asked} {full}"),
        Pattern("terse", 2, f"{_terse(phrase, head)} {terse}"),
    ]
    if phrase.read and phrase.verb in _QUESTIONED and phrase.object:
        noun = _noun(phrase)
        tail = f" {_head_choice(head, phrase)}" if head is not None else ""
        what = "what are" if phrase.plural else "what is"
        if (phrase.plural or phrase.mass) and (not phrase.whole or noun.split()[0] in ("the", "all")):
            bare = noun.removeprefix("the ").removeprefix("all ") if phrase.whole else escaped(phrase.object)
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
    elif phrase.verb in _NEW and phrase.object and not phrase.whole:
        noun = _noun(phrase)
        tail = f" {_head_choice(head, phrase)}" if head is not None else ""
        made.append(Pattern("need", 1, f"[I need|we need|there should be] {noun}{tail} {full}"))
    return [Pattern(each.key, each.weight, " ".join(each.text.split())) for each in made]


def _object_of(slots: list[Slot]) -> str:
    """What a function acts on if its name is just a verb: the last of its required parameters."""
    named = [slot for slot in slots if slot.required] or slots
    words = split_name(named[-1].name)
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
    if phrase.verb in _NEW:
        if phrase.plural or phrase.mass:
            return f"[|new |some ]{noun}"
        return f"[{with_article(noun)}|a new {noun}]"
    if phrase.plural:
        return f"[|the |all |all the ]{noun}" if phrase.read else f"[|the ]{noun}"
    return f"the {noun}"


def _primary(phrase: Phrase, slots: list[Slot]) -> tuple[Slot | None, str]:
    """The required parameter that comes right after the object, and the object with it."""
    needed = [slot for slot in slots if slot.required]
    head = next((slot for slot in needed if _is_primary(slot, phrase, len(needed))), None)
    if head is None:
        return None, _noun(phrase)
    return head, f"{_head_object(head, phrase)}"


def _is_primary(slot: Slot, phrase: Phrase, needed: int) -> bool:
    words = split_name(slot.name)
    if slot.kind == "search":
        return True
    about = set(phrase.object.lower().split()) | {singular(word) for word in phrase.object.lower().split()}
    if slot.kind in ("object", "map") or (slot.kind not in ("boolean", "enum") and singular(words[-1]) in about):
        return needed == 1 and bool(set(words) & about)
    if phrase.verb in _NEW:
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
    label, name, words = _label_beside(head, phrase), f"{{{head.name}}}", split_name(head.name)
    if head.kind != "enum" and not label:
        # The object is its name: "delete the relations ...", "set the volume to ...".
        return f"to {name}" if phrase.verb in _ASSIGNING and head.kind not in ("object", "map") else name
    label = label or label_of(head.name)
    joints = [f"with {label} {name}", f"with the {label} {name}"]
    if not phrase.plural:
        joints.append(name if words[-1] not in ("name", "title") else f"called {name}")
        if label != label_of(head.name):
            joints.append(f"{label} {name}")
    return f"[{'|'.join(joints)}]"


def _label_beside(head: Slot, phrase: Phrase) -> str:
    """What people call a parameter right after the object: ``ID`` after ``pet`` for ``petId``; may be empty."""
    return spoken([word for word in split_name(head.name) if word not in phrase.object.lower().split()])


def _terse(phrase: Phrase, head: Slot | None) -> str:
    noun = escaped(phrase.object)
    if phrase.whole:
        noun = re.sub(r"^(the|a|an|all) ", "", noun)
    tail = ""
    if head is not None:
        label = _label_beside(head, phrase) or label_of(head.name)
        tail = f" [{label} {{{head.name}}}|{label}: {{{head.name}}}|{{{head.name}}}]"
        if head.kind == "search":
            tail = f" [{{{head.name}}}|for {{{head.name}}}]"
    return f"{escaped(phrase.verbs[0])} {noun}{tail}"


def _choice(forms: list[str], slot: Slot) -> str:
    said = [form.replace("{}", f"{{{slot.name}}}") for form in forms]
    return said[0] if len(said) == 1 else f"[{'|'.join(said)}]"


def _permutation(parts: list[str]) -> str:
    return "" if not parts else f"<{'|'.join(parts)}>"
