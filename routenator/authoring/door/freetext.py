"""Free text by small grammars: titles, messages, search phrases, notes, names, code."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

from routenator.parsing import read_yaml

_FOLDER = Path(__file__).resolve().parent / "words"


@cache
def words() -> dict[str, list[str]]:
    """The word lists."""
    return {name: [str(item) for item in items] for name, items in read_yaml(_FOLDER / "en.yaml").items()}


@cache
def patterns() -> dict[str, list[str]]:
    """The patterns of each kind."""
    return {name: [str(item) for item in items] for name, items in read_yaml(_FOLDER / "patterns.yaml").items()}


def texts(kind: str, draw: random.Random) -> Iterator[str]:
    """Draw texts of a kind without end; they repeat."""
    while True:
        yield _filled(draw.choice(patterns()[kind]), draw)


def _filled(pattern: str, draw: random.Random) -> str:
    made = ""
    rest = pattern
    while "{" in rest:
        before, _, rest = rest.partition("{")
        name, _, rest = rest.partition("}")
        made += before + _word(name, draw)
    text = made + rest
    return _articles(text)


def _word(name: str, draw: random.Random) -> str:
    if name == "numbers":
        return str(draw.randint(1, 99))
    word = draw.choice(words()[name.lower()])
    return word[0].upper() + word[1:] if name[0].isupper() else word


def _articles(text: str) -> str:
    """``a`` before a vowel is ``an``; the lists hold no word that the rule gets wrong."""
    parts = text.split(" ")
    for place, (word, after) in enumerate(pairwise(parts)):
        if (
            word in ("a", "A")
            and after[:1].lower() in "aeiou"
            and not after.lower().startswith(("uni", "usb", "euro", "one"))
        ):
            parts[place] = word + "n"
    return " ".join(parts)


def filler(kind: str) -> Callable[[random.Random], Iterator[str]]:
    """The stream of texts of a kind."""
    return lambda draw: texts(kind, draw)
