"""Parses, checks and deduplicates what a model proposes; nothing is kept that a run would refuse."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from routenator.authoring.check import check_coverage
from routenator.authoring.door.connectors import label_of
from routenator.authoring.door.patterns import escaped
from routenator.authoring.drawn import check_draws, draw_all
from routenator.authoring.faults import faults
from routenator.domain.domain import Domain
from routenator.domain.functions import check_value
from routenator.domain.languages import FOLDER as LANGUAGES
from routenator.domain.schema import NoCallFile, TemplateHead
from routenator.domain.slots import spoken
from routenator.domain.templates import DRAFTED_TOPICS, Template
from routenator.domain.valuelists import load_lists
from routenator.drafting.asks import LONGEST, Ask, queries, required_slots
from routenator.grammar import Choice, GrammarError, Text, parse, parse_or_refuse
from routenator.jsontext import BadJsonError, is_text, loads
from routenator.parsing import parse_model, read_yaml
from routenator.validation.text import words
from routenator.wording.labeller import Labeller

_PLACE = re.compile(r"(\{[^{}]*\})")
_LEAST = 0.75  # share of a pattern's queries that must not be taken for another function's
_MOST_FAULTS = 0.1  # faults of English for each query of a pattern
_FEWEST, _MOST = 2, 25  # words of a request that is not a call


class Refusal(ValueError):
    """Why a proposal is not kept."""


class Proposal(NamedTuple):
    """One proposal of a model.

    Attributes:
        kind, name: as in ``Ask``.
        text: as the model wrote it.
        kept: a value, a grammar or a request, as files have it; "" if it is refused.
        reason: why it is refused, "" if it is kept.
        origin: what it rests on.
        key: of the text that it translates.
    """

    kind: str
    name: str
    text: str
    kept: str
    reason: str
    origin: str
    key: str = ""


@dataclass
class ProposalFilter:
    """Checks proposals for one domain, and remembers them.

    Args:
        domain: the domain with what earlier drafts added, as the language of the proposals sees it.
        language: of the proposals, if it is not that of the domain's own words.
    """

    domain: Domain
    language: str = ""
    _seen: dict[tuple[str, str], set[tuple[str, ...]]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._labeller = Labeller(self.domain)
        lists = self.domain.path / LANGUAGES / self.language if self.language else self.domain.path
        for name, values in load_lists(lists, drafted_alone=bool(self.language)).items():
            self._seen["values", name] = {words(text) for value in values for text in (value.value, *value.said)}
        for function, said in queries(self.domain).items():
            self._seen["patterns", function] = {words(text) for text, _ in said}
        self._seen["topics", ""] = _drafted_topics(self.domain)

    def read(self, ask: Ask, reply: str) -> Iterator[Proposal]:
        """The proposals of a reply, kept or refused; a reply that is not JSON is one refused proposal."""
        try:
            value = loads(reply)
        except BadJsonError as error:
            yield Proposal(ask.kind, ask.name, reply[:LONGEST], "", f"not JSON: {error}", ask.origin)
            return
        items = value.get("proposals") if isinstance(value, dict) else None
        items = items if isinstance(items, list) else []
        if ask.wanted and len(items) != len(ask.wanted):
            found = f"{len(items)} translations of {len(ask.wanted)} texts"
            yield Proposal(ask.kind, ask.name, reply[:LONGEST], "", found, ask.origin)
            return
        for text, key in zip(items, ask.wanted or [""] * len(items), strict=True):
            try:
                kept, reason = self._checked(ask, text), ""
            except Refusal as refusal:
                kept, reason = "", str(refusal)
            yield Proposal(ask.kind, ask.name, str(text), kept, reason, ask.origin, key)

    def _checked(self, ask: Ask, text: object) -> str:
        if not isinstance(text, str) or not is_text(text) or not text.strip():
            raise Refusal("no text")
        text = " ".join(text.split())
        if len(text) > LONGEST or not text.isprintable():
            raise Refusal("too long, or control characters")
        if ask.wanted:
            return self._translation(text)
        family = "patterns" if ask.kind == "paraphrases" else ask.kind
        seen = self._seen.setdefault((family, ask.name), set())
        key = words(text)
        if not key or key in seen:
            raise Refusal("known already" if key else "no words")
        if ask.kind == "values":
            made = self._value(ask, text)
        elif ask.kind == "topics":
            made = self._topic(text)
        else:
            made = self._pattern(ask.function, text)
        seen.add(key)
        return made

    def _value(self, ask: Ask, text: str) -> str:
        error = check_value(self.domain.functions[ask.function], ask.slot, text)
        if error is not None:
            raise Refusal(f"the schema refuses it: {error.message[:80]}")
        if text.startswith("#") or "{" in text:
            raise Refusal("looks like a comment or a placeholder")
        return text

    @staticmethod
    def _translation(text: str) -> str:
        if not words(text):
            raise Refusal("no words")
        if re.search(r"[|{}\[\]<>\t]", text):
            raise Refusal("characters that a label cannot have")
        return text

    def _topic(self, text: str) -> str:
        if not _FEWEST <= len(words(text)) <= _MOST:
            raise Refusal("no request: too few or too many words")
        guess = self._labeller.guess([text])[0]
        if guess is not None and len(self.domain.rules) > 1:
            raise Refusal(f"{guess} seems to serve it")
        return escaped(text)

    def _pattern(self, function: str, text: str) -> str:
        required = required_slots(self.domain, function)
        places = [part[1:-1].strip() for part in _PLACE.findall(text)]
        if sorted(places) != sorted(required):
            raise Refusal(f"placeholders {', '.join(places) or 'none'}, not {', '.join(required) or 'none'}")
        if not words(_PLACE.sub(" ", text)):
            raise Refusal("no words but the placeholders")
        grammar = self._grammar(function, text, required)
        template = _template(function, grammar, self.language)
        alone = replace(
            self.domain, rules={function: self.domain.rules[function]}, templates={template.name: template}
        )  # fmt: skip
        for fault in check_coverage(alone):
            raise Refusal(fault.message)
        drawn = draw_all(alone)
        for found in check_draws(alone, drawn):
            raise Refusal(found if isinstance(found, str) else f"{found.message}: {found.found}")
        said = [query for each in drawn if each.words is not None for query in each.words.query.to_pylist()]
        if not said:
            raise Refusal("no row could use it")
        if self.language:
            return grammar
        self._told(function, said)
        wrong = [shown for query in said for _, shown in faults(query)]
        if len(wrong) > _MOST_FAULTS * len(said):
            raise Refusal(f"faults of English, such as {wrong[0]!r}")
        return grammar

    def _told(self, function: str, said: list[str]) -> None:
        """Refuse a pattern without the function's verb: its queries would be mistaken for another function's."""
        if len(self.domain.rules) < 2:
            return
        others = [guess for guess in self._labeller.guess(said) if guess not in (None, function)]
        if len(others) > (1 - _LEAST) * len(said):
            raise Refusal(f"cannot be told from {max(set(others), key=others.count)}")

    def _grammar(self, function: str, text: str, required: list[str]) -> str:
        """A proposal as a grammar: all but the placeholders is literal, and the optional slots follow."""
        end = text[-1] if text[-1] in ".?!" else ""
        parts = _PLACE.split(text.removesuffix(end).rstrip())
        made = "".join(f"{{{part[1:-1].strip()}}}" if _PLACE.fullmatch(part) else escaped(part) for part in parts)
        properties = self.domain.functions[function].properties
        rest = [slot.local for slot in spoken(self.domain.slots[function]) if slot.local not in required]
        said = [
            f"{{{name}}}" if self.language or _boolean(properties.get(name)) else f"with {label_of(name)} {{{name}}}"
            for name in rest
        ]
        tail = f" <{'|'.join(said)}>" if said else ""
        return f"{made}{tail}" + (f"[{end}|]" if end else "")


def _drafted_topics(domain: Domain) -> set[tuple[str, ...]]:
    """The words of each request that earlier drafts added."""
    file, found = domain.path / "templates" / DRAFTED_TOPICS, set()
    entries = parse_model(NoCallFile, read_yaml(file) or {}, file).templates if file.is_file() else {}
    for name, entry in entries.items():
        tree = parse_or_refuse(f"[{entry.text}]", file, f"templates.{name}.text")
        options = tree.options if isinstance(tree, Choice) else (tree,)
        found |= {words(option.text) for option in options if isinstance(option, Text)}
    return found


def _boolean(schema: object) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "boolean"


def _template(function: str, grammar: str, language: str = "") -> Template:
    try:
        tree = parse(grammar)
    except GrammarError as error:
        raise Refusal(f"no grammar: {error}") from None
    head = TemplateHead(functions=[function], languages=[language] if language else None)
    return Template("heuristic/drafted", "heuristic", Path("drafted"), head, grammar, tree)
