"""``domain init`` into a domain that it made before: takes in what changed in the API and keeps a person's edits.

``.init/`` in the domain's folder holds what ``domain init`` wrote, with hashes. What no person has changed since is
replaced; what only a person changed stays; where both sides changed, the person's version stays and is reported. Value
lists are compared value by value, YAML and JSON key by key, other files as a whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from routenator.authoring.templatefiles import dump_yaml
from routenator.errors import InputError
from routenator.files import digest, read_text
from routenator.parsing import parse_json, parse_yaml

FOLDER = ".init"
_FORMAT = 1
_TABLES = ("functions", "categories", "lengths", "word_quantiles", "routes", "slots", "keyword_position")
_MISSING: Any = type("_Missing", (), {"__repr__": lambda self: "nothing"})()


@dataclass
class Changes:
    """What a second ``domain init`` found.

    Attributes:
        new, gone: functions.
        kept: files with a person's edits.
        conflicts: places that both sides changed; the person's version is kept.
        removed: files of functions that are gone, which a person had edited; they are in ``.init/removed``.
    """

    new: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Before:
    """What ``domain init`` wrote the last time.

    Attributes:
        files: texts by name.
        options: those that it was given.
    """

    files: dict[str, str]
    options: dict[str, Any]


def load_before(out: Path) -> Before:
    """Read what was written into a folder the last time.

    Raises:
        InputError: ``domain init`` did not make this folder, or its record is damaged.
    """
    manifest = out / FOLDER / "manifest.json"
    if not manifest.is_file():
        raise InputError(
            "this folder is not empty, and no domain that `domain init` made",
            key="OUT", found=out, expected="a new or empty folder, or a domain made by it",
        )  # fmt: skip
    value = parse_json(read_text(manifest), manifest, "the record of domain init")
    names = value.get("files") if isinstance(value, dict) else None
    if not isinstance(names, dict) or value.get("format") != _FORMAT:
        raise InputError("not a record of `domain init`", file=manifest, found=str(value)[:80])
    files = {}
    for name, known in names.items():
        text = read_text(out / FOLDER / "base" / name)
        if digest(text, 64) != known:
            raise InputError(
                "this file was changed by hand, so your edits cannot be told from what was written",
                file=out / FOLDER / "base" / name, expected="the file as `domain init` left it",
            )  # fmt: skip
        files[name] = text
    return Before(files, dict(value.get("options", {})))


def record(folder: Path, files: Mapping[str, str], options: Mapping[str, Any]) -> None:
    """Write the record of what was written."""
    base = folder / FOLDER / "base"
    shutil.rmtree(base, ignore_errors=True)
    write(base, files)
    manifest = {
        "about": "What `domain init` wrote, to tell your edits from its own. Do not change it.",
        "format": _FORMAT,
        "options": dict(options),
        "files": {name: digest(text, 64) for name, text in files.items()},
    }
    (folder / FOLDER / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def merge(folder: Path, before: Before, new: Mapping[str, str]) -> Changes:
    """Bring a domain's folder up to date.

    Args:
        folder: a copy of the domain with a person's edits, which is changed.
        new: what ``domain init`` would write into an empty folder.
    """
    names = [{tool["function"]["name"] for tool in json.loads(each["functions.json"])} for each in (before.files, new)]
    changes = Changes(sorted(names[1] - names[0]), sorted(names[0] - names[1]))
    for name in dict.fromkeys([*before.files, *new]):
        base, fresh = before.files.get(name), new.get(name)
        path = folder / name
        mine = read_text(path) if path.is_file() else None
        if mine == base:
            _put(path, fresh)
        elif mine is None or fresh == mine:
            continue  # a person deleted it, or made the same change
        elif fresh is None:
            if _of_gone(name, changes.gone):
                target = folder / FOLDER / "removed" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, target)
                changes.removed.append(name)
            else:
                changes.kept.append(name)
        else:
            merged, conflicts = _merged(name, base, mine, fresh, changes.gone)
            changes.kept.append(name)
            changes.conflicts += conflicts
            if merged != mine:
                _put(path, merged)
    return changes


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files, with the folders that they need."""
    for name, text in texts.items():
        _put(folder / name, text)


def _put(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _of_gone(name: str, gone: list[str]) -> bool:
    return name.startswith("templates/") and Path(name).stem in gone


def _merged(name: str, base: str | None, mine: str, new: str, gone: list[str]) -> tuple[str, list[str]]:
    """The three versions of a file as one, and the places of conflicts."""
    conflicts: list[str] = []
    suffix = Path(name).suffix
    if base is None or suffix not in (".tsv", ".yaml", ".json"):
        return mine, [name] if base is not None and new != base else []
    parse = {".tsv": _values, ".yaml": parse_yaml, ".json": _tools}[suffix]
    old, own, fresh = (parse(text) for text in (base, mine, new))
    for value in (old, own, fresh):
        _drop(value, gone)
    found = _three(old, own, fresh, name, conflicts)
    if found == own and parse(mine) == own:
        return mine, conflicts  # with all its comments
    if suffix == ".tsv":
        return comments(new) + "".join(f"{line}\n" for line in found.values()), conflicts
    if suffix == ".json":
        return json.dumps(list(found.values()), ensure_ascii=False, indent=2) + "\n", conflicts
    return comments(mine) + dump_yaml(found), conflicts


def _drop(value: Any, gone: list[str]) -> None:
    """Remove functions that are gone, wherever a file has an entry for each."""
    tables = [value, *(value.get(key) for key in _TABLES)] if isinstance(value, dict) else []
    for table in tables:
        if isinstance(table, dict):
            for name in gone:
                table.pop(name, None)


def _three(base: Any, mine: Any, new: Any, place: str, conflicts: list[str]) -> Any:
    if mine == base:
        return new
    if new in (base, mine):
        return mine
    if all(isinstance(value, dict) for value in (base, mine, new)):
        keys = dict.fromkeys([*mine, *new])
        merged = {
            key: _three(
                base.get(key, _MISSING), mine.get(key, _MISSING), new.get(key, _MISSING), f"{place}, {key}", conflicts
            )
            for key in keys
        }
        return {key: value for key, value in merged.items() if value is not _MISSING}
    conflicts.append(place)
    return mine


def comments(text: str) -> str:
    """The comments at the start of a text."""
    lines = text.split("\n")
    count = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "".join(f"{line}\n" for line in lines[:count])


def _values(text: str) -> dict[str, Any]:
    """Lines of a value list by their values."""
    lines = [line for line in text.split("\n") if line.strip() and not line.startswith("# ")]
    return {line.partition("\t")[0].strip(): line for line in lines}


def _tools(text: str) -> dict[str, Any]:
    """Tools by name."""
    return {tool["function"]["name"]: tool for tool in json.loads(text)}
