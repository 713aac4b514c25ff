"""The benchmark of starts at its smallest."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_starts_are_measured_in_turn() -> None:
    command = [sys.executable, "benchmarks/start.py", "--repeat", "1", "--against", ".", "--task", "pass"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines()}
    assert set(lines) == {"python", "task", "submitit", "retry", "status"}
    assert float(lines["task"][-1]) > 2 > float(lines["python"][1]) > 0  # the ratio to a Python that imports nothing
