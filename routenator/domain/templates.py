"""Template files: several templates in one YAML file. The head of each says which cells of the target it serves."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from routenator.config import EngineConfig
from routenator.domain.fingerprint import SUFFIX, default_prompts
from routenator.domain.schema import TemplateEntry, TemplateFile, TemplateHead
from routenator.errors import InputError, InputErrors
from routenator.grammar import Node, parse_or_refuse
from routenator.parsing import lines_of_keys, parse_model, read_yaml
from routenator.place import command_line
from routenator.routes import ROUTES

EVERY_FUNCTION = "*"
OLD_SUFFIXES = (".txt", ".j2")  # files of one template each
OWN_FILES = ("no_call.yaml", "replies.yaml", "joins.yaml")  # see nocall.py
DRAFTED_TOPICS = "no_call.drafted.yaml"  # topics that a model proposed (``domain draft``)
_NAME = re.compile(r"[A-Za-z0-9_-]+\Z")


@dataclass(frozen=True)
class Template:
    """One template.

    Attributes:
        name: "route/key", where the key is the template's in its file; unique in a domain.
        head: its functions are names, never ``*``.
        body: Jinja2 source; on a route without a model, the grammar's text.
        grammar: the parsed grammar, on a route without a model.
    """

    name: str
    route: str
    file: Path
    head: TemplateHead
    body: str
    grammar: Node | None = None

    @property
    def key(self) -> str:
        """Its key in its file."""
        return self.name.split("/", 1)[1]

    def place(self, part: str = "text", line: int = 1) -> str:
        """Key and line of a part of this template, for messages.

        Args:
            part: a key of the template's entry.
            line: line in the part, 1-based.
        """
        return _with_line(f"templates.{self.key}.{part}", self.file, line - 1)

    @property
    def functions(self) -> list[str]:
        return self.head.functions

    @property
    def weight(self) -> float:
        return self.head.weight

    @property
    def lengths(self) -> list[str] | None:
        return self.head.lengths

    @property
    def categories(self) -> list[str] | None:
        return self.head.categories

    @property
    def languages(self) -> list[str] | None:
        return self.head.languages

    @property
    def system(self) -> str | None:
        return self.head.system

    @property
    def max_tokens(self) -> int | None:
        return self.head.max_tokens

    @property
    def temperature(self) -> float | None:
        return self.head.temperature

    @property
    def top_p(self) -> float | None:
        return self.head.top_p

    @property
    def output(self) -> str:
        return self.head.output

    @property
    def guide(self) -> str:
        return self.head.guide

    def suits(self, engine: EngineConfig | None) -> bool:
        """Whether this template is meant for engines like this: constrained to the slots' words, or unconstrained."""
        return self.head.for_ == "any" or engine is None or (self.head.for_ == "guided") == engine.guided

    def serves(self, function: str, category: str, length: str, language: str) -> bool:
        """Whether this template can write requests of this cell."""
        head = self.head
        return (
            function in head.functions
            and head.weight > 0
            and (head.categories is None or category in head.categories)
            and (head.lengths is None or length in head.lengths)
            and (head.languages is None or language in head.languages)
        )


def load_templates(directory: Path, functions: Collection[str], routes: Collection[str]) -> dict[str, Template]:
    """Load all templates of a domain, by name and in the order of names.

    Args:
        directory: the domain's folder of templates; it has a folder for each route.
        functions: names that ``*`` stands for.
        routes: routes with a share. Of these, routes of prompts for which the domain has no template get the package's.

    Raises:
        InputError / InputErrors: unknown route folder; not a template file; invalid entry; a name given twice; a
            grammar that cannot be parsed.
    """
    templates: dict[str, Template] = {}
    for file in _files(directory):
        for template in _load(file.parent.name, file, functions):
            if template.name in templates:
                raise InputError(
                    "two templates of a route have the same name",
                    file=file,
                    key=_with_line(f"templates.{template.key}", file),
                    found=template.key,
                    expected=f"a name that is not in {templates[template.name].file.name}",
                )
            templates[template.name] = template
    if not templates:
        raise InputError(
            "no templates", file=directory, found="none", expected=f"at least one file, e.g. heuristic/all{SUFFIX}"
        )
    for route, file in default_prompts(directory).items():
        if route in routes:
            templates |= {template.name: template for template in _load(route, file, functions)}
    return dict(sorted(templates.items()))


