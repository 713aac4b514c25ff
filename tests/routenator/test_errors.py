"""Errors give the place, the value found, what was expected and the nearest name, and can be pickled."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from routenator.errors import CorruptShardError, InputError, InputErrors, RoutenatorError, StageError, value_kind
from routenator.files import read_text
from tests.conftest import ROOT


def test_all_parts_in_order() -> None:
    error = InputError("unknown key", file="a.yaml", key="train.epoch", found="epoch", valid=["epochs", "method"])
    assert str(error).splitlines() == [
        "unknown key",
        "  file:     a.yaml",
        "  key:      train.epoch",
        "  found:    epoch",
        "  expected: one of epochs, method",
        "  nearest:  epochs",
    ]


def test_unknown_parts_are_omitted() -> None:
    assert str(InputError("no such file")) == "no such file"
    assert str(InputError("invalid value", found=0)) == "invalid value\n  found:    0"


@pytest.mark.parametrize(
    ("found", "valid", "nearest"),
    [
        ("serach", ["search", "generate"], "search"),
        ("xyz", ["search", "generate"], None),
        (None, ["search"], None),
        (3, ["3.0", "4"], "3.0"),
    ],
)
def test_nearest(found: object, valid: list[str], nearest: str | None) -> None:
    assert InputError("x", found=found, valid=valid).nearest == nearest


def test_a_missing_file_names_the_one_that_was_meant_and_not_just_any(tmp_path: Path) -> None:
    for name in ("petstore.yaml", "golden.jsonl"):
        (tmp_path / name).touch()
    for asked, nearest in (("petstore.yml", "petstore.yaml"), ("functions.json", None)):
        with pytest.raises(InputError, match="file not found") as error:
            read_text(tmp_path / asked)
        assert error.value.nearest == nearest
    with pytest.raises(InputError, match="file not found"):
        read_text(tmp_path / "no" / "folder.yaml")


def test_an_explicit_expectation_is_kept() -> None:
    error = InputError("x", found="a", expected="a number", valid=["a1"])
    assert (error.expected, error.nearest) == ("a number", "a1")


def test_long_lists_are_truncated_but_searched_in_full() -> None:
    names = [f"name{number:03}" for number in range(200)]
    error = InputError("x", found="name19", valid=names)
    assert error.expected is not None
    assert error.expected.count(",") == 24
    assert error.expected.endswith(", ...")
    assert InputError("x", found="name1990", valid=names).nearest == "name199"


def test_several_errors_are_all_shown() -> None:
    both = InputErrors([InputError("one", key="a"), InputError("two", key="b")])
    assert str(both) == "one\n  key:      a\ntwo\n  key:      b"
    assert len(both.errors) == 2


@pytest.mark.parametrize(
    "error",
    [
        InputError("bad", file="f", key="k", found="serach", valid=["search"]),
        InputErrors([InputError("one"), InputError("two", key="k")]),
    ],
)
def test_errors_survive_pickling(error: InputError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert (copy.key, copy.nearest, copy.exit_code) == (error.key, error.nearest, 2)


def test_exit_codes() -> None:
    assert (InputError("x").exit_code, StageError("x").exit_code, CorruptShardError("x").exit_code) == (2, 1, 1)
    assert issubclass(InputErrors, InputError)
    assert issubclass(CorruptShardError, StageError)
    assert issubclass(StageError, RoutenatorError)


def test_a_value_is_named_in_words_of_yaml_and_json() -> None:
    values = {None: "nothing", True: "true or false", 1.5: "a number", "": "text", (1,): "a list", (): "an empty list"}
    assert {key: value_kind(list(key) if isinstance(key, tuple) else key) for key in values} == values
    assert (value_kind({}), value_kind({"a": 1})) == ("an empty mapping", "a mapping")


def test_no_message_shows_pythons_name_of_a_kind() -> None:
    """``found: NoneType`` for an empty file. Messages may contain names of exceptions."""
    shown = re.compile(r"\bfound *=.*\btype\((?!error\b)\w+\)\.__name__")
    files = [file for folder in ("routenator", "jobs", "slurm") for file in (ROOT / folder).rglob("*.py")]
    assert [str(file) for file in files if shown.search(file.read_text(encoding="utf-8"))] == []
