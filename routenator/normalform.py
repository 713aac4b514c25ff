"""The normal form of a query: two queries with the same one are the same query.

Everything that asks whether two queries are the same asks here: golden sets for duplicates, the merge for duplicates,
conflicts and leakage. The form is the query's words with single spaces between them, after NFKC and case folding, so
that composed and decomposed letters, full-width letters, ``ß`` and ``ss`` are the same, and without what cannot be
seen. The dotted and the dotless i of Turkish are one letter: the language is not known here, I is the capital of one or
the other, and many people type i for both. Punctuation is not part of the form. Combining marks are, since they are
vowels in Hindi and Thai, and so are symbols that carry meaning:

* currencies, arithmetic and other symbols (``+ < = >``, emoji), each a word of its own: ``C++``, ``$5``;
* ``#`` after a letter or digit, ``%`` after a digit, ``*``, ``/`` and ``^`` between numbers, also words of their own;
* a minus before a number (not after a word), a point or comma within a number or a point before it: ``-5``, ``1.5``.

In the form these are written as full-width symbols (``＋``), which NFKC leaves in no text; so they cannot be taken for
punctuation, and readers that know ASCII letters and digits only find the same words.

The form is computed twice: by Python for one query, and by Polars for a column. The rules are the same, and a test
compares the two on every character. Most queries have plain letters and punctuation only; Polars finds the others by
one pattern, and only they go through the rules.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

# Whether a query may need the rules: not ASCII, or a symbol that may carry meaning.
_ODD = r"[^\x00-\x7F]|[+<>=$#%]|[-.,/*^] ?[0-9]"

# What cannot be seen: Unicode's Default_Ignorable_Code_Point.
_UNSEEN = (
    r"[\u00AD\u034F\u061C\u115F\u1160\u17B4\u17B5\u180B-\u180F\u200B-\u200F\u202A-\u202E\u2060-\u206F\u3164"
    r"\uFE00-\uFE0F\uFEFF\uFFA0\uFFF0-\uFFF8\U0001BCA0-\U0001BCA3\U0001D173-\U0001D17A\U000E0000-\U000E0FFF]+"
)
# All rules are written for both engines, so without look-around, and with none of the classes on which they differ.
_BEFORE = (
    (_UNSEEN, ""),
    (r"([0-9])([\u00B2\u00B3\u00B9\u2070-\u2079])", r"\1^\2"),  # NFKC makes 22 of 2²
    (r"([\u00BC-\u00BE\u2150-\u215E\u2189])", r" \1"),  # and 11/2 of 1½
)
_DOTS = (("\u0131", "i"), ("i\u0307", "i"))  # after case folding, which leaves ı as it is and makes i and a dot of İ
_AT_START = r"(^|[ \t\n\r(\[{<=>+*/^,;:$\u00A3\u00A5\u20AC\u20B9\"'\u201C\u2018])"
_SIGNS = (
    (r"[\u2010\u2012\u2013\u2212]", "-"),
    (r"\u2044", "/"),
    (r"\u266F", "#"),
    (rf"{_AT_START}-(\.?\d)", r"\1－\2"),
    (rf"{_AT_START}\.(\d)", r"\1．\2"),
    (r"－\.(\d)", r"－．\1"),
    # Twice, as a match takes in the digit at which the next one would start.
    *[(r"(\d)\.(\d)", r"\1．\2"), (r"(\d),(\d)", r"\1，\2")] * 2,
    *[(rf"(\d) ?{ascii_} ?(\d)", rf"\1 {wide} \2") for ascii_, wide in ((r"\*", "＊"), ("/", "／"), (r"\^", "＾"))] * 2,
    (r"(\d) ?%", r"\1 ％ "),
    (r"([a-z0-9])#", r"\1 ＃ "),
    *[(re.escape(ascii_), wide) for ascii_, wide in ("+＋", "<＜", "=＝", ">＞", "$＄")],
)
# Whether any of these rules may change a text.
_SIGNED = r"[+<>=$#%\u2010\u2012\u2013\u2212\u2044\u266F]|[-.,/*^] ?\d"
_WIDE = "＃％．，／－＊＾"  # kept characters that Unicode does not count among the symbols
_TONES = "\U0001f3fb-\U0001f3ff"  # of skin; modifiers to Unicode
_SAYS_NOTHING = "|~¦¬°©®"  # symbols without which a query is the same
_SYMBOLS = rf"[[\p{{So}}\p{{Sc}}\p{{Sm}}{_TONES}]--[{re.escape(_SAYS_NOTHING)}]]"  # for Polars


def normal_form(query: str) -> str:
    """Return the normal form of a query."""
    for pattern, by in _BEFORE:
        query = re.sub(pattern, by, query)
    query = unicodedata.normalize("NFKC", query).casefold()
    for pattern, by in _DOTS:
        query = query.replace(pattern, by)
    query = unicodedata.normalize("NFKC", query)
    for pattern, by in _SIGNS:
        query = re.sub(pattern, by, query)
    return " ".join("".join(map(_kept, query)).split())


def normal_forms(queries: pl.Series) -> pl.Series:
    """Return the normal forms of a column of texts; nulls stay."""
    word = r"0-9a-z\x{80}-\x{10FFFF}"
    # Matches every run of other characters except a single space, so that most queries need no replacement at all.
    return with_plain_words(queries).str.replace_all(rf"[^{word}]{{2,}}|[^ {word}]", " ").str.strip_chars(" ")


def with_plain_words(queries: pl.Series) -> pl.Series:
    """Return texts whose runs of a-z, 0-9 and non-ASCII characters are the words of the normal forms; nulls stay."""
    lower = queries.str.to_lowercase()
    odd = queries.str.contains(_ODD).fill_null(False)
    if not odd.any():
        return lower
    signs, folded = _case_folding()
    forms = _applied(_BEFORE, queries.filter(odd)).str.normalize("NFKC")
    forms = _applied(_DOTS, forms.str.replace_many(signs, folded)).str.normalize("NFKC")
    signed = forms.str.contains(_SIGNED)
    forms = forms.scatter(signed.arg_true(), _applied(_SIGNS, forms.filter(signed)))
    forms = forms.str.replace_all(rf"({_SYMBOLS})", " ${1} ")
    forms = forms.str.replace_all(rf"[^\p{{L}}\p{{M}}\p{{N}}{_WIDE}{_SYMBOLS}]+", " ").str.strip_chars(" ")
    return lower.scatter(odd.arg_true(), forms)


def _kept(sign: str) -> str:
    """What stays of one character at the end."""
    if sign in _WIDE:
        return sign
    kind = unicodedata.category(sign)
    if (kind in ("So", "Sc", "Sm") and sign not in _SAYS_NOTHING) or "\U0001f3fb" <= sign <= "\U0001f3ff":
        return f" {sign} "
    return sign if kind[0] in "LMN" else " "


def _applied(rules: Sequence[tuple[str, str]], texts: pl.Series) -> pl.Series:
    for pattern, by in rules:
        texts = texts.str.replace_all(pattern, re.sub(r"\\(\d)", r"${\1}", by))
    return texts


@lru_cache(maxsize=1)
def _case_folding() -> tuple[list[str], list[str]]:
    """All characters that case folding changes, and what it makes of them; Polars has no case folding of its own."""
    found = [sign for sign in map(chr, range(0x20000)) if sign.casefold() != sign]  # no letters with cases beyond
    return found, [sign.casefold() for sign in found]
