"""``match: berkeley`` against the leaderboard's own checker: the quick part of benchmarks/berkeley.py."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import berkeley
from tests.leaderboard import need_leaderboard

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def leaderboard() -> None:
    need_leaderboard()


def test_our_verdict_equals_the_checkers_and_all_of_the_leaderboards_data_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two thirds of the leaderboard's answers had no form here, and our verdict differed from its checker's."""
    found = berkeley.main(["--calls", "600", "--seed", "5", "--json", str(tmp_path / "report.json")])
    assert json.loads((tmp_path / "report.json").read_text()) == found
    assert (found["same"], found["failed"], found["different"]) == (600, 0, [])
    assert 200 < found["right"] < 400
    assert found["own"] < 600
    assert found["refused"] == {}
    assert found["imported"] > 3400
    assert found["questions"] - found["imported"] == sum(sum(by.values()) for by in found["left"].values())
    assert "same verdict: 600" in capsys.readouterr().out


def test_replies_are_spoilt_in_every_way_and_by_the_seed_alone() -> None:
    loaded = berkeley.load(berkeley.data_folder(), ["multiple", "parallel_multiple"])
    drawn = list(berkeley.draw(loaded.entries, 1500, seed=2))
    ways = Counter(way for _, _, done in drawn for way in done)
    assert {*ways} - {"nothing"} == {
        "value", "type", "drop", "add", "name", "extra", "missing", "reorder", "swap", "twice",
    }  # fmt: skip
    assert drawn == list(berkeley.draw(loaded.entries, 1500, seed=2))
