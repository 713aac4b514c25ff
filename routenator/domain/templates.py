"""Template files: YAML front matter and a body. The front matter says which cells of the target a template serves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from routenator.config import EngineConfig
from routenator.domain.schema import FrontMatter
from routenator.errors import InputError
from routenator.files import read_text
from routenator.grammar import Node, parse_or_refuse
from routenator.parsing import parse_model, parse_yaml
from routenator.routes import ROUTES

_PARTS = re.compile(r"\A---\s*\n(.*?)\n---\s*\n(.*)\Z", re.DOTALL)


@dataclass(frozen=True)
class Template:
    """One template.

    Attributes:
        name: "route/stem", unique in a domain.
        body: Jinja2 source; on a route without a model, the grammar's text.
        body_line: 1-based line of the file where the body starts.
        grammar: the parsed grammar, on a route without a model.
    """

    name: str
    route: str
    file: Path
    head: FrontMatter
    body: str
    body_line: int
    grammar: Node | None = None

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


def load_templates(directory: Path) -> dict[str, Template]:
    """Load all templates of a domain, by name.

    Raises:
        InputError: an unknown route folder, missing or invalid front matter, a grammar that cannot be parsed.
    """
    templates: dict[str, Template] = {}
    for folder in sorted(path for path in directory.glob("*") if path.is_dir()):
        if folder.name not in ROUTES:
            raise InputError("unknown route", file=folder, found=folder.name, valid=ROUTES)
        for file in sorted(folder.glob(f"*{ROUTES[folder.name].suffix}")):
            template = _load(folder.name, file)
            templates[template.name] = template
    if not templates:
        raise InputError("no templates", file=directory, expected="at least one template, e.g. heuristic/plain.txt")
    return templates


def _load(route: str, file: Path) -> Template:
    text = read_text(file, "front matter and a body").replace("\r\n", "\n")
    match = _PARTS.match(text)
    if match is None:
        raise InputError(
            "this template has no front matter",
            file=file,
            key="line 1",
            found=text[:40].strip(),
            expected="YAML between two lines of ---",
        )
    head = parse_yaml(match.group(1), file, first_line=text[: match.start(1)].count("\n") + 1)
    body = match.group(2)
    if not body.strip():
        raise InputError("empty template", file=file)
    grammar = parse_or_refuse(body, file, "body") if ROUTES[route].is_draft else None
    return Template(
        name=f"{route}/{file.stem}",
        route=route,
        file=file,
        head=parse_model(FrontMatter, head, file),
        body=body,
        body_line=text[: match.start(2)].count("\n") + 1,
        grammar=grammar,
    )
