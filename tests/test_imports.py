"""Imports run one way (launch -> slurm -> jobs -> routenator), and what is slow to import is imported where it is
needed.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

LAYERS = ("routenator", "jobs", "slurm", "launch")
HEAVY = {
    "torch", "vllm", "ray", "polars", "transformers", "pandas", "pyarrow", "networkx", "deepspeed", "peft", "accelerate", "datasets",
    "sentence_transformers", "bitsandbytes", "rapidocr", "onnxruntime", "scipy", "sklearn", "numba",
}  # fmt: skip
# Sub-classes of a heavy package's classes, and what numba compiles; nothing but a function's body may import them.
WORKERS_ONLY = {
    "jobs/chunks.py",
    "jobs/engines.py",
    "jobs/generate.py",
    "routenator/authoring/inspection.py",
    "routenator/generation/generator.py",
    "routenator/generation/heuristic.py",
    "routenator/generation/precompile.py",
    "routenator/population/fit.py",
    "routenator/population/histograms.py",
    "routenator/population/labeller.py",
    "routenator/population/queries.py",
    "routenator/training/fused.py",
    "routenator/training/model.py",
    "routenator/training/trackers.py",
    "routenator/training/trainer.py",
    "routenator/training/worker.py",
    "routenator/validation/prefilter.py",
    "routenator/validation/prefilter_kernel.py",
    "routenator/wording/composer.py",
    "routenator/wording/kernel.py",
    "routenator/wording/memory.py",
    "routenator/wording/placement.py",
    "routenator/wording/random.py",
    "routenator/wording/text.py",
    "routenator/wording/writer.py",
    "slurm/commands/data.py",
    "slurm/commands/preview.py",
    "slurm/preflight/preview.py",
}
# Which packages each layer may never import, not even inside a function.
FORBIDDEN = {
    "routenator": {"jobs", "slurm", "launch", "submitit"},
    "jobs": {"slurm", "launch", "submitit"},
    "slurm": {"launch", "torch", "vllm", "transformers", "ray", "polars"},
    "launch": {"torch", "vllm", "transformers", "ray", "polars", "submitit"},
}


def sources(layer: str) -> list[Path]:
    return [ROOT / "launch.py"] if layer == "launch" else sorted((ROOT / layer).rglob("*.py"))


def imported(nodes: Iterator[ast.AST] | list[ast.stmt]) -> set[str]:
    """Top-level package names of the imports among some nodes."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("layer", LAYERS)
def test_no_layer_imports_one_above_it(layer: str) -> None:
    wrong = {}
    for path in sources(layer):
        found = imported(ast.walk(ast.parse(path.read_text()))) & FORBIDDEN[layer]
        if found:
            wrong[str(path.relative_to(ROOT))] = sorted(found)
    assert not wrong


@pytest.mark.parametrize("layer", LAYERS)
def test_no_module_imports_a_heavy_package_at_its_top(layer: str) -> None:
    wrong = {}
    for path in sources(layer):
        found = imported(ast.parse(path.read_text()).body) & HEAVY
        if found and str(path.relative_to(ROOT)) not in WORKERS_ONLY:
            wrong[str(path.relative_to(ROOT))] = sorted(found)
    assert not wrong


def test_the_reader_of_imports_sees_them() -> None:
    tree = ast.parse(
        "import torch.nn\nfrom jobs.plan import Run\nif TYPE_CHECKING:\n    import polars\ndef f():\n    import slurm.planning.planner\n"
    )
    assert imported(tree.body) == {"torch", "jobs"}
    assert imported(ast.walk(tree)) == {"torch", "jobs", "polars", "slurm"}


def modules_after(code: str) -> set[str]:
    """Top-level modules that a new interpreter holds after some code."""
    code += "\nimport json, sys\nprint('\\n' + json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_imports_next_to_nothing() -> None:
    loaded = modules_after(
        "import launch\ntry:\n    launch.app(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0"
    )
    assert not loaded & (HEAVY | {"jobs", "submitit", "pydantic", "yaml", "omegaconf", "numpy", "psutil"})


def test_importing_everything_loads_no_heavy_package() -> None:
    paths = [
        path.relative_to(ROOT)
        for layer in LAYERS
        for path in sources(layer)
        if str(path.relative_to(ROOT)) not in WORKERS_ONLY
    ]
    modules = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]
    assert not modules_after("import " + ", ".join(modules)) & HEAVY
