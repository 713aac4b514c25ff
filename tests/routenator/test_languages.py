"""Tests of domains in several languages: words, values, forms, statistics and quotas by language."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from routenator.authoring.inspection import inspect_domain
from routenator.authoring.untranslated import language_warnings
from routenator.compose import probe_config
from routenator.dataset.files import split_files
from routenator.domain.domain import Domain
from routenator.domain.functions import check_call
from routenator.domain.golden import GoldenExample, load_golden
from routenator.domain.loader import load_domain
from routenator.domain.valuelists import load_lists
from routenator.errors import InputError
from routenator.generation.generator import Generator
from routenator.generation.heuristic import candidates
from routenator.generation.prompts import in_language
from routenator.sampling.sampler import Sampler
from routenator.sampling.strata import build_strata
from routenator.validation.checks import Context
from routenator.wording.composer import Composer
from tests.conftest import ROOT, TINY, make_config
from tests.jobs.world import candidate, generate, make_run, merge, sample

ROOMS = ROOT / "tests" / "domains" / "rooms"
GERMAN = ROOMS / "languages" / "de"


@pytest.fixture(scope="module")
def rooms() -> Domain:
    return load_domain(ROOMS)


@pytest.fixture(scope="module")
def rows(rooms: Domain) -> list[dict[str, Any]]:
    """1,500 rows as candidates of the heuristic route."""
    config = make_config(dataset={"size": 1500})
    sampler = Sampler(rooms, config)
    details = Composer(rooms, config, sampler.strata).details(sampler.requests(0, sampler.size))
    found: list[dict[str, Any]] = candidates(details, Context(rooms, config.checks, {})).to_pylist()
    return found


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return shutil.copytree(ROOMS, tmp_path / "rooms")


def arguments(row: dict[str, Any]) -> dict[str, Any]:
    (call,) = json.loads(row["calls"])
    found: dict[str, Any] = call["arguments"]
    return found


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_domain(folder)
    return str(caught.value)


@pytest.mark.parametrize("size", [60, 999, 5000])
def test_quotas_by_language_are_within_two_rows_and_functions_stay_exact(rooms: Domain, size: int) -> None:
    """Languages are split over all functions at once; shares of functions are exact as in one language."""
    strata = build_strata(rooms, make_config(dataset={"size": size}))
    languages, functions, cells = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    for stratum in strata:
        languages[stratum.language] += stratum.quota
        functions[stratum.function] += stratum.quota
        cells[stratum.language, stratum.length] += stratum.quota * (stratum.function == "switch_light")
    assert sum(languages.values()) == size
    assert abs(languages["de"] - 0.4 * size) <= 2
    assert all(abs(functions[name] - share * size) < 1 for name, share in rooms.statistics.functions.items())
    # German has lengths of its own for one function.
    assert abs(cells["de", "short"] - 0.6 * (cells["de", "short"] + cells["de", "long"])) <= 2
    assert abs(cells["en", "short"] - 0.5 * (cells["en", "short"] + cells["en", "long"])) <= 2


def test_codes_are_the_same_in_every_language_and_copied_values_are_in_the_querys(rows: list[dict[str, Any]]) -> None:
    seen: dict[str, dict[str, set[str]]] = {"en": {}, "de": {}}
    for row in rows:
        for name, value in arguments(row).items():
            seen[row["language"]].setdefault(name, set()).add(json.dumps(value, ensure_ascii=False))
            if name in ("title", "task"):
                assert str(value).casefold() in row["query"].casefold()
    assert seen["en"]["room"] == seen["de"]["room"] == {'"kitchen"', '"living_room"', '"bathroom"'}
    assert seen["en"]["day"] == seen["de"]["day"] and seen["en"]["state"] == seen["de"]["state"]
    for name in ("title", "task"):
        listed = {
            language: {value.value for value in load_lists(folder)[{"title": "song", "task": "task"}[name]]}
            for language, folder in (("en", ROOMS), ("de", GERMAN))
        }
        for language, values in listed.items():
            said = {str(json.loads(value)).casefold() for value in seen[language][name]}
            assert said == {value.casefold() for value in values}


def test_each_row_is_in_the_words_of_its_language_alone(rows: list[dict[str, Any]]) -> None:
    own = {"en": {"remind", "switch", "lamp"}, "de": {"erinnere", "das", "spiel"}}
    for row in rows:
        words = set(row["query"].lower().replace(",", " ").split())
        other = "de" if row["language"] == "en" else "en"
        assert not words & own[other], row["query"]
    assert {row["template"] for row in rows if row["language"] == "de"} == {
        "heuristic/licht", "heuristic/lied", "heuristic/erinnerung",
    }  # fmt: skip


def test_patterns_ask_for_a_form_of_a_slot(rows: list[dict[str, Any]]) -> None:
    """``{room.in}`` says the room by the attribute ``in`` of its node, in each of the attribute's wordings."""
    said = Counter[tuple[str, str]]()
    for row in rows:
        if row["function"] == "switch_light":
            (slots,) = json.loads(row["slots"])
            assert slots["room"].lower() in row["query"].lower()
            said[row["language"], slots["room"].lower()] += 1
    german = {text for language, text in said if language == "de"}
    assert german == {"in der küche", "im wohnzimmer", "in der stube", "im badezimmer"}
    english = {text for language, text in said if language == "en"}
    assert english == {"kitchen", "cooking area", "living room", "lounge", "bathroom", "in the kitchen",
                       "in the living room", "in the bathroom"}  # fmt: skip


