"""preview --grade: rows and people's queries, mixed and unlabelled; verdicts are kept, resumed, counted by source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import launch
from routenator.authoring.grading import PEOPLE, Item, add_verdict, mixed, read_verdicts, shares
from routenator.errors import InputError
from slurm.commands import preview

ROWS = [Item("heuristic", f"row {number}") for number in range(4)]


@pytest.fixture
def people(tmp_path: Path) -> Path:
    file = tmp_path / "people.jsonl"
    file.write_text("".join(json.dumps({"query": f"said {number}", "calls": []}) + "\n" for number in range(9)))
    return file


def test_the_mix_is_half_and_half_and_only_the_seed_decides_it(people: Path) -> None:
    first = mixed(ROWS, people, 7)
    assert first == mixed(ROWS, people, 7) != mixed(ROWS, people, 8)
    assert sorted(item.source for item in first) == ["heuristic"] * 4 + [PEOPLE] * 4
    with pytest.raises(InputError, match="too few queries"):
        mixed([Item("text", f"row {number}") for number in range(10)], people, 7)


def test_verdicts_are_kept_resumed_and_counted(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items, file = mixed(ROWS, people, 7), tmp_path / "verdicts.jsonl"
    given = iter(["y", "n", "q"])
    monkeypatch.setattr(preview, "_answers", lambda: given)
    preview._grade(items, file, as_json=False)
    assert [good for _, good in read_verdicts(file).values()] == [True, False]
    assert list(read_verdicts(file)) == [items[0].id, items[1].id]
    monkeypatch.setattr(preview, "_answers", lambda: iter("y" * 6))
    preview._grade(items, file, as_json=False)
    found = shares(read_verdicts(file))
    assert sum(every for _, every in found.values()) == 8 and sum(good for good, _ in found.values()) == 7


def test_a_damaged_file_of_verdicts_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    add_verdict(file, ROWS[0], True)
    file.write_text(file.read_text() + '{"id": 3}\n')
    with pytest.raises(InputError, match="line 2"):
        read_verdicts(file)


def test_lines_of_standard_input_are_verdicts(people: Path, tmp_path: Path) -> None:
    """Sources are not shown before the verdicts are in; the end of the input stops."""
    verdicts = tmp_path / "verdicts.jsonl"
    config = ["preview", "creative", "cluster=local", "--route", "heuristic", "--n", "4"]
    grading = [*config, "--grade", str(verdicts), "--people", str(people)]
    result = CliRunner().invoke(launch.app, grading, input="y\nwhat\nn\n")
    assert result.exit_code == 0, result.output
    assert "y, n or q" in result.output and len(read_verdicts(verdicts)) == 2
    before = result.output.split(" good ")[0].rsplit("\n", 2)[0]
    assert not any(f"{word}  " in before for word in ("heuristic", PEOPLE))
    alone = CliRunner().invoke(launch.app, [*config, "--grade", str(verdicts)])
    assert alone.exit_code == 2 and "--people" in alone.output
