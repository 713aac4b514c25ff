"""Loads a domain and checks that its files agree: every name that one file refers to must exist in the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from routenator.domain.dates import relative_phrases
from routenator.domain.domain import Domain, Phrase
from routenator.domain.forms import form_step
from routenator.domain.functions import Function, load_functions
from routenator.domain.graph import Edge, Node, load_edges, load_nodes
from routenator.domain.graphfile import graph_files
from routenator.domain.languages import FOLDER as LANGUAGES
from routenator.domain.languages import Language, load_languages
from routenator.domain.lexicon import parse_lexicon
from routenator.domain.resolve import resolve
from routenator.domain.rules import DomainFile, FunctionRule
from routenator.domain.schema import NO_CATEGORY, LexiconItem, Statistics
from routenator.domain.slots import ENTRY, LEAF, Slot, every, spoken
from routenator.domain.statistics import check_statistics
from routenator.domain.templates import load_templates
from routenator.domain.valuelists import HUB, list_nodes, load_lists, with_lists
from routenator.domain.views import view_in, view_without
from routenator.errors import InputError, InputErrors, value_kind
from routenator.files import check_contained, read_text
from routenator.grammar import Node as GrammarNode
from routenator.grammar import parse_or_refuse, references, slot_of
from routenator.language import is_language
from routenator.parsing import parse_json, parse_model, read_yaml

LAYOUTS = ("centered", "split", "grid", "banner", "full-bleed", "framed", "columns", "minimal")
_SHOWN = 20


def _looks_like_one(folder: Path) -> bool:
    return (folder / "domain.yaml").is_file() or (folder / "functions.json").is_file()


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
            records=_records(root / "metadata.jsonl", nodes),
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
        _check_rules(domain)
        complete = resolve(domain)
        check_statistics(complete)
    except InputError as error:
        errors.extend(_each(error))
    for check in (_check_templates, _check_records):
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
            _check_rules(view)
            check_statistics(view)
            _check_templates(view)
            views[code] = view
        except InputError as error:
            errors.extend(in_language(each, domain, code) for each in _each(error))
    return {code: views[code] for code in shares if code in views}


def speaking(domain: Domain, code: str) -> tuple[Domain, Language]:
    """The domain as a language sees it, whether or not it has a share or files; and its files.

    Raises:
        InputError / InputErrors: the language's files do not fit the domain, or its code is none.
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


def _records(file: Path, nodes: dict[str, Node]) -> dict[str, dict[str, Any]]:
    records: dict[str, dict[str, Any]] = {}
    if not file.exists():
        return records
    for number, line in enumerate(
        read_text(file, "JSON lines, one metadata record each; it may be empty").split("\n"), 1
    ):
        if not line.strip():
            continue
        record = parse_json(line, file, "a JSON object", line=number)
        where = f"line {number}"
        if not isinstance(record, dict):
            raise InputError("invalid record", file=file, key=where, found=value_kind(record), expected="a JSON object")
        record = {key: value for key, value in record.items() if value is not None}  # null is as good as missing
        for key, kind in (
            ("id", str),
            ("title", str),
            ("category", str),
            ("keywords", list),
            ("colours", list),
            ("nodes", list),
        ):
            if not isinstance(record.get(key), kind):
                raise InputError(
                    "invalid record", file=file, key=f"{where}, {key}", found=record.get(key), expected=kind.__name__
                )
        for key in ("keywords", "colours", "nodes", "topics"):
            texts = record.get(key, [])
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise InputError(
                    "invalid record", file=file, key=f"{where}, {key}", found=texts, expected="a list of texts"
                )
        if record["id"] in records:
            raise InputError("duplicate record", file=file, key=where, found=record["id"])
        for node in record["nodes"]:
            if node not in nodes:
                raise InputError(
                    "this record names an unknown node", file=file, key=f"{where}, nodes", found=node, valid=nodes
                )
        if record.get("layout", "minimal") not in LAYOUTS:
            raise InputError("unknown layout", file=file, key=f"{where}, layout", found=record["layout"], valid=LAYOUTS)
        records[record["id"]] = record
    return records


