"""Upper and lower case by language: in Turkish and Azerbaijani, ı is the small I and İ the capital i."""

from __future__ import annotations

from routenator.language import base_code

_DOTLESS = {"tr", "az"}
_LOWER = str.maketrans({"I": "ı", "İ": "i"})
_UPPER = str.maketrans({"i": "İ", "ı": "I"})


def is_dotless(language: str) -> bool:
    """Whether a language has a dotless i."""
    return base_code(language) in _DOTLESS


def lowered(text: str, language: str) -> str:
    """The text in lower case."""
    return (text.replace("I\u0307", "i").translate(_LOWER) if is_dotless(language) else text).lower()


def capitalised(text: str, language: str) -> str:
    """The text with its first letter in upper case."""
    return (text[:1].translate(_UPPER) if is_dotless(language) else text[:1]).upper() + text[1:]
