"""Lets the runs that a process's tests make share one copy of the code, by hard links, its hash and its commit.

A run copies and hashes some 400 files and asks git twice. For more than a hundred runs of toy stages that took a tenth
of the CPU time of the fast tests.
"""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path

import pytest

from slurm.planning.planner import checkout_commit, code_fingerprint, copy_code


def link(source: str, target: str) -> None:
    """Link a file, or copy it to a file system of its own."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


class SharedCode:
    """Takes the place of ``copy_code``, with which it makes its one copy, and of what is asked about the code.

    Whatever writes into a run's copy must remove the file first, as Python and numba do with what they compile.

    Args:
        folder: for the copy; on the file system of the runs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: dict[str, tuple[int, ...]] = {}
        self._known = {"code_fingerprint": cache(code_fingerprint), "checkout_commit": cache(checkout_commit)}

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let a test's plans and runs use it."""
        for name, known in {**self._known, "copy_code": self.copy}.items():
            monkeypatch.setattr(f"slurm.planning.planner.{name}", known)

    def copy(self, target: Path) -> None:
        if self._look() != self._seen or not self._seen:  # the first, or a test gave its run away or wrote into it
            shutil.rmtree(self.folder)
            copy_code(self.folder)
            self._seen = self._look()
        shutil.copytree(self.folder, target, copy_function=link)

    def _look(self) -> dict[str, tuple[int, ...]]:
        files = (os.path.join(folder, name) for folder, _, names in os.walk(self.folder) for name in names)
        states = ((file, Path(file).stat()) for file in files)
        return {file: (state.st_size, state.st_mtime_ns, state.st_mode, state.st_uid) for file, state in states}