def _check_rules(domain: Domain) -> None:
    file = domain.path / "domain.yaml"
    types = {node.type for node in domain.nodes.values()}
    attributes = {name for node in domain.nodes.values() for name in node.attributes}
    for name, rule in domain.rules.items():
        where = f"functions.{name}"
        if name not in domain.functions:
            raise InputError("the API has no such function", file=file, key=where, found=name, valid=domain.functions)
        names: list[str] = []
        for number, step in enumerate(rule.path):
            if step.type not in types:
                raise InputError(
                    "no node has this type", file=file, key=f"{where}.path[{number}].type", found=step.type, valid=types
                )
            if step.from_ is not None and step.from_ not in names:
                raise InputError(
                    "`from` must name an earlier step",
                    file=file, key=f"{where}.path[{number}].from", found=step.from_, valid=names or ["(none)"],
                )  # fmt: skip
            if step.name in names:
                raise InputError(
                    "two steps have the same name", file=file, key=f"{where}.path[{number}].name", found=step.name
                )
            names.append(step.name)
        if rule.root and rule.root.attribute not in attributes | {"id", "label"}:
            raise InputError(
                "no node has this attribute",
                file=file,
                key=f"{where}.root",
                found=rule.root.attribute,
                valid=attributes,
            )
        if rule.category is not None:
            if rule.category.step not in names:
                raise InputError(
                    "no such step", file=file, key=f"{where}.category.step", found=rule.category.step, valid=names
                )
            if rule.category.attribute and rule.category.attribute not in attributes:
                raise InputError(
                    "no node has this attribute",
                    file=file,
                    key=f"{where}.category",
                    found=rule.category.attribute,
                    valid=attributes,
                )
            _check_category_nodes(domain, name, file)
    for name, slots in domain.slots.items():
        known = {step.name for step in domain.rules[name].path} | set(domain.lexicon)
        for slot in every(slots):
            _parse_slot(domain, name, slot, known, attributes)
        _check_roles(domain.functions[name], domain.rules[name], slots, file)


def _check_roles(function: Function, rule: FunctionRule, slots: tuple[Slot, ...], file: Path) -> None:
    """Refuse a category or subprompt that is not a single value, and a category that does not follow from its step."""
    for slot in slots:
        if slot.key not in (function.category, function.subprompt):
            continue
        said = slot.key == function.category and rule.category is not None and slot.rule.said is not None
        if said or slot.shape != LEAF:
            raise InputError(
                "the category follows from its step" if said else "a parameter with a role is a single value",
                file=file, key=f"functions.{function.name}.slots.{slot.name}",
                found="said" if said else f"a rule for a {slot.shape}", expected="value",
            )  # fmt: skip


def _parse_slot(domain: Domain, function: str, slot: Slot, known: set[str], attributes: set[str]) -> None:
    """Parse the grammars of a slot.

    Args:
        known: names of steps and word lists.
        attributes: names of the nodes' attributes.
    """
    file, key, where = domain.path / "domain.yaml", (function, slot.name), f"functions.{function}.slots.{slot.name}"
    rule = slot.rule
    if rule.value is not None:
        domain.values[key] = _slot_grammar(rule.value, file, f"{where}.value", known, attributes)
        domain.surfaces[key] = (
            None if rule.surface is None else _slot_grammar(rule.surface, file, f"{where}.surface", known, attributes)
        )
    elif rule.relative is not None:
        if domain.today is None:
            raise InputError(
                "values relative to today, of which the domain says nothing", file=file, key=f"{where}.relative",
                found=rule.relative, expected="today: {from: 2025-01-01, to: 2027-12-31} at the top of the file",
            )  # fmt: skip

        def read(text: str, place: str, names: Collection[str]) -> GrammarNode:
            return _slot_grammar(text, file, f"{where}.{place}", {*names}, attributes)

        domain.phrases[key] = tuple(relative_phrases(rule, domain.today, known, read))
    elif rule.said is not None:
        domain.phrases[key] = tuple(
            Phrase(
                value,
                rule.weights.get(value, 0.0 if rule.weights else 1.0) / len(phrases or [""]),
                _slot_grammar(phrase, file, f"{where}.said.{value}", known, attributes) if phrase.strip() else None,
            )
            for value, phrases in rule.said.items()
            for phrase in phrases or [""]
        )
    elif rule.fields is not None and rule.surface is not None:
        inner = known | {part.local for part in spoken(slot.parts)}
        domain.surfaces[key] = _slot_grammar(rule.surface, file, f"{where}.surface", inner, attributes)
    elif rule.entries is not None:
        inner = known | {"key", "value"}
        place = f"{where}.entries.surface"
        domain.surfaces[function, f"{slot.name}{ENTRY}"] = _slot_grammar(
            rule.entries.surface, file, place, inner, attributes
        )


