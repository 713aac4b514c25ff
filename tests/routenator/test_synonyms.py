"""Near-synonymous functions are named by the check, with the words that tell them apart."""

from __future__ import annotations

import pytest

from routenator.authoring.synonyms import near_synonyms, synonym_warnings
from routenator.domain.functions import Function


def functions(*names: str) -> dict[str, Function]:
    return {name: Function(name, "", {"type": "object", "properties": {}}) for name in names}


@pytest.mark.parametrize(
    "names",
    [
        ("read_file", "read_text_file"), ("list_directory", "list_directory_with_sizes"), ("addUser", "createUser"),
        ("find_pets", "find_pets_by_status"), ("search_nodes", "find_nodes"),
    ],
)  # fmt: skip
def test_near_synonyms_are_found(names: tuple[str, str]) -> None:
    assert list(near_synonyms(functions(*names))) == [names]


@pytest.mark.parametrize(
    "names",
    [
        ("read_file", "write_file"), ("get_pet", "get_pet_photos"), ("get_pet", "list_pets"),
        ("read_text_file", "read_media_file"),
        ("find_pets_by_status", "find_pets_by_tags"), ("get_user_by_name", "get_user_by_id"), ("play", "pause"),
        ("read_file", "read_multiple_files"),
    ],
)  # fmt: skip
def test_functions_that_differ_are_not(names: tuple[str, str]) -> None:
    assert list(near_synonyms(functions(*names))) == []


def test_the_warning_names_the_words_that_tell_them_apart() -> None:
    both = {
        "read_file": Function("read_file", "Read a file. Or not.", {"properties": {"path": {}}}),
        "read_text_file": Function("read_text_file", "Read a file as text.", {"properties": {"path": {}, "head": {}}}),
    }
    assert list(synonym_warnings(both, 10)) == [
        "read_file and read_text_file mean nearly the same. Only these words tell them apart: read_file: none; "
        "read_text_file: text, head. Say them in every pattern, or leave one of the two out"
    ]
    many = functions("read_file", "read_text_file", "addUser", "createUser")
    assert len(list(synonym_warnings(many, 1))) == 2
