"""The benchmark of ``domain fit`` and the language check runs, at a size too small to say anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_it_runs_and_its_figures_are_sane(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = [sys.executable, "benchmarks/population.py", "--rows", "300", "--domain", "creative", "--json", str(out)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (
        "Refused by the language check" in printed and "Functions guessed" in printed and "Greatest distance" in printed
    )
    result = json.loads(out.read_text())
    language = {row["set"]: row for row in result["language"]}
    assert language["creative: golden queries"]["check"] == 0
    assert language["other languages"]["check"] > language["other languages"]["function words"]
    assert result["functions"][0]["right"] > 0.9 * result["functions"][0]["sure"]
    assert [row["epsilon"] for row in result["fit"]] == ["exact", 0.5, 1.0, 3.0] and result["fit"][0][
        "functions"
    ] < 0.01
