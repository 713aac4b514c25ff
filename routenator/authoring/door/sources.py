"""Chooses where a parameter's values come from: its enum, its examples, a bank of typed values, or numbers in bounds.

The choice follows the schema first, then the parameter's name, then its description. Every value is held to the schema.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from routenator.authoring.door.banks import Bank, Drawn, banks
from routenator.authoring.door.english import split_name, spoken
from routenator.authoring.door.locales import local_banks
from routenator.authoring.door.numbervalues import WANTED, Range, numbers
from routenator.authoring.values import takes_any_text
from routenator.domain.functions import Function, check_value
from routenator.domain.kinds import json_value, refusal, types_of, value_name, values_of
from routenator.parsing import read_yaml
from routenator.validation.text import words

_TRIES = 12  # draws for each value wanted
_SHORTEST = 24  # with this many values a bank is preferred to a pattern's nonsense
_DATES = {"date", "date_time", "loose_date"}
_EARLY = {"start", "from", "since", "begin", "after", "min", "checkin", "departure", "depart"}
_LATE = {"end", "to", "until", "before", "max", "due", "checkout", "return", "arrival", "expires", "deadline"}
_MIDDLE = "2028"
_LONGEST = 160  # characters of a value; a query has at most 600


@dataclass(frozen=True)
class Source:
    """The values of a parameter.

    Attributes:
        kind: bank, or ``enum``, ``boolean``, ``number``, ``pattern``, ``examples``.
        values: value and wordings.
        reason: why this kind, in words.
        local: those of other languages, by code, where they differ.
    """

    kind: str
    values: tuple[Drawn, ...]
    reason: str
    local: dict[str, tuple[Drawn, ...]] = field(default_factory=dict)


_YES_OR_NO = re.compile(
    r"\W*(true or false|true/false|one of:? true or false|a? ?boolean( value)?)\b(?! or| \w+ or)"
    r"|((when|if) (this is )?)?set (this )?to (either )?true\b",
    re.IGNORECASE,
)
_FLAG = re.compile(r"(include|skip|trim|hide|stringify|is|has) (?!.*(fields|ids|types|columns|tags|domains|names)$).+")
_LOOSE = {"topic", "person", "label", "type", "project", "product"}  # kinds that only a word of the name suggests
_LIKE_ID = re.compile(r"\d{3,}|(?=.*\d)[0-9a-f-]{8,}|[A-Za-z]+_[A-Za-z0-9]*\d[A-Za-z0-9]*")
_JSON = re.compile(r"\bJSON[- ](encoded|based|formatted|serialized|string|array|object)|\bURL-encoded (string|JSON)")
# "One of: admins, all or none", "a comma-separated list of: name, url".
_VALUE = r"[A-Za-z][\w.-]*"
_LISTED_VALUES = re.compile(
    r"\b(?:one of|list of|any of|(?:(?:valid|possible|allowed|accepted|supported) )?values(?: are| include)?)\s*:\s*"
    rf"({_VALUE}(?:\s*(?:,\s*or|,\s*and|,|\||\bor\b|\band\b)\s*{_VALUE})+)(?=\s*(?:[.;(]|$))",
    re.IGNORECASE,
)
_ISO = re.compile(r"ISO|YYYY|RFC ?3339", re.IGNORECASE)


@dataclass(frozen=True)
class _Kinds:
    """words/kinds.yaml."""

    formats: dict[str, str]
    contexts: list[tuple[re.Pattern[str], re.Pattern[str], str]]
    names: list[tuple[re.Pattern[str], str]]
    things: list[tuple[re.Pattern[str], str]]
    described: list[tuple[re.Pattern[str], str]]
    ranges: list[Range]


@cache
def _kinds() -> _Kinds:
    raw = read_yaml(Path(__file__).resolve().parent / "words" / "kinds.yaml")
    return _Kinds(
        raw["formats"],
        [(re.compile(name), re.compile(rf"\b({about})"), kind) for name, about, kind in raw["contexts"]],
        [(re.compile(pattern), kind) for pattern, kind in raw["names"]],
        [(re.compile(rf"\b({pattern})\b"), kind) for pattern, kind in raw["things"]],
        [(re.compile(pattern, re.IGNORECASE), kind) for pattern, kind in raw["described"]],
        [Range(re.compile(pattern), low, high, fine) for pattern, low, high, fine in raw["ranges"]],
    )


class Sources:
    """Finds the values of parameters; the same seed gives the same values.

    Args:
        seed: of the values.
        languages: codes of the languages for which there are to be values beside the English ones.
    """

    def __init__(self, seed: int, languages: Sequence[str] = ()) -> None:
        self._seed = seed
        self._local = {language: local_banks(language) for language in languages}
        self._drawn: dict[str, list[Drawn]] = {}

    def find(
        self, function: Function, parameter: str, about: str, used: Counter[str] | None = None, meaning: str = ""
    ) -> Source | None:
        """The values of a parameter, or None if none can be made.

        Args:
            about: what the function does, in words.
            meaning: a name that says more than the parameter's own.
            used: kinds of the function's other parameters, to which this one's is added. Two parameters of a kind get
                different lists, since one list gives both the same value.
        """
        used = Counter() if used is None else used
        schema = function.properties[parameter]
        if refusal(function.parameters, schema) is not None:
            return None
        for kind, values, reason in self._candidates(function, parameter, about, used, meaning or parameter):
            kept = self._kept(function, parameter, values)
            if len(kept) >= (1 if kind in ("enum", "boolean", "number", "examples", "pattern") else _SHORTEST):
                used[kind] += 1
                return Source(kind, tuple(kept), reason, self._in_languages(function, parameter, kind, used[kind]))
        return None

    def _in_languages(self, function: Function, parameter: str, kind: str, use: int) -> dict[str, tuple[Drawn, ...]]:
        found = {}
        for language, local in self._local.items():
            if kind in local:
                drawn = distinct(local[kind], random.Random(f"{self._seed}:{kind}:{use}:{language}"))
                kept = self._kept(function, parameter, drawn)
                if len(kept) >= _SHORTEST:
                    found[language] = tuple(kept)
        return found

    def _candidates(
        self, function: Function, parameter: str, about: str, used: Counter[str], name: str
    ) -> Iterator[tuple[str, Iterable[Drawn], str]]:
        schema: Any = function.properties[parameter]
        schema = schema if isinstance(schema, dict) else {}
        listed = values_of(function.parameters, schema)
        described = str(schema.get("description") or "")
        types = types_of(function.parameters, schema)
        key = f"{self._seed}:{parameter}"
        if listed is not None:
            scalars = [value for value in listed if value is not None and not isinstance(value, list | dict)]
            yield "enum", [_listed(value) for value in scalars], "the values that the API lists"
            return
        scalar = types - {"null", "array", "object"}
        if scalar == {"boolean"}:
            yield "boolean", [("true",), ("false",)], "true and false"
            return
        if scalar == {"string"} and _YES_OR_NO.match(described):
            yield "boolean", [("true",), ("false",)], "true and false, as its description says"
        if scalar == {"string"} and schema.keys() <= {"type"} and _FLAG.fullmatch(spoken_name(name)):
            yield "boolean", [("true",), ("false",)], f"true and false, as {parameter} sounds like a switch"
        if scalar and scalar <= {"integer", "number"}:
            suggested = next((each for each in _kinds().ranges if each.name.fullmatch(spoken_name(name))), None)
            drawn = numbers(suggested, schema, "number" in scalar, random.Random(key))
            yield "number", drawn, "numbers in its bounds"
            return
        placeholders = {each for other in function.properties for each in (other, f"next_{other}")}
        placeholders |= {*split_name(parameter)}
        given = [*schema.get("examples", []), schema.get("default")]
        examples = [(each,) for each in given if isinstance(each, str) and each.strip() and each not in placeholders]
        named, all_of_them = _named_values(described, placeholders)
        if all_of_them:
            yield "enum", [_listed(each) for each in named], "the values that its description names"
        examples += [(each,) for each in named]
        pattern = _pattern(schema)
        kind, reason = kind_of_text(name, schema, about)
        if examples and kind in _LOOSE and all(_LIKE_ID.fullmatch(example) for example, *_ in examples):
            kind, reason = "identifier", "its examples look like one"
        bank = self._bank(kind, used[kind], spoken_name(name).split())
        if pattern is None:
            yield kind, [*examples, *bank], reason
            yield "identifier", self._bank("identifier"), "an identifier, as other texts do not fit the schema"
        else:
            yield kind, [*examples, *bank], f"{reason}, some of which match the API's pattern"
            yield "pattern", [*examples, *_matching(pattern, self._seed)], "texts that match its pattern"
        for other in ("identifier", "code_number", "hash", "uuid", "label", "topic"):
            yield other, self._bank(other), "texts that the schema takes"
        yield "examples", examples, "the examples of the API"

    def _bank(self, kind: str, occurrence: int = 0, words_of_name: Sequence[str] = ()) -> list[Drawn]:
        """Values of a kind; another list for each occurrence. Of two dates the start lies before the end."""
        half = ""
        if kind in _DATES:
            half = "last" if _LATE & set(words_of_name) else "first" if _EARLY & set(words_of_name) else ""
        key = f"{self._seed}:{kind}" + (f":{occurrence}" if occurrence else "") + (f":{half}" if half else "")
        if key not in self._drawn:
            bank, draw = banks()[kind], random.Random(key)
            self._drawn[key] = distinct(bank, draw, lambda value: not half or (value < _MIDDLE) == (half == "first"))
        return self._drawn[key]

    @staticmethod
    def _kept(function: Function, parameter: str, values: Iterable[Drawn]) -> list[Drawn]:
        kind, schema = function.kind(parameter), function.properties[parameter]
        plain = takes_any_text(function, schema)  # checking is what takes the time
        kept, seen = [], set()
        for value, *said in values:
            text = " ".join(value.split())
            if not text or text in seen or len(text) > _LONGEST:
                continue
            seen.add(text)
            wordings = [each for each in (said or [text]) if words(each) and sayable(each)]
            if wordings and (plain or check_value(function, parameter, json_value(text, kind)) is None):
                kept.append((text, *dict.fromkeys(wordings)))
            if len(kept) >= WANTED:
                break
        return kept


def sayable(text: str) -> bool:
    """Whether a query may say a text: no mark-up, balanced quotes and brackets."""
    if re.search(r"https?:/|\{\{|\}\}|\*\*|```|<\|", text) or text.count('"') % 2:
        return False
    return all(text.count(left) == text.count(right) for left, right in ("()", "[]", "{}", "“”"))


def _named_values(description: str, placeholders: Container[str]) -> tuple[list[str], bool]:
    """Values that a description puts in quotes, and whether it names all of them; names of parameters are none."""
    quoted = list(
        dict.fromkeys(
            re.findall(r"""(?<![\w])['"`\u2018\u201c]([A-Za-z0-9_.+-]{1,30})['"`\u2019\u201d](?!\w)""", description)
        )
    )
    quoted = [each for each in quoted if each not in placeholders]
    listed = _LISTED_VALUES.search(re.sub(r"</?\w+>", " ", description))
    if listed:
        found = [each for each in re.split(r"[\s,|]+", listed.group(1)) if each not in ("or", "and", "")]
        if len(found) >= 2:
            return list(dict.fromkeys(found)), True
    some = re.search(r"\be\.g\.|\bfor example\b|\bsuch as\b|\blike\b|\bexamples?\b|\betc\b", description, re.IGNORECASE)
    if len(quoted) == 1 and some is None and "default" not in description.lower():
        return [], False  # a word in quotes
    return quoted, len(quoted) >= 2 and some is None