def test_the_value_of_a_copied_slot_is_the_form_that_the_query_says(copy: Path) -> None:
    """A language whose words take endings copies them with these; without ``copied`` the value would be the label."""
    german = copy / "languages" / "de"
    (german / "domain.yaml").write_text('functions: {remind: {task: {value: "{task}", copied: true}}}')
    forms = "zwei Liter Milch zu kaufen|Milch und Brot zu kaufen"
    (german / "labels.csv").write_text(f"id,label,long,in\ntask:Milch zu kaufen,,{forms},\nbath,,,im Bad\n")
    pattern = german / "templates" / "heuristic" / "deutsch.yaml"
    pattern.write_text(pattern.read_text().replace("{task}", "[{task}|{task.long}]"))
    domain = inspect_domain(copy).domain
    config = make_config(dataset={"size": 1500})
    sampler = Sampler(domain, config)
    details = Composer(domain, config, sampler.strata).details(sampler.requests(0, sampler.size)).to_pylist()
    german_rows = [row for row in details if row["language"] == "de" and row["function"] == "remind"]
    assert {arguments(row)["task"].lower() for row in german_rows} == {
        "milch zu kaufen", "zwei liter milch zu kaufen", "milch und brot zu kaufen", "die tür abzuschließen",
        "die blumen zu gießen", "die katze zu füttern", "die bank anzurufen",
    }  # fmt: skip
    assert all(arguments(row)["task"] in row["draft"] for row in german_rows)


def test_rows_of_all_languages_pass_the_checks_and_their_schemas(rooms: Domain, rows: list[dict[str, Any]]) -> None:
    rejected = Counter((row["language"], row["reason"]) for row in rows if row["reason"])
    assert sum(rejected.values()) < len(rows) / 50, rejected
    for row in rows:
        assert not check_call(rooms.functions[row["function"]], arguments(row))


def test_statistics_of_a_language_stand_over_the_common_ones(rooms: Domain, rows: list[dict[str, Any]]) -> None:
    capitals = {
        language: [row["query"] != row["query"].lower() for row in rows if row["language"] == language]
        for language in ("en", "de")
    }
    assert rooms.view("de").statistics.noise.lowercase == 0.1 and rooms.view("en").statistics.noise.lowercase == 0.3
    assert sum(capitals["de"]) / len(capitals["de"]) > 0.8
    assert rooms.view("de").statistics.lengths["remind"] == rooms.statistics.lengths["remind"]


def test_any_slice_of_rows_can_be_made_alone(rooms: Domain) -> None:
    config = make_config(dataset={"size": 300, "calls": {1: 1}})
    sampler = Sampler(rooms, config)
    composer = Composer(rooms, config, sampler.strata)
    whole = composer.details(sampler.requests(0, sampler.size)).to_pylist()
    parts = [
        row
        for start in range(0, sampler.size, 77)
        for row in composer.details(sampler.requests(start, min(start + 77, sampler.size))).to_pylist()
    ]
    assert parts == whole


def test_a_domain_without_languages_has_one_view_of_itself(tiny: Domain) -> None:
    assert tiny.views == {} and tiny.every_view == [tiny] and tiny.view("de") is tiny


