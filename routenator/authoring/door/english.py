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
    "svg", "png", "uid", "sid", "sip", "oauth", "acl", "vpc", "vpn",
}  # fmt: skip
# Acronyms that are spelled out, though they have vowels.
_SPELLED = {
    "api", "url", "urls", "uri", "ip", "ai", "eu", "uk", "us", "usa", "usb", "uuid", "nye", "iban", "oauth", "ui", "ux",
}  # fmt: skip
_PLURAL_ACRONYMS = {"ids": "IDs", "uids": "UIDs", "urls": "URLs", "ips": "IPs"}
# Third person whose base form is not found by dropping the s.
_THIRD = {"does": "do", "goes": "go", "has": "have", "is": "be", "applies": "apply", "retries": "retry"}
_ES = ("sses", "shes", "ches", "xes", "zes")
# Words that end in s, or look like plurals, but are not.
_NO_PLURALS = {
    "gas", "lens", "canvas", "atlas", "christmas", "xmas", "texas", "kansas", "dallas", "triceratops", "cutlery",
    "mars", "always", "perhaps", "sometimes", "was", "has", "as", "james", "charles", "chris", "los", "las", "mbps",
}  # fmt: skip
_MASS = {
    "weather", "information", "info", "inventory", "status", "data", "metadata", "content", "contents", "music",
    "history", "traffic", "news", "feedback", "access", "progress", "health", "usage", "balance", "storage", "money",
    "software", "hardware", "knowledge", "advice", "research", "payment", "support",
}  # fmt: skip

# Plurals before another noun: settings page, sales report.
_STAY_PLURAL = {
    "sales", "settings", "savings", "goods", "analytics", "sports", "species", "series", "terms", "details", "rights",
    "operations", "systems", "communications", "ids", "urls", "logistics", "statistics", "statuses",
}  # fmt: skip
# Words that names write without a gap.
_JOINED = {
    f"{first}{second}": (first, second)
    for firsts, seconds in (
        ("from to start end begin due", "date time"),
        ("order sort group", "by"),
        ("page batch", "size"),
        ("per", "page"),
        ("in", "name title"),
    )
    for first in firsts.split()
    for second in seconds.split()
}
_SHORT = {
    "pass": "password", "desc": "description", "pos": "position", "qty": "quantity", "msg": "message", "src": "source",
    "dest": "destination", "dst": "destination", "lang": "language", "addr": "address", "img": "image",
    "pref": "preference", "prefs": "preferences", "ms": "milliseconds",
}  # fmt: skip
_LINKS = {"with", "by", "of", "in", "for", "from", "to", "on", "at", "as", "between", "and", "or", "per", "that"}


@cache
def engine() -> Any:
    """inflect's engine; importing it takes two seconds."""
    import inflect

    return inflect.engine()


def split_name(name: str) -> list[str]:
    """Words of a name in any case: ``getPetById``, ``get-pet``, ``pets.get``; lower case."""
    words: list[str] = []
    for word in _WORDS.findall(name.replace("'", "")):
        words += _JOINED.get(word.lower(), (word.lower(),))
    if len(words) > 1 and words[0] in ("id", "ids"):  # idBoard is a board ID
        last = singular(words[-1])
        words = [*words[1:-1], last, "ids" if last != words[-1] or words[0] == "ids" else "id"]
    return words


def spoken(words: list[str], in_full: bool = True) -> str:
    """Words of a name as a person writes them: acronyms in capitals, short forms in full.

    Args:
        in_full: of a parameter ``desc`` is a description; in a value, such as ``price_desc``, it may be an order.
    """
    words = [_SHORT.get(word, word) for word in words] if in_full else words
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
    if not last:
        return False
    if last.lower() in _MASS or last.isupper():
        return last in _PLURAL_ACRONYMS.values()
    if last.lower().endswith(("ss", "us", "is", "'s")) or last.lower() in _NO_PLURALS:
        return False
    return _has_plural_form(last)


@cache
def _has_plural_form(word: str) -> bool:
    """Whether a word is a plural; not if it is its own singular, as ``fish``."""
    single = engine().singular_noun(word)
    return bool(single) and single != word


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


def compound(words: list[str]) -> list[str]:
    """The words of a name as a noun has them: all but the last in the singular, ``user files``."""
    made = list(words)
    for place, word in enumerate(words[:-1]):
        if word not in _STAY_PLURAL and words[place + 1] not in _LINKS:
            made[place] = singular(word)
    return made


def with_article(noun: str) -> str:
    """A noun phrase with a or an."""
    return f"{article_of(noun)} {noun}"


@cache
def article_of(noun: str) -> str:
    """``a`` or ``an``, as the first word of a noun phrase sounds: spelled letters and numbers by rule."""
    word = re.split(r"[\s-]", noun.strip(), maxsplit=1)[0]
    number = re.match(r"[0-9]+", word)
    if number:  # eight, eleven, eighteen; eleven thousand
        digits = number.group()
        return "an" if digits[0] == "8" or (digits[:2] in ("11", "18") and len(digits) % 3 == 2) else "a"
    low = word.lower()
    if low in _SPELLED or low in ("mp3", "mp4") or (low.isalpha() and not re.search("[aeiouy]", low)):
        return "an" if low[0] in "aefhilmnorsx" else "a"
    return str(engine().a(word)).split()[0] if word else "a"


@cache
def in_words(number: int) -> str:
    """A number in words."""
    return str(engine().number_to_words(number, andword="")).replace("  ", " ")
