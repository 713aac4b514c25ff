"""docs/architecture.md is true: its files exist, and a shard's way follows the calls of the code."""

from __future__ import annotations

import ast
import re

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()
HOP = re.compile(r"^\| `(?P<file>[\w/]+\.py)(?::(?P<name>\w+))?` \| (?P<caller>.+) \|$", re.MULTILINE)
MAX_FILES = 20
# Two hops go by a file: the script that sbatch takes names the module, and the receipt's name is known to both sides.
BY_SCRIPT, BY_RECEIPT = "*sbatch*", "*receipt*, and the user"


def hops() -> list[tuple[str, str, str]]:
    """File, function ("" for the whole file) and caller of each hop of a shard's way."""
    way = PAGE[PAGE.index("## A shard's way") :]
    return [(found["file"], found["name"] or "", _caller(found["caller"])) for found in HOP.finditer(way)]


def _caller(cell: str) -> str:
    """What stands between backquotes, or the whole cell."""
    quoted = re.match("`(.+?)`", cell)
    return quoted[1] if quoted else cell


def called_in(node: ast.AST) -> set[str]:
    """Names of the functions and methods that some code calls, and of those that it has as a default to call.

    An object that is called itself counts as ``__call__``.
    """
    found = set()
    for call in ast.walk(node):
        if isinstance(call, ast.Call):
            if isinstance(call.func, ast.Name):
                found |= {call.func.id, "__call__"}
            elif isinstance(call.func, ast.Attribute):
                found.add(call.func.attr)
        elif isinstance(call, ast.arguments):
            found |= {default.id for default in call.defaults if isinstance(default, ast.Name)}
    return found


def body(file: str, name: str) -> ast.AST:
    """A function or method by name; the whole file for no name.

    Raises:
        StopIteration: there is none.
    """
    tree = ast.parse((ROOT / file).read_text())
    if not name:
        return tree
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return next(node for node in functions if node.name == name)


@pytest.mark.parametrize("number", range(len(hops())), ids=[f"{file}:{name}" for file, name, _ in hops()])
def test_each_hop_is_called_by_the_one_that_the_page_says(number: int) -> None:
    file, name, caller = hops()[number]
    assert isinstance(body(file, name), ast.AST)
    before = hops()[:number]
    if caller == BY_SCRIPT:
        module = file.removesuffix(".py").replace("/", ".")
        assert f'"{module}"' in (ROOT / "slurm/submission/executor.py").read_text()
    elif caller == BY_RECEIPT:
        for side in ("jobs/task.py", "slurm/watching/stagefiles.py"):
            assert "RECEIPT_SUFFIX" in (ROOT / side).read_text()
    elif caller == "the user":
        assert name.removesuffix("_command") in (ROOT / "slurm/commands/lazy.py").read_text()
    elif caller.endswith(".py"):
        assert caller in {known for known, _, _ in before} and name in called_in(body(caller, ""))
    else:
        home, _, function = caller.rpartition(":")
        homes = [home] if home else [known for known, other, _ in before if other == caller]
        assert any(name in called_in(body(known, function)) for known in homes)


def test_the_way_is_short() -> None:
    assert len(hops()) > 20 and len({file for file, _, _ in hops()}) <= MAX_FILES


def test_the_reader_of_calls_sees_no_call_that_is_not_there() -> None:
    assert called_in(ast.parse("a(b.c(1))\nd = e\nf()()")) == {"a", "c", "f", "__call__"}


def test_files_that_the_page_names_exist() -> None:
    named = set(re.findall(r"`([\w/]+(?:\.py|/))`", PAGE)) | set(re.findall(r"`((?:routenator|slurm|jobs)/\w+)`", PAGE))
    assert len(named) > 20
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]
