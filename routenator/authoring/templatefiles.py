"""Writes template files, and turns a domain's files of one template each into them."""

from __future__ import annotations

import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from routenator.domain.fingerprint import SUFFIX
from routenator.domain.rules import DomainFile
from routenator.domain.templates import EVERY_FUNCTION, OLD_SUFFIXES
from routenator.errors import InputError
from routenator.files import check_contained, read_text, write_atomic
from routenator.parsing import parse_model, parse_yaml, read_yaml

SHARED = "shared"  # file of the templates that serve several functions
_PARTS = re.compile(r"\A---\s*\n(.*?)\n---\s*\n(.*)\Z", re.DOTALL)


class _Block(str):
    """A text that is written as a block, with its lines as they are."""


class _Dumper(yaml.SafeDumper):
    """A YAML dumper that writes repeated values out in full instead of using aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    _Block, lambda dumper, data: dumper.represent_scalar("tag:yaml.org,2002:str", str(data), style="|")
)


def dump_yaml(value: Any) -> str:
    """Write a value as YAML, with the innermost lists and mappings on one line each."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000, default_flow_style=None)


def write_templates(path: Path, entries: Mapping[str, Mapping[str, Any]], functions: Sequence[str]) -> None:
    """Write a file of templates.

    Args:
        entries: head and ``text`` of each template, by name.
        functions: all functions that a template can serve; where a template names them all, ``*`` is written.
    """

    def served(entry: Mapping[str, Any]) -> tuple[str, ...]:
        names = tuple(entry["functions"])
        return (EVERY_FUNCTION,) if set(names) == set(functions) and len(functions) > 1 else names

    (shared, _), *_ = Counter(map(served, entries.values())).most_common(1)
    parts = [dump_yaml({"functions": list(shared)}) + "\ntemplates:\n"]
    for name, entry in entries.items():
        own = {} if served(entry) == shared else {"functions": list(served(entry))}
        head = {key: _short(value) for key, value in entry.items() if key not in ("functions", "text")}
        block = dump_yaml({name: {**own, **head, "text": _Block(entry["text"])}})
        parts.append(textwrap.indent(block, "  ") + "\n")
    write_atomic(path, "".join(parts).rstrip("\n") + "\n")


def _short(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def convert_templates(domain: Path) -> tuple[int, int]:
    """Turn a domain's files of one template each into files that hold all templates of a function and route.

    Templates keep their names. Those of several functions go to one file of their route.

    Returns:
        Numbers of templates and of files written.

    Raises:
        InputError: there is nothing to convert; a file is no template; a file to be written exists.
    """
    check_contained(domain)
    directory = domain / "templates"
    old = sorted(path for suffix in OLD_SUFFIXES for path in directory.glob(f"*/*{suffix}"))
    if not old:
        raise InputError(
            "nothing to convert", file=directory, found=f"no {' or '.join(OLD_SUFFIXES)} file in a folder of a route"
        )
    functions = list(parse_model(DomainFile, read_yaml(domain / "domain.yaml"), domain / "domain.yaml").functions)
    files: dict[Path, dict[str, dict[str, Any]]] = defaultdict(dict)
    for path in old:
        entry = _old(path)
        names = entry["functions"]
        files[path.parent / f"{names[0] if len(names) == 1 else SHARED}{SUFFIX}"][path.stem] = entry
    for path in files:
        if path.exists():
            raise InputError("this file exists already", file=path, expected="no such file, or another name for it")
    for path, entries in files.items():
        write_templates(path, entries, functions)
    for path in old:
        path.unlink()
    return len(old), len(files)


def _old(file: Path) -> dict[str, Any]:
    """The entry of a file that holds one template, with its head between two lines of ``---``."""
    match = _PARTS.match(read_text(file, "YAML between two lines of ---, and a text").replace("\r\n", "\n"))
    head = parse_yaml(match.group(1), file, first_line=2) if match else None
    if match is None or not isinstance(head, dict) or not isinstance(head.get("functions"), list):
        raise InputError(
            "not a template", file=file, expected="YAML with functions between two lines of ---, and a text"
        )
    return {**head, "text": match.group(2).rstrip() + "\n"}