def _check_category_nodes(domain: Domain, function: str, file: Path) -> None:
    """Refuse nodes that stand for a value outside the API's enum: no call could express them."""
    parameter = domain.functions[function].category
    enum = domain.functions[function].names(parameter) if parameter else None
    if enum is None:
        return
    for name, category in [key for key in domain.nodes_by_category if key[0] == function]:
        if category not in enum:
            node = domain.category_nodes(name, category)[0]
            raise InputError(
                "this node stands for a category that the API does not have",
                file=graph_files(domain.path)[0], key=f"node {node.id}", found=category, valid=enum,
            )  # fmt: skip


def _slot_grammar(text: str, file: Path, key: str, known: set[str], attributes: set[str]) -> GrammarNode:
    grammar = parse_or_refuse(text, file, key)
    for reference in references(grammar):
        _check_reference(reference.name, known, attributes, file, lambda: key)
    return grammar


def _check_reference(name: str, known: set[str], attributes: set[str], file: Path, key: Callable[[], str]) -> None:
    base, _, attribute = name.partition(".")
    if name in known:
        return
    if base not in known:
        raise InputError("unknown variable", file=file, key=key(), found=name, valid=known)
    if attribute and base != "record" and attribute not in attributes | {"label", "id", "type"}:
        raise InputError("no node has this attribute", file=file, key=key(), found=name, valid=attributes | {"label"})


def _check_templates(domain: Domain) -> None:
    attributes = {name for node in domain.nodes.values() for name in node.attributes}
    categories = {name for table in domain.statistics.categories.values() for name in table} | {NO_CATEGORY}
    for template in domain.templates.values():
        head, file = template.head, template.file
        for key, names, valid in (
            ("functions", head.functions, domain.rules),
            ("lengths", head.lengths or [], domain.statistics.length_buckets),
            ("categories", head.categories or [], categories),
            ("languages", head.languages or [], domain.statistics.languages),
        ):
            for name in names:
                if name not in valid:
                    raise InputError(
                        f"unknown name in {key}", file=file, key=template.place(key), found=name, valid=valid
                    )
        if template.grammar is not None:
            names = list(dict.fromkeys(reference.name for reference in references(template.grammar)))
            for function in head.functions:
                rule = domain.rules[function]
                named = {slot.local: slot for slot in domain.spoken(function)}
                known = {step.name for step in rule.path} | set(named) | set(domain.lexicon) | {"record"}
                for name in names:
                    slot = slot_of(name, frozenset(named))
                    if slot and slot != name and not form_step(domain, function, named[slot]):
                        raise InputError(
                            f"the slot {slot} of {function} has one form: it does not say a node of the graph, or more",
                            file=file, key=template.place(), found=name, expected=slot,
                        )  # fmt: skip
                    _check_reference(name, known, attributes, file, template.place)


def _check_records(domain: Domain) -> None:
    valid = {category for _, category in domain.nodes_by_category}
    for record in domain.records.values():
        if valid and record["category"] not in valid:
            raise InputError(
                "this record has an unknown category",
                file=domain.path / "metadata.jsonl", key=record["id"], found=record["category"], valid=valid,
            )  # fmt: skip
