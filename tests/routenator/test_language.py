"""The language detector works offline and is right about short queries when its score is high."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from routenator.domain.golden import load_golden
from routenator.domain.loader import load_domain
from routenator.language import SURE, base_code, detect, detect_among, known
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("zeig mir ein plakat für den flohmarkt", "de"),
        ("quel temps fera-t-il demain à paris", "fr"),
        ("necesito un folleto para la fiesta", "es"),
        ("jaka będzie jutro pogoda w krakowie", "pl"),
        ("will it rain in Paris tomorrow", "en"),
        ("покажи мне афишу", "ru"),
    ],
)
def test_short_queries(text: str, language: str) -> None:
    found, score = detect(text)
    assert found == language and score >= SURE


def test_it_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the detector reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    from routenator import language

    language._detector.cache_clear()
    assert detect("show me a poster of a red beach")[0] == "en"


@pytest.mark.parametrize("name", ["creative", "assistant"])
def test_no_golden_query_is_confidently_misdetected(name: str) -> None:
    domain = load_domain(ROOT / "configs" / "domains" / name)
    for example in load_golden(Path(domain.path) / "golden.jsonl", domain.functions):
        found, score = detect(example.query)
        assert found == "en" or score < SURE, example.query


def test_the_likeliest_of_given_languages() -> None:
    assert detect_among("logo with red kite", ["en", "de"]) == "en"
    assert detect_among("покажи мне афишу", ["en", "de"]) is None


def test_codes() -> None:
    assert base_code("en-GB") == "en" and base_code("pt_BR") == "pt" and base_code("nb") == "no"
    assert {"en", "de", "zh", "no", "tr"} <= known() and "tlh" not in known()