def test_few_shot_examples_are_in_the_requests_language(rooms: Domain) -> None:
    composer = Composer(rooms, make_config(), ())
    examples = composer.examples(1, "remind", "de", 10)
    assert all(example["draft"].lower().startswith("erinnere mich") for example in examples)
    assert all("remind me" in example["draft"].lower() for example in composer.examples(1, "remind", "en", 10))


def test_a_run_keeps_the_language_of_each_row_and_its_quotas(tmp_path: Path) -> None:
    """Sample, generate and merge: the data set's column has the languages in their shares."""
    run = make_run(tmp_path, shards=2, domain=ROOMS, dataset={"size": 200}, merge={"near_duplicates": "off"})
    made = [candidate(row) for row in sample(run)]
    generate(run, made)
    merge(run)
    frame = pl.read_parquet(split_files(run.stage_dir("merge") / "dataset", "train")).vstack(
        pl.read_parquet(split_files(run.stage_dir("merge") / "dataset", "validation"))
    )
    found = dict(frame["language"].value_counts().iter_rows())
    assert abs(found["de"] - 0.4 * frame.height) <= 4 and set(found) == {"en", "de"}


def test_the_check_says_for_what_english_is_used(copy: Path) -> None:
    """By language, with counts: labels, value lists, word lists, phrases, patterns."""
    assert list(language_warnings(load_domain(copy))) == [], "the domain's German lacks nothing that its queries use"
    (copy / "languages" / "de" / "labels.csv").write_text("id,label,in\nkitchen,Küche,in der Küche\n")
    (copy / "languages" / "de" / "values" / "song.tsv").unlink()
    words = yaml.safe_load((copy / "languages" / "de" / "domain.yaml").read_text())
    del words["functions"]["play_song"]
    (copy / "languages" / "de" / "domain.yaml").write_text(yaml.safe_dump(words))
    pattern = copy / "languages" / "de" / "templates" / "heuristic" / "deutsch.yaml"
    pattern.write_text(pattern.read_text().replace("{room.in}", "{room}"))
    (found,) = language_warnings(load_domain(copy))
    assert found.startswith("de: English is used for ")
    assert "2 of 3 labels (living, bath)" in found and "1 of 3 value lists (song)" in found
    assert "(play_song.loud)" in found


def test_a_language_without_a_share_is_not_used(copy: Path) -> None:
    shutil.copytree(copy / "languages" / "de", copy / "languages" / "nl")
    file = copy / "languages" / "nl" / "templates" / "heuristic" / "deutsch.yaml"
    file.unlink()
    domain = load_domain(copy)
    assert set(domain.views) == {"en", "de"}
    assert any("languages/nl is not used" in warning for warning in language_warnings(domain))


def test_the_check_draws_from_the_patterns_of_every_language(copy: Path) -> None:
    """A German pattern whose queries the checks all reject is an error that names German and its file."""
    file = copy / "languages" / "de" / "templates" / "heuristic" / "deutsch.yaml"
    file.write_text(file.read_text().replace("daran, {task}", "daran, **{task}**"))
    with pytest.raises(InputError) as caught:
        inspect_domain(copy)
    text = str(caught.value)
    assert "no query for remind passes" in text and "(de)" in text and "deutsch.yaml" in text and "markup" in text


