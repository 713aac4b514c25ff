"""Golden queries whose function the prompt does not show: they want no call."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import launch
from routenator.authoring.goldenhide import hide_called
from routenator.domain.golden import check_shown, load_golden
from routenator.domain.loader import load_domain
from routenator.errors import InputError, InputErrors
from tests.conftest import TINY

GOLDEN = TINY / "golden.jsonl"


def test_the_called_function_is_hidden_and_no_call_is_wanted(tmp_path: Path) -> None:
    functions = load_domain(TINY).functions
    calls = {one.query: one.calls for one in load_golden(GOLDEN, functions)}
    rows = [json.loads(line) for line in hide_called(GOLDEN, functions, 4, 0)]
    assert len({row["query"] for row in rows}) == 4
    for row in rows:
        assert row["calls"] == [] and row["hidden"] == [call.name for call in calls[row["query"]]]
    out = tmp_path / "hidden.jsonl"
    made = CliRunner().invoke(launch.app, ["golden", "hide", str(TINY), str(GOLDEN), str(out), "--queries", "4"])
    assert made.exit_code == 0 and "4 queries written" in made.output
    read = load_golden(out, functions)
    assert [one.as_json() for one in read] == rows and all(one.labels == ("none",) for one in read)


def test_the_seed_decides_which_queries_are_drawn() -> None:
    functions = load_domain(TINY).functions
    first = hide_called(GOLDEN, functions, 4, 0)
    assert first == hide_called(GOLDEN, functions, 4, 0) != hide_called(GOLDEN, functions, 4, 1)
    with pytest.raises(InputError, match="too few queries of one call"):
        hide_called(GOLDEN, functions, 10_000, 0)


@pytest.mark.parametrize(
    ("hidden", "said"),
    [('"book"', "not functions"), ('["bok"]', "no such function"), ('["search"]', "does not show")],
)
def test_what_is_hidden_must_be_other_functions_of_the_api(tmp_path: Path, hidden: str, said: str) -> None:
    file = tmp_path / "golden.jsonl"
    line = next(line for line in GOLDEN.read_text(encoding="utf-8").splitlines() if '"search"' in line)
    file.write_text(f'{line.rstrip()[:-1]}, "hidden": {hidden}}}\n', encoding="utf-8")
    with pytest.raises((InputError, InputErrors), match=said) as caught:
        load_golden(file, load_domain(TINY).functions)
    assert "hidden" in str(caught.value)


def test_prompts_that_show_no_functions_are_refused(tmp_path: Path) -> None:
    functions = load_domain(TINY).functions
    file = tmp_path / "hidden.jsonl"
    file.write_text("\n".join(hide_called(GOLDEN, functions, 3, 0)), encoding="utf-8")
    check_shown(load_golden(GOLDEN, functions), "compact")
    check_shown(load_golden(file, functions), "tools")
    with pytest.raises(InputError, match="prompts show none"):
        check_shown(load_golden(file, functions), "compact")
