"""The closed-loop benchmark runs, and both ways meet every quota."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.closed_loop import main
from tests.conftest import TINY

pytestmark = pytest.mark.slow


def test_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "result.json"
    report = main(["--domain", str(TINY), "--rows", "200", "--pilot", "100", "--json", str(file)])
    assert json.loads(file.read_text()) == report
    assert {row["by"] for row in report["results"]} == {"generate.oversample", "measured acceptance"}
    for name in ("generate.oversample", "measured acceptance"):
        last = [row for row in report["results"] if row["by"] == name][-1]
        assert last["short"] == 0 or last["given_up"] > 0 or last["topups"] == 5
    assert "with top-up" in capsys.readouterr().out
