"""docs/configuration.md names every key of the config with its true default, and no other key; links of all pages lead
somewhere, and the commands in them exist with the options that they are given."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.core import TyperGroup

from routenator.config import ClusterConfig, ContainerConfig, EngineConfig, Resources, RunConfig, VisionConfig
from slurm.commands.lazy import COMMANDS, load_command

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


PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("docs/*.md"), *ROOT.glob("*.md")])
COMMAND = re.compile(r"^\s*(?:\$ )?(?:python launch\.py|routenator) (\S.*)$", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The names by which a page's headings are linked to."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", text):
        if "://" not in target:
            file = (ROOT / page).parent / target if target else ROOT / page
            assert file.exists(), f"{page} links to {target}"
            assert not anchor or anchor in anchors(file), f"{page} links to {target}#{anchor}"


def command_lines(text: str) -> Iterator[list[str]]:
    """Yield the words of each command line in a page: without comments, and one for each of ``a|b``."""
    for line in COMMAND.findall(text.replace("\\\n", " ")):
        # Commands are explained after some spaces, or after a number sign.
        words = re.split(r"\s{2,}| #", line)[0].replace("[", " ").replace("]", " ").split()
        yield from ([name, *words[1:]] for name in words[0].split("|"))


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_pages_exist_with_their_options(page: str) -> None:
    for words in command_lines((ROOT / page).read_text(encoding="utf-8")):
        if words[0].startswith("-"):
            continue  # --help, --install-completion
        assert words[0] in COMMANDS, f"{page}: {' '.join(words)}"
        command: Any = load_command(words[0])
        names = words[1].split("|") if isinstance(command, TyperGroup) else []
        assert all(name in command.commands for name in names), f"{page}: {' '.join(words)}"
        params = [param for item in ([command.commands[name] for name in names] or [command]) for param in item.params]
        options = {option for param in params for option in (*param.opts, *param.secondary_opts)}
        for word in words:
            if re.fullmatch(r"-{1,2}[a-z][a-z-]*", word):
                assert word in options, f"{page}: {' '.join(words)}"
