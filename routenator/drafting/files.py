"""Files of what ``domain draft`` keeps: beside the domain's own, loaded with them, for a person to prune."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from routenator.domain.fingerprint import SUFFIX
from routenator.domain.templates import DRAFTED_TOPICS
from routenator.domain.valuelists import DRAFTED, FOLDER
from routenator.domain.valuelists import SUFFIX as LIST_SUFFIX
from routenator.drafting.proposals import Proposal
from routenator.files import read_text, write_atomic

_ABOUT = (
    "# Proposed by a language model (`domain draft`) and checked by program alone: read it, and delete what is wrong.\n"
)


def keep(domain: Path, proposals: Sequence[Proposal], model: str) -> list[Path]:
    """Add kept proposals, all of one kind and name, to their file; return the files that changed.

    Args:
        domain: the domain's folder.
        model: whose they are, for the comment beside them.
    """
    kept = [each for each in proposals if each.kept]
    if not kept:
        return []
    first = kept[0]
    if first.kind == "values":
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
        safe = re.sub(r"[^A-Za-z0-9_-]", "_", first.name)
        file = domain / "templates" / "heuristic" / f"{safe}{DRAFTED}{SUFFIX}"
        begin = _next(file)
        entries = [
            _entry(f"{safe}_drafted_{begin + number}", each.kept, each, model, 1.0) for number, each in enumerate(kept)
        ]
        _append(file, f"{_ABOUT}functions: [{first.name}]\ntemplates:\n", "".join(entries))
    return [file]


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
