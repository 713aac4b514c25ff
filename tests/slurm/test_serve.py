"""Tests of the request that ``serve`` prints."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from slurm.commands.serve import _example
from tests.conftest import TINY


def test_a_run_without_a_golden_set_shows_a_query_of_its_hold_out(tmp_path: Path) -> None:
    """It asked "what would you like to do?", which no API serves, and a small model made something up."""
    golden = tmp_path / "golden.jsonl"
    golden.write_text("# none yet\n")
    run: Any = SimpleNamespace(path=tmp_path, golden_file=golden, domain_dir=TINY)
    assert _example(run) == _example(None)
    rows = [{"query": "find a dog poster", "gold": []}, {"query": "book a table", "gold": []}]
    (tmp_path / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert _example(run) == "find a dog poster" != _example(None)