def distinct(bank: Bank, draw: random.Random, fits: Callable[[str], bool] = lambda value: True) -> list[Drawn]:
    """Different values of a bank, of those that fit."""
    found: dict[str, Drawn] = {}
    for drawn in islice(bank(draw), WANTED * _TRIES):
        if fits(drawn[0]):
            found.setdefault(drawn[0], drawn)
        if len(found) == WANTED:
            break
    return list(found.values())


def is_json(schema: Any) -> bool:
    """Whether a parameter takes JSON written as a text."""
    if not isinstance(schema, dict) or "string" not in types_of({}, schema) or "enum" in schema:
        return False
    return _JSON.search(str(schema.get("description") or "")) is not None


def kind_of_text(parameter: str, schema: dict[str, Any], about: str) -> tuple[str, str]:
    """The bank for a parameter that takes text, and why."""
    kinds = _kinds()
    described = str(schema.get("description") or "")
    form = str(schema.get("format") or "").lower()
    if form in kinds.formats:
        return kinds.formats[form], f"its format is {form}"
    if is_json(schema):
        return "json", "its description says that it is JSON"
    name = spoken_name(parameter)
    for pattern, topic_of, kind in kinds.contexts:
        found = topic_of.search(f"{about} {described}".lower()) if pattern.fullmatch(name) else None
        if found:
            return kind, f"its name is {parameter}, and the function is about {found.group(0)}"
    if name == "name" or name.endswith(" name"):
        topic = name.removesuffix("name").strip() or about
        for pattern, kind in kinds.things:
            found = pattern.search(topic.lower())
            if found:
                return kind, f"it is the name of a {found.group(0)}"
    for pattern, kind in kinds.names:
        if pattern.fullmatch(name):
            return _refined(kind, schema, described), f"its name is {parameter}"
    if name.endswith("name"):
        return "project", f"its name is {parameter}"
    for pattern, kind in kinds.described:
        found = pattern.search(described)
        if found:
            return kind, f"its description says {found.group(0)!r}"
    return "topic", "neither its name nor its description says more than that it is text"


