"""Value lists: files of values that need no graph, such as the cities or titles that a parameter takes.

``values/NAME.tsv`` holds one value a line, and after tabs the wordings of it that queries use (default: the value
itself). Lines that start with ``# `` are comments. ``values/NAME.drafted.tsv`` continues a list with what a model has
proposed (``domain draft``). A slot's rule names a list like a step: ``{NAME.value}`` is the
value, ``{NAME}`` one of its wordings.

In a loaded domain a list is a node type that hangs on one hub node, so that the rest of the program sees a graph only:
``with_lists`` adds the steps to the paths of the functions whose rules name lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from routenator.domain.graph import Edge, Node
from routenator.domain.rules import FunctionRule, Step
from routenator.errors import InputError
from routenator.files import read_text

FOLDER = "values"
SUFFIX = ".tsv"
DRAFTED = ".drafted"  # before the suffix of what a model proposed
HUB = "values"  # type, id and step name of the node that all lists hang on
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_REFERENCE = re.compile(r"\{\s*([A-Za-z_][A-Za-z0-9_]*)")


class Value(NamedTuple):
    """One value of a list.

    Attributes:
        said: its wordings in queries, at least one.
    """

    value: str
    said: tuple[str, ...]


def load_lists(root: Path, *, drafted_alone: bool = False) -> dict[str, list[Value]]:
    """Load the value lists of a domain's folder, by name; empty if it has none.

    Args:
        root: the folder that has ``values/``.
        drafted_alone: a list may consist of what a model proposed alone, as in the folder of a language.

    Raises:
        InputError: a name that rules cannot refer to, an empty list, or a value that is listed twice.
    """
    folder = root / FOLDER
    if not folder.is_dir():
        return {}
    lists = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or file.name.endswith(DRAFTED + SUFFIX):
            continue
        if file.suffix != SUFFIX or not _NAME.match(file.stem) or file.stem in (HUB, "record"):
            raise InputError(
                "not a value list", file=file, found=file.name, expected=f"NAME{SUFFIX}, NAME of letters, digits and _"
            )
        lists[file.stem] = _load(file)
    for file in sorted(folder.glob(f"*{DRAFTED}{SUFFIX}")):
        name = file.name.removesuffix(DRAFTED + SUFFIX)
        if name not in lists and not drafted_alone:
            raise InputError("no such value list", file=file, found=name, valid=lists)
        known = {value.value for value in lists.setdefault(name, [])}
        lists[name] += [value for value in _load(file) if value.value not in known]
    return lists


def _load(file: Path) -> list[Value]:
    values: dict[str, Value] = {}
    for number, line in enumerate(read_text(file, "a value list: one value a line").split("\n"), 1):
        if not line.strip() or line.startswith("# ") or line.rstrip() == "#":
            continue
        value, *said = (cell.strip() for cell in line.split("\t"))
        if not value:
            raise InputError("empty value", file=file, key=f"line {number}", found=line[:80], expected="text")
        if value in values:
            raise InputError("duplicate value", file=file, key=f"line {number}", found=value)
        values[value] = Value(value, tuple(dict.fromkeys(text for text in said if text)) or (value,))
    if not values:
        raise InputError("no values", file=file, found="0 lines", expected="at least one value")
    return list(values.values())


def list_nodes(lists: dict[str, list[Value]]) -> dict[str, Node]:
    """The hub and a node for each value, by id."""
    nodes = {HUB: Node(HUB, HUB, HUB)}
    for name, values in lists.items():
        for value, said in values:
            node = Node(f"{name}:{value}", name, said[0], said[1:], attributes={"value": value})
            nodes[node.id] = node
    return nodes


def with_lists(
    rules: dict[str, FunctionRule], lists: dict[str, list[Value]], nodes: dict[str, Node]
) -> tuple[dict[str, FunctionRule], list[Edge]]:
    """Add the steps that lead to the lists that rules name.

    Args:
        nodes: those of the graph, without the lists'.

    Returns:
        The rules, and the edges to the hub and from it to the values.
    """
    completed, starts = {}, set()
    for name, rule in rules.items():
        present = {step.name for step in rule.path}
        wanted = [each for each in _named(rule) if each in lists and each not in present]
        path = list(rule.path)
        if path and path[0].type != HUB and (wanted or HUB in present):
            starts.add(path[0].type)
        if (wanted or not path) and HUB not in present:
            path.append(_step(HUB, path[0].name if path else None))
        path += [_step(each, HUB) for each in wanted]
        completed[name] = rule if path == rule.path else rule.model_copy(update={"path": path})
    edges = [Edge(node.id, HUB, 1.0) for node in nodes.values() if node.type in starts]
    return completed, edges + [Edge(HUB, f"{name}:{each.value}", 1.0) for name in lists for each in lists[name]]


def _named(rule: FunctionRule) -> Iterable[str]:
    """Names that the grammars of a rule's slots refer to, each once."""
    texts = [text for slot in rule.slots.values() for text in slot.grammars()]
    return dict.fromkeys(name for text in texts for name in _REFERENCE.findall(text))


def _step(kind: str, origin: str | None) -> Step:
    return Step.model_validate({"type": kind} if origin is None else {"type": kind, "from": origin})
