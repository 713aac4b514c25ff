"""Queries that are not one call: topics and chat that no function serves, and how several requests are joined.

A default set comes with the package (queries/). A domain's folder ``templates`` may hold files of the same names:
``no_call.yaml`` adds topics and lists of words or replaces those of the same name (``extends: false`` leaves the
package's out altogether, a weight of 0 a single one), and so does ``no_call.drafted.yaml``, which ``domain draft``
writes; ``replies.yaml`` and ``joins.yaml`` replace what is said in the languages that they name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routenator.domain.functions import Function
from routenator.domain.lexicon import parse_lexicon
from routenator.domain.schema import NO_CALL, Join, LexiconItem, NoCallEntry, NoCallFile, TemplateHead
from routenator.domain.templates import DRAFTED_TOPICS, OWN_FILES, Template
from routenator.errors import InputError
from routenator.files import sha256_file
from routenator.grammar import parse_or_refuse, references
from routenator.parsing import parse_model, read_yaml

FOLDER = Path(__file__).resolve().parent / "queries"
TOPICS_FILE, REPLIES_FILE, JOINS_FILE = OWN_FILES
_WORD = re.compile(r"[^\W_]+")
_PARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")  # within camelCase


@dataclass(frozen=True)
class NoCall:
    """What queries that are not one call are made of.

    Attributes:
        lexicon: lists of words that the patterns refer to.
        patterns: templates of topics and chat by name (``no_call/TOPIC``), each for the function ``none``.
        kinds: name of a pattern -> ``topics`` or ``chat``.
        left_out: topics of the package that the API seems to serve -> functions that do.
        doubtful: topics of the domain's own that the API seems to serve -> functions that do.
        replies: language -> sentences for rows without a call.
        joins: language -> ways to join several requests.
    """

    lexicon: dict[str, list[LexiconItem]]
    patterns: dict[str, Template]
    kinds: dict[str, str]
    left_out: dict[str, list[str]]
    doubtful: dict[str, list[str]]
    replies: dict[str, list[str]]
    joins: dict[str, list[Join]]

    def of(self, kind: str, language: str) -> dict[str, float]:
        """Weights of the patterns of a kind and language, by name."""
        return {
            name: template.weight
            for name, template in self.patterns.items()
            if self.kinds[name] == kind and language in (template.languages or [language])
        }


def package_files(templates: Path) -> dict[str, str]:
    """Name -> sha256 of the package's files of queries that a domain's folder of templates does not have itself.

    The package's topics count in any case: most domains extend them.
    """
    return {
        name: sha256_file(FOLDER / name)
        for name in OWN_FILES
        if name == TOPICS_FILE or not (templates / name).is_file()
    }


def load_no_call(
    templates: Path, functions: Mapping[str, Function], rules: Iterable[str], lexicon: dict[str, list[LexiconItem]]
) -> NoCall:
    """Load the package's set and a domain's own files.

    Args:
        templates: the domain's folder of templates.
        functions: the API.
        rules: functions that rows are made for.
        lexicon: the domain's lists of words, for patterns that refer to lists of neither file.

    Raises:
        InputError / InputErrors: an invalid file, a pattern that cannot be parsed or refers to unknown words.
    """
    words: dict[str, list[LexiconItem]] = {}
    entries: dict[str, tuple[Path, NoCallEntry]] = {}
    own = (templates / TOPICS_FILE, templates / DRAFTED_TOPICS)
    files = {file: _topics(file) for file in own if file.is_file()}
    if all(read.extends for read in files.values()):
        files[FOLDER / TOPICS_FILE] = _topics(FOLDER / TOPICS_FILE)
    for file, read in files.items():  # what comes first counts
        for name, entry in read.templates.items():
            languages = entry.languages if entry.languages is not None else read.languages
            text = read.frame.replace("{query}", f"[{entry.text}]") if entry.text.strip() else ""
            entries.setdefault(name, (file, entry.model_copy(update={"languages": languages, "text": text})))
        words = {**parse_lexicon(read.words, file, "words."), **words}
    words = {**lexicon, **words}
    named = {name: _words_of(functions[name]) for name in rules}
    patterns: dict[str, Template] = {}
    kinds: dict[str, str] = {}
    left_out: dict[str, list[str]] = {}
    doubtful: dict[str, list[str]] = {}
    for name, (file, entry) in entries.items():
        serving = [function for function, said in named.items() if said & _forms(entry.serves)]
        if not entry.weight:
            continue
        if serving:
            (doubtful if file in own else left_out)[name] = serving
            if file not in own:
                continue
        template = _pattern(name, entry, file, words)
        patterns[template.name], kinds[template.name] = template, entry.kind
    return NoCall(
        lexicon=words,
        patterns=patterns,
        kinds=kinds,
        left_out=left_out,
        doubtful=doubtful,
        replies=_by_language(templates, REPLIES_FILE, _reply),
        joins=_by_language(templates, JOINS_FILE, lambda value, file: parse_model(Join, value, file)),
    )


def _topics(file: Path) -> NoCallFile:
    return parse_model(NoCallFile, read_yaml(file) or {}, file)


def _words_of(function: Function) -> set[str]:
    """Lower-case words of a function: of its name, its description, and the values that its parameters may have."""
    values = [name for parameter in function.properties for name in function.names(parameter) or ()]
    text = " ".join([_PARTS.sub(" ", function.name), function.description, *values]).replace("_", " ")
    return {word.casefold() for word in _WORD.findall(text)}


def _forms(words: Iterable[str]) -> set[str]:
    return {form for word in words for form in (word.casefold(), f"{word.casefold()}s")}


def _pattern(name: str, entry: NoCallEntry, file: Path, words: Mapping[str, Any]) -> Template:
    key = f"templates.{name}.text"
    if not entry.text.strip():
        raise InputError("empty template", file=file, key=key, expected="a text")
    grammar = parse_or_refuse(entry.text, file, key)
    for reference in references(grammar):
        if reference.name not in words:
            raise InputError("unknown variable", file=file, key=key, found=reference.name, valid=words)
    head = TemplateHead(functions=[NO_CALL], weight=entry.weight, languages=entry.languages)
    return Template(f"no_call/{name}", "heuristic", file, head, entry.text, grammar)


def _by_language(templates: Path, name: str, parse: Any) -> dict[str, list[Any]]:
    """Lists by language: the package's, and over them the domain's."""
    found: dict[str, list[Any]] = {}
    for file in (FOLDER / name, templates / name):
        if not file.is_file():
            continue
        raw = read_yaml(file)
        if not isinstance(raw, dict) or not all(isinstance(items, list) and items for items in raw.values()):
            raise InputError("not lists by language", file=file, expected="language: [...], such as en: [...]")
        found |= {str(language): [parse(item, file) for item in items] for language, items in raw.items()}
    return found


def _reply(value: Any, file: Path) -> str:
    if not isinstance(value, str) or not value.strip() or "\n" in value.strip():
        raise InputError("not a reply", file=file, found=value, expected="a sentence in one line")
    return value.strip()
