"""Files of what ``domain draft`` keeps: beside the domain's own, loaded with them, for a person to prune."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from routenator.authoring.door.patterns import escaped
from routenator.authoring.templatefiles import dump_yaml
from routenator.domain.fingerprint import SUFFIX
from routenator.domain.templates import DRAFTED_TOPICS
from routenator.domain.valuelists import DRAFTED, FOLDER
from routenator.domain.valuelists import SUFFIX as LIST_SUFFIX
from routenator.drafting.proposals import Proposal
from routenator.files import read_text, write_atomic
from routenator.parsing import read_yaml

_ABOUT = (
    "# Proposed by a language model (`domain draft`) and checked by program alone: read it, and delete what is wrong.\n"
)


def keep(domain: Path, proposals: Sequence[Proposal], model: str, language: str = "") -> list[Path]:
    """Add kept proposals, all of one kind and name, to their file; return the files that changed.

    Args:
        domain: the domain's folder, or that of a language.
        model: whose they are, for the comment beside them.
        language: code of the language whose folder it is.
    """
    kept = [each for each in proposals if each.kept]
    if not kept:
        return []
    first = kept[0]
    if first.kind == "labels":
        file = domain / f"labels{DRAFTED}.csv"
        rows = "".join(_row(each.key, each.kept, f"{each.origin}; {model}") for each in kept)
        _append(file, "id,label,origin\n", rows)
    elif first.kind == "words":
        file = domain / f"lexicon{DRAFTED}.yaml"
        table = _table(file)
        # A long list needs several prompts; the file has it once.
        table[first.name] = list(dict.fromkeys([*table.get(first.name, []), *(each.kept for each in kept)]))
        _put(file, table, model)
    elif first.kind == "phrases":
        file = domain / f"domain{DRAFTED}.yaml"
        function, _, slot = first.name.partition(".")
        table = _table(file)
        said = table.setdefault("functions", {}).setdefault(function, {}).setdefault(slot, {}).setdefault("said", {})
        said.update({each.key: [escaped(each.kept)] for each in kept})
        _put(file, table, model)
    elif first.kind == "values":
        file = domain / FOLDER / f"{first.name}{DRAFTED}{LIST_SUFFIX}"
        added = _origin(first, model, "") + "".join(f"{each.kept}\n" for each in kept)
        _append(file, _ABOUT, added)
    elif first.kind == "topics":
        file = domain / "templates" / DRAFTED_TOPICS
        text = "|".join(each.kept for each in kept)
        _append(
            file, f"{_ABOUT}templates:\n", _entry(f"drafted_{_next(file)}", text, first, model, min(1.0, len(kept) / 5))
        )
    else:
        safe = re.sub(r"[^A-Za-z0-9_-]", "_", "_".join(filter(None, (language, first.name))))
        file = domain / "templates" / "heuristic" / f"{safe}{DRAFTED}{SUFFIX}"
        begin = _next(file)
        entries = [
            _entry(f"{safe}_drafted_{begin + number}", each.kept, each, model, 1.0) for number, each in enumerate(kept)
        ]
        _append(file, f"{_ABOUT}functions: [{first.name}]\ntemplates:\n", "".join(entries))
    return [file]


def _row(*cells: str) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(cells)
    return stream.getvalue()


def _table(file: Path) -> dict[str, Any]:
    return dict(read_yaml(file) or {}) if file.is_file() else {}


def _put(file: Path, table: dict[str, Any], model: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, f"{_ABOUT}# Translated from English; {model}\n{dump_yaml(table)}")


def _append(file: Path, head: str, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, (read_text(file) if file.is_file() else head) + text)


def _next(file: Path) -> int:
    """The first number after those of a file's entries."""
    found = re.findall(r"^  \S*drafted_(\d+):", read_text(file), re.MULTILINE) if file.is_file() else []
    return 1 + max(map(int, found), default=0)


def _entry(key: str, text: str, proposal: Proposal, model: str, weight: float) -> str:
    # A block keeps every character of a grammar; kept proposals are of one line.
    return f"{_origin(proposal, model, '  ')}  {key}:\n    weight: {weight:g}\n    text: |\n      {text}\n"


def _origin(proposal: Proposal, model: str, indent: str) -> str:
    return f"{indent}# {proposal.kind}, {' '.join(proposal.origin.split())}; {model}\n"
