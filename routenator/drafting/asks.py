"""What ``domain draft`` asks a model: a prompt for each value list, function and kind, with a schema of the reply."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from routenator.authoring.drawn import draw_all
from routenator.domain.domain import Domain
from routenator.domain.slots import Slot, always_spoken, every
from routenator.domain.valuelists import load_lists
from routenator.generation.engine import Message, Prompt

KINDS = ("values", "patterns", "paraphrases", "topics")
LONGEST = 120  # characters of a proposal
_TOKENS = 40  # of a proposal, at most
_SHOWN = 6  # examples in a prompt
_COUNT = "{#}"  # stands for the number of proposals; no placeholder of a slot looks like it
_REFERENCE = re.compile(r"\{\s*([A-Za-z_]\w*)")
_CLOSED = {"enum", "const", "format", "pattern"}
Said = dict[str, list[tuple[str, set[str]]]]


@dataclass(frozen=True)
class Ask:
    """One prompt.

    Attributes:
        kind: one of ``KINDS``, or of ``translating.TRANSLATED``.
        name: the value list or function that is asked about; "" for topics and labels.
        text: the request, with ``_COUNT`` for the number of proposals.
        function: whose schema values must satisfy; "" for topics.
        slot: the parameter, for values.
        origin: what the reply rests on, besides the model: for the comment beside what is kept.
        seed: of the reply.
        wanted: keys of the texts to translate, in the order of the proposals; empty: as many proposals as asked for.
    """

    kind: str
    name: str
    text: str
    function: str = ""
    slot: str = ""
    origin: str = ""
    seed: int = 0
    wanted: tuple[str, ...] = ()

    def prompt(self, count: int, temperature: float, top_p: float) -> Prompt:
        """The prompt for this many proposals, or for one of each text to translate."""
        count = len(self.wanted) or count
        messages: list[Message] = [{"role": "user", "content": self.text.replace(_COUNT, str(count))}]
        schema = reply_schema(count, least=len(self.wanted) or 1)
        return Prompt(messages, self.seed, _TOKENS * count + 24, temperature, top_p, schema=schema)


def reply_schema(count: int, least: int = 1) -> dict[str, Any]:
    """The schema of a reply: an object with a list of at most ``count`` texts."""
    item = {"type": "string", "minLength": 1, "maxLength": LONGEST}
    proposals = {"type": "array", "items": item, "minItems": least, "maxItems": count}
    return {
        "type": "object",
        "properties": {"proposals": proposals},
        "required": ["proposals"],
        "additionalProperties": False,
    }


def required_slots(domain: Domain, function: str) -> list[str]:
    """Names of the slots that every pattern of a function must say."""
    shares = domain.statistics.slots.get(function, {})
    sure = always_spoken(domain.slots[function], shares)
    return [slot.local for slot in sure if not (slot.rule.excludes or slot.rule.needs)]


def asks(
    domain: Domain, kinds: Sequence[str], functions: Sequence[str], seed: int, language: str = ""
) -> Iterator[Ask]:
    """All prompts, in the order of the kinds; each with a seed of its own.

    Args:
        language: in which to write, if it is not that of the domain's own words.
    """
    spoken = f' Write in the language "{language}".' if language else ""
    draw = random.Random(seed)
    said = queries(domain) if {"patterns", "paraphrases"} & set(kinds) else {}
    for each in said.values():
        draw.shuffle(each)
    for kind in kinds:
        if kind == "values":
            made = _values(domain, functions, draw)
        elif kind == "patterns":
            made = _patterns(domain, functions, said)
        elif kind == "paraphrases":
            made = _paraphrases(domain, functions, said)
        else:
            made = _topics(domain)
        for ask in made:
            yield replace(ask, text=ask.text + spoken, seed=draw.getrandbits(31))


def open_lists(domain: Domain, functions: Sequence[str]) -> dict[str, tuple[str, Slot]]:
    """Value lists to which values can be added -> a function and parameter of plain text that takes them."""
    found: dict[str, tuple[str, Slot]] = {}
    lists = load_lists(domain.path)
    for function in functions:
        for slot in every(domain.slots[function]):
            schema = domain.functions[function].properties.get(slot.name)
            if not isinstance(schema, dict) or schema.get("type") != "string" or _CLOSED & set(schema):
                continue
            named = set(_REFERENCE.findall(" ".join(slot.rule.grammars()))) & set(lists)
            for name in sorted(named):
                found.setdefault(name, (function, slot))
    return found


def _values(domain: Domain, functions: Sequence[str], draw: random.Random) -> Iterator[Ask]:
    lists = load_lists(domain.path)
    for name, (function, slot) in open_lists(domain, functions).items():
        known = [value.value for value in lists[name]]
        shown = draw.sample(known, min(_SHOWN, len(known)))
        described = domain.functions[function].properties[slot.name].get("description") or "no description"
        text = (
            f"The parameter `{slot.name}` of the function `{function}` ({_about(domain, function)}) takes a text: "
            f"{described}\nExamples: {json.dumps(shown, ensure_ascii=False)}\n"
            f"Write {_COUNT} more values that people would use, each different. "
            'Answer with JSON: {"proposals": [...]}'
        )
        yield Ask("values", name, text, function, slot.name, f"for {function}, {slot.name}")


def _patterns(domain: Domain, functions: Sequence[str], said: Said) -> Iterator[Ask]:
    for function in functions:
        names = required_slots(domain, function)
        places = ", ".join(f"{{{name}}}" for name in names) or "none"
        shown = [text for text, _ in said.get(function, [])[:_SHOWN]]
        text = (
            f"People ask an assistant for the function `{function}`: {_about(domain, function)}\n"
            f"Examples of what they say: {json.dumps(shown, ensure_ascii=False)}\n"
            f"Write {_COUNT} other ways to ask for it, short and natural. "
            f"Use each of these placeholders exactly once, as written: {places}. "
            'Answer with JSON: {"proposals": [...]}'
        )
        yield Ask("patterns", function, text, function, origin="from its description and drafts")


def _paraphrases(domain: Domain, functions: Sequence[str], said: Said) -> Iterator[Ask]:
    for function in functions:
        wanted = set(required_slots(domain, function))
        usable = [text for text, names in said.get(function, []) if names == wanted]
        if usable:
            text = (
                f"Say this in {_COUNT} other ways, with the same meaning (the function is `{function}`). Keep the "
                f"verb clear, and keep every part in curly brackets as it is: {usable[0]}\n"
                'Answer with JSON: {"proposals": [...]}'
            )
            yield Ask("paraphrases", function, text, function, origin=f"of {usable[0]!r}")


def _topics(domain: Domain) -> Iterator[Ask]:
    every_one = "; ".join(f"{name}: {_about(domain, name)[:80]}" for name in list(domain.rules)[:40])
    text = (
        f"An assistant has only these functions: {every_one}\n"
        f"Write {_COUNT} different requests of people that none of these functions can serve. "
        'Answer with JSON: {"proposals": [...]}'
    )
    yield Ask("topics", "", text, origin="from the list of functions")


def _about(domain: Domain, function: str) -> str:
    return " ".join(domain.functions[function].description.split())[:200] or function


def queries(domain: Domain) -> Said:
    """Drafts of each function with placeholders for what their slots say, and the names of those."""
    found: Said = {}
    for drawn in draw_all(domain):
        if drawn.words is None:
            continue
        for query, slots in zip(drawn.words.query.to_pylist(), drawn.words.slots.to_pylist(), strict=True):
            text, names = query, set()
            said = {name: surface for name, surface in json.loads(slots).items() if surface}
            for name, surface in sorted(said.items(), key=lambda item: -len(item[1])):
                if surface in text:
                    text = text.replace(surface, f"{{{name}}}", 1)
                    names.add(name)
            if names == set(said):
                found.setdefault(drawn.function, []).append((text, names))
    return found
