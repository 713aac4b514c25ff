"""Imports look down only: layers and packages have a fixed order, no files import each other in a circle, the project's
own modules are imported at the top of a file, and what is slow to import only where it is needed.

All but the last few tests read the syntax tree. The rules are functions of (path, source) pairs, so they are tried on
planted imports too.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import networkx as nx
import pytest

from tests.conftest import ROOT

LAYERS = ("launch", "slurm", "jobs", "routenator")  # from the top
# Packages of a layer from the top. Those of one line stand side by side and do not import each other. In routenator,
# the modules outside of any package stand below all packages.
FLAT = "(flat modules)"
PACKAGES: dict[str, tuple[tuple[str, ...], ...]] = {
    "routenator": (
        ("drafting",),
        ("population",),
        ("authoring",),
        ("handoff",),
        ("evaluation",),
        ("generation",),
        ("report",),
        ("wording",),
        ("dataset",),
        ("sampling",),
        ("validation",),
        ("training",),
        ("chat",),
        ("domain",),
        (FLAT,),
    ),
    "slurm": (
        ("commands",),
        ("watching",),
        ("control", "devcluster"),
        ("experiments", "local"),
        ("preflight",),
        ("submission",),
        ("planning", "worker"),
    ),
}
HEAVY = {
    "torch", "vllm", "ray", "polars", "transformers", "pandas", "pyarrow", "networkx", "deepspeed", "peft",
    "accelerate", "datasets", "sentence_transformers", "bitsandbytes", "rapidocr", "onnxruntime", "scipy",
    "sklearn", "numba",
}  # fmt: skip
# What must load a heavy package: sub-classes of its classes, what numba compiles, and all files that import one of
# these.
WORKERS_ONLY = {
    "jobs/chunks.py",
    "jobs/engines.py",
    "jobs/generate.py",
    "jobs/refill.py",
    "routenator/authoring/door/init.py",
    "routenator/authoring/drawn.py",
    "routenator/authoring/inspection.py",
    "routenator/drafting/asks.py",
    "routenator/drafting/files.py",
    "routenator/drafting/proposals.py",
    "routenator/drafting/run.py",
    "routenator/drafting/translating.py",
    "routenator/generation/generator.py",
    "routenator/generation/heuristic.py",
    "routenator/generation/precompile.py",
    "routenator/population/fit.py",
    "routenator/population/histograms.py",
    "routenator/population/queries.py",
    "routenator/population/tables.py",
    "routenator/training/fused.py",
    "routenator/training/model.py",
    "routenator/training/trackers.py",
    "routenator/training/trainer.py",
    "routenator/validation/prefilter.py",
    "routenator/validation/prefilter_call.py",
    "routenator/validation/prefilter_kernel.py",
    "routenator/validation/segments_kernel.py",
    "routenator/wording/composer.py",
    "routenator/wording/expand.py",
    "routenator/wording/kernel.py",
    "routenator/wording/labeller.py",
    "routenator/wording/memory.py",
    "routenator/wording/others.py",
    "routenator/wording/parts.py",
    "routenator/wording/placement.py",
    "routenator/wording/random.py",
    "routenator/wording/text.py",
    "routenator/wording/writer.py",
    "routenator/wording/writing.py",
    "slurm/commands/domain.py",
    "slurm/commands/preview.py",
    "slurm/experiments/observe.py",
    "slurm/preflight/preview.py",
}
# Packages of others that a layer may not import anywhere.
FORBIDDEN = {
    "routenator": {"submitit"},
    "jobs": {"submitit"},
    "slurm": {"torch", "vllm", "transformers", "ray", "polars"},
    "launch": {"torch", "vllm", "transformers", "ray", "polars", "submitit"},
}
# Nothing may come before a task's first statement, which notes the warning signal.
WITHOUT_IMPORTS = {"slurm/__init__.py", "slurm/worker/__init__.py"}


@dataclass(frozen=True)
class Import:
    """One import statement's module.

    Attributes:
        module: its dotted name; for ``from package import module`` that of the module.
        place: ``top`` if it runs when the file is loaded, else ``function`` or ``typing``.
    """

    line: int
    module: str
    place: str

    @property
    def layer(self) -> str:
        return self.module.partition(".")[0]


def module_name(path: str) -> str:
    """``jobs/plan.py`` -> ``jobs.plan``; a package's ``__init__`` has the package's name."""
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def imports(path: str, source: str, modules: Mapping[str, str]) -> list[Import]:
    """All imports of a file.

    Args:
        modules: the project's modules by dotted name, to tell a module from a name in one.
    """
    return list(_imports(ast.parse(source, path), "top", modules))


def _imports(node: ast.AST, place: str, modules: Mapping[str, str]) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(node.lineno, alias.name, place)
    elif isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        named = [f"{module}.{alias.name}" for alias in node.names]
        yield from (Import(node.lineno, name, place) for name in named if name in modules)
        if any(name not in modules for name in named):
            yield Import(node.lineno, module, place)
    elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        for statement in node.body:
            yield from _imports(statement, "typing", modules)
        for statement in node.orelse:
            yield from _imports(statement, place, modules)
    else:
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from _imports(child, "function" if inside else place, modules)


def level(module: str) -> tuple[int, int, str]:
    """(place of its layer, place of its package in the layer, package); a greater place is lower.

    Raises:
        LookupError: a package that has no place yet: it must be given one in ``PACKAGES``.
    """
    layer, _, rest = module.partition(".")
    number = LAYERS.index(layer)
    if layer not in PACKAGES or not rest:
        return number, 0, ""
    package = rest.partition(".")[0]
    for place, names in enumerate(PACKAGES[layer]):
        if package in names:
            return number, place, package
    if "." not in rest and (FLAT,) in PACKAGES[layer]:
        return number, len(PACKAGES[layer]) - 1, FLAT
    raise LookupError(f"{layer}/{package} has no place in the order of packages")


def looks_down(importer: str, imported: str) -> bool:
    """Whether a module may import another, by the places of their layers and packages."""
    if importer in LAYERS or imported in LAYERS:  # the package itself, which holds a version and a docstring
        return LAYERS.index(imported.partition(".")[0]) >= LAYERS.index(importer.partition(".")[0])
    above, below = level(importer), level(imported)
    return above == below or above[:2] < below[:2]


def faults(sources: Mapping[str, str]) -> list[str]:
    """What is wrong with the imports of some files, one line each.

    Args:
        sources: path from the root -> text.
    """
    modules = {module_name(path): path for path in sources}
    found = {path: imports(path, source, modules) for path, source in sources.items()}
    wrong = [
        f"{path}:{item.line}: {fault}"
        for path, items in found.items()
        for item in items
        for fault in _faults(path, item, modules)
    ]
    return wrong + [f"a circle: {' -> '.join(circle)}" for circle in circles(found, modules)]


def _faults(path: str, item: Import, modules: Mapping[str, str]) -> Iterator[str]:
    importer = module_name(path)
    own, home = item.layer in LAYERS, modules.get(item.module)
    heavy = home in WORKERS_ONLY or item.layer in HEAVY
    if path in WITHOUT_IMPORTS:
        yield f"imports {item.module}, but must import nothing"
    if item.module.startswith("."):
        yield f"imports {item.module}, which is relative"
    if own and not looks_down(importer, item.module):
        yield f"imports {item.module}, which does not stand below it"
    if own and item.place != "top":
        yield f"imports {item.module} not at its top ({item.place})"
    if heavy and item.place == "top" and path not in WORKERS_ONLY:
        yield f"imports {item.module}, which is heavy, at its top"
    if item.layer in FORBIDDEN[importer.partition(".")[0]]:
        yield f"imports {item.module}, which its layer may not"


def circles(found: Mapping[str, list[Import]], modules: Mapping[str, str]) -> list[list[str]]:
    """Files that import each other, directly or through others, wherever the imports are; each group once."""
    graph = nx.DiGraph(
        (path, modules[item.module]) for path, items in found.items() for item in items if item.module in modules
    )
    groups = [sorted(group) for group in nx.strongly_connected_components(graph) if len(group) > 1]
    return sorted(groups + [[path] for path in nx.nodes_with_selfloops(graph)])


def project() -> dict[str, str]:
    """All files of the program."""
    files = [ROOT / "launch.py", *(file for layer in LAYERS[1:] for file in sorted((ROOT / layer).rglob("*.py")))]
    return {file.relative_to(ROOT).as_posix(): file.read_text() for file in files}


def test_imports_look_down_and_stand_at_the_top() -> None:
    assert faults(project()) == []


def test_what_is_listed_is_there_and_needs_to_be_listed() -> None:
    sources = project()
    modules = {module_name(path): path for path in sources}
    assert not (WORKERS_ONLY | WITHOUT_IMPORTS) - set(sources)
    for path in WORKERS_ONLY:
        found = [item for item in imports(path, sources[path], modules) if item.place == "top"]
        assert any(item.layer in HEAVY or modules.get(item.module) in WORKERS_ONLY for item in found), path
    for layer, places in PACKAGES.items():
        listed = {name for names in places for name in names} - {FLAT}
        assert not {name for name in listed if not any(path.startswith(f"{layer}/{name}") for path in sources)}


SOUND = {
    "launch.py": "import typer\nfrom slurm.commands import runs\n",
    "slurm/__init__.py": "",
    "slurm/worker/__init__.py": "",
    "slurm/worker/start.py": "import signal\nsignal.alarm(0)\nfrom slurm.worker.task import main\n",
    "slurm/worker/task.py": "import jobs.entry\ndef main():\n    from submitit.core.utils import DelayedSubmission\n",
    "slurm/commands/runs.py": "from slurm.control import retry\n",
    "slurm/control.py": "from slurm.local.driver import drive\n",
    "slurm/devcluster/cluster.py": "from slurm.local import driver\n",
    "slurm/experiments/table.py": "import slurm.planning.planner\n",
    "slurm/local/driver.py": "from slurm.planning import planner\n",
    "slurm/planning/planner.py": "from jobs.plan import Plan\nfrom routenator import config\n",
    "jobs/entry.py": "from jobs.plan import Plan\n",
    "jobs/plan.py": "from routenator.config import RunConfig\n",
    "routenator/__init__.py": "",
    "routenator/config.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import polars as pl\n",
    "routenator/domain/loader.py": "from routenator import config\ndef load():\n    import networkx as nx\n",
    "routenator/training/job.py": "from routenator.config import RunConfig\n",
    "routenator/sampling/walk.py": "from routenator.domain.loader import load\n",
    "routenator/wording/kernel.py": "import numba\nfrom routenator.config import RunConfig\n",
    "routenator/wording/program.py": "from routenator.config import RunConfig\n",
}

PLANTED = {
    "a layer above": ("jobs/plan.py", "from slurm.control import retry", "does not stand below"),
    "a layer above, in a function": ("routenator/config.py", "def f():\n    import jobs.plan", "does not stand below"),
    "the top": ("slurm/planning/planner.py", "import launch", "does not stand below"),
    "a package above": ("routenator/domain/loader.py", "from routenator.sampling.walk import Walk", "not stand below"),
    "a package above, as a module": (
        "routenator/domain/loader.py",
        "from routenator.sampling import walk",
        "not stand",
    ),
    "a package above, in a function": (
        "routenator/domain/loader.py",
        "def f():\n    from routenator.sampling import walk",
        "does not stand below",
    ),
    "a package above, for typing": (
        "routenator/domain/loader.py",
        "if TYPE_CHECKING:\n    from routenator.sampling.walk import Walk",
        "does not stand below",
    ),
    "a package above: training": (
        "routenator/domain/loader.py",
        "from routenator.training.job import Job",
        "not stand below",
    ),
    "a package, from a flat module": ("routenator/config.py", "import routenator.domain.loader", "not stand below"),
    "a package without a place": ("routenator/extras/new.py", "from routenator.config import A", "no place"),
    "a slurm package above": ("slurm/planning/planner.py", "from slurm.local.driver import drive", "not stand below"),
    "a slurm package beside": ("slurm/experiments/table.py", "from slurm.local.driver import drive", "not stand below"),
    "a slurm module beside": ("slurm/devcluster/cluster.py", "from slurm.control import retry", "not stand below"),
    "in a function": ("jobs/entry.py", "def f():\n    from routenator.config import A", "not at its top (function)"),
    "in a method": (
        "jobs/entry.py",
        "class A:\n    def f(self):\n        import jobs.plan",
        "not at its top (function)",
    ),
    "for typing": ("jobs/entry.py", "if TYPE_CHECKING:\n    import jobs.plan", "not at its top (typing)"),
    "for typing, by its module": ("jobs/entry.py", "if typing.TYPE_CHECKING:\n    import jobs.plan", "(typing)"),
    "a kernel in a function": (
        "routenator/wording/program.py",
        "def f():\n    from routenator.wording.kernel import A",
        "not at its top (function)",
    ),
    "a circle": ("jobs/plan.py", "from jobs.entry import run", "a circle: jobs/entry.py -> jobs/plan.py"),
    "a circle, in a function": ("jobs/plan.py", "def f():\n    import jobs.entry", "a circle: jobs/entry.py -> jobs/"),
    "a circle, for typing": ("jobs/plan.py", "if TYPE_CHECKING:\n    import jobs.entry", "a circle: jobs/entry.py"),
    "a circle of one": ("jobs/plan.py", "import jobs.plan", "a circle: jobs/plan.py"),
    "heavy at the top": ("routenator/domain/loader.py", "import networkx.algorithms", "heavy, at its top"),
    "heavy when loaded": (
        "routenator/domain/loader.py",
        "try:\n    import polars\nexcept OSError: ...",
        "heavy, at its",
    ),
    "a kernel at the top": (
        "routenator/wording/program.py",
        "from routenator.wording import kernel",
        "heavy, at its top",
    ),
    "not for the layer": ("slurm/control.py", "def f():\n    import torch", "which its layer may not"),
    "no Slurm library in a job": ("jobs/entry.py", "def f():\n    import submitit", "which its layer may not"),
    "relative": ("jobs/entry.py", "from .plan import Plan", "which is relative"),
    "before the signal": ("slurm/worker/__init__.py", "import json", "must import nothing"),
}


def test_sound_imports_are_let_through() -> None:
    assert faults(SOUND) == []


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_import_is_refused(name: str) -> None:
    path, source, expected = PLANTED[name]
    text = SOUND.get(path, "") + source + "\n"
    try:
        found = faults({**SOUND, path: text})
    except LookupError as error:
        found = [str(error)]
    assert any(expected in fault for fault in found), found


def modules_after(code: str) -> set[str]:
    """Names of the modules that a new interpreter holds after some code."""
    code += "\nimport json, sys\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_imports_next_to_nothing() -> None:
    loaded = modules_after(
        "import launch\ntry:\n    launch.app(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0"
    )
    assert not loaded & (HEAVY | {"jobs", "submitit", "pydantic", "yaml", "omegaconf", "numpy", "psutil"})


def test_importing_everything_loads_no_heavy_package() -> None:
    modules = [module_name(path) for path in project() if path not in WORKERS_ONLY]
    assert not modules_after("import " + ", ".join(modules)) & HEAVY


@pytest.mark.parametrize("command", ["retry", "watch", "monitor"])
def test_commands_for_the_person_on_call_start_without_numpy(command: str) -> None:
    """They neither plan nor draw; through the report's page ``retry`` once took twice as long to start.

    Through a domain's models, of which it only needs the fingerprint, it took a fifth longer.
    """
    loaded = modules_after(f"import slurm.commands.{command}")
    assert not loaded & {"numpy", "jinja2", "pyarrow", "routenator.domain.loader", "routenator.domain.schema"}


@pytest.mark.parametrize("modules", ["slurm.worker.start, slurm.worker.array_task", "launch, slurm.commands.retry"])
def test_no_file_of_each_installed_package_is_read_at_the_start(modules: str) -> None:
    """Pydantic reads them in search of plugins; on a shared disk, with thousands of tasks, that is many reads."""
    code = (
        "import sys\nopened = []\n"
        "sys.addaudithook(lambda event, values: event == 'open' and opened.append(str(values[0])))\n"
        f"import {modules}\nprint(sum(name.endswith('entry_points.txt') for name in opened))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYDANTIC_DISABLE_PLUGINS"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    assert done.stdout == "0\n"
