"""The schemas in configs/schemas are current, describe every key, accept our own files and refuse a misspelt key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from routenator.parsing import read_yaml
from tests.conftest import ROOT
from tests.schemas import FOLDER, documented, schemas, text_of

CONFIGS = ROOT / "configs"
DOMAINS = [*(CONFIGS / "domains").iterdir(), *(ROOT / "tests" / "domains").iterdir()]


def own_files() -> Iterator[tuple[str, Path]]:
    """Name of a schema, and a file that it describes."""
    yield from (("run", file) for file in CONFIGS.glob("*.yaml"))
    yield from (("profile", file) for group in ("model", "cluster") for file in (CONFIGS / group).glob("*.yaml"))
    yield from (("experiment", file) for file in (CONFIGS / "experiments").glob("*.yaml"))
    for domain in DOMAINS:
        for name in ("domain", "statistics", "lexicon"):
            yield from ((name, file) for file in domain.glob(f"{name}.yaml"))
        for name in ("no_call", "joins"):
            yield from ((name, file) for file in (domain / "templates").glob(f"{name}.yaml"))
        yield from (("templates", file) for file in (domain / "templates").glob("*/*.yaml"))
        for language in (domain / "languages").glob("*"):
            for name, stem in (("language", "domain"), ("language_statistics", "statistics"), ("lexicon", "lexicon")):
                yield from ((name, file) for file in language.glob(f"{stem}.yaml"))
            yield from (("templates", file) for file in (language / "templates").glob("*/*.yaml"))
    yield from ((name, ROOT / "routenator" / "domain" / "queries" / f"{name}.yaml") for name in ("no_call", "joins"))


def errors(name: str, value: Any) -> list[str]:
    # As JSON, in which every key is a text.
    schema = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return [
        f"{error.json_path}: {error.message[:300]}"
        for error in Draft202012Validator(schema).iter_errors(json.loads(json.dumps(value, default=str)))
    ]


def test_the_schemas_are_current() -> None:
    assert {file.name: file.read_text(encoding="utf-8") for file in FOLDER.iterdir()} == {
        name: text_of(schema) for name, schema in schemas().items()
    }, "make schemas"
    for schema in schemas().values():
        Draft202012Validator.check_schema(schema)


def test_every_key_is_described() -> None:
    def keys(value: Any, path: str) -> Iterator[tuple[str, Any]]:
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            if name == "properties":
                yield from ((f"{path}.{key}", found) for key, found in part.items())
            if isinstance(part, dict | list):
                yield from keys(part, f"{path}.{name}")

    found = [item for name, schema in schemas().items() for item in keys(schema, name)]
    assert len(found) > 300
    assert [path for path, value in found if not value.get("description")] == []
    texts = {value["description"] for _, value in found}
    assert documented()["train.learning_rate"] in texts and documented()["cluster.stages.STAGE.minutes"] in texts


def test_our_own_files_follow_them() -> None:
    wrong = {str(file): found for name, file in own_files() if (found := errors(name, read_yaml(file)))}
    assert wrong == {}
    assert {name for name, _ in own_files()} | {"joins", "no_call"} == {Path(name).stem for name in schemas()}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("run", {"name": "a", "domain": "creative", "train": {"epoch": 1}}, "'epoch' was unexpected"),
        ("run", {"name": "a"}, "'domain' is a required property"),
        ("run", {"name": "a", "domain": "creative", "cluster": {"profile": "slurm", "kind": "slrm"}}, "slrm"),
        ("profile", {"dataset": {"size": 0}}, "minimum of 1"),
        ("experiment", {"name": "a", "question": "?", "base": "b", "seeds": [-1]}, "minimum of 0"),
        ("domain", {"title": "a", "functions": {"f": {"slots": {"s": {"valu": "x"}}}}}, "not valid under any"),
        ("statistics", {"length_buckets": {"short": [1, 4]}, "routes": {"f": {"heuristic": -1}}}, "minimum of 0"),
        ("templates", {"templates": {"a": {"text": "x", "weigth": 1}}}, "'weigth' was unexpected"),
        ("lexicon", {"verbs": []}, "[]"),
    ],
)
def test_a_mistake_is_seen(name: str, value: Any, said: str) -> None:
    assert any(said in error for error in errors(name, value)), errors(name, value)
