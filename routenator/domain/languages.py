"""What a domain says in a language other than English: files in ``languages/CODE/``, each of them optional.

``labels.csv`` has labels, aliases and attributes of nodes; ``lexicon.yaml`` word lists; ``values/NAME.tsv`` value
lists, each in place of the English one; ``domain.yaml`` how slots are said; ``statistics.yaml`` what differs in the
statistics; ``templates/ROUTE/NAME.yaml`` patterns and prompts. English is used for whatever a language does not have.
``NAME.drafted.SUFFIX`` has what a model has proposed (``domain draft --translate``); the file without it comes first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from routenator.domain.graphfile import read_rows
from routenator.domain.lexicon import parse_lexicon
from routenator.domain.rules import Days, FunctionRule, LanguageFile, SlotRule, SlotWords
from routenator.domain.schema import LanguageStatistics, LexiconItem
from routenator.domain.templates import Template, load_own_templates
from routenator.domain.valuelists import DRAFTED, Value, load_lists
from routenator.errors import InputError, InputErrors
from routenator.parsing import parse_model, read_yaml

FOLDER = "languages"
_FIXED = ("type", "weight")  # columns of nodes that are the same in every language


@dataclass(frozen=True)
class Label:
    """A node's words in one language.

    Attributes:
        label: empty if the language has none of its own.
        attributes: those that the language has of its own; "" stands for an attribute that is empty there.
    """

    label: str
    aliases: tuple[str, ...]
    attributes: dict[str, str]


@dataclass(frozen=True)
class Language:
    """The files of one language."""

    code: str
    path: Path
    labels: dict[str, Label] = field(default_factory=dict)
    lexicon: dict[str, list[LexiconItem]] = field(default_factory=dict)
    lists: dict[str, list[Value]] = field(default_factory=dict)
    words: LanguageFile = field(default_factory=LanguageFile)
    statistics: LanguageStatistics = field(default_factory=LanguageStatistics)
    templates: dict[str, Template] = field(default_factory=dict)


def load_languages(root: Path, functions: Collection[str]) -> dict[str, Language]:
    """Load the languages of a domain's folder, by code; empty if it has none.

    Args:
        root: the domain's folder.
        functions: names that ``*`` stands for in templates.

    Raises:
        InputError / InputErrors: a file that does not belong to a language, or has errors in it.
    """
    folder = root / FOLDER
    if not folder.is_dir():
        return {}
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if not path.is_dir():
            raise InputError("not a language", file=path, found=path.name, expected="a folder named by a code: de")
        found[path.name] = _load(path, functions)
    return found


def _load(path: Path, functions: Collection[str]) -> Language:
    known = {"labels.csv", "lexicon.yaml", "domain.yaml", "statistics.yaml", "templates", "values", "README.md"}
    known |= {f"labels{DRAFTED}.csv", f"lexicon{DRAFTED}.yaml", f"domain{DRAFTED}.yaml"}
    for file in sorted(path.iterdir()):
        if file.name not in known and not file.name.startswith("."):
            raise InputError("not a file of a language", file=file, found=file.name, valid=known)
    lexicon: dict[str, list[LexiconItem]] = {}
    for name in (f"lexicon{DRAFTED}.yaml", "lexicon.yaml"):
        if (path / name).is_file():
            lexicon |= parse_lexicon(read_yaml(path / name) or {}, path / name)
    return Language(
        code=path.name,
        path=path,
        labels={**_labels(path / f"labels{DRAFTED}.csv"), **_labels(path / "labels.csv")},
        lexicon=lexicon,
        lists=load_lists(path, drafted_alone=True),
        words=_words(path),
        statistics=_parsed(LanguageStatistics, path / "statistics.yaml"),
        templates=load_own_templates(path / "templates", functions, path.name),
    )


def _words(path: Path) -> LanguageFile:
    """How slots are said: as domain.yaml has it, and what it lacks as a model has proposed."""
    drafted, own = path / f"domain{DRAFTED}.yaml", path / "domain.yaml"
    given = _parsed(LanguageFile, own)
    if not drafted.is_file():
        return given
    proposed = _parsed(LanguageFile, drafted).model_dump(exclude_unset=True)
    return parse_model(LanguageFile, _merged(proposed, given.model_dump(exclude_unset=True)), drafted)


def _parsed(model: Any, file: Path) -> Any:
    return parse_model(model, (read_yaml(file) if file.is_file() else None) or {}, file)


def _labels(file: Path) -> dict[str, Label]:
    if not file.is_file():
        return {}
    labels: dict[str, Label] = {}
    for where, row in read_rows(file, "labels", ("id",)):
        node = row["id"].strip()
        if node in labels:
            raise InputError("duplicate node", file=file, key=f"{where}, id", found=node)
        wrong = next((column for column in _FIXED if column in row), None)
        if wrong is not None:
            raise InputError(
                "this column is the same in every language", file=file, key="line 1", found=wrong,
                expected="id, label, aliases and attributes",
            )  # fmt: skip
        aliases = tuple(a.strip() for a in (row.get("aliases") or "").split("|") if a.strip())
        attributes = {
            key: value.strip()
            for key, value in row.items()
            if key not in ("id", "label", "aliases", "origin") and value.strip()
        }
        labels[node] = Label((row.get("label") or "").strip(), aliases, attributes)
    return labels


def rules_in(language: Language, rules: Mapping[str, FunctionRule]) -> dict[str, FunctionRule]:
    """A domain's rules, with slots said as the language says them.

    Raises:
        InputError / InputErrors: words for a function, slot or value that the domain does not have.
    """
    file, patched = language.path / "domain.yaml", dict(rules)
    for name, slots in language.words.functions.items():
        if name not in rules:
            raise InputError("no such function", file=file, key=f"functions.{name}", found=name, valid=rules)
        own = dict(rules[name].slots)
        for slot, words in slots.items():
            where = f"functions.{name}.{slot}"
            if slot not in own:
                raise InputError("no such slot", file=file, key=where, found=slot, valid=own)
            own[slot] = _rule(own[slot], words, file, where)
        patched[name] = rules[name].model_copy(update={"slots": own})
    return patched


def _rule(rule: SlotRule, words: SlotWords, file: Path, where: str) -> SlotRule:
    given = words.model_dump(exclude_unset=True)
    _check_values(rule, words, file, where)
    merged = _merged(rule.model_dump(exclude_unset=True), given)
    try:
        return parse_model(SlotRule, merged, file)
    except InputError as error:
        for each in error.errors if isinstance(error, InputErrors) else [error]:
            each.key = f"{where}.{each.key}" if each.key else where
        raise


def _check_values(rule: SlotRule, words: SlotWords, file: Path, where: str) -> None:
    """Refuse values that English does not have: what is sent is the same in every language."""
    if words.said is not None and rule.said is not None and rule.relative is None:
        for value in words.said:
            if value not in rule.said:
                raise InputError(
                    "no such value: what is sent is the same in every language", file=file, key=f"{where}.said",
                    found=value, valid=rule.said,
                )  # fmt: skip
    for name, part in (words.fields or {}).items():
        if rule.fields is None or name not in rule.fields:
            raise InputError("no such field", file=file, key=where, found=name, valid=rule.fields or {})
        _check_values(rule.fields[name], part, file, f"{where}.fields.{name}")
    if words.items is not None and isinstance(rule.items, SlotRule) and isinstance(words.items, SlotWords):
        _check_values(rule.items, words.items, file, f"{where}.items")


def _merged(base: Any, over: Any) -> Any:
    """Put one tree of mappings over another; lists of rules (a tuple's) go element by element."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {**base, **{key: _merged(base[key], value) if key in base else value for key, value in over.items()}}
    if isinstance(base, list) and isinstance(over, list) and all(isinstance(each, dict) for each in [*base, *over]):
        return [_merged(first, second) for first, second in zip(base, over, strict=False)] + base[len(over) :]
    return over


def days_in(language: Language, days: Days | None) -> Days | None:
    """The domain's days, with their names in the language."""
    names = language.words.today
    if days is None or names is None:
        return days
    return days.model_copy(update={key: value for key, value in names.model_dump().items() if value is not None})
