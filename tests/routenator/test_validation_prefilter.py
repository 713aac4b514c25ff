"""Tests that the checks accept everything that the prefilter accepts."""

from __future__ import annotations

import json
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from routenator.config import ChecksConfig
from routenator.domain.calls import Call, calls_text
from routenator.domain.functions import Function, check_call
from routenator.domain.loader import load_domain
from routenator.generation.candidate import to_check
from routenator.generation.heuristic import candidates
from routenator.sampling.sampler import Sampler
from routenator.schemas import CANDIDATE_COLUMNS, DETAIL_COLUMNS, arrow_schema
from routenator.validation.checks import CHECKS, Context, first_failure
from routenator.validation.letters import letter_tables
from routenator.validation.prefilter import COVERED, surely_accepted
from routenator.validation.prefilter_call import valid
from routenator.validation.prefilter_kernel import tokens
from routenator.validation.prefilter_schema import DEEPEST, MOST_ITEMS, hashed, make_shapes
from routenator.validation.text import words
from routenator.wording.composer import Composer
from tests.conftest import ROOT, make_config


def details(tiny, drafts: list[str], slots: list[dict], arguments: list[dict], **columns: str) -> pa.Table:
    """Rows of one function of the tiny domain."""
    row = {
        "function": "book",
        "category": "diner",
        "route": "heuristic",
        "template": "heuristic/t",
        "length": "short",
        "language": "en",
    }
    row |= {"path": "{}", "record": None, "index": 0, "stratum": 0, "seed": 0, **columns}
    rows = [
        {
            **row,
            "draft": draft,
            "slots": json.dumps([said], ensure_ascii=False),
            "calls": calls_text([Call({"function": "book", **columns}["function"], call)]),
        }
        for draft, said, call in zip(drafts, slots, arguments, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=arrow_schema(DETAIL_COLUMNS))


@pytest.mark.parametrize("path", ["configs/domains/creative", "configs/domains/assistant", "tests/domains/orders"])
def test_drafts_of_a_domain_that_pass_are_accepted_by_the_checks(path):
    domain = load_domain(ROOT / path)
    config = make_config(domain=str(domain.path), dataset={"size": 100_000})
    sampler = Sampler(domain, config)
    table = Composer(domain, config, sampler.strata).details(sampler.requests(0, 1500))
    context = Context(domain, ChecksConfig(), {})
    mask = surely_accepted(table, context)
    assert mask.mean() > 0.75, "otherwise the filter would be useless"
    verdicts = [first_failure(to_check(domain, row, row["draft"]), context) for row in table.to_pylist()]
    assert [v for v, passes in zip(verdicts, mask, strict=True) if passes and v is not None] == []
    made = candidates(table, context)
    assert made.schema.equals(arrow_schema(CANDIDATE_COLUMNS))
    seen = list(zip(made["accepted"].to_pylist(), made["reason"].to_pylist(), made["detail"].to_pylist(), strict=True))
    assert seen == [(True, None, None) if v is None else (False, *v) for v in verdicts]


NESTED = {
    "type": "object",
    "properties": {
        "lines": {
            "type": "array",
            "minItems": 1,
            "maxItems": 3,
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "count": {"type": "integer", "minimum": 1, "exclusiveMaximum": 5},
                    "tags": {"type": "array", "items": {"enum": ["a", "b", 1, None, True]}, "uniqueItems": True},
                },
                "required": ["name"],
                "additionalProperties": False,
            },
        },
        "place": {"$ref": "#/$defs/place"},
        "price": {"type": "number", "exclusiveMinimum": 0, "maximum": 9.5},
        "flag": {"type": "boolean"},
    },
    "required": ["lines"],
    "additionalProperties": False,
    "$defs": {"place": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
}
SCALARS = st.sampled_from(["a", "b", 'x"', "é", 0, 1, 4, 5, -1, 9.5, 9.6, 0.5, 1.0, True, False, None])
SOME_TAGS = st.lists(st.sampled_from(["a", "b", "c", 1, True, None]), max_size=3)
LINE = {"name": SCALARS, "count": SCALARS, "tags": SOME_TAGS, "odd": SCALARS}
LINES = st.lists(st.fixed_dictionaries({}, optional=LINE), max_size=4)
PLACES = st.fixed_dictionaries({}, optional={"city": SCALARS, "more": SCALARS})
ANY = {"lines": LINES | SCALARS, "place": PLACES | SOME_TAGS, "price": SCALARS, "flag": SCALARS, "odd": SCALARS}
RIGHT = {"lines": [{"name": "n", "count": 4, "tags": ["a", 1, None, True]}, {"name": ""}], "price": 0.5, "flag": False}


@given(st.fixed_dictionaries({}, optional=ANY))
@settings(max_examples=500, deadline=None)
def test_nested_arguments_that_the_filter_accepts_satisfy_their_schema(arguments):
    function = Function("f", "", NESTED)
    assert not is_valid(function, arguments) or check_call(function, arguments) == []


