"""Typed values, each with how people say it: dates, amounts, names, addresses, ids. Names come from Faker."""

from __future__ import annotations

import base64
import datetime
import json
import random
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from routenator.authoring.door.english import in_words
from routenator.authoring.door.freetext import filler, patterns, words

Drawn = tuple[str, ...]  # the value, then how it is said; alone, it is said as it is
Bank = Callable[[random.Random], Iterator[Drawn]]

_START = datetime.date(2026, 1, 1)
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SAFE = "abcdefghjkmnpqrstuvwxyz"
_LOCALES = ("en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "it_IT", "pt_BR", "nl_NL", "pl_PL", "sv_SE")


@cache
def _fakers() -> list[Any]:
    from faker import Faker

    return [Faker(locale) for locale in _LOCALES]


def _faker(draw: random.Random, english: float = 0.6) -> Any:
    """A Faker, more often an English one, that follows the seed."""
    every = _fakers()
    chosen = every[draw.randrange(2)] if draw.random() < english else draw.choice(every)
    chosen.seed_instance(draw.getrandbits(32))
    return chosen


def _faked(make: Callable[[Any], str], english: float = 0.6) -> Bank:
    def bank(draw: random.Random) -> Iterator[Drawn]:
        while True:
            yield (make(_faker(draw, english)).replace("\n", ", "),)

    return bank


def _loop(make: Callable[[random.Random], Drawn]) -> Bank:
    def bank(draw: random.Random) -> Iterator[Drawn]:
        while True:
            yield make(draw)

    return bank


def said_date(day: datetime.date) -> list[str]:
    """A day as people write it."""
    month, number = _MONTHS[day.month - 1], day.day
    return [f"{month} {number}, {day.year}", f"{number} {month} {day.year}", day.isoformat()]


def _clock(hour: int, minute: int) -> list[str]:
    half = "am" if hour < 12 else "pm"
    short = (hour - 1) % 12 + 1
    exact = f"{short} {half}" if minute == 0 else f"{short}:{minute:02d} {half}"
    return [exact, f"{hour:02d}:{minute:02d}"]


def any_day(draw: random.Random) -> datetime.date:
    """A day of four years."""
    return _START + datetime.timedelta(days=draw.randrange(1460))


def _date(draw: random.Random) -> Drawn:
    day = any_day(draw)
    return (day.isoformat(), *said_date(day))


def _birth_date(draw: random.Random) -> Drawn:
    day = datetime.date(1940, 1, 1) + datetime.timedelta(days=draw.randrange(25000))
    return (day.isoformat(), *said_date(day))


def any_time(draw: random.Random) -> tuple[int, int]:
    """Hour and minute, round ones more often."""
    return draw.randrange(24), draw.choice((0, 0, 15, 30, 45, 5, 10, 20, 40, 50))


def _date_time(draw: random.Random) -> Drawn:
    day, (hour, minute) = any_day(draw), any_time(draw)
    clock = _clock(hour, minute)
    value = f"{day.isoformat()}T{hour:02d}:{minute:02d}:00Z"
    return (value, f"{said_date(day)[0]} at {clock[0]}", f"{clock[0]} on {said_date(day)[1]}", f"{day} {clock[1]}")


def _clock_time(draw: random.Random) -> Drawn:
    hour, minute = draw.randrange(24), draw.randrange(60)
    return (f"{hour:02d}:{minute:02d}", *_clock(hour, minute))


def _clock_time_of_format(draw: random.Random) -> Drawn:
    value, *said = _clock_time(draw)
    return (f"{value}:00", *said)


def _loose_date(draw: random.Random) -> Drawn:
    """A day as said, for parameters that take any text."""
    day = any_day(draw)
    kind = draw.random()
    if kind < 0.15:
        return (f"{draw.choice(('next', 'this', 'last'))} {draw.choice(_DAYS)}",)
    if kind < 0.3:
        return (f"{_MONTHS[day.month - 1]} {day.day}",)
    if kind < 0.35:
        return (draw.choice(("today", "tomorrow", "yesterday", "next week", "last month", "the end of the month")),)
    return (draw.choice(said_date(day)),)


def _duration(draw: random.Random) -> Drawn:
    unit, most = draw.choice((("minute", 90), ("hour", 72), ("day", 90), ("week", 52), ("month", 36), ("second", 120)))
    count = draw.randint(1, most)
    text = f"{count} {unit}{'' if count == 1 else 's'}"
    return (text, text, f"{in_words(count)} {unit}{'' if count == 1 else 's'}")


def _iso_duration(draw: random.Random) -> Drawn:
    unit, letter, most = draw.choice(
        (("minute", "PT{}M", 90), ("hour", "PT{}H", 72), ("day", "P{}D", 90), ("week", "P{}W", 52))
    )
    count = draw.randint(1, most)
    return (letter.format(count), f"{count} {unit}{'' if count == 1 else 's'}")


def _money(draw: random.Random) -> Drawn:
    value = f"{draw.randint(1, 900)}.{draw.choice((0, 5, 20, 49, 50, 75, 90, 95, 99)):02d}"
    return (value, value, f"${value}", f"{value} dollars")


def _uuid(draw: random.Random) -> Drawn:
    digits = f"{draw.getrandbits(128):032x}"
    return (f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}",)


def _identifier(draw: random.Random) -> Drawn:
    signs = "".join(draw.choice("0123456789" + _SAFE) for _ in range(draw.choice((5, 6, 8))))
    number = draw.randint(100, 999999)
    prefix = "".join(draw.choice(_SAFE) for _ in range(draw.choice((2, 3))))
    return (
        draw.choice((signs + str(draw.randint(0, 9)), f"{prefix}_{number}", f"{prefix.upper()}-{number}", str(number))),
    )


def _code(draw: random.Random) -> Drawn:
    letters = "".join(draw.choice(_SAFE.upper()) for _ in range(draw.choice((2, 3, 4))))
    return (f"{letters}{draw.randint(10, 9999)}" if draw.random() < 0.7 else f"{letters}-{draw.randint(100, 9999)}",)


def _hash(draw: random.Random) -> Drawn:
    return (f"{draw.getrandbits(160):040x}"[: draw.choice((7, 8, 10, 40))],)


def _password(draw: random.Random) -> Drawn:
    lists = words()
    return (f"{draw.choice(lists['adjectives'])}{draw.choice(lists['nouns']).capitalize()}{draw.randint(10, 99)}",)


def _version(draw: random.Random) -> Drawn:
    parts = [draw.randint(0, 9), draw.randint(0, 20), draw.randint(0, 15)]
    return (".".join(map(str, parts[: draw.choice((2, 3, 3))])),)


def _revision(draw: random.Random) -> Drawn:
    kind = draw.random()
    if kind < 0.4:
        return _hash(draw)
    if kind < 0.7:
        return (next(filler("branch")(draw)),)
    if kind < 0.85:
        return ("v" + _version(draw)[0],)
    return (f"HEAD~{draw.randint(1, 40)}",)


def _url(draw: random.Random) -> Drawn:
    """Said without the scheme, which a query's check takes for markup, and which people leave out."""
    place = next(filler("hostname")(draw))
    path = draw.choice(
        (
            "",
            f"/{draw.choice(words()['labels'])}",
            f"/{next(filler('slug')(draw))}",
            f"/{draw.choice(words()['folders'])}",
        )
    )
    return (f"https://{place}{path}", f"{place}{path}")


def _email(draw: random.Random) -> Drawn:
    first = _faker(draw, 1.0).first_name().lower()
    last = _faker(draw, 1.0).last_name().lower().replace("'", "")
    user = draw.choice((f"{first}.{last}", f"{first[0]}{last}", f"{first}{draw.randint(1, 99)}", f"{first}_{last}"))
    return (f"{user}@{draw.choice(('example.com', 'example.org', 'example.net', 'mail.example.com'))}",)


def _phone(draw: random.Random) -> Drawn:
    return (f"+1 {draw.randint(201, 989)} 555 {draw.randint(0, 9999):04d}",)


def _ip(draw: random.Random) -> Drawn:
    return (f"10.{draw.randint(0, 255)}.{draw.randint(0, 255)}.{draw.randint(1, 254)}",)


def _ipv6(draw: random.Random) -> Drawn:
    return (f"2001:db8::{draw.getrandbits(16):x}:{draw.getrandbits(16):x}",)


def _hex_colour(draw: random.Random) -> Drawn:
    return (f"#{draw.getrandbits(24):06x}",)


def _colour(draw: random.Random) -> Drawn:
    lists = words()
    base, shade = draw.choice(lists["colours"]), draw.choice(["", *lists["shades"]])
    return (f"{shade} {base}".strip(),)


def _coded(pairs: Callable[[Any], list[tuple[str, str]]]) -> Bank:
    """Codes with the names that people say."""

    def bank(draw: random.Random) -> Iterator[Drawn]:
        listed = pairs(_fakers()[0])
        while True:
            code, name = draw.choice(listed)
            yield (code, name)

    return bank


def _countries(faker: Any) -> list[tuple[str, str]]:
    from faker.providers.date_time import Provider

    return [(each.alpha_2_code, each.name) for each in Provider.countries]


def _country_names(draw: random.Random) -> Iterator[Drawn]:
    names = sorted({name for _, name in _countries(None)})
    while True:
        yield (draw.choice(names),)


def _zones(draw: random.Random) -> Iterator[Drawn]:
    from faker.providers.date_time import Provider

    zones = sorted({zone for each in Provider.countries for zone in each.timezones})
    while True:
        zone = draw.choice(zones)
        yield (zone, zone, f"{zone.rpartition('/')[2].replace('_', ' ')} time")


def _currencies(faker: Any) -> list[tuple[str, str]]:
    from faker.providers.currency import Provider

    return [(code, name) for code, name in Provider.currencies if not code.startswith("X")]


def _languages(faker: Any) -> list[tuple[str, str]]:
    pairs = (entry.partition(" ") for entry in words()["languages"])
    return [(code, name) for code, _, name in pairs]


def _language_names(draw: random.Random) -> Iterator[Drawn]:
    while True:
        yield (draw.choice(_languages(None))[1],)


def _locales(draw: random.Random) -> Iterator[Drawn]:
    while True:
        code, _ = draw.choice(_languages(None))
        yield (draw.choice((code, f"{code}-{draw.choice(('US', 'GB', 'DE', 'FR', 'ES', 'IT', 'BR', 'CH', 'CA'))}")),)


def _place(draw: random.Random) -> Drawn:
    faker = _faker(draw)
    kind = draw.random()
    if kind < 0.15:
        return (next(filler("landmark")(draw)),)
    return (str(faker.city()) if kind < 0.6 else f"{faker.city()}, {faker.current_country()}",)


def _free(kind: str) -> Bank:
    make = filler(kind)

    def bank(draw: random.Random) -> Iterator[Drawn]:
        return ((text,) for text in make(draw))

    return bank


def _digits(draw: random.Random) -> Drawn:
    number = draw.choice((draw.randint(1, 12), draw.choice((5, 10, 20, 25, 50, 100)), draw.randint(1, 999)))
    return (str(number), str(number), in_words(number)) if number <= 12 else (str(number),)


def _position(draw: random.Random) -> Drawn:
    return (draw.choice(("top", "bottom", str(draw.randint(1, 999)))),)


def _json(draw: random.Random) -> Drawn:
    lists = words()
    about = f"{draw.choice(lists['adjectives'])} {draw.choice(lists['nouns'])}"
    return (json.dumps({"type": draw.choice(lists["nouns"]), "text": about}),)


def _base64(draw: random.Random) -> Drawn:
    return (base64.b64encode(next(filler("slug")(draw)).encode()).decode(),)


# What a Faker of any locale makes, by kind.
NAMES: dict[str, Callable[[Any], str]] = {
    "person": lambda faker: f"{faker.first_name()} {faker.last_name()}",
    "first_name": lambda faker: str(faker.first_name()),
    "last_name": lambda faker: str(faker.last_name()),
    "company": lambda faker: str(faker.company()),
    "job": lambda faker: str(faker.job()).replace("/", " or "),
    "city": lambda faker: str(faker.city()),
    "state": lambda faker: str(faker.administrative_unit()),
    "street": lambda faker: str(faker.street_address()),
    "address": lambda faker: str(faker.address()),
    "postcode": lambda faker: str(faker.postcode()),
}
_ENGLISH = {"job": 1.0, "state": 0.5, "address": 1.0}  # share of English ones, where it is not 0.6

_TYPED: dict[str, Bank] = {
    "date": _loop(_date),
    "birth_date": _loop(_birth_date),
    "date_time": _loop(_date_time),
    "time": _loop(_clock_time),
    "time_of_format": _loop(_clock_time_of_format),
    "loose_date": _loop(_loose_date),
    "duration": _loop(_duration),
    "iso_duration": _loop(_iso_duration),
    "money": _loop(_money),
    "uuid": _loop(_uuid),
    "identifier": _loop(_identifier),
    "code_number": _loop(_code),
    "hash": _loop(_hash),
    "password": _loop(_password),
    "version": _loop(_version),
    "revision": _loop(_revision),
    "url": _loop(_url),
    "email": _loop(_email),
    "phone": _loop(_phone),
    "ip": _loop(_ip),
    "ipv6": _loop(_ipv6),
    "hex_colour": _loop(_hex_colour),
    "colour": _loop(_colour),
    "base64": _loop(_base64),
    "digits": _loop(_digits),
    "position": _loop(_position),
    "json": _loop(_json),
    **{kind: _faked(make, _ENGLISH.get(kind, 0.6)) for kind, make in NAMES.items()},
    "place": _loop(_place),
    "country": _country_names,
    "country_code": _coded(_countries),
    "currency": _coded(_currencies),
    "language": _language_names,
    "language_code": _coded(_languages),
    "locale": _locales,
    "time_zone": _zones,
    "isbn": _faked(lambda faker: str(faker.isbn13())),
    "iban": _faked(lambda faker: str(faker.iban())),
    "mime": _faked(lambda faker: str(faker.mime_type()), 1.0),
}


@cache
def banks() -> dict[str, Bank]:
    """All banks by kind: the typed ones, and one for each grammar of free text."""
    return {**_TYPED, **{kind: _free(kind) for kind in patterns()}}