def load_own_templates(directory: Path, functions: Collection[str], language: str) -> dict[str, Template]:
    """Load the templates of one language's folder, by name; each serves this language alone.

    Raises:
        InputError / InputErrors: as ``load_templates``; a template names another language.
    """
    templates: dict[str, Template] = {}
    for file in _files(directory):
        for template in _load(file.parent.name, file, functions):
            if template.languages not in (None, [language]):
                raise InputError(
                    "a template in a language's folder serves that language", file=file,
                    key=template.place("languages"), found=", ".join(template.languages or ()), expected=language,
                )  # fmt: skip
            if template.name in templates:
                raise InputError(
                    "two templates of a route have the same name", file=file, key=template.place("text"),
                    found=template.key, expected=f"a name that is not in {templates[template.name].file.name}",
                )  # fmt: skip
            templates[template.name] = replace(
                template, head=template.head.model_copy(update={"languages": [language]})
            )
    return templates


def _files(directory: Path) -> Iterator[Path]:
    """The domain's template files. Refuses what looks like one but is not, rather than leave it out silently."""
    for path in sorted(directory.glob("*")):
        if path.is_dir() and path.name not in ROUTES:
            raise InputError("unknown route", file=path, found=path.name, valid=ROUTES)
        for file in sorted(path.glob("*")) if path.is_dir() else [path]:
            if file.suffix in OLD_SUFFIXES:
                raise InputError(
                    "a file of one template is no longer read: a file now holds all templates of a function and route",
                    file=file,
                    found=file.name,
                    expected=f"NAME{SUFFIX}, as in docs/domains.md; "
                    f"`{command_line('domain', 'convert', directory.parent)}` rewrites the domain's templates",
                )
            if file is path and file.name in (*OWN_FILES, DRAFTED_TOPICS):
                continue  # they serve no route
            if file.suffix == ".yml" or (file is path and file.suffix == SUFFIX):
                raise InputError(
                    "not a template file", file=file, found=file.name, expected=f"templates/ROUTE/NAME{SUFFIX}"
                )
            if file.suffix == SUFFIX and not file.name.startswith("."):
                yield file


def _load(route: str, file: Path, functions: Collection[str]) -> Iterator[Template]:
    value = read_yaml(file)
    with _lines_in_errors(file):
        entries = parse_model(TemplateFile, value, file).templates
    for key, entry in entries.items():
        with _lines_in_errors(file):
            if not _NAME.match(key):
                raise InputError(
                    "not a template's name",
                    file=file,
                    key=f"templates.{key}",
                    found=key,
                    expected="letters, digits, - and _",
                )
            if not entry.text.strip():
                raise InputError("empty template", file=file, key=f"templates.{key}.text", expected="a text")
            yield Template(
                name=f"{route}/{key}",
                route=route,
                file=file,
                head=_with_functions(entry, functions, file, key),
                body=entry.text,
                grammar=parse_or_refuse(entry.text, file, f"templates.{key}.text") if ROUTES[route].is_draft else None,
            )


def _with_functions(entry: TemplateEntry, functions: Collection[str], file: Path, key: str) -> TemplateHead:
    """The entry's head, with ``*`` replaced by the names that it stands for."""
    if EVERY_FUNCTION not in entry.functions:
        return entry
    if len(entry.functions) > 1:
        raise InputError(
            "* stands for all functions, so no other can be named beside it",
            file=file,
            key=f"templates.{key}.functions",
            found=", ".join(entry.functions),
            expected=f'["{EVERY_FUNCTION}"]',
        )
    return entry.model_copy(update={"functions": list(functions)})


@contextmanager
def _lines_in_errors(file: Path) -> Iterator[None]:
    """Add the line to the key of errors in a template file."""
    try:
        yield
    except InputErrors as error:
        for each in error.errors:
            each.key = _with_line(each.key, file)
        raise InputErrors(error.errors) from None
    except InputError as error:
        error.key = _with_line(error.key, file)
        raise


def _with_line(key: str | None, file: Path, further: int = 0) -> str:
    """Append to a dotted key its line in the file, or that of the nearest key above it that the file has.

    Args:
        further: lines below it.
    """
    parts = tuple((key or "").split("."))
    lines = lines_of_keys(file)
    while parts and parts not in lines:
        parts, further = parts[:-1], 0
    return f"{key}, line {lines[parts] + further}" if parts else key or ""