def test_the_filter_knows_right_and_wrong_nested_arguments():
    """Otherwise the test above proves nothing."""
    function = Function("f", "", NESTED)
    line = RIGHT["lines"][0]
    for right in (RIGHT, {"lines": [{"name": "n", "tags": []}]}, {**RIGHT, "place": {"city": "c", "more": "m"}}):
        assert is_valid(function, right) and check_call(function, right) == [], right
    wrong = [
        {}, {"lines": []}, {"lines": [line] * 4}, {"lines": [{}]}, {"lines": [{"name": "n", "odd": "x"}]},
        {"lines": {}}, {"lines": "n"},
        {**RIGHT, "price": 0}, {**RIGHT, "price": 9.51}, {**RIGHT, "flag": "true"}, {**RIGHT, "place": {}},
        {**RIGHT, "odd": "x"}, *({"lines": [{"name": "n", "count": count}]} for count in (0, 5, 1.5, "1", True)),
        *({"lines": [{"name": "n", "tags": tags}]} for tags in (["c"], ["a", "a"], [2], [False], "a", [["a"]])),
    ]  # fmt: skip
    for arguments in wrong:
        assert not is_valid(function, arguments) and check_call(function, arguments) != [], arguments


@pytest.mark.parametrize("format_", ["date", "date-time"])
def test_dates_that_the_filter_accepts_are_dates(format_):
    schema = {"type": "object", "properties": {"x": {"type": "string", "format": format_}}}
    function = Function("f", "", schema)
    time = "" if format_ == "date" else "T23:59:00"
    texts = [
        f"{year}-{month:02}-{day:02}{time}" for year in (1900, 2024, 2026) for month in range(14) for day in range(33)
    ]
    right = [text for text in texts if is_valid(function, {"x": text})]
    wrong = [text for text in texts if text not in right]
    assert all(check_call(function, {"x": text}) == [] for text in right) and len(right) == 3 * 365
    assert [text for text in wrong if check_call(function, {"x": text}) == []] == [f"2024-02-29{time}"]
    for odd in ("2026-03-05T24:00:00", "2026-03-05T1:00:00", "2026/03/05", "20260305", "", "2026-03-05T23:60:00", 5):
        assert not is_valid(function, {"x": odd}), odd


def is_valid(function: Function, arguments: dict) -> bool:
    """What the filter says about arguments."""
    text = np.frombuffer(json.dumps(arguments, ensure_ascii=False).encode() + b"]}", dtype=np.uint8)
    stack, seen = np.zeros((DEEPEST, 3), dtype=np.int64), np.zeros((DEEPEST, MOST_ITEMS), dtype=np.uint64)
    return bool(valid(make_shapes([function]), 0, text, 0, len(text) - 2, stack, seen))


def test_a_new_check_runs_on_every_draft(tiny, monkeypatch):
    """A new check is one function and one line in CHECKS; the prefilter does not know about it."""
    sampler = Sampler(tiny, make_config())
    table = Composer(tiny, make_config(), sampler.strata).details(sampler.requests(0, sampler.size))
    table = table.filter(pc.equal(table["route"], "heuristic"))
    context = Context(tiny, ChecksConfig(), {})
    before = candidates(table, context).to_pylist()
    assert surely_accepted(table, context).sum() > table.num_rows / 2, "otherwise the test proves nothing"
    asked = []
    monkeypatch.setitem(CHECKS, "unwanted", (lambda one, _: asked.append(one.query) or "refused", "refuses all"))
    after = candidates(table, context).to_pylist()
    assert not any(row["accepted"] for row in after)
    # Earlier checks still take precedence.
    refused = {"accepted": False, "reason": "unwanted", "detail": "refused"}
    assert after == [{**row, **refused} if row["accepted"] else row for row in before]
    assert asked == [row["query"] for row in before if row["accepted"]]


def test_every_current_check_is_covered():
    assert {code for code, (check, _) in CHECKS.items() if check not in COVERED} == set()


PIECES = [
    "Rome", "rome's", "two people", "diner", "bistro", "in", "a", "the", "table", "please", "Sure", "of course",
    "I'm sorry", "I cannot", "as an AI",
    "der", "die und", "mit", "le la", "qwrtzp",
    "please please", "to eat to eat", "?", ",", "!", ":", "(", '"', "[user]", "http:/", "é", "_x", "'s_",
    "a" * 30, "of", "we", "book", "tisch für", "Ñandú", "a\\b", "Query:", "`x`", "  ", "ı'm sorry", "i’m sorry", "ſure",
    "sure\u0301", "sureิ", "天気", "いろいろ", "ここここ", "東京東京", "ข้าว", "погода", "İstanbul", "“", "\u2003", "🍕",
]  # fmt: skip


