"""Lists of words with weights, as in lexicon.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from routenator.domain.schema import LexiconItem
from routenator.errors import InputError, value_kind
from routenator.parsing import parse_model


def parse_lexicon(raw: Any, file: Path, key: str = "") -> dict[str, list[LexiconItem]]:
    """Parse ``name: [words]``; a word is a text, or a text with a weight.

    Args:
        raw: as read from YAML.
        file: for messages.
        key: key of ``raw`` in the file, with a dot at its end; for messages.

    Raises:
        InputError: no such lists, or a word that YAML reads as a boolean or null.
    """
    if not isinstance(raw, dict):
        raise InputError("not a mapping", file=file, found=value_kind(raw), expected="name: [words]")
    lexicon = {}
    for name, items in raw.items():
        if not isinstance(items, list) or not items:
            raise InputError(
                "not a list of words",
                file=file,
                key=f"{key}{name}",
                found=value_kind(items),
                expected="a non-empty list",
            )
        odd = next((item for item in items if isinstance(item, bool | None)), "")
        if odd != "" or isinstance(name, bool):
            raise InputError(
                "YAML reads this word as a boolean or null",
                file=file,
                key=f"{key}{name}",
                found=odd,
                expected='quotes: "on", "yes", "no"',
            )
        lexicon[str(name)] = [
            parse_model(LexiconItem, item if isinstance(item, dict) else {"text": str(item)}, file) for item in items
        ]
    return lexicon
