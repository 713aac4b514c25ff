"""The Berkeley leaderboard's package, in an environment of its own, which the first test that asks for it makes."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import pytest

from benchmarks.berkeley import FOLDER
from tests.conftest import ROOT


@functools.cache
def _trouble() -> str:
    """Make the environment; return what went wrong, if anything did."""
    command = ["bash", str(ROOT / "requirements" / "bfcl.sh"), sys.executable, str(FOLDER)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip()[-500:] or f"exit code {done.returncode}"


def need_leaderboard() -> None:
    """Skip the test, visibly, if the environment cannot be made; in CI it can, so fail."""
    if trouble := _trouble():
        message = f"the leaderboard's package cannot be installed (make bfcl): {trouble}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
