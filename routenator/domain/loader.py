"""Loads a domain: reads its files, completes its statistics, and sees it as each of its languages does."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from routenator.domain.agreement import check_records, check_rules, check_templates
from routenator.domain.domain import Domain
from routenator.domain.functions import load_functions
from routenator.domain.graph import Edge, Node, load_edges, load_nodes
from routenator.domain.graphfile import graph_files
from routenator.domain.languages import FOLDER as LANGUAGES
from routenator.domain.languages import Language, load_languages
from routenator.domain.lexicon import parse_lexicon
from routenator.domain.records import load_records
from routenator.domain.resolve import resolve
from routenator.domain.rules import DomainFile, FunctionRule
from routenator.domain.schema import LexiconItem, Statistics
from routenator.domain.statistics import check_statistics
from routenator.domain.templates import load_templates
from routenator.domain.valuelists import HUB, list_nodes, load_lists, with_lists
from routenator.domain.views import view_in, view_without
from routenator.errors import InputError, InputErrors
from routenator.files import check_contained
from routenator.language import is_language
from routenator.parsing import parse_model, read_yaml

_SHOWN = 20


def _looks_like_one(folder: Path) -> bool:
    return (folder / "domain.yaml").is_file() or (folder / "functions.json").is_file()


@contextmanager
def _uncollected() -> Iterator[None]:
    """Let the garbage collector rest: a domain is many objects to keep, which it would walk through again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@_uncollected()
def load_domain(path: str | Path) -> Domain:
    """Load a domain folder.

    Raises:
        InputError / InputErrors: with file, key, found, expected, nearest valid name.
    """
    root = Path(path)
    if not _looks_like_one(root):
        if root.is_dir():
            raise InputError(
                "not a domain", file=root, found="neither domain.yaml nor functions.json", expected="a domain's folder"
            )
        siblings = (
            [path.name for path in root.parent.iterdir() if _looks_like_one(path)] if root.parent.is_dir() else []
        )
        raise InputError("no such domain", file=root, found=root.name, valid=siblings or None)
    check_contained(root)
    functions = load_functions(root / "functions.json")
    spec = parse_model(DomainFile, read_yaml(root / "domain.yaml"), root / "domain.yaml")
    nodes, edges, rules = _graph(root, spec.functions)
    statistics = parse_model(Statistics, read_yaml(root / "statistics.yaml"), root / "statistics.yaml")
    lexicon = _lexicon(root / "lexicon.yaml")
    return _checked(
        Domain(
            path=root,
            title=spec.title,
            description=spec.description,
            functions=functions,
            rules=rules,
            nodes=nodes,
            edges=edges,
            statistics=statistics,
            lexicon=lexicon,
            templates=load_templates(root / "templates", list(spec.functions), _used_routes(statistics)),
            records=load_records(root / "metadata.jsonl", nodes),
            today=spec.today,
            languages=load_languages(root, list(spec.functions)),
        )
    )


def _graph(root: Path, rules: dict[str, FunctionRule]) -> tuple[dict[str, Node], list[Edge], dict[str, FunctionRule]]:
    """Load the graph, or the value lists in its place, or both; also the rules, with the steps that lead to lists."""
    node_file, edge_file = graph_files(root)
    lists = load_lists(root)
    needless = not node_file.is_file() and (lists or not any(rule.path for rule in rules.values()))
    nodes = {} if needless else load_nodes(node_file)
    edges = [] if needless else load_edges(edge_file, nodes)
    if not lists and all(rule.path and rule.path[0].type != HUB for rule in rules.values()):
        return nodes, edges, rules
    taken = {node.type for node in nodes.values()} & {HUB, *lists}
    if taken:
        raise InputError(
            "a node type has the name of a value list", file=node_file, found=sorted(taken)[0], expected="another name"
        )
    rules, more = with_lists(rules, lists, nodes)
    return {**nodes, **list_nodes(lists)}, [*edges, *more], rules


