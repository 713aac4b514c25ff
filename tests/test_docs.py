"""docs/configuration.md names every key of the config with its true default, and no other key."""

from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from routenator.config import ClusterConfig, ContainerConfig, EngineConfig, Resources, RunConfig, VisionConfig

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "configuration.md"
REQUIRED = "required"
ROW = re.compile(r"^\| `([A-Za-z0-9_.]+)` \| (`([^`]*)`|required) \| (.+) \|$")


def default_of(field: FieldInfo) -> Any:
    return REQUIRED if field.is_required() else field.get_default(call_default_factory=True)


def keys(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> default, sections opened; a section that occurs twice is documented once."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        kind = field.annotation
        if (model, name) == (ClusterConfig, "stages"):
            found.update(keys(Resources, f"{key}.STAGE."))
        elif (model, name) == (ClusterConfig, "container"):
            found[key] = default_of(field)
            found.update(keys(ContainerConfig, f"{key}."))
        elif (model, name) == (VisionConfig, "engine"):
            assert EngineConfig in typing.get_args(kind)  # the same keys as model.generator, as the page says
            found[key] = default_of(field)
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            found.update(keys(kind, f"{key}."))
        else:
            found[key] = default_of(field)
    return found


def documented() -> dict[str, tuple[str, str]]:
    rows = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        found = ROW.match(line)
        if found:
            key, default, literal, meaning = found.groups()
            assert key not in rows, f"{key} stands there twice"
            rows[key] = (default if literal is None else literal, meaning)
    return rows


KEYS = keys(RunConfig)


def test_sections_are_opened() -> None:
    assert {
        "name",
        "dataset.size",
        "model.vision.image_size",
        "cluster.stages.STAGE.cpus",
        "model.generator.model",
    } <= set(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_key_is_documented_with_its_default(key: str) -> None:
    rows = documented()
    assert key in rows, f"{key} is missing in {PAGE.name}"
    text, meaning = rows[key]
    default = KEYS[key]
    if default == REQUIRED:
        assert text == REQUIRED
    else:
        assert yaml.safe_load(text) == (list(default) if isinstance(default, tuple) else default)
    assert meaning.strip()


def test_no_key_that_is_gone() -> None:
    assert set(documented()) <= set(KEYS)


@pytest.mark.parametrize(
    "page", sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("docs/*.md"), *ROOT.glob("*.md")])
)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page} links to {target}"
