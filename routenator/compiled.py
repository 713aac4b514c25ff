"""Loops compiled by numba: compiled once before tasks need them, and recompiled when any of their sources changes.

numba caches compiled code next to the sources and checks only the size and mtime of a function's own file. Our loops
take in functions from other files, so ``discard_stale`` checks every file of their folder, and of the folder whose
functions they call.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from routenator.config import RunConfig

_ROOT = Path(__file__).resolve().parent
_LOOPS = {
    "wording": "kernel.compose",
    "validation": "prefilter_kernel.sure_rows",
}  # folder -> the outermost loop, which all others are inlined into
_CALLED = {"wording": "validation"}  # folder -> the other one that its loops call functions of


def discard_stale(folder: Path) -> None:
    """Remove compiled loops older than any of their sources.

    The modules that define the loops call this before numba looks for cached code.
    """
    newest = _newest(folder)
    for file in (folder / "__pycache__").glob("*.nb[ci]"):
        try:
            if file.stat().st_mtime < newest:
                file.unlink(missing_ok=True)
        except OSError:
            continue  # another process was faster, or the folder is read-only for us


def _newest(folder: Path) -> float:
    """When a source of a folder's loops last changed."""
    folders = [folder, *(folder.parent / name for name in [_CALLED.get(folder.name)] if name)]
    return max(file.stat().st_mtime for each in folders for file in each.glob("*.py"))


def is_ready() -> bool:
    """Whether the loops are compiled and up to date, for at least one type of processor; each type has its own code."""
    for name, loop in _LOOPS.items():
        newest = _newest(_ROOT / name)
        made = [file.stat().st_mtime for file in (_ROOT / name / "__pycache__").glob(f"{loop}-*.nbi")]
        if not made or max(made) < newest:
            return False
    return True


def make_ready(config: RunConfig) -> None:
    """Compile the loops in a separate process; takes a few seconds.

    Failures are ignored here: a task that finds no compiled code compiles its own and reports any error.
    """
    command = [sys.executable, "-m", "routenator.generation.precompile"]
    silent = subprocess.DEVNULL
    subprocess.run(
        command, cwd=_ROOT.parent, input=config.model_dump_json(), text=True, stdout=silent, stderr=silent, check=False
    )
