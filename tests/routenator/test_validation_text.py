"""Tests of splitting queries into words and of finding phrases."""

from __future__ import annotations

from routenator.validation.text import find_phrase, grams, spoken_share, without_phrases, words


def test_words_ignore_case_and_punctuation() -> None:
    assert words("Play R&B, at 5:30 — don’t stop!") == ("play", "r", "b", "at", "5", "30", "don't", "stop")
    assert words("") == () and words("...") == ()
    assert words("Café für Añejo") == ("café", "für", "añejo")


def test_words_of_scripts_without_spaces_are_letters() -> None:
    """ "天気" was not found in 今日の天気は, and Thai and Hindi words were torn apart at their vowels."""
    assert words("iPhoneの天気は？ 3時") == ("iphone", "の", "天", "気", "は", "3", "時")
    assert words("กินข้าว, हिन्दी") == ("กิ", "น", "ข้", "า", "ว", "हिन्दी")
    assert find_phrase("天気", words("今日の天気は")) == 3


def test_words_are_the_same_in_the_case_of_any_language() -> None:
    assert words("ISPARTA") == words("ısparta") == words("Isparta") == ("isparta",)
    assert words("İSTANBUL") == words("istanbul") == words("I\u0307stanbul")
    assert words("ΟΔΟΣ") == words("οδος") == words("ΟΔΟΣ μου")[:1]
    assert words("l’été d'Anna’s") == ("l'été", "d'anna", "'s")


def test_phrases_match_consecutive_whole_words() -> None:
    text = words("a birthday card for a card player")
    assert find_phrase("Birthday Card", text) == 1
    assert find_phrase("card player", text) == 5
    assert find_phrase("birthday player", text) == -1
    assert find_phrase("day card", text) == -1
    assert find_phrase("", text) == 0


def test_longer_phrases_are_taken_out_first() -> None:
    assert without_phrases(["card", "birthday card"], words("a birthday card with a card")) == [
        "a",
        "\0",
        "with",
        "a",
        "\0",
    ]
    # The words around a removed phrase do not form a new phrase.
    assert find_phrase("a with", without_phrases(["birthday card"], words("a birthday card with"))) == -1


def test_spoken_share() -> None:
    assert spoken_share("red dog running", words("a dog is running")) == 2 / 3
    assert spoken_share("", ()) == 1.0


def test_grams() -> None:
    assert grams(("a", "b", "c"), 2) == {("a", "b"), ("b", "c")}
    assert grams(("a",), 2) == set()