def _refined(kind: str, schema: dict[str, Any], described: str) -> str:
    """Codes and ISO forms where the description or the length asks for them."""
    code = re.search(r"\b(ISO|code|alpha-2)\b", described) is not None
    if kind == "loose_date" and _ISO.search(described):
        return "date"
    if kind == "country" and (code or schema.get("maxLength") == 2):
        return "country_code"
    if kind == "language" and code:
        return "language_code"
    if kind == "colour" and "hex" in described.lower():
        return "hex_colour"
    return kind


def spoken_name(parameter: str) -> str:
    """The words of a parameter's name, lower case."""
    return " ".join(split_name(parameter))


def _listed(value: Any) -> Drawn:
    text = value_name(value)
    if not isinstance(value, str):
        return (text, text)
    if re.fullmatch(r"\.[a-z0-9]{2,5}", text):  # a file's extension
        return (text, text[1:].upper(), text[1:])
    parts = split_name(text) if re.fullmatch(r"[A-Za-z][A-Za-z0-9]*([_.-][A-Za-z0-9]+)*", text) else []
    said = spoken(parts, in_full=False) if len(parts) > 1 else text
    return (text, said) if said == text or len(parts) < 2 else (text, said, text)


def _pattern(schema: dict[str, Any]) -> str | None:
    if isinstance(schema.get("pattern"), str):
        return str(schema["pattern"])
    for key in ("anyOf", "oneOf", "allOf"):
        for part in schema.get(key, ()):
            found = _pattern(part) if isinstance(part, dict) else None
            if found is not None:
                return found
    return None


@cache
def _matching(pattern: str, seed: int) -> tuple[Drawn, ...]:
    """Different texts that match a pattern; APIs have one for many parameters, and making them takes long."""
    import rstr

    maker, bounded = rstr.Rstr(random.Random(f"{seed}:{pattern}")), _bounded(pattern)
    found: dict[str, None] = {}
    for _ in range(WANTED * 2):
        try:
            text = maker.xeger(bounded)
        except Exception:  # a pattern of another dialect can make Python's parser raise anything
            break
        if text.isascii() and text.isprintable():
            found[text] = None
        if len(found) >= WANTED:
            break
    return tuple((text,) for text in found)


def _bounded(pattern: str) -> str:
    """A pattern whose open ends have one: ``[a-z]+`` makes words of up to ten letters, not of a hundred."""

    def end(found: re.Match[str]) -> str:
        text = found.group()
        if text in ("+", "*"):
            return "{3,10}" if text == "+" else "{0,8}"
        least = re.fullmatch(r"\{(\d+),\}", text)
        return f"{{{least.group(1)},{int(least.group(1)) + 6}}}" if least else text

    return re.sub(r"\\.|\[(?:\\.|[^\]\\])*\]|\{\d+,\}|[+*]", end, pattern)
