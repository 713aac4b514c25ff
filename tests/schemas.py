"""Writes configs/schemas: JSON Schemas of configs, profiles, experiments and domain files, from the pydantic models.

Descriptions are those of the tables in docs/configuration.md for run configs, and of the models' docstrings for others.
``make schemas`` calls this; tests/test_schemas.py says whether the files are current.
"""

from __future__ import annotations

import copy
import inspect
import json
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from routenator.config import RunConfig
from routenator.domain.rules import DomainFile, LanguageFile
from routenator.domain.schema import Join, LanguageStatistics, LexiconItem, NoCallFile, Statistics, TemplateFile
from slurm.experiments.config import Experiment

ROOT = Path(__file__).resolve().parent.parent

FOLDER = ROOT / "configs" / "schemas"
GROUPS = {
    "model": "The models by role: a profile's name, or keys; with `profile: NAME` keys that change a profile.",
    "cluster": "Where tasks run: a profile's name, or keys; with `profile: NAME` keys that change a profile.",
}
Schema = dict[str, Any]


def documented() -> dict[str, str]:
    """Key -> meaning, of the tables in docs/configuration.md."""
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    found = dict(re.findall(r"^\| `([\w.]+)` \| [^|]+ \| (.+) \|$", text, re.MULTILINE))
    return {key: re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", meaning) for key, meaning in found.items()}


def stated(model: type[BaseModel]) -> dict[str, str]:
    """Attribute -> meaning, of the sections "Attributes:" in the docstrings of a model and its bases."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        text = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")[2]
        for name, meaning in re.findall(r"^    (\w+): ((?:.|\n(?!    \w+: ))+)", text, re.MULTILINE):
            found[name] = " ".join(meaning.split()).replace("``", "`")
    return found


def models_in(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    """A model and those in its fields, each with the prefix of its keys; a table's own keys are STAGE."""
    yield model, prefix
    for name, field in model.model_fields.items():
        for inner, in_table in _models_of(field.annotation, False):
            if inner is not model:
                yield from models_in(inner, f"{prefix}{name}." + ("STAGE." if in_table else ""))


def _models_of(annotation: Any, in_table: bool) -> Iterator[tuple[type[BaseModel], bool]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, in_table
    for part in typing.get_args(annotation):
        yield from _models_of(part, in_table or typing.get_origin(annotation) is dict)


def run_schema(title: str, required: list[str]) -> Schema:
    """The schema of a run config in which profiles may set any key, so that only some keys are required."""
    schema = RunConfig.model_json_schema()
    meanings = documented()
    meanings |= {
        key.replace(".generator.", ".vision.engine."): value
        for key, value in meanings.items()
        if key.startswith("model.generator.")
    }
    parts = {"RunConfig": schema, **schema["$defs"]}
    for model, prefix in models_in(RunConfig):
        parts[model.__name__].pop("required", None)
        for name, value in parts[model.__name__]["properties"].items():
            key = f"{prefix}{name}"
            inner = [found.__doc__ for found, _ in _models_of(model.model_fields[name].annotation, False)]
            meaning = meanings.get(key) or ("Resources of each stage." if name == "stages" else _first(inner[0]))
            value.setdefault("description", meaning)
    for group, meaning in GROUPS.items():
        keys = parts[f"{group.capitalize()}Config"]
        keys["properties"]["profile"] = {"type": "string", "description": "The profile to start from."}
        schema["properties"][group] = {"anyOf": [{"type": "string"}, _ref(keys["title"])], "description": meaning}
    return _finished(schema, title, required)


def model_schema(model: type[BaseModel], title: str) -> Schema:
    """The schema of a model that its docstrings describe."""
    schema = model.model_json_schema()
    parts = {model.__name__: schema, **schema.get("$defs", {})}
    for part in _each(model):
        meanings = stated(part)
        for name, value in parts[part.__name__]["properties"].items():
            if name in meanings:
                value["description"] = meanings[name]
    return _finished(schema, title, schema.get("required", []))


def _each(model: type[BaseModel]) -> list[type[BaseModel]]:
    """A model and those in its fields, at any depth; one may contain itself."""
    found = [model]
    for one in found:
        for field in one.model_fields.values():
            found += [inner for inner, _ in _models_of(field.annotation, False) if inner not in found]
    return found


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _first(docstring: str | None) -> str:
    return inspect.cleandoc(docstring or "").partition("\n\n")[0].replace("\n", " ").replace("``", "`")


def _finished(schema: Schema, title: str, required: list[str]) -> Schema:
    """Drop titles, which editors show instead of descriptions, and shorten descriptions of models to a paragraph."""

    def tidy(value: Any) -> Any:
        if isinstance(value, list):
            return [tidy(item) for item in value]
        if not isinstance(value, dict):
            return value
        kept = {key: tidy(item) for key, item in value.items() if not (key == "title" and isinstance(item, str))}
        if isinstance(kept.get("description"), str):
            kept["description"] = _first(kept["description"])
        return kept

    schema = tidy(schema)
    schema.pop("required", None)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return {**head, **schema, **({"required": required} if required else {})}


def _domain() -> Schema:
    """domain.yaml: a slot's rule may also be a text, its value, and a phrase of a value stand alone."""
    schema = model_schema(DomainFile, "domain.yaml of a domain")
    parts, rule = schema["$defs"], {"anyOf": [{"type": "string"}, _ref("SlotRule")]}

    def loosen(value: Any) -> Any:
        if isinstance(value, list):
            return [loosen(item) for item in value]
        if isinstance(value, dict):
            return copy.deepcopy(rule) if value == _ref("SlotRule") else {k: loosen(v) for k, v in value.items()}
        return value

    schema = loosen(schema)
    for name in ("key", "value"):
        meaning = parts["EntryRule"]["properties"][name].get("description", "")
        schema["$defs"]["EntryRule"]["properties"][name] = {**rule, "description": meaning}
    return schema


def _templates() -> Schema:
    """A template need not give its functions where the file does."""
    schema = model_schema(TemplateFile, "Template file of a domain")
    entry = schema["$defs"]["TemplateEntry"]
    entry["required"] = [name for name in entry["required"] if name != "functions"]
    return schema


def _words(title: str, item: Schema, parts: Schema) -> Schema:
    """A mapping of names to lists."""
    value = {"type": "array", "minItems": 1, "items": item}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return {**head, "type": "object", "additionalProperties": value, "$defs": parts}


def schemas() -> dict[str, Schema]:
    """File name -> schema."""
    item = model_schema(LexiconItem, "")
    item.pop("$schema")
    item.pop("title")
    join = model_schema(Join, "")
    join.pop("$schema")
    join.pop("title")
    word = {"anyOf": [{"type": ["string", "number"]}, _ref("LexiconItem")]}
    return {
        "run.json": run_schema("Config of a run", ["name", "domain"]),
        "profile.json": run_schema("Profile: a partial config of a run", []),
        "experiment.json": model_schema(Experiment, "Experiment"),
        "domain.json": _domain(),
        "statistics.json": model_schema(Statistics, "statistics.yaml of a domain"),
        "language.json": model_schema(LanguageFile, "languages/CODE/domain.yaml of a domain"),
        "language_statistics.json": model_schema(LanguageStatistics, "languages/CODE/statistics.yaml of a domain"),
        "lexicon.json": _words("lexicon.yaml of a domain", word, {"LexiconItem": item}),
        "templates.json": _templates(),
        "no_call.json": model_schema(NoCallFile, "templates/no_call.yaml of a domain"),
        "joins.json": _words("templates/joins.yaml of a domain", _ref("Join"), {"Join": join}),
    }


def text_of(schema: Schema) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, schema in schemas().items():
        (FOLDER / name).write_text(text_of(schema), encoding="utf-8")
