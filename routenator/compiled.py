"""Loops compiled by numba: made once, before tasks need them, and never older than their sources.

numba keeps what it compiles beside the sources, and looks at the size and time of a function's own file only; ours are
inlined across files, so ``discard_stale`` looks at all files of their folder.
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
}  # folder -> the loop that all others are part of


def discard_stale(folder: Path) -> None:
    """Remove compiled loops that are older than a source of their folder. Called by the modules that define them,
    before numba looks.
    """
    newest = max(file.stat().st_mtime for file in folder.glob("*.py"))
    for file in (folder / "__pycache__").glob("*.nb[ci]"):
        try:
            if file.stat().st_mtime < newest:
                file.unlink(missing_ok=True)
        except OSError:
            continue  # another process was faster, or the folder is not ours to write, nor to change


def is_ready() -> bool:
    """Whether the loops of this code are compiled (for some machine: another kind of processor compiles its own)."""
    for name, loop in _LOOPS.items():
        newest = max(file.stat().st_mtime for file in (_ROOT / name).glob("*.py"))
        made = [file.stat().st_mtime for file in (_ROOT / name / "__pycache__").glob(f"{loop}-*.nbi")]
        if not made or max(made) < newest:
            return False
    return True


def make_ready(config: RunConfig) -> None:
    """Compile the loops, in a process of its own; takes some seconds.

    A failure is no error here: a task that finds nothing compiled compiles for itself, and tells what is wrong.
    """
    command = [sys.executable, "-m", "routenator.generation.precompile"]
    silent = subprocess.DEVNULL
    subprocess.run(
        command, cwd=_ROOT.parent, input=config.model_dump_json(), text=True, stdout=silent, stderr=silent, check=False
    )
