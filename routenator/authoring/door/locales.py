"""Values as speakers of another language say them: names, places and days of a Faker locale."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from routenator.authoring.door.banks import NAMES, Bank, Drawn, any_day, any_time
from routenator.errors import InputError
from routenator.language import base_code

# How a day is written, by language; {} are day, month and year.
_DAY = {"de": "{}. {} {}", "da": "{}. {} {}", "no": "{}. {} {}", "fi": "{}. {} {}", "cs": "{}. {} {}",
        "es": "{} de {} de {}", "pt": "{} de {} de {}"}  # fmt: skip
_PLAIN_DAY = "{} {} {}"


def locale_of(language: str) -> str:
    """Faker's locale for a language code: ``de`` is ``de_DE``.

    Raises:
        InputError: Faker has none.
    """
    from faker.config import AVAILABLE_LOCALES

    wanted = language.replace("-", "_")
    base = wanted.partition("_")[0]
    every = sorted(each for each in AVAILABLE_LOCALES if "_" in each)  # others lack names of months
    found = [each for each in (wanted, f"{base}_{base.upper()}") if each in every]
    found += [each for each in every if each.partition("_")[0] == base]
    if not found:
        raise InputError(
            "no names and places are known in this language", key="--languages", found=language,
            valid=[each.partition("_")[0] for each in every],
        )  # fmt: skip
    return found[0]


@cache
def _faker(locale: str) -> Any:
    from faker import Faker

    return Faker(locale)


def local_banks(language: str) -> dict[str, Bank]:
    """Banks of values in a language, by kind; other kinds are the same in all languages.

    Raises:
        InputError: as ``locale_of``.
    """
    locale = locale_of(language)
    made: dict[str, Bank] = {kind: _faked(locale, make) for kind, make in NAMES.items()}
    made["job"] = _faked(locale, lambda faker: str(faker.job()).partition("/")[0])
    if base_code(language) != "en":
        made |= {"date": _dates(locale, language), "loose_date": _loose_dates(locale, language)}
        made["time"] = _times
        made["country"] = _faked(locale, lambda faker: str(faker.country()))
    return made


def _faked(locale: str, make: Any) -> Bank:
    def bank(draw: random.Random) -> Iterator[Drawn]:
        faker = _faker(locale)
        while True:
            faker.seed_instance(draw.getrandbits(32))
            try:
                text = make(faker)
            except AttributeError:  # not every locale has everything, such as states
                return
            yield (text.replace("\n", ", "),)

    return bank


def _months(locale: str) -> Mapping[str, str] | None:
    """Names of the months by number, 01 to 12; None if Faker does not know them."""
    from importlib import import_module

    try:
        found: Mapping[str, str] = import_module(f"faker.providers.date_time.{locale}").Provider.MONTH_NAMES
    except (ImportError, AttributeError):
        return None
    return found


def _said(day: datetime.date, months: Mapping[str, str], language: str) -> str:
    form = _DAY.get(base_code(language), _PLAIN_DAY)
    return form.format(day.day, months[f"{day.month:02d}"], day.year)


def _dates(locale: str, language: str) -> Bank:
    months = _months(locale)

    def bank(draw: random.Random) -> Iterator[Drawn]:
        while True:
            day = any_day(draw)
            named = [_said(day, months, language)] if months is not None else []
            yield (day.isoformat(), *named, f"{day.day}.{day.month}.{day.year}")

    return bank


def _loose_dates(locale: str, language: str) -> Bank:
    """Days as they are said, for parameters that take any text."""

    def bank(draw: random.Random) -> Iterator[Drawn]:
        return ((draw.choice(said),) for _, *said in _dates(locale, language)(draw))

    return bank


def _times(draw: random.Random) -> Iterator[Drawn]:
    while True:
        hour, minute = any_time(draw)
        yield (f"{hour:02d}:{minute:02d}", f"{hour}:{minute:02d}", f"{hour:02d}:{minute:02d}")
