"""domain init into a domain that it made: the API's changes come in, a person's edits stay, and what is new, gone or in
conflict is said.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from routenator.authoring.door.init import Made, init_domain
from routenator.domain.functions import load_functions
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.parsing import read_yaml
from tests.routenator.door_documents import TOOLS


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A domain of four functions."""
    init(tmp_path, TOOLS)
    return tmp_path / "shelf"


def init(folder: Path, tools: list[dict[str, Any]], **options: Any) -> Made:
    file = folder / "tools.json"
    file.write_text(json.dumps([{**tool, "parameters": tool["schema"]} for tool in tools]))
    return init_domain(str(file), folder / "shelf", **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_same_api_again_changes_nothing(shelf: Path, tmp_path: Path) -> None:
    before = contents(shelf)
    made = init(tmp_path, TOOLS)
    assert made.changes is not None and not any(vars(made.changes).values())
    assert contents(shelf) == before
    assert made.templates == len(load_domain(shelf).templates)  # which ``domain check`` counts; more were written once


def test_edits_stay_and_the_apis_changes_come_in(shelf: Path, tmp_path: Path) -> None:
    shelves = shelf / "values" / "shelf.tsv"
    shelves.write_text(shelves.read_text().replace("kitchen", "kitchen\tthe kitchen shelf"))
    titles = shelf / "values" / "title.tsv"
    lines = titles.read_text().splitlines()
    titles.write_text("\n".join([*lines[:-1], "# mine", "My Own Title"]) + "\n")
    patterns = shelf / "templates" / "heuristic" / "add_book.yaml"
    patterns.write_text(
        patterns.read_text() + "  add_book_mine:\n    text: put <{title}|by {author}|{bought_on}|{price}> on it\n"
    )
    statistics = read_yaml(shelf / "statistics.yaml")
    statistics["functions"]["add_book"] = 5.0
    (shelf / "statistics.yaml").write_text(json.dumps(statistics))
    (shelf / "notes.txt").write_text("mine")

    tools = copy.deepcopy(TOOLS)
    tools[0]["schema"]["properties"]["shelf"]["enum"].append("cellar")
    tools[1]["description"] = "Add one book to a shelf."
    del tools[2]
    tools.append(
        {"name": "count_books", "description": "Count the books.", "schema": {"type": "object", "properties": {}}}
    )
    made = init(tmp_path, tools)
    assert made.changes is not None
    assert (made.changes.new, made.changes.gone, made.changes.conflicts) == (["count_books"], ["delete_book"], [])
    assert set(made.changes.kept) == {
        "values/shelf.tsv", "values/title.tsv", "templates/heuristic/add_book.yaml", "statistics.yaml",
    }  # fmt: skip
    assert {"kitchen\tthe kitchen shelf", "cellar"} <= set(shelves.read_text().splitlines())
    assert "My Own Title" in titles.read_text() and lines[-1] not in titles.read_text()
    domain = load_domain(shelf)
    assert set(domain.rules) == {"list_books", "add_book", "send_reminder", "count_books"}
    assert domain.functions["add_book"].description == "Add one book to a shelf."
    assert "heuristic/add_book_mine" in domain.templates and made.templates == len(domain.templates)
    assert domain.statistics.functions["add_book"] == 5.0 and "count_books" in domain.statistics.functions
    assert (shelf / "notes.txt").read_text() == "mine"
    assert not (shelf / "templates" / "heuristic" / "delete_book.yaml").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A read-only folder was reported as no permission for a temporary name, with exit code 1."""
    file = tmp_path / "tools.json"
    file.write_text(json.dumps(TOOLS))
    with pytest.raises(InputError, match=r"no permission to write here[\s\S]*/proc/shelf\n  key: *OUT"):
        init_domain(str(file), Path("/proc/shelf"))


def test_what_both_sides_changed_is_a_conflict_and_the_persons_stays(shelf: Path, tmp_path: Path) -> None:
    file = shelf / "functions.json"
    file.write_text(file.read_text().replace("Delete a book.", "Throw a book away."))
    tools = copy.deepcopy(TOOLS)
    tools[2]["description"] = "Delete one book."
    made = init(tmp_path, tools)
    assert made.changes is not None
    assert made.changes.conflicts == ["functions.json, delete_book, function, description"]
    assert load_functions(file)["delete_book"].description == "Throw a book away."


def test_edited_files_of_a_function_that_is_gone_are_put_aside(shelf: Path, tmp_path: Path) -> None:
    file = shelf / "templates" / "heuristic" / "delete_book.yaml"
    text = file.read_text().replace("get rid of", "throw out")
    file.write_text(text)
    made = init(tmp_path, [tool for tool in TOOLS if tool["name"] != "delete_book"])
    assert made.changes is not None and made.changes.removed == ["templates/heuristic/delete_book.yaml"]
    assert (shelf / ".init" / "removed" / "templates" / "heuristic" / "delete_book.yaml").read_text() == text


def test_edits_that_the_changed_api_cannot_take_change_nothing(shelf: Path, tmp_path: Path) -> None:
    file = shelf / "templates" / "heuristic" / "list_books.yaml"
    file.write_text(file.read_text() + "  list_books_mine:\n    text: books on {shelf} <{limit}|{only_unread}>\n")
    before = contents(shelf)
    tools = copy.deepcopy(TOOLS)
    del tools[0]["schema"]["properties"]["limit"]
    with pytest.raises(InputError, match="does not fit your edits") as caught:
        init(tmp_path, tools)
    assert str(file) in str(caught.value.found)
    assert contents(shelf) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shelf", "tools.json"]


def test_the_choice_of_functions_is_that_of_the_last_time(tmp_path: Path) -> None:
    init(tmp_path, TOOLS, exclude=["send_*"])
    assert init(tmp_path, TOOLS).functions == ["list_books", "add_book", "delete_book"]
    assert init(tmp_path, TOOLS, include=["*"]).functions[-1] == "send_reminder"
