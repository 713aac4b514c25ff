"""Golden queries of two calls, and golden queries of functions that an API lacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import launch
from routenator.authoring.goldenjoin import CONNECTIVES, join_golden
from routenator.domain.golden import load_golden
from routenator.domain.loader import load_domain
from routenator.domain.nocall import FOLDER
from routenator.errors import InputError
from tests.conftest import ROOT, TINY

CREATIVE = ROOT / "configs" / "domains" / "creative"


def test_pairs_have_the_calls_of_both_their_queries_in_order_and_all_connectives() -> None:
    functions = load_domain(CREATIVE).functions
    single = {e.query: e.calls for e in load_golden(CREATIVE / "golden.jsonl", functions) if len(e.calls) == 1}
    rows = [json.loads(line) for line in join_golden(CREATIVE / "golden.jsonl", functions, 64, 0)]
    assert len({row["query"] for row in rows}) == 64
    for number, row in enumerate(rows):
        first, _, second = row["query"].partition(CONNECTIVES[number % len(CONNECTIVES)])
        whole = next(query for query in single if query.rstrip(" .,;:!?") == first)
        assert row["calls"] == [call.as_json() for query in (whole, second) for call in single[query]]
        assert row["calls"][0]["name"] != row["calls"][1]["name"]


def test_the_seed_decides_which_pairs_are_drawn() -> None:
    functions, golden = load_domain(CREATIVE).functions, CREATIVE / "golden.jsonl"
    first = join_golden(golden, functions, 20, 0)
    assert first == join_golden(golden, functions, 20, 0) != join_golden(golden, functions, 20, 1)
    assert first == join_golden(golden, functions, 30, 0)[:20]


def test_no_pattern_joins_requests_by_these_connectives() -> None:
    files = [FOLDER / "joins.yaml", *(ROOT / "configs" / "domains").rglob("templates/**/*.yaml")]
    assert len(files) > 10
    for file in files:
        text = file.read_text().casefold()
        assert not [words for words in CONNECTIVES if words.strip(" ,.:").casefold() in text], file


def test_too_many_pairs_are_refused() -> None:
    with pytest.raises(InputError, match="too few queries of one call"):
        join_golden(TINY / "golden.jsonl", load_domain(TINY).functions, 10_000, 0)


def test_the_command_writes_a_golden_file(tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    made = CliRunner().invoke(
        launch.app, ["golden", "join", "creative", str(CREATIVE / "golden.jsonl"), str(out), "--pairs", "8"]
    )
    assert made.exit_code == 0 and "8 queries written" in made.output
    pairs = load_golden(out, load_domain(CREATIVE).functions)
    assert [len(pair.calls) for pair in pairs] == [2] * 8


def test_queries_of_functions_that_an_api_lacks_are_imported_as_wanting_no_call(tmp_path: Path) -> None:
    source, out = tmp_path / "all.jsonl", tmp_path / "none.jsonl"
    rows = [("wake me at six", "set_alarm"), ("play jazz", "play_music"), ("any alarms?", "show_alarms")]
    source.write_text(
        "".join(json.dumps({"query": query, "call": {"name": name, "arguments": {}}}) + "\n" for query, name in rows)
    )
    command = ["golden", "import", str(source), str(out), "--no-call"]
    made = CliRunner().invoke(launch.app, [*command, "set_alarm,show_alarms", "--domain", "creative"])
    assert made.exit_code == 0 and "1 other function" in made.output
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        {"query": "wake me at six", "calls": []}, {"query": "any alarms?", "calls": []}
    ]  # fmt: skip
    wrong = CliRunner().invoke(launch.app, [*command, "set_alarms"])
    assert wrong.exit_code == 2 and "no query calls this function" in wrong.output
