"""Queries in other languages and scripts: casing, typing noise, word counts and places in the query.

The domains are those of benchmarks/languages.py, the same one in each language.
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmarks.languages import WORDS, write_domain
from routenator.casing import capitalised, lowered
from routenator.config import ChecksConfig
from routenator.domain.domain import Domain
from routenator.domain.loader import load_domain
from routenator.domain.schema import Join, Noise
from routenator.extras import is_installed
from routenator.generation.candidate import to_check
from routenator.sampling.sampler import Sampler
from routenator.validation.checks import Context, first_failure
from routenator.validation.prefilter import surely_accepted
from routenator.validation.segments import count_words
from routenator.validation.text import THIRDS, third_of, words
from routenator.wording import text as compiled_text
from routenator.wording.composer import Composer
from routenator.wording.joining import joined
from routenator.wording.program import letter_bits
from routenator.wording.tables import WIDE_PUNCTUATION, counting
from tests.conftest import make_config

ROWS = 300
needs_budoux = pytest.mark.skipif(not is_installed("budoux"), reason="the extra `languages` is not installed")
LANGUAGES = ["en", "de", "tr", *(pytest.param(language, marks=needs_budoux) for language in ("ja", "th"))]


def made(folder: Path, language: str, noise: Noise | None = None, rows: int = ROWS) -> tuple[Domain, Any]:
    """The domain in a language, and rows with words."""
    domain = load_domain(write_domain(folder / language, language))
    if noise is not None:
        domain = replace(domain, statistics=domain.statistics.model_copy(update={"noise": noise}))
    return domain, worded(domain, rows)


def worded(domain: Domain, rows: int) -> Any:
    """Rows with words."""
    config = make_config(domain=str(domain.path), dataset={"size": rows})
    sampler = Sampler(domain, config)
    return Composer(domain, config, sampler.strata).details(sampler.requests(0, rows))


def add_language(folder: Path, language: str) -> None:
    """Give the domain a further language, in files of its own."""
    words, english = (yaml.safe_load(WORDS.read_text(encoding="utf-8"))[code] for code in (language, "en"))
    own = folder / "languages" / language
    (own / "templates" / "heuristic").mkdir(parents=True)
    with (own / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("id", "label", "aliases"))
        for kind, name in (("Cuisine", "cuisines"), ("City", "cities"), ("Party", "parties"), ("Time", "times")):
            assert len(words[name]) == len(english[name])
            table.writerows((f"{kind}{number}", *text.partition("|")[::2]) for number, text in enumerate(words[name]))
    (own / "lexicon.yaml").write_text(yaml.safe_dump({name: words[name] for name in ("polite", "wish")}))
    templates = {f"{language}_{number}": {"text": text} for number, text in enumerate(words["patterns"])}
    functions = ["book_table", "find_restaurant"]
    (own / "templates" / "heuristic" / "own.yaml").write_text(
        yaml.safe_dump({"functions": functions, "templates": templates}, allow_unicode=True), encoding="utf-8"
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_queries_of_any_language_pass_at_full_speed(tmp_path: Path, language: str) -> None:
    """A letter beyond ASCII used to send a row through the checks in Python, and Japanese rows were one word long."""
    domain, table = made(tmp_path, language)
    context = Context(domain, ChecksConfig(), {})
    sure = surely_accepted(table, context)
    verdicts = [first_failure(to_check(domain, row, row["draft"]), context) for row in table.to_pylist()]
    accepted = np.array([verdict is None for verdict in verdicts])
    assert accepted.mean() > 0.7 and sure.mean() > 0.95 * accepted.mean()
    assert not (sure & ~accepted).any()


@pytest.mark.parametrize("language", LANGUAGES)
def test_queries_have_the_length_of_their_bucket(tmp_path: Path, language: str) -> None:
    domain, table = made(tmp_path, language)
    fits = []
    for row in table.to_pylist():
        low, high = domain.statistics.length_buckets[row["length"]]
        fits.append(low <= count_words(row["draft"], language) <= high)
    assert np.mean(fits) > 0.7  # not all: some patterns are too short for a long query
    assert {row["length"] for row in table.to_pylist()} == {"short", "long"}


def test_lower_case_is_that_of_the_language(tmp_path: Path) -> None:
    """Iğdır became iğdır and İzmir i̇zmir, with a dot of its own, in which no value was found again."""
    _, table = made(tmp_path, "tr", Noise(lowercase=1.0))
    text = " ".join(table["draft"].to_pylist())
    assert "ığdır" in text and "izmir" in text and "İ" not in text and "I" not in text and "\u0307" not in text
    assert not {"iğdır", "i̇zmir"} & {*text.split()}
    for row in table.to_pylist():
        assert json.loads(row["slots"])[0]["city"] in row["draft"]
    _, table = made(tmp_path / "other", "de", Noise(lowercase=1.0))
    text = " ".join(table["draft"].to_pylist())
    assert text == text.lower() and "köln" in text


@needs_budoux
def test_each_language_of_a_domain_has_its_own_letter_case_and_words(tmp_path: Path) -> None:
    """One domain, one table of rows: in Turkish I becomes ı, in English i, and Japanese is counted without spaces."""
    folder = write_domain(tmp_path / "tables", "en")
    for language in ("tr", "ja"):
        add_language(folder, language)
    statistics = yaml.safe_load((folder / "statistics.yaml").read_text())
    statistics |= {"languages": {"en": 0.4, "tr": 0.3, "ja": 0.3}, "noise": {"lowercase": 1.0}}
    statistics["length_buckets"] = {"short": [1, 5], "long": [6, 18]}
    (folder / "statistics.yaml").write_text(yaml.safe_dump(statistics))
    domain = load_domain(folder)
    table = worded(domain, 600)
    rows = table.to_pylist()
    said = {language: [row["draft"] for row in rows if row["language"] == language] for language in ("en", "tr", "ja")}
    english, turkish = " ".join(said["en"]), " ".join(said["tr"])
    assert "ı" not in english and "italian" in english and "i would like you to" in english
    assert "ığdır" in turkish and "izmir" in turkish and not {"I", "İ", "\u0307"} & {*turkish}
    assert "東京" in " ".join(said["ja"])
    for row in rows:
        low, high = domain.statistics.length_buckets[row["length"]]
        row["fits"] = low <= count_words(row["draft"], row["language"]) <= high
        assert json.loads(row["slots"])[0]["city"] in row["draft"]
    for language in said:
        # Buckets are common, so some patterns of each language are too short or too long for one of them.
        assert np.mean([row["fits"] for row in rows if row["language"] == language]) > 0.5
    context = Context(domain, ChecksConfig(), {})
    accepted = np.array([first_failure(to_check(domain, row, row["draft"]), context) is None for row in rows])
    sure = surely_accepted(table, context)
    assert sure.sum() > 0.95 * accepted.sum() and not (sure & ~accepted).any()


@pytest.mark.parametrize(
    ("text", "language", "low", "capital"),
    [
        ("ISPARTA ve İzmir", "tr", "ısparta ve izmir", "ISPARTA ve İzmir"),
        ("ilk ışık", "tr-TR", "ilk ışık", "İlk ışık"),
        ("ışık", "az", "ışık", "Işık"),
        ("Is it Isparta", "en", "is it isparta", "Is it Isparta"),
        ("ilk", "de", "ilk", "Ilk"),
        ("", "tr", "", ""),
    ],
)
def test_casing(text: str, language: str, low: str, capital: str) -> None:
    assert lowered(text, language) == low and capitalised(text, language) == capital


def test_joined_requests_are_cased_by_their_language() -> None:
    join = Join(between=". ", last=". ")
    assert joined(["Işığı aç", "ısıyı kıs"], [], join, "tr") == "Işığı aç. Isıyı kıs"
    assert joined(["Masa ayırt", "izmir'e bak"], [], join, "tr") == "Masa ayırt. İzmir'e bak"
    assert joined(["Işığı aç", "Isıyı kıs"], [], Join(between=" ve ", last=" ve "), "tr") == "Işığı aç ve ısıyı kıs"


@pytest.mark.parametrize("text", ["ışığı", "погода", "กำลัง", "हिन्दी", "東京天気", "καλός"])
def test_a_typo_is_made_in_letters_of_any_script(text: str) -> None:
    """Letters, and marks as they are typed, are swapped, dropped and doubled as a whole, never their bytes."""
    found = set()
    for where in range(0, 1 << 32, 1 << 28):
        for kind in (0, 1 << 31, (1 << 32) - 1):
            raw = np.frombuffer(text.encode() + b"\0" * 8, dtype=np.uint8).copy()
            end = compiled_text.typo(raw, len(text.encode()), where, kind, letter_bits(), np.zeros(64, dtype=np.int64))
            found.add(bytes(raw[:end]).decode())
    places = range(1, len(text) - 2)
    dropped = {text[:k] + text[k + 1 :] for k in places}
    doubled = {text[:k] + text[k] + text[k:] for k in places}
    swapped = {text[:k] + text[k + 1] + text[k] + text[k + 2 :] for k in places}
    assert found == dropped | doubled | swapped


@pytest.mark.parametrize(
    ("before", "category", "after"),
    [
        ("明日の東京の", "天気", "を教えて"),
        ("", "天気", "は？"),
        ("iPhone 15 で", "天気", "を見る"),
        ("อากาศที่กรุงเทพ", "พรุ่งนี้", "เป็นยังไง"),
        ("show me the", " weather ", "in Köln now"),
    ],
)
def test_places_in_a_query_are_told_by_letters_where_there_are_no_spaces(
    before: str, category: str, after: str
) -> None:
    raw = np.frombuffer(f"{before}\3{category}\2{after}".encode(), dtype=np.uint8).copy()
    found = compiled_text.third_by_letters(raw, 0, len(raw), letter_bits())
    assert THIRDS[found] == third_of(words(before + category + after), [words(category)])


def test_punctuation_of_other_scripts_is_dropped_and_may_stand_alone() -> None:
    raw = np.frombuffer("¿qué hora es？ \1a？b\2、今 。".encode(), dtype=np.uint8).copy()
    out = np.zeros(99, dtype=np.uint8)
    end, count, _ = compiled_text.tidy(raw, 0, len(raw), True, out, 0)
    assert bytes(out[:end]).decode() == "qué hora es a？b今" and count == 4
    end, count, _ = compiled_text.tidy(raw, 0, len(raw), False, out, 0)
    assert bytes(out[:end]).decode() == "¿qué hora es？ a？b、今 。" and count == 5
    # A mark that stands alone is a word in doubt.
    assert all(counting(f"a {sign} b") >> 20 == 1 for sign in WIDE_PUNCTUATION)
