"""The normal form of a query: what is the same query, for golden sets and for the merge."""

from __future__ import annotations

import json
import string
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.candidates import frame, strata
from routenator.dataset.decisions import Decision
from routenator.dataset.merge import decide
from routenator.dataset.sources import open_sources
from routenator.domain.calls import Call, calls_text
from routenator.domain.domain import Domain
from routenator.domain.golden import load_golden
from routenator.errors import InputError
from routenator.normalform import normal_form, normal_forms
from routenator.schemas import CANDIDATE_COLUMNS, arrow_schema

SAME = {
    "case and punctuation": ("Got any DOG posters, please?", "got any dog - posters please"),
    "underscores": ("snake_case words", "snake case words"),
    "NFC and NFD": ("caf\u00e9 poster", "cafe\u0301 poster"),
    "a zero-width space": ("dog pos\u200bter", "dog poster"),
    "a soft hyphen and a mark of direction": ("dog po\u00adster\u200e", "dog poster"),
    "sharp s": ("Straße zeigen", "STRASSE zeigen"),
    "a final sigma": ("ΟΔΟΣ", "οδος"),
    "a ligature": ("ﬁnd dogs", "find dogs"),
    "full-width letters and symbols": ("Ｃ＋＋ book", "C++ book"),
    "no-break spaces": ("dog\u00a0poster", "dog poster"),
    "minus and hyphen": ("set it to \u22125", "set it to -5"),
    "a hyphen between digits": ("call 555-1234", "call 555 1234"),
    "a dash": ("posters - 5 dogs", "posters 5 dogs"),
    "a hash before a word": ("#5 of the list", "5 of the list"),
    "a sentence's end": ("Find 5. 3 are enough.", "find 5 3 are enough"),
    "an emoji set close": ("dogs🐶!", "dogs 🐶"),
    "an emoji as text or picture": ("i \u2764 dogs", "i \u2764\ufe0f dogs"),
    "spaces around a symbol": ("2+3", "2 + 3"),
    "the capital of a dotless i": ("Işıkları aç", "ışıkları aç"),
    "the capital of a dotted i": ("İzmir'e uçak bul", "izmir'e uçak bul"),
    "a dotted capital in NFD": ("I\u0307zmir", "izmir"),
    "a dotless i typed with a dot": ("ışıkları kapat", "işikları kapat"),
    "a trademark": ("LEGO® bricks", "lego bricks"),
}
DIFFERENT = {
    "C++ and C#": ("a C++ book", "a C# book"),
    "C++ and C": ("a C++ book", "a C book"),
    "-5 and 5": ("set it to -5", "set it to 5"),
    "1.5 and 1 5": ("1.5 cups", "1 5 cups"),
    "1,5 and 1 5": ("1,5 Tassen", "1 5 Tassen"),
    ".5 and 5": ("take .5 cups", "take 5 cups"),
    "-.5 and -5": ("take -.5", "take -5"),
    "a fraction": ("1/2 cup", "1 2 cup"),
    "a mixed number": ("1½ cups", "11/2 cups"),
    "a power": ("2²", "22"),
    "arithmetic": ("8 * 2", "8 / 2"),
    "per cent": ("lower it by 5%", "lower it by 5"),
    "currencies": ("flights under $50", "flights under €50"),
    "less and more": ("rating > 5", "rating < 5"),
    "Hindi vowel signs": ("की", "का"),
    "Hindi, one word of a query": ("दिन दिखाओ", "दीन दिखाओ"),
    "Thai vowels and tones": ("ข้าว", "ข่าว"),
    "emoji": ("🐶", "🐱"),
    "tones of skin": ("wave 👋🏽", "wave 👋🏿"),
    "accents": ("resume", "résumé"),
    "word order": ("dog poster", "poster dog"),
    "numbers": ("poster 1", "poster 2"),
}


@pytest.mark.parametrize(("first", "second"), SAME.values(), ids=SAME)
def test_the_same_query(first: str, second: str) -> None:
    assert normal_form(first) == normal_form(second) != ""


@pytest.mark.parametrize(("first", "second"), DIFFERENT.values(), ids=DIFFERENT)
def test_different_queries(first: str, second: str) -> None:
    assert normal_form(first) != normal_form(second)


