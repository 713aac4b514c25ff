"""The installed package: its command, its configs, its runs and its library work in an empty folder.

The environment is a real one. It sees the packages of these tests by a .pth file, and has only our wheel of its own.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

import routenator
from routenator.files import read_json, sha256_tree
from routenator.place import CONFIGS
from slurm.planning.planner import code_fingerprint, compile_loops
from tests.conftest import ROOT, make_config
from tests.test_imports import HEAVY, modules_after

SOURCE = ["pyproject.toml", "setup.py", "README.md", "LICENSE", "routenator", "jobs", "slurm", "configs"]
HEURISTIC = ["dataset.size=60", "generate.routes={heuristic: 1.0}"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder ``bin`` of an environment with our wheel."""
    folder = tmp_path_factory.mktemp("package")
    source, target = folder / "source", folder / "venv"
    source.mkdir()
    for name in SOURCE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copyfile(ROOT / name, source / name)
    venv.EnvBuilder(symlinks=True, with_pip=False).create(target)
    site = target / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    (site / "these_tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(target / "bin" / "python"), "install", "-q", "--no-deps"]
    pip += ["--no-build-isolation", "--no-index", "--disable-pip-version-check", str(source)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    _take_compiled_loops(site)
    return target / "bin"


def _take_compiled_loops(site: Path) -> None:
    """Copy the compiled loops from the checkout, with the sources' times, by which they are valid."""
    compile_loops(make_config())
    for name in ("wording", "validation"):
        for file in [*(ROOT / "routenator" / name).glob("*.py"), *(ROOT / "routenator" / name).glob("*/*.nb[ci]")]:
            target = site / file.relative_to(ROOT)
            target.parent.mkdir(exist_ok=True)
            shutil.copy2(file, target)


def environment() -> dict[str, str]:
    """Our environment without what could lead to the checkout."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "empty"
    folder.mkdir()
    yield folder


def call(installed: Path, where: Path, program: str, *arguments: str) -> str:
    done = subprocess.run(
        [str(installed / program), *arguments],
        cwd=where, capture_output=True, text=True, check=False, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    return done.stdout


@pytest.mark.slow
def test_the_command_is_launch_py_and_brings_no_stray_module(installed: Path, empty: Path) -> None:
    said = call(installed, empty, "routenator", "--help")
    ours = subprocess.run([sys.executable, "launch.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said == ours.stdout.replace("launch.py", "routenator", 1) and "devcluster" in said
    look = "from importlib.metadata import files; print(*{str(f).split('/')[0] for f in files('routenator')})"
    tops = set(call(installed, empty, "python", "-c", look).split())
    assert {top for top in tops if ".dist-info" not in top} == {
        "routenator", "jobs", "slurm", "routenator_configs", "..",
    }  # fmt: skip


@pytest.mark.slow
def test_code_and_configs_are_whole_in_the_wheel(installed: Path, empty: Path) -> None:
    look = (
        "from routenator.files import sha256_tree; from routenator.place import CONFIGS; import routenator.place as p\n"
        "from slurm.planning.planner import code_fingerprint, checkout_commit\n"
        "print(p.ROOT, code_fingerprint(), sha256_tree(CONFIGS, lambda name: name.startswith('__')), checkout_commit())"
    )
    (empty / ".git").mkdir()
    root, code, configs, commit = call(installed, empty, "python", "-c", look).split()
    assert Path(root).is_relative_to(installed.parent)
    assert (code, configs, commit) == (code_fingerprint(), sha256_tree(CONFIGS), "None")
    assert (Path(root) / "routenator" / "py.typed").is_file()


@pytest.mark.slow
def test_a_run_from_an_empty_folder_has_its_own_copy_of_the_installed_code(installed: Path, empty: Path) -> None:
    said = call(installed, empty, "routenator", "run", "quickstart", *HEURISTIC, "--until", "merge")
    run = Path(said.strip().splitlines()[-1])
    assert run.is_relative_to(empty) and (run / "dataset" / "train.parquet").is_file()
    assert sorted(path.name for path in (run / "code").iterdir()) == ["jobs", "routenator", "slurm"]
    plan = read_json(run / "plan.json")
    assert plan["commit"] is None and Path(plan["command"][0]).name == "routenator"
    assert json.loads(call(installed, empty, "routenator", "status", str(run), "--json"))["state"] == "done"


@pytest.mark.slow
def test_the_example_of_the_library_runs_as_printed(installed: Path, empty: Path) -> None:
    page = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len([line for line in example.splitlines() if line]) <= 10
    said = call(installed, empty, "python", "-c", example).strip().splitlines()
    assert 0 < len(said) <= 20 and all(re.search(r" \[({.name.: ?.+})?\]$", line) for line in said), said


def test_the_names_of_the_library_are_documented_typed_and_loaded_late() -> None:
    names = set(routenator.__all__) - {"__version__"}
    page = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)[`(]", page, re.MULTILINE)) == names and len(names) == 12
    stub = ast.parse((ROOT / "routenator" / "__init__.pyi").read_text(encoding="utf-8"))
    stated = {
        alias.asname: f"{node.module}.{alias.name}"
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert stated == {name: f"routenator.{module}.{name}" for name, module in routenator._NAMES.items()}
    assert all(getattr(routenator, name).__name__ == name for name in names)
    with pytest.raises(AttributeError, match="no attribute 'Samplr'"):
        routenator.Samplr  # noqa: B018
    assert not modules_after("import routenator") & (HEAVY | {"pydantic", "yaml", "omegaconf", "typer"})
