"""English by rule: names into words, verbs to their base form, articles and numbers, by ``inflect``."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_ACRONYMS = {
    "id", "url", "uri", "ip", "api", "dns", "ssh", "ssl", "tls", "http", "https", "html", "css", "json", "xml", "csv",
    "pdf", "sql", "sms", "vm", "cpu", "gpu", "ram", "pr", "ci", "cd", "iban", "bic", "isbn", "iso", "utc", "gmt", "vat",
    "sku", "uuid", "ssn", "gps", "usb", "mac", "faq", "crm", "hr", "tv", "dm", "rss", "ids", "urls", "sha", "md5",
    "svg", "png", "oauth", "acl", "vpc", "vpn",
}  # fmt: skip
_PLURAL_ACRONYMS = {"ids": "IDs", "urls": "URLs"}
# Third person whose base form is not found by dropping the s.
_THIRD = {"does": "do", "goes": "go", "has": "have", "is": "be", "applies": "apply", "retries": "retry"}
_ES = ("sses", "shes", "ches", "xes", "zes")
_MASS = {
    "weather", "information", "info", "inventory", "status", "data", "metadata", "content", "contents", "music",
    "history", "traffic", "news", "feedback", "access", "progress", "health", "usage", "balance", "storage", "money",
    "software", "hardware", "knowledge", "advice", "research", "payment", "support",
}  # fmt: skip


@cache
def engine() -> Any:
    """inflect's engine."""
    import inflect

    return inflect.engine()


def split_name(name: str) -> list[str]:
    """Words of a name in any case: ``getPetById``, ``get-pet``, ``pets.get``; lower case."""
    return [word.lower() for word in _WORDS.findall(name.replace("'", ""))]


def spoken(words: list[str]) -> str:
    """Words of a name as a person writes them: acronyms in capitals."""
    return " ".join(_PLURAL_ACRONYMS.get(word, word.upper() if word in _ACRONYMS else word) for word in words)


def base_form(verb: str) -> str:
    """The base form of a verb in the third person: returns, fetches, applies."""
    low = verb.lower()
    if low in _THIRD:
        return _THIRD[low]
    if low.endswith("ies") and len(low) > 4:
        return low[:-3] + "y"
    if low.endswith(_ES):
        return low[:-2]
    if low.endswith("s") and not low.endswith(("ss", "us", "is")) and len(low) > 3:
        return low[:-1]
    return low


def head_of(noun: str) -> str:
    """A noun phrase up to its first preposition: ``directory`` of ``directory with sizes``."""
    return re.split(r"\s(?:with|by|of|in|for|from|to|on|at|as|between|and)\s", noun, maxsplit=1)[0]


def is_plural(noun: str) -> bool:
    """Whether the head of a noun phrase is a plural."""
    noun = head_of(noun)
    last = noun.rsplit(maxsplit=1)[-1] if noun.split() else ""
    if last.lower() in _MASS or last.isupper():
        return last in _PLURAL_ACRONYMS.values()
    if last.lower().endswith(("ss", "us", "is")):
        return False
    return bool(engine().singular_noun(last))


def is_mass(noun: str) -> bool:
    """Whether the head of a noun phrase has no plural, so that it takes no ``a``."""
    noun = head_of(noun)
    last = noun.rsplit(maxsplit=1)[-1].lower() if noun.split() else ""
    return last in _MASS


def singular(noun: str) -> str:
    """The singular of a noun phrase."""
    if not is_plural(noun):
        return noun
    head, _, last = noun.rpartition(" ")
    return f"{head} {engine().singular_noun(last) or last}".strip()


def plural(noun: str) -> str:
    """The plural of a noun phrase."""
    if is_plural(noun) or is_mass(noun):
        return noun
    head, _, last = noun.rpartition(" ")
    return f"{head} {engine().plural_noun(last)}".strip()


def with_article(noun: str) -> str:
    """A noun phrase with a or an."""
    return str(engine().a(noun))


@cache
def in_words(number: int) -> str:
    """A number in words."""
    return str(engine().number_to_words(number, andword="")).replace("  ", " ")
