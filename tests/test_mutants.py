"""The faults that ``make mutants`` plants: what they are, which are drawn, and who sees them."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.mutants import EACH, MODULES, Bench, draw, faults_of, plant, read_equivalents

SNIPPET = '''\
@dataclass(frozen=True)
class A:
    """Docs of 3 + 4."""
    size: int | None = -2

def f(x: Literal[7] = 1.5) -> str | None:
    if a < b <= c or not (x is not None and y  # or
                          and "“" in z):
        x += y * (1 - w)
    return f"{x + 1}" + g(flag=True)
'''


def test_a_fault_is_one_operator_or_constant_changed() -> None:
    found = [(fault.line, fault.after) for fault in faults_of("a.py", SNIPPET)]
    assert [(line, after) for line, after in found if line == 4] == [
        (4, "size: int | None = +2"),
        (4, "size: int | None = -1"),
        (4, "size: int | None = -3"),
    ]
    assert [after for line, after in found if line == 6] == [
        "def f(x: Literal[7] = 0.5) -> str | None:",
        "def f(x: Literal[7] = 2.5) -> str | None:",
    ]
    rest = "or not (x is not None and y  # or"
    assert [after for line, after in found if line == 7] == [
        f"if a <= b <= c {rest}",
        f"if a >= b <= c {rest}",
        f"if a < b < c {rest}",
        f"if a < b > c {rest}",
        "if a < b <= c and not (x is not None and y  # or",
        "if a < b <= c or  (x is not None and y  # or",
        "if a < b <= c or not (x is None and y  # or",
        "if a < b <= c or not (x is not None or y  # or",
    ]
    assert [after for line, after in found if line == 8] == ['or "“" in z):', 'and "“" not in z):']
    assert [after for line, after in found if line == 9] == [
        "x -= y * (1 - w)",
        "x += y / (1 - w)",
        "x += y * (0 - w)",
        "x += y * (2 - w)",
        "x += y * (1 + w)",
    ]
    assert [after for line, after in found if line == 10] == [
        'return f"{x + 1}" - g(flag=True)',
        'return f"{x + 1}" + g(flag=False)',
    ]
    assert {line for line, _ in found} == {4, 6, 7, 8, 9, 10}, "no decorator, no docstring, no annotation"


@pytest.mark.parametrize("path", MODULES)
def test_the_draw_holds_other_code_at_ten_places_and_nothing_known_to_be_equivalent(path: str) -> None:
    text, equivalents = (ROOT / path).read_text(), read_equivalents()
    whole = ast.dump(ast.parse(text))
    drawn = draw(path, text, 0, equivalents)
    assert len({fault.start for fault in drawn}) == len(drawn) == EACH
    for fault in drawn:
        assert ast.dump(ast.parse(fault.apply(text))) != whole
    assert drawn == draw(path, text, 0, equivalents) != draw(path, text, 1, equivalents)
    known = {(item.before, item.after) for item in equivalents if item.path == path}
    assert known.isdisjoint((fault.before, fault.after) for fault in draw(path, text, 0, equivalents, 10**6))


def test_each_fault_that_is_named_as_equivalent_is_one_that_could_be_planted() -> None:
    """If its line has changed since, look at it again, and remove its entry or write it anew."""
    for item in read_equivalents():
        assert item.path in MODULES and item.reason
        faults = faults_of(item.path, (ROOT / item.path).read_text())
        assert (item.before, item.after) in {(fault.before, fault.after) for fault in faults}, item


def test_the_tests_of_each_module_are_there() -> None:
    assert all((ROOT / file).is_file() for path, files in MODULES.items() for file in (path, *files))


@pytest.mark.slow
def test_what_the_tests_see_and_what_survives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a small project: its own tests see one fault, the other tests a second one, none the third."""
    text = "SEEN = 1\nBY_OTHERS = 2\nUNSEEN = 3\n"
    files = {
        "slurm/a.py": text,
        "tests/test_a.py": "from slurm import a\n\ndef test():\n    assert a.SEEN == 1\n",
        "tests/test_b.py": "from slurm import a\n\ndef test():\n    assert a.BY_OTHERS == 2\n",
        "tests/routenator/test_c.py": "def test():\n    pass\n",
        "pytest.ini": "[pytest]\nmarkers = slow\npythonpath = .\n",
    }
    root = tmp_path / "project"
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    bench = Bench(tmp_path / "copies", root, {"slurm/a.py": ["tests/test_a.py"]})
    bench.folder.mkdir()
    faults = [fault for fault in faults_of("slurm/a.py", text) if int(fault.new) > fault.line]
    survivors = plant(faults, bench)
    assert [fault.after for fault in faults] == ["SEEN = 2", "BY_OTHERS = 3", "UNSEEN = 4"]
    assert [(fault.line, fault.before, fault.after) for fault in survivors] == [(3, "UNSEEN = 3", "UNSEEN = 4")]
    assert "SURVIVED slurm/a.py:3\n    - UNSEEN = 3\n    + UNSEEN = 4\n" in capsys.readouterr().out
    assert {name: (root / name).read_text() for name in files} == files
    (root / "tests" / "test_b.py").write_text("def test():\n    assert False\n")
    with pytest.raises(SystemExit, match="the tests fail without any fault"):
        plant(faults, Bench(tmp_path / "again", root, bench.modules))