def _golden(file: Path, queries: tuple[str, ...]) -> Path:
    rows = [
        {"query": q, "call": {"name": "search", "arguments": {"content_type": "poster", "extracted_prompt": "x"}}}
        for q in queries
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_golden_set_holds_the_same_query_once(tiny: Domain, tmp_path: Path) -> None:
    for pair in SAME.values():
        with pytest.raises(InputError, match="duplicate query"):
            load_golden(_golden(tmp_path / "golden.jsonl", pair), tiny.functions)


def test_a_golden_set_may_hold_queries_that_differ_in_marks_or_signs(tiny: Domain, tmp_path: Path) -> None:
    queries = {normal_form(query): query for pair in DIFFERENT.values() for query in pair}
    file = _golden(tmp_path / "golden.jsonl", tuple(queries.values()))
    assert len(load_golden(file, tiny.functions)) == len(queries)


def _decided(folder: Path, queries: list[str], calls: list[str], golden: Sequence[str] = ()) -> list[str]:
    """The merge's decision on each query, by name."""
    table = strata(len(queries))
    rows = frame(0, len(queries)).with_columns(
        query=pl.Series(queries),
        calls=pl.Series([calls_text([Call("search", {"prompt": call})]) for call in calls]),
        accepted=pl.lit(True),
        stratum=pl.lit(0, pl.Int32),
        index=pl.int_range(len(queries), dtype=pl.Int64),
    )
    pq.write_table(rows.to_arrow().cast(arrow_schema(CANDIDATE_COLUMNS)), folder / "rows.parquet")
    table[0]["quota"] = len(queries)
    sources = open_sources([("rows", folder / "rows.parquet")])
    decisions = decide(sources, table, golden, folder / "work", near_duplicates="off")
    return [Decision(code).name for code in decisions.codes.tolist()]


def test_the_merge_finds_repeats_and_leaks_in_any_form(tmp_path: Path) -> None:
    """A leak in NFD, with a zero-width space or with ss for ß was trained on."""
    firsts, seconds = [pair[0] for pair in SAME.values()], [pair[1] for pair in SAME.values()]
    (tmp_path / "a").mkdir()
    found = _decided(tmp_path / "a", firsts + seconds, ["x"] * 2 * len(SAME))
    assert dict(zip(SAME, found[len(SAME) :], strict=True)) == dict.fromkeys(SAME, "DUPLICATE")
    (tmp_path / "b").mkdir()
    found = _decided(tmp_path / "b", seconds, ["x"] * len(SAME), golden=firsts)
    assert dict(zip(SAME, found, strict=True)) == dict.fromkeys(SAME, "GOLDEN_LEAK")


def test_the_merge_keeps_queries_that_differ_in_marks_or_signs(tmp_path: Path) -> None:
    """C++ and C#, -5 and 5: right rows were dropped as conflict, or as leaks of another query."""
    queries = list({normal_form(query): query for pair in DIFFERENT.values() for query in pair}.values())
    golden = ["a C book.", "get 9"]
    found = _decided(tmp_path, [*queries, "get -9"], [str(n) for n in range(len(queries) + 1)], golden)
    dropped = {query for query, name in zip([*queries, "get -9"], found, strict=True) if name != "FINAL"}
    assert dropped == {"a C book"}


def test_python_and_polars_agree_on_every_character() -> None:
    kinds = {sign: unicodedata.category(sign) for sign in map(chr, range(sys.maxunicode + 1))}
    # Of ideographs and syllables, which are all alike, some are enough.
    known = [
        sign
        for sign, kind in kinds.items()
        if kind not in ("Cs", "Cn", "Co") and (kind != "Lo" or ord(sign) % 64 == 1 or sign.casefold() != sign)
    ]
    texts = [f"a{sign}1{sign}2 {sign}5 {sign}b" for sign in known]
    forms = normal_forms(pl.Series(texts)).to_list()
    assert [pair for pair in zip(texts, forms, strict=True) if normal_form(pair[0]) != pair[1]] == []


@settings(deadline=None)
@given(st.text(alphabet=string.printable + "éÅıİiI\u0307\u00a0–’“”…¿ßﬁΣς½²\u0301\u200b\ufe0f🏽🐶दीก้", max_size=40))
def test_python_and_polars_agree_on_texts(text: str) -> None:
    assert normal_forms(pl.Series([text, None], dtype=pl.String)).to_list() == [normal_form(text), None]


@settings(deadline=None)
@given(st.text(alphabet=string.ascii_letters + string.digits + " '!?;:&@()[]_\"\t\n", max_size=40))
def test_plain_queries_are_their_words(text: str) -> None:
    """So that rows and splits of ASCII data stay as they were."""
    assert normal_form(text) == " ".join("".join(sign if sign.isalnum() else " " for sign in text.lower()).split())


def test_nulls_and_empty_columns() -> None:
    assert normal_forms(pl.Series([], dtype=pl.String)).to_list() == []
    assert normal_forms(pl.Series([None, "C++"], dtype=pl.String)).to_list() == [None, "c ＋ ＋"]