def stated_calls(path: Path) -> dict[int, float]:
    """The shares of rows by their number of calls, as a domain's statistics.yaml gives them; reads no other file.

    Without that file it is one call: it is for ``load_domain`` to refuse the folder.

    Raises:
        InputError / InputErrors: the file cannot be read.
    """
    file = path / "statistics.yaml"
    return parse_model(Statistics, read_yaml(file), file).calls if file.is_file() else {1: 1.0}


def with_statistics(domain: Domain, statistics: Mapping[str, Any]) -> Domain:
    """Replace a domain's statistics, given as the content of statistics.yaml.

    Raises:
        InputError / InputErrors: as ``load_domain``.
    """
    parsed = parse_model(Statistics, dict(statistics), domain.path / "statistics.yaml")
    return _checked(replace(domain, statistics=parsed, joint=None, views={}))


def _checked(domain: Domain) -> Domain:
    """Run all checks of names and return the domain with its statistics completed."""
    errors: list[InputError] = []
    complete = domain
    try:
        check_rules(domain)
        complete = resolve(domain)
        check_statistics(complete)
    except InputError as error:
        errors.extend(_each(error))
    for check in (check_templates, check_records):
        try:
            check(complete)
        except InputError as error:
            errors.extend(_each(error))
    if not errors and domain.languages:
        complete = replace(complete, views=_views(complete, errors))
    if errors:
        errors = list({str(error): error for error in errors}.values())  # slots are looked at by several checks
        raise errors[0] if len(errors) == 1 else InputErrors(errors[:_SHOWN])
    return complete


def _views(domain: Domain, errors: list[InputError]) -> dict[str, Domain]:
    """The domain as each of its languages sees it; adds the errors that are found there."""
    shares = {code: share for code, share in domain.statistics.languages.items() if share > 0}
    others = {code: share for code, share in shares.items() if code not in domain.languages}
    views = dict.fromkeys(others, view_without(domain, others))
    for code in shares:
        if code not in domain.languages:
            continue
        language = domain.languages[code]
        try:
            view = view_in(domain, language)
            check_rules(view)
            check_statistics(view)
            check_templates(view)
            views[code] = view
        except InputError as error:
            errors.extend(in_language(each, domain, code) for each in _each(error))
    return {code: views[code] for code in shares if code in views}


def speaking(domain: Domain, code: str) -> tuple[Domain, Language]:
    """The domain as a language sees it, whether or not it has a share or files; and its files.

    Raises:
        InputError / InputErrors: the language's files do not fit the domain, or its code is not a language code.
    """
    if not is_language(code):
        raise InputError("not a language code", key="--translate", found=code, expected="a code such as de or pt-BR")
    language = domain.languages.get(code) or Language(code, domain.path / LANGUAGES / code)
    if code in domain.views and code in domain.languages:
        return domain.view(code), language
    errors: list[InputError] = []
    alone = domain.statistics.model_copy(update={"languages": {code: 1.0}})
    views = _views(replace(domain, statistics=alone, languages={**domain.languages, code: language}, views={}), errors)
    if errors:
        raise errors[0] if len(errors) == 1 else InputErrors(errors[:_SHOWN])
    return views[code], language


def in_language(error: InputError, domain: Domain, code: str) -> InputError:
    """The error as found in one language: with that language's file, if it has one of the name."""
    error.message = f"{error.message} ({code})"
    if error.file is not None and Path(error.file).parent == domain.path:
        own = domain.languages[code].path / Path(error.file).name
        error.file = str(own) if own.is_file() else error.file
    return error


def _each(error: InputError) -> list[InputError]:
    return error.errors if isinstance(error, InputErrors) else [error]


def _used_routes(statistics: Statistics) -> set[str]:
    return {route for shares in statistics.routes.values() for route, share in shares.items() if share > 0}


def _lexicon(file: Path) -> dict[str, list[LexiconItem]]:
    return parse_lexicon(read_yaml(file) or {}, file) if file.exists() else {}
