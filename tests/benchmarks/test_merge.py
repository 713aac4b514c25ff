"""The merge's benchmarks run, and print what they should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import merge, near


def test_merge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    merge.main(
        ["--rows", "5000", "--shards", "3", "--scratch", str(tmp_path / "s"), "--json", str(tmp_path / "x.json")]
    )
    found = json.loads((tmp_path / "x.json").read_text())
    dropped = found["merge"]["dropped"]
    assert sum(dropped.values()) == 5000
    assert 0.05 < dropped["duplicate"] / 5000 < 0.2
    assert found["merge"]["final"] == dropped["final"] + dropped["backfilled"]
    assert "ratio" in capsys.readouterr().out
    assert not (tmp_path / "s").exists()


def test_near(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--rows",
        "3000",
        "--sample",
        "1500",
        "--scratch",
        str(tmp_path / "s"),
        "--json",
        str(tmp_path / "x.json"),
    ]
    near.main([*options, "--peer-python", str(tmp_path / "none")])
    found = json.loads((tmp_path / "x.json").read_text())
    assert found["quality"]["own"]["recall"] > 0.95
    assert found["quality"]["own"]["precision"] > 0.98
    assert "PEERS LEFT OUT" in capsys.readouterr().out
