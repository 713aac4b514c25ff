"""domain draft --translate: what a language lacks is asked for, checked, and kept in files of its own."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from routenator.authoring.untranslated import language_warnings
from routenator.config import EngineConfig
from routenator.domain.loader import load_domain, speaking
from routenator.drafting import run
from routenator.drafting.proposals import ProposalFilter
from routenator.drafting.translating import TRANSLATED, translations
from routenator.errors import InputError
from routenator.generation.engine import Prompt, Reply
from tests.conftest import ROOT

ROOMS = ROOT / "tests" / "domains" / "rooms"
GERMAN = {
    "kitchen": "Küche", "living room": "Wohnzimmer", "bathroom": "Bad {unten}", "Monday": "Montag",
    "Tuesday": "Dienstag", "Wednesday": "Mittwoch", "please": "bitte", "could you": "kannst du", "put": "leg",
    "play": "spiel", "start": "starte", "on": "an", "off": "aus", "loud": "laut",
}  # fmt: skip
PATTERNS = {
    "switch_light": "mach bitte das Licht {state} in der {room}", "play_song": "ich will {title} hören",
    "remind": "erinnere mich daran, {task} am {day}",
}  # fmt: skip
VALUES = {"song": ["Atemlos", "Der Mond ist aufgegangen"], "task": ["die Katze füttern"]}


class Translator:
    """A stand-in for an engine that knows a few words of German; a real model's are of no use to a test."""

    name = "translator"

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def generate(self, prompts: Sequence[Prompt]) -> list[Reply]:
        return [Reply(json.dumps({"proposals": self._answer(prompt)}), 1, 1) for prompt in prompts]

    def close(self) -> None:
        pass

    def _answer(self, prompt: Prompt) -> list[str]:
        text = str(prompt.messages[0]["content"])
        self.prompts.append(text)
        assert 'language "de"' in text
        listed = re.findall(r"^\d+\. (.*)$", text, re.MULTILINE)
        if listed:
            return [GERMAN[each] for each in listed]
        if "The parameter" in text:
            return VALUES["song" if "`title`" in text else "task"]
        return [PATTERNS[next(name for name in PATTERNS if f"`{name}`" in text)], "say it in English, {nobody}"]


@pytest.fixture
def english(tmp_path: Path) -> Path:
    """The test domain without its German."""
    folder = shutil.copytree(ROOMS, tmp_path / "rooms", ignore=shutil.ignore_patterns("languages"))
    statistics = yaml.safe_load((folder / "statistics.yaml").read_text()) | {"languages": {"en": 1.0}}
    (folder / "statistics.yaml").write_text(yaml.safe_dump(statistics))
    return Path(folder)


def test_what_a_language_lacks_is_kept_in_files_of_its_own(english: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels, words, phrases, values and patterns; each file says whose they are, and the domain then speaks German."""
    engine = Translator()
    monkeypatch.setattr(run, "open_engine", lambda *_: engine)
    made = run.draft(english, EngineConfig(model="none"), english, translate="de")
    folder = english / "languages" / "de"
    assert {str(file.relative_to(folder)) for file in made.files} == {
        "labels.drafted.csv", "lexicon.drafted.yaml", "domain.drafted.yaml", "values/song.drafted.tsv",
        "values/task.drafted.tsv", *(f"templates/heuristic/de_{name}.drafted.yaml" for name in PATTERNS),
    }  # fmt: skip
    assert all("translator" in file.read_text() for file in made.files)
    refused = {each.text: each.reason for each in made.proposals if each.reason}
    assert "characters that a label cannot have" in refused["Bad {unten}"]
    assert "placeholders" in refused["say it in English, {nobody}"]
    statistics = yaml.safe_load((english / "statistics.yaml").read_text()) | {"languages": {"en": 0.5, "de": 0.5}}
    (english / "statistics.yaml").write_text(yaml.safe_dump(statistics))
    domain = load_domain(english)
    german = domain.view("de")
    assert german.nodes["kitchen"].label == "Küche" and german.nodes["bath"].label == "bathroom"
    assert german.nodes["day:mon"].label == "Montag" and german.nodes["day:mon"].attributes["value"] == "mon"
    assert "song:Atemlos" in german.nodes and "song:Imagine" not in german.nodes
    (warning,) = language_warnings(domain)
    assert "1 of 3 labels (bath)" in warning and "patterns" not in warning and "value lists" not in warning
    again = Translator()
    monkeypatch.setattr(run, "open_engine", lambda *_: again)
    run.draft(english, EngineConfig(model="none"), english, kinds=["labels", "phrases", "words"], translate="de")
    assert len(again.prompts) == 1 and "1. bathroom" in again.prompts[0], "what is there is not asked for again"


def test_a_reply_of_another_length_is_refused_whole(english: Path) -> None:
    """A translation is known by its place alone."""
    domain = load_domain(english)
    view, language = speaking(domain, "de")
    ask = next(translations(domain, view, language, ["labels"], list(domain.rules), 0))
    screen = ProposalFilter(view, "de")
    (found,) = screen.read(ask, json.dumps({"proposals": ["Küche"]}))
    assert not found.kept and f"1 translations of {len(ask.wanted)} texts" in found.reason
    kept = list(screen.read(ask, json.dumps({"proposals": ["Wort"] * len(ask.wanted)})))
    assert tuple(each.key for each in kept) == ask.wanted and all(each.kept == "Wort" for each in kept)


def test_codes_and_kinds_are_checked(english: Path) -> None:
    with pytest.raises(InputError, match="not a language code"):
        run.draft(english, EngineConfig(model="none"), english, translate="German!")
    with pytest.raises(InputError, match="no such name") as error:
        run.draft(english, EngineConfig(model="none"), english, kinds=["topics"], translate="de")
    assert all(kind in str(error.value) for kind in TRANSLATED)
