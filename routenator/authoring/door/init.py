"""``domain init``: makes a domain of an API's description. Nothing gets its final name before it passes the check."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from routenator.authoring.door.build import BUCKETS, Parts, build, files
from routenator.authoring.door.read import read_source
from routenator.authoring.door.select import select
from routenator.authoring.door.server import shown
from routenator.authoring.drawn import draw_all
from routenator.authoring.inspection import inspect_domain
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.extras import require

_SEED = 7
_SERVED = 0.1  # a template serves the length buckets that at least this share of its draws falls into
_RARE = 0.04  # and a function's target has none below this


@dataclass
class Made:
    """What was made.

    Attributes:
        left_out: tool -> why it is no function.
        silent: "function.parameter" -> why no query says it.
        notes: of the source.
        values: value lists, and how many values they hold.
        warnings: of the check.
    """

    path: Path
    form: str
    functions: list[str]
    left_out: dict[str, str]
    silent: dict[str, str]
    notes: list[str]
    values: dict[str, int]
    templates: int
    warnings: list[str] = field(default_factory=list)


def init_domain(
    source: str, out: Path, *, include: Sequence[str] = (), exclude: Sequence[str] = (), deprecated: bool = False
) -> Made:
    """Make a domain.

    Args:
        source: what ``read_source`` takes.
        out: the folder to create.
        include, exclude, deprecated: see ``select``.

    Raises:
        InputError: the source, the choice or the place is not usable; then nothing is written.
    """
    require("door", "domain init")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("this folder is not empty", key="OUT", found=out, expected="a new or empty folder")
    api = read_source(source)
    source = shown(source)
    selection = select(api, source, include, exclude, deprecated, _SEED)
    parts = build(api, selection)
    out.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        write(made, files(parts, {}, {}, str(out), source))
        lengths, served = measure(made, parts)
        write(made, files(parts, lengths, served, str(out), source))
        found = inspect_domain(made)
        made.chmod(0o755)
        if out.is_dir():
            out.rmdir()
        os.replace(made, out)
    except OSError as error:
        raise InputError("cannot write the domain", key="OUT", found=f"{out}: {error.strerror}") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return Made(
        out,
        api.form,
        [each.function.name for each in selection.chosen],
        selection.left_out,
        {f"{c.function.name}.{name}": why for c in selection.chosen for name, why in c.silent.items()},
        [*api.notes, *(f"{c.function.name}: {note}" for c in selection.chosen for note in c.tool.notes)],
        {name: len(values) for name, (_, values) in parts.lists.items()},
        sum(map(len, parts.templates.values())),
        found.warnings,
    )


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files, with the folders that they need."""
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def measure(folder: Path, parts: Parts) -> tuple[dict[str, dict[str, float]], dict[str, list[str]]]:
    """Draw queries of each pattern and count their words.

    Returns:
        Shares of the length buckets by function, and the buckets that a template serves by its key.
    """
    totals: dict[str, dict[str, float]] = {}
    served: dict[str, list[str]] = {}
    for function, template, _, drawn in draw_all(load_domain(folder)):
        if drawn is None:
            continue
        words = drawn.facts[:, 0]
        shares = {name: float(((words >= low) & (words <= high)).mean()) for name, (low, high) in BUCKETS.items()}
        kept = {name: share for name, share in shares.items() if share >= _SERVED}
        served[template.key] = list(kept)
        table = totals.setdefault(function, {})
        for name, share in kept.items():
            table[name] = table.get(name, 0.0) + share * template.weight
    lengths = {}
    for function, table in totals.items():
        whole = sum(table.values())
        kept = {name: share / whole for name, share in table.items() if share >= _RARE * whole}
        lengths[function] = {name: round(kept[name], 3) for name in BUCKETS if name in kept}
    return lengths, served
