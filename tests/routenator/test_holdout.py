"""Without a golden set runs work: a synthetic hold-out stands in, and everything that shows its scores says so."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from routenator.domain.golden import has_golden, load_golden
from routenator.domain.loader import load_domain
from routenator.errors import InputError, StageError
from routenator.evaluation.holdout import SYNTHETIC, held_out
from routenator.report.summary import build_summary
from routenator.report.table import scores_table
from tests.conftest import TINY


def test_a_golden_file_of_comments_is_no_golden_set(tmp_path: Path) -> None:
    functions = load_domain(TINY).functions
    lines = (TINY / "golden.jsonl").read_text(encoding="utf-8").splitlines()
    file = tmp_path / "golden.jsonl"
    file.write_text("# nothing yet\n" + "".join(f"# {line}\n" for line in lines))
    assert not has_golden(file) and load_golden(file, functions, may_be_empty=True) == []
    with pytest.raises(InputError, match="the golden file is empty"):
        load_golden(file, functions)
    file.write_text("# all of them\n" + "\n".join(lines))
    assert has_golden(file) and len(load_golden(file, functions)) == len(lines)


def test_the_hold_out_is_the_validation_split(tmp_path: Path) -> None:
    functions = load_domain(TINY).functions
    call = '[{"name": "book", "arguments": {"city": "Porto"}}]'
    file = tmp_path / "validation.parquet"
    # The last row wants no call because its prompt hides the function.
    columns = {"query": ["a table in porto", "hello", "a table"], "calls": [call, "[]", "[]"]}
    pl.DataFrame({**columns, "hidden": [None, None, ["book"]]}).write_parquet(file)
    example, none, near = held_out([file], functions)
    assert (none.query, none.calls, none.hidden) == ("hello", (), ())
    assert (near.query, near.calls, near.hidden) == ("a table", (), ("book",))
    (made,) = example.calls
    assert (example.query, made.name, made.arguments) == ("a table in porto", "book", {"city": "Porto"})
    with pytest.raises(StageError, match="validation_share"):
        held_out([], functions)


def test_scores_on_a_synthetic_hold_out_are_called_so() -> None:
    scores = {"queries": SYNTHETIC, "before": None, "after": {"n": 5, "exact_match": {"value": 0.9}}}
    summary = build_summary(run={"name": "x", "title": "x"}, stages=[], merge=None, training=[], scores=scores)
    assert summary["scored_on"] == SYNTHETIC
    console = Console(record=True, width=100)
    console.print(scores_table(summary["scores"], summary["scored_on"]))
    assert f"Scores on 5 queries of a {SYNTHETIC}" in " ".join(console.export_text().split())