def edited(copy: Path, file: str, old: str, new: str) -> None:
    path = copy / "languages" / "de" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "parts"),
    [
        ("labels.csv", "kitchen,Küche", "kichen,Küche", ["no such node", "labels.csv", "kichen", "kitchen"]),
        ("labels.csv", "id,label,aliases,in", "id,label,aliases,weight", ["the same in every language", "weight"]),
        ("domain.yaml", '"off": aus', '"of": aus', ["what is sent is the same", "domain.yaml", "state.said", "off"]),
        ("domain.yaml", "switch_light", "switch_ligt", ["no such function", "switch_ligt", "switch_light"]),
        ("domain.yaml", "loud:", "lout:", ["no such slot", "lout", "loud"]),
        ("domain.yaml", "    loud: {said: {true: [laut, in voller Lautstärke]}}", '    title: {value: "{sang}"}',
         ["unknown variable", "languages/de/domain.yaml", "sang", "(de)"]),
        ("domain.yaml", "    loud: {said: {true: [laut, in voller Lautstärke]}}",
         '    title: {copied: true, surface: "das Lied {song}"}', ["a copied value is what the query says", "title"]),
        ("statistics.yaml", "switch_light", "switch_ligt", ["the API has no such function", "(de)", "switch_ligt"]),
        ("statistics.yaml", "noise: {lowercase: 0.1}", "routes: {}", ["statistics.yaml", "routes"]),
        ("templates/heuristic/deutsch.yaml", "    functions: [play_song]",
         "    functions: [play_song]\n    languages: [en]", ["serves that language", "deutsch.yaml", "en"]),
        ("templates/heuristic/deutsch.yaml", "  lied:", "  song:", ["have the same name", "song"]),
        ("templates/heuristic/deutsch.yaml", "{title}", "{title.dat}", ["no node has this attribute", "title.dat"]),
        ("templates/heuristic/deutsch.yaml", "{state}", "{state.in}", ["the slot state", "one form", "state.in"]),
    ],
)  # fmt: skip
def test_faults_in_a_languages_files_are_named(copy: Path, file: str, old: str, new: str, parts: list[str]) -> None:
    edited(copy, file, old, new)
    text = refusal(copy)
    assert all(part in text for part in parts), text


def test_a_value_list_that_no_function_has_is_refused(copy: Path) -> None:
    (copy / "languages" / "de" / "values" / "sang.tsv").write_text("la\n")
    assert "no function has a value list of this name" in refusal(copy)


def test_the_share_of_the_category_is_the_same_in_every_language(tmp_path: Path) -> None:
    folder = shutil.copytree(TINY, tmp_path / "tiny")
    statistics = yaml.safe_load((folder / "statistics.yaml").read_text()) | {"languages": {"en": 0.5, "de": 0.5}}
    (folder / "statistics.yaml").write_text(yaml.safe_dump(statistics))
    german = folder / "languages" / "de"
    german.mkdir(parents=True)
    (german / "statistics.yaml").write_text("slots: {book: {place: 0.2}}")
    assert "the category's share is the same in every language" in refusal(folder)


def test_golden_queries_may_say_their_language(tmp_path: Path, rooms: Domain) -> None:
    golden = load_golden(ROOMS / "golden.jsonl", rooms.functions)
    assert Counter(example.language for example in golden) == {"en": 3, "de": 3}
    assert golden[0].as_json()["language"] == "en"
    assert "language" not in GoldenExample("hello", ()).as_json()
    bad = tmp_path / "golden.jsonl"
    bad.write_text('{"query": "hallo", "calls": [], "language": "German!"}\n')
    with pytest.raises(InputError, match="not a language code"):
        load_golden(bad, rooms.functions)


def test_prompts_of_all_languages_say_which_one_to_write(tmp_path: Path, copy: Path) -> None:
    """A prompt of the domain that does not name the language gets a sentence; a language's own prompt gets none."""
    (copy / "templates" / "text").mkdir()
    (copy / "templates" / "text" / "one.yaml").write_text(
        'functions: ["*"]\ntemplates:\n  plain:\n    system: You write queries.\n    text: "Say: {{ draft }}"\n'
    )
    statistics = yaml.safe_load((copy / "statistics.yaml").read_text())
    statistics["routes"] = {name: {"text": 1} for name in statistics["routes"]}
    (copy / "statistics.yaml").write_text(yaml.safe_dump(statistics))
    domain = load_domain(copy)
    config = make_config(dataset={"size": 40})
    sampler = Sampler(domain, config)
    composer = Composer(domain, config, sampler.strata)
    generator = Generator(composer, tmp_path)
    seen = set()
    for row in composer.details(sampler.requests(0, sampler.size)).to_pylist():
        messages = generator._prompt(row).messages
        german = row["language"] == "de"
        assert messages[0]["content"].startswith("You write queries.")
        assert ('language "de"' in messages[0]["content"]) == german
        seen.add(row["language"])
    assert seen == {"en", "de"}
    assert in_language([{"role": "user", "content": "x"}], "de")[0]["role"] == "system"


def test_the_domain_passes_the_check_with_counts_of_all_languages() -> None:
    report = inspect_domain(ROOMS)
    assert report.facts["heuristic templates"] == 6 and report.facts["golden queries"] == 6
    assert not [warning for warning in report.warnings if "reject" in warning], report.warnings
    assert build_strata(report.domain, probe_config(report.domain.path))
