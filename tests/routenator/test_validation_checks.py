"""Tests of what each check accepts and rejects."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from routenator.config import ChecksConfig
from routenator.domain.calls import Call, read_calls
from routenator.domain.domain import Domain
from routenator.sampling.sampler import Sampler
from routenator.validation.checks import CHECKS, Candidate, Context, first_failure
from routenator.wording.composer import Composer
from tests.conftest import make_config

GOOD = Candidate(
    query="find me a poster with red beach please",
    calls=[Call("search", {"content_type": "poster", "extracted_prompt": "red beach"})],
    slots=[{"content_type": "poster", "extracted_prompt": "red beach"}],
    category="poster",
    bounds=(1, 20),
    language="en",
    template="text/paraphrase",
    draft="poster red beach",
)
PROMPT = "You write what people type into a search box.\nRewrite the request in other words."


@pytest.fixture
def context(tiny: Domain) -> Context:
    return Context(tiny, ChecksConfig(), {"text/paraphrase": PROMPT})


def reason(context: Context, **changes: Any) -> str | None:
    verdict = first_failure(dataclasses.replace(GOOD, **changes), context)
    return verdict[0] if verdict else None


@pytest.mark.parametrize(
    "query",
    [
        "find me a poster with red beach please",
        "poster red beach",
        "RED BEACH POSTER!!",
        "Poster: red beach",
        "i'd like a 'poster' of a red beach, if you can",
        "can you show me a poster of red beach to start from",
        "poster (a4) of a red beach",
        "hmm poster red beach brr",
    ],
)
def test_realistic_queries_are_accepted(context: Context, query: str) -> None:
    assert first_failure(dataclasses.replace(GOOD, query=query), context) is None


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "empty"),
        ("?!...", "empty"),
        ("poster red beach\nposter red beach", "too_long"),
        ("poster red beach " + "x " * 400, "too_long"),
        ("Sure, poster red beach", "boilerplate"),
        ("Here is a query: poster red beach", "boilerplate"),
        ("Here's the rewritten request: poster red beach", "boilerplate"),
        ("Rewrite: poster red beach", "boilerplate"),
        ("search query: poster red beach", "boilerplate"),
        ("As an AI, i find poster red beach", "boilerplate"),
        ("I'm sorry, no poster red beach", "boilerplate"),
        ("poster red beach <|im_end|>", "markup"),
        ("{{ slots.content_type }} poster red beach", "markup"),
        ('{"query": "poster red beach"}', "markup"),
        ("poster red beach [user]", "markup"),
        ("poster red beach https://example.org", "markup"),
        ("what people type into a search box poster red beach", "prompt_echo"),
        ('poster "red beach', "quotes"),
        ("poster (red beach", "quotes"),
        ("poster poster poster red beach", "repetition"),
        ("poster red beach red beach", "repetition"),
        ("poster of a red beach of a red beach", "repetition"),
        ("покажи мне poster red beach пожалуйста", "language"),
        ("ich möchte bitte ein poster mit red beach", "language"),
        ("quiero un poster de red beach por favor", "language"),
        ("poster xkcdbrtw red beach", "language"),
        ("poster irelandisomniremirelandisomn red beach", "language"),
        ("poster of a beach", "ungrounded"),
        ("red beach", "ungrounded"),
        ("posters of redbeach", "ungrounded"),
        ("logo or poster with red beach", "contradicts"),
        ("poster of red beach for the", "incomplete"),
        ("poster red beach and", "incomplete"),
    ],
)
def test_bad_queries_are_rejected_with_the_right_reason(context: Context, query: str, code: str) -> None:
    assert reason(context, query=query) == code


@pytest.mark.parametrize(
    ("query", "foreign"),
    [
        ("bitte poster red beach", False),
        ("bitte mit poster red beach", True),
        ("please bitte mit poster red beach", True),
        ("please show bitte mit poster red beach for me", False),
        ("please bitte mit poster red beach for me", False),
    ],
)
def test_foreign_words_count_if_there_are_two_and_more_than_of_the_right_language(
    context: Context, query: str, foreign: bool
) -> None:
    """The draft is the same text, so that the detector is not used."""
    assert reason(context, query=query, draft=query) == ("language" if foreign else None)


def test_a_bad_call_is_rejected_with_the_schemas_error(context: Context) -> None:
    verdict = first_failure(
        dataclasses.replace(GOOD, calls=[Call("search", {"content_type": "postre", "extracted_prompt": "red beach"})]),
        context,
    )
    assert verdict is not None and verdict[0] == "schema" and verdict[1].startswith("enum: ")
    assert reason(context, calls=[Call("search", {"content_type": "poster"})]) == "schema"


def test_any_surface_of_the_category_is_accepted(context: Context, tiny: Domain) -> None:
    others = [surface for surface in tiny.category_surfaces("search", "poster") if surface != "poster"]
    assert others, "the tiny domain gives posters a second name"
    for surface in others:
        assert reason(context, query=f"find {surface} of red beach") is None


def test_a_category_word_that_is_also_in_the_draft_is_not_a_contradiction(context: Context) -> None:
    assert reason(context, query="logo style poster red beach") == "contradicts"
    assert reason(context, query="logo style poster red beach", draft="logo style poster with red beach") is None
    slots = {"content_type": "poster", "extracted_prompt": "logo on a red beach"}
    assert reason(context, query="poster logo on a red beach", slots=[slots]) is None


def test_an_article_may_have_grown_together_with_a_value(tiny: Domain) -> None:
    """In Italian the value "album rosso" is in "l'album rosso"; in English an apostrophe joins a word."""
    context = Context(tiny, ChecksConfig(language=False), {})
    said = {"query": "poster dell'album rosso", "slots": [{"extracted_prompt": "album rosso"}]}
    assert reason(context, **said, language="it", bounds=(1, 9)) is None
    assert reason(context, **said, language="en", bounds=(1, 9)) == "ungrounded"
    other = {"query": "poster dell'album rosso", "slots": [{"extracted_prompt": "bum rosso"}]}
    assert reason(context, **other, language="it", bounds=(1, 9)) == "ungrounded"


def test_length_counts_words_of_the_bucket(context: Context) -> None:
    assert reason(context, bounds=(8, 8)) is None
    assert reason(context, bounds=(9, 12)) == "length"
    assert reason(context, bounds=(1, 7)) == "length"


def test_the_config_relaxes_checks(tiny: Domain) -> None:
    context = Context(tiny, ChecksConfig(length=False, language=False, grounding=0.5, max_repetition=5), {})
    assert reason(context, bounds=(30, 40)) is None
    assert reason(context, query="ich möchte bitte ein poster mit red beach") is None
    assert reason(context, query="poster of a red sea") is None
    assert reason(context, query="poster of a sea") == "ungrounded"
    assert reason(context, query="please please please poster red beach") is None
    assert reason(context, query="please " * 5 + "poster red beach") == "repetition"


def test_a_word_that_occurs_once_is_not_a_repetition(tiny: Domain) -> None:
    context = Context(tiny, ChecksConfig(max_repetition=1), {})
    assert reason(context) is None
    assert reason(context, query="find me a poster with red beach please please") == "repetition"


def test_another_language_is_judged_by_its_own_words(context: Context) -> None:
    assert reason(context, query="ich möchte bitte ein poster mit red beach", language="de") is None
    assert reason(context, query="please show me a poster with red beach", language="de") == "language"
    assert reason(context, query="ik wil een poster met red beach zien", language="nl") is None
    assert reason(context, query="please show me a poster with red beach", language="nl") == "language"
    # A language that the detector does not know is not checked.
    assert reason(context, query="ich möchte ein poster mit red beach", language="tlh") is None


def test_a_title_in_another_language_is_accepted(context: Context) -> None:
    title = {"extracted_prompt": "la vie en rose de édith piaf"}
    assert (
        reason(context, query="a poster of la vie en rose de édith piaf", slots=[{"content_type": "poster", **title}])
        is None
    )
    assert (
        reason(
            context, query="montre moi poster la vie en rose de édith piaf", slots=[{"content_type": "poster", **title}]
        )
        == "language"
    )


def test_the_draft_itself_is_never_given_to_the_language_detector(context: Context) -> None:
    """The detector takes this text for Polish; it is used only if a word is not in the draft."""
    slots = {"content_type": "pamphlet", "extracted_prompt": "chalk silk ribbon"}
    said, draft = "customizable pamphlet chalk silk ribbon", "pamphlet chalk silk ribbon customizable"
    assert reason(context, query=said, draft=said, slots=[slots]) is None
    assert reason(context, query=said, draft=draft, slots=[slots]) is None
    assert reason(context, query=said, draft="pamphlet chalk silk ribbon", slots=[slots]) == "language"


def test_the_details_say_what_was_found(context: Context) -> None:
    said = dataclasses.replace(GOOD, query="* Query: poster red beach")
    assert first_failure(said, context) == ("boilerplate", "* Query:")
    verdict = first_failure(dataclasses.replace(GOOD, query="a poster of a beach"), context)
    assert verdict == ("ungrounded", "extracted_prompt: 'red beach' is not in the query")


# For each check a candidate that passes, and a similar one that fails.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "empty": ({"query": "poster"}, {"query": "... ?"}),
    "too_long": ({"query": "x " * 300}, {"query": "x " * 301}),
    "boilerplate": ({"query": "make sure it is a poster of a red beach"}, {"query": "Sure! a poster of a red beach"}),
    "markup": ({"query": "poster of red beach, 5 * 7"}, {"query": "**poster** of red beach"}),
    "prompt_echo": ({"query": "what people type into a poster"}, {"query": "what people type into a search box"}),
    "quotes": ({"query": 'poster "red beach"'}, {"query": 'poster "red beach'}),
    "repetition": ({"query": "poster poster red beach"}, {"query": "poster poster poster red beach"}),
    "language": ({"query": "bitte show me a poster of red beach"}, {"query": "bitte zeig mir poster mit red beach"}),
    "schema": ({}, {"calls": [Call("search", {"content_type": "poster", "extracted_prompt": 3})]}),
    "ungrounded": ({"query": "Poster, RED BEACH"}, {"query": "poster, red beaches"}),
    "contradicts": ({"query": "poster of red beach"}, {"query": "poster and logo of red beach"}),
    "length": ({"bounds": (8, 9)}, {"bounds": (9, 9)}),
    "incomplete": ({"query": "a poster of red beach for me"}, {"query": "a poster of red beach for my"}),
}


def test_every_check_has_a_passing_and_a_failing_case() -> None:
    assert list(CASES) == list(CHECKS)


@pytest.mark.parametrize("code", CHECKS)
def test_each_check_by_itself(context: Context, code: str) -> None:
    check = CHECKS[code][0]
    passing, failing = (dataclasses.replace(GOOD, **changes) for changes in CASES[code])
    assert check(passing, context) is None
    assert check(failing, context)


@pytest.mark.parametrize(
    "query",
    [
        "The user wants a poster of red beach",
        "This request asks for a poster of red beach",
        "a poster of red beach. I hope this helps!",
        "poster red beach (original query)",
        "poster red beach, let me know if you need more",
        "Okay, here is the request: poster of red beach",
        "Rephrase: poster red beach",
    ],
)
def test_talk_about_the_query_is_rejected(context: Context, query: str) -> None:
    assert reason(context, query=query) == "boilerplate"
    assert reason(context, query="let me know if there is a poster of red beach") is None


def test_a_stock_phrase_in_a_slots_own_words_is_accepted(context: Context) -> None:
    slots = {"content_type": "poster", "extracted_prompt": "Sure Thing"}
    assert reason(context, query="sure thing poster", slots=[slots]) is None
    assert reason(context, query="sure, a poster of sure thing", slots=[slots]) == "boilerplate"


def test_repetition_in_a_slots_own_words_is_accepted(context: Context) -> None:
    slots = {"content_type": "poster", "extracted_prompt": "new york new york"}
    assert reason(context, query="poster of new york new york", slots=[slots]) is None
    assert reason(context, query="poster of new york new york new york", slots=[slots]) == "repetition"
    two = {"content_type": "poster", "extracted_prompt": "in lisbon", "place": "lisbon district"}
    assert reason(context, query="poster in lisbon in lisbon district", slots=[two]) is None
    assert reason(context, query="find a red beach poster now find a red beach poster now") == "repetition"


def test_a_verb_is_not_taken_for_a_category(context: Context) -> None:
    """For example "sketch a poster" and "show me a movie", where sketch and show are also content types."""
    assert reason(context, query="logo a poster of red beach") is None
    assert reason(context, query="logo poster of red beach") == "contradicts"
    assert reason(context, query="poster of red beach logo") == "contradicts", "nothing follows"
    assert reason(context, query="poster of red beach, logo the") == "incomplete"


def test_drafts_pass_all_checks_but_length(tiny: Domain) -> None:
    """The checks must accept what the grammar writes; only its length may be wrong, if no draw fits."""
    config = make_config(dataset={"size": 400})
    sampler = Sampler(tiny, config)
    context = Context(tiny, config.checks, {})
    reasons = set()
    for row in Composer(tiny, config, sampler.strata).details(sampler.requests(0, sampler.size)).to_pylist():
        verdict = first_failure(
            Candidate(
                query=row["draft"],
                calls=read_calls(row["calls"]),
                slots=json.loads(row["slots"]),
                category=row["category"],
                bounds=tiny.statistics.length_buckets[row["length"]],
                language=row["language"],
                template=row["template"],
                draft=row["draft"],
            ),
            context,
        )
        reasons.add(verdict[0] if verdict else None)
    assert reasons <= {None, "length"}


SHORT = {
    "da": "vis alarmer; slet alarmen; skru op; book et bord; spil jazz; sluk lyset; stop; annuller min påmindelse",
    "nl": "weer morgen; wat kost dat; harder; stop; speel podcast af; licht uit; doe de lamp aan; koop kaartjes",
    "no": "vis alarmer; slett alarmen; skru opp; spill jazz; hva er klokka; slå av lyset",
    "sv": "visa larm; ta bort larmet; skruva upp; spela jazz; vad är klockan; släck lampan",
    "tr": "alarm kur; saat kaç; müzik çal; ışığı kapat; on kişi; masa ayırt",
}


@pytest.mark.parametrize("language", SHORT)
def test_short_queries_are_not_taken_for_a_language_close_by(context: Context, language: str) -> None:
    """The detector is sure that "vis alarmer" is Norwegian, "weer morgen" Low German and "skru op" Dutch."""
    for query in SHORT[language].split("; "):
        assert reason(context, query=query, draft="x", slots=[{}], language=language) is None, query
    for query in ("please show me the weather with a map", "zeig mir bitte das wetter für den strand", "show the maps"):
        foreign = reason(context, query=query, draft="x", slots=[{}], language=language)
        assert foreign == "language" or len(query) < 20, query


def test_a_long_query_of_another_language_is_refused_without_words_that_tell(context: Context) -> None:
    query = "kryptowährungskurse tagesaktuell anzeigen"
    assert reason(context, query=query, draft="x", slots=[{}], language="da") == "language"


def test_words_that_a_language_puts_together_may_be_long(context: Context) -> None:
    word = "geschwindigkeitsbegrenzungen"
    assert reason(context, query=f"{word} bitte", draft=f"{word} bitte", slots=[{}], language="de") is None
    assert reason(context, query=f"{word} please", draft=f"{word} please", slots=[{}], language="en") == "language"


def test_german_quotes_close_with_the_sign_that_opens_english_ones(context: Context) -> None:
    for query, code in (("spiel „Hallo“ bitte", None), ("spiel „Hallo bitte", "quotes"), ("spiel “Hallo“", "quotes")):
        assert reason(context, query=query, draft=query, slots=[{}], language="de") == code


def test_letters_that_are_words_alone_may_be_doubled(context: Context) -> None:
    """いろいろ and ขาวๆ are words; a model that repeats itself goes on and on."""
    for query, code in (("いろいろな店", None), ("ねねねねね", "repetition"), ("東京の店を東京の店を", "repetition")):
        assert reason(context, query=query, draft=query, slots=[{}], language="xx") == code


def test_a_japanese_query_may_share_some_letters_with_its_prompt(tiny: Domain) -> None:
    context = Context(
        tiny, ChecksConfig(length=False), {"text/paraphrase": "次の依頼を別の言い方で一文だけで書いてください"}
    )
    for query, code in (
        ("依頼を別の人に送る", None),
        ("次の依頼を別の言い方で一文だけで書いてください", "prompt_echo"),
    ):
        assert reason(context, query=query, draft=query, slots=[{}], language="ja") == code
