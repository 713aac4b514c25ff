"""Environments that hold only some of the installed packages: real ones, made of links in a tenth of a second."""

from __future__ import annotations

import functools
import re
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Collection, Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from tests.conftest import ROOT


def canonical(name: str) -> str:
    """A package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@functools.cache
def project() -> dict[str, Any]:
    """The table ``project`` of pyproject.toml."""
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"])


def requirements(*extras: str) -> list[Requirement]:
    """The base dependencies and those of some extras; an extra that names others of ours is followed."""
    texts = list(project()["dependencies"])
    for extra in extras:
        texts += project()["optional-dependencies"][extra]
    found: list[Requirement] = []
    for requirement in map(Requirement, texts):
        if canonical(requirement.name) == project()["name"]:
            found += requirements(*requirement.extras)
        else:
            found.append(requirement)
    return found


@functools.cache
def installed() -> dict[str, Distribution]:
    """What is installed beside these tests, by canonical name."""
    return {canonical(found.metadata["Name"]): found for found in distributions(path=[sysconfig.get_path("purelib")])}


def closure(wanted: Iterable[Requirement]) -> set[str]:
    """Canonical names of these packages and of all that they need in turn, installed or not."""
    seen: set[tuple[str, frozenset[str]]] = set()
    left = list(wanted)
    while left:
        requirement = left.pop()
        key = (canonical(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        distribution = installed().get(key[0])
        for need in map(Requirement, (distribution.requires or []) if distribution else ()):
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *key[1])):
                left.append(need)
    return {name for name, _ in seen}


def bare_environment(folder: Path, *extras: str, without: Collection[str] = ()) -> Path:
    """A virtual environment with the base dependencies, some extras, and what they need, and nothing else.

    Args:
        folder: to be made.
        extras: of pyproject.toml.
        without: packages to leave out all the same.

    Returns:
        Its interpreter.
    """
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    target = folder / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    site = Path(sysconfig.get_path("purelib"))
    for name in closure(requirements(*extras)) - set(without):
        for place in _places(name) if name in installed() else ():
            link = target / place
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(site / place)
    return folder / "bin" / "python"


def files(name: str) -> list[str]:
    """An installed package's files, as paths below site-packages; without scripts."""
    record = installed()[name].read_text("RECORD")
    assert record is not None, f"{name} has no list of its files"
    paths = (line.partition(",")[0].strip('"') for line in record.splitlines())
    return [path for path in paths if not path.startswith(("..", "/", "__pycache__/"))]


def _places(name: str) -> set[str]:
    """What to link of a package: whole folders where no other package has files."""
    tops = {path: path.partition("/")[0] for path in files(name)}
    return {top if owners()[top] == {name} else path for path, top in tops.items()}


@functools.cache
def owners() -> dict[str, set[str]]:
    """First part of a path below site-packages -> the packages that have files there."""
    found: dict[str, set[str]] = {}
    for name in installed():
        for top in {path.partition("/")[0] for path in files(name)}:
            found.setdefault(top, set()).add(name)
    return found