@given(
    st.lists(st.sampled_from(PIECES), max_size=9),
    st.sampled_from([" ", " ", ""]),
    st.booleans(),
    st.sampled_from(["en", "de", "ja", "xx"]),
)
@settings(max_examples=400, deadline=None)
def test_random_drafts_that_pass_are_accepted_by_the_checks(tiny, pieces, glue, language_check, language):
    draft = glue.join(pieces)
    slots = {"city": "Rome", "people": "two people"} if len(pieces) % 2 else {"city": "Rome"}
    calls = [
        {"city": "Rome", "people": 2},
        {"city": "Rome"},
        {"city": 3},
        {"people": 2},
        {"city": "Rome", "more": "x"},
        {"city": "Rome", "place": "x"},
    ]
    context = Context(tiny, ChecksConfig(language=language_check), {})
    table = details(tiny, [draft] * len(calls), [slots] * len(calls), calls, language=language)
    for row, passes in zip(table.to_pylist(), surely_accepted(table, context), strict=True):
        assert not passes or first_failure(to_check(tiny, row, draft), context) is None


@pytest.mark.parametrize(
    ("language", "draft", "said"),
    [
        ("de", "bitte einen tisch für zwei in Köln", "Köln"),
        ("tr", "Iğdır için iki kişilik bir masa ayırt", "Iğdır"),
        ("ja", "明日いろいろな東京のレストランを予約して", "東京"),
        ("th", "จองโต๊ะที่กรุงเทพคืนนี้", "กรุงเทพ"),
        ("hi", "कल दिल्ली में एक मेज बुक करो", "दिल्ली"),
        ("ru", "забронируй столик в городе Москва", "Москва"),
        ("fr", "réserve une table à Orléans s’il te plaît", "Orléans"),
    ],
)
def test_drafts_of_any_script_pass(tiny, language, draft, said):
    """One letter beyond ASCII used to send a row through the checks in Python."""
    context = Context(tiny, ChecksConfig(length=False), {})
    table = details(tiny, [draft], [{"city": said}], [{"city": said}], language=language)
    assert first_failure(to_check(tiny, table.to_pylist()[0], draft), context) is None
    assert surely_accepted(table, context).tolist() == [True]
    missing = details(tiny, [draft], [{"city": "Ås"}], [{"city": "Ås"}], language=language)
    assert surely_accepted(missing, context).tolist() == [False]


def test_long_texts_are_measured_in_characters(tiny):
    context = Context(tiny, ChecksConfig(length=False), {})
    fits, too_long = "ж" * 20 + " ь" * 290, "ж" * 20 + " ь" * 291
    for draft, passes in ((fits, True), (too_long, False)):
        table = details(tiny, [draft], [{}], [{"city": "x"}], language="ru")
        verdict = first_failure(to_check(tiny, table.to_pylist()[0], draft), Context(tiny, ChecksConfig(), {}))
        assert (verdict is None or verdict[0] != "too_long") == passes
        assert not surely_accepted(table, context).any() or passes


def test_plain_drafts_pass(tiny):
    context = Context(tiny, ChecksConfig(), {})
    drafts = ["book a table in Rome", "a table for the two people in rome, please", "rome's best table"]
    calls = [{"city": "Rome"}, {"city": "Rome", "people": 2}, {"city": "Rome"}]
    slots = [{"city": "Rome"}, {"city": "Rome", "people": "two people"}, {"city": "rome"}]
    table = details(tiny, drafts, slots, calls, length="long")
    bounds = tiny.statistics.length_buckets["long"]
    assert surely_accepted(table, context).tolist() == [
        bounds[0] <= len(draft.split()) <= bounds[1] for draft in drafts
    ]
    assert surely_accepted(table.slice(0, 0), context).size == 0
    echo = Context(tiny, ChecksConfig(), {"heuristic/t": "would you please book a table in Rome for me"})
    assert not surely_accepted(table, echo).any(), (
        "drafts that could repeat the words of a prompt go through the checks"
    )


# Letters with and without cases, of one to four bytes; marks; characters of scripts without spaces; odd ones.
ANY_SCRIPT = "aBz sS'_-9.éÄßıİIşΣςдשبहिन์กิ天ァー々ᄀ가　，。？“’ſK\u0301\u00a0𠮷🍕１"


@given(st.text(alphabet="aBz sS'_-9.", max_size=24) | st.text(alphabet=ANY_SCRIPT, max_size=16) | st.text(max_size=9))
@example("\U00030000")
@settings(max_examples=1000, deadline=None)
def test_tokens_agree_with_the_words_of_the_checks(text):
    try:
        raw = np.frombuffer(text.encode() + b"\0", dtype=np.uint8).copy()
    except UnicodeEncodeError:
        return
    out = np.zeros((600, 2), dtype=np.uint64)
    end = tokens(letter_tables(), raw, 0, len(raw) - 1, out, 0)
    expected = words(text)
    if end < 0:
        assert any(
            sign.isspace()
            or sign in "“”ſ"
            or not sign.isprintable()
            or unicodedata.category(sign)[0] == "M"
            or ord(sign) >= 0x30000  # beyond the tables
            for sign in text
        )
        return
    assert [int(value) for value in out[:end, 0]] == [hashed(word) for word in expected]
    assert [int(size) & 255 for size in out[:end, 1]] == [len(word) for word in expected]
