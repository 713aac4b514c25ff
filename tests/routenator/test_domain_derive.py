"""Derived domains load and run and have the requested shares; families change names but not the population."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml

from routenator.authoring.derive import Derived, DeriveOptions, derive
from routenator.authoring.families import free_slots, make_families
from routenator.authoring.membership import FILE, Family, load_families
from routenator.compose import probe_config
from routenator.config import RunConfig
from routenator.domain.calls import read_calls
from routenator.domain.domain import Domain
from routenator.domain.golden import load_golden
from routenator.domain.loader import load_domain
from routenator.domain.schema import NO_CATEGORY
from routenator.errors import InputError
from routenator.generation.heuristic import candidates
from routenator.sampling.sampler import Sampler
from routenator.sampling.strata import category_shares, target_shares
from routenator.validation.checks import Context
from routenator.wording.composer import Composer
from tests.conftest import ROOT, TINY

DOMAINS = ROOT / "configs" / "domains"


def made(source: Path, out: Path, **options: object) -> tuple[Derived, Domain]:
    derived = derive(source, out, DeriveOptions.model_validate(options))
    return derived, load_domain(out)


def rows_of(domain: Domain, count: int) -> tuple[dict[str, list], float]:
    """Composed requests of a run, and the share of their drafts that passes the checks."""
    config = RunConfig.model_validate(
        {**probe_config(domain.path, count).model_dump(), "generate": {"routes": {"heuristic": 1}}}
    )
    sampler = Sampler(domain, config)
    details = Composer(domain, config, sampler.strata).details(sampler.requests(0, sampler.size))
    accepted = candidates(details, Context(domain, config.checks, {})).column("accepted").to_pylist()
    return details.to_pydict(), sum(accepted) / len(accepted)


@pytest.fixture(scope="module")
def assistant() -> Domain:
    return load_domain(DOMAINS / "assistant")


@pytest.mark.parametrize("name", ["creative", pytest.param("assistant", marks=pytest.mark.slow)])
def test_plain_and_flat(name, tmp_path):
    derived, domain = made(
        DOMAINS / name,
        tmp_path / "flat",
        templates=["basic_*", "single_prompt"],
        flat=True,
        routes={"text": 1, "heuristic": 0},
    )
    source = load_domain(DOMAINS / name)
    assert derived.functions == list(source.functions)
    assert {t.route for t in domain.templates.values()} == {"heuristic", "text"}
    assert {t.weight for t in domain.templates.values()} == {1.0}
    assert {route for _, _, route, _, _, _ in target_shares(domain, probe_config(domain.path))} == {"text"}
    functions = list(domain.statistics.functions.values())
    assert len(set(functions)) == 1
    for function in domain.functions:
        shares = category_shares(domain, function)
        none = shares.pop(NO_CATEGORY, 0.0)
        assert none in (0.0, 0.5)
        assert max(shares.values()) == pytest.approx(min(shares.values()))
        assert set(shares) >= {c for c, share in source.statistics.categories[function].items() if share > 0}
    assert set(domain.statistics.length_buckets) == {"any"}
    assert domain.statistics.noise.typo == domain.statistics.noise.lowercase == 0
    assert not domain.statistics.keyword_position
    rows, accepted = rows_of(domain, 300)
    assert accepted > 0.95
    drafting = {name for name in rows["template"] if name.startswith("heuristic/")}
    assert drafting == {t.name for t in domain.templates.values() if t.route == "heuristic"}
    assert load_golden(tmp_path / "flat" / "golden.jsonl", domain.functions) == load_golden(
        DOMAINS / name / "golden.jsonl", source.functions
    )
    readme = (tmp_path / "flat" / "README.md").read_text()
    assert f"# Derived from the domain {name}" in readme and '"basic_*"' in readme


def test_templates_keep_their_weight_and_the_statistics_stay(tmp_path):
    _, domain = made(TINY, tmp_path / "out", templates=["heuristic/search_fragment", "book_*"])
    source = load_domain(TINY)
    assert set(domain.templates) == {"heuristic/search_fragment"} | {
        n for n in source.templates if n.split("/")[1].startswith("book_")
    }
    assert domain.statistics.functions == source.statistics.functions
    assert domain.statistics.lengths == source.statistics.lengths
    for name, template in domain.templates.items():
        assert template.weight == source.templates[name].weight
        assert template.body == source.templates[name].body
    for function, shares in domain.statistics.routes.items():
        assert set(shares) == {t.route for t in domain.templates.values() if function in t.functions} & set(
            source.statistics.routes[function]
        )
        assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.slow
def test_cells_without_a_template_widen_front_matter_or_drop_categories(tmp_path):
    kept = [name for name in load_domain(DOMAINS / "assistant").templates if name.endswith("_plain")]
    derived, domain = made(
        DOMAINS / "assistant", tmp_path / "out", templates=[*kept, "screen_*", "weather_*"], flat=True
    )
    # Templates for calls without a category word cannot express any category.
    assert set(category_shares(domain, "play_music")) == {NO_CATEGORY}
    assert len(category_shares(domain, "get_weather")) > 1
    assert any("play_music: dropped album" in note for note in derived.notes)
    assert all(note in (tmp_path / "out" / "README.md").read_text() for note in derived.notes)


@pytest.mark.slow
def test_boost_multiplies_a_share(tmp_path, assistant):
    _, domain = made(
        DOMAINS / "assistant", tmp_path / "out", boost={"play_music.album": 3, "book_restaurant.food truck": 2}
    )
    before, after = category_shares(assistant, "play_music"), category_shares(domain, "play_music")
    assert after["album"] / after["song"] == pytest.approx(3 * before["album"] / before["song"])
    assert after[NO_CATEGORY] == pytest.approx(before[NO_CATEGORY])
    assert domain.statistics.functions == assistant.statistics.functions
    assert domain.statistics.categories["get_weather"] == assistant.statistics.categories["get_weather"]


def check_families(source: Domain, out: Path, count: int, rows: int, least: float = 0.95) -> None:
    """Check that a derived domain of ``count`` functions has the population of its source, apart from names."""
    derived, domain = made(source.path, out, functions=count)
    names = list(domain.functions)
    assert len(names) == len(set(names)) == count
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in names)
    assert len({f.description for f in domain.functions.values()}) == count
    families = load_families(out / FILE)
    assert families.as_list() == derived.families.as_list()
    parent = {member.name: member.parent for member in families.members}
    kept = set(parent.values())
    # The target equals the source's for every function, category and template.
    target: Counter = Counter()
    for (function, *cell), share in target_shares(domain, probe_config(domain.path)).items():
        target[parent[function], *cell] += share
    expected = {key: share for key, share in target_shares(source, probe_config(source.path)).items() if key[0] in kept}
    whole = sum(expected.values())
    assert target.keys() == expected.keys()
    assert all(target[key] == pytest.approx(share / whole, abs=1e-9) for key, share in expected.items())
    # So do the shares of all slots that do not depend on other slots.
    for function in kept & source.statistics.functions.keys():
        own = [(m.share, domain.statistics.slots.get(m.name, {})) for m in families.members if m.parent == function]
        for slot, share in free_slots(source, Family(function, function, source.functions[function].category)).items():
            assert sum(part * table[slot] for part, table in own) / sum(part for part, _ in own) == pytest.approx(share)
    # Its calls map to the functions that they were generated for.
    words, accepted = rows_of(domain, rows)
    assert accepted > least
    calls = [read_calls(calls)[0].arguments for calls in words["calls"]]
    relabelled = [families.of(parent[name], call) for name, call in zip(words["function"], calls, strict=True)]
    same = sum(a == b for a, b in zip(relabelled, words["function"], strict=True))
    assert same / len(calls) > 0.995, Counter(
        (a, b) for a, b in zip(relabelled, words["function"], strict=True) if a != b
    )
    # All golden calls of the kept functions are relabelled.
    golden = load_golden(out / "golden.jsonl", domain.functions)
    before = {g.query: g for g in load_golden(source.path / "golden.jsonl", source.functions) if g.labels[0] in kept}
    assert {g.query for g in golden} == set(before)
    assert all(
        (parent[g.labels[0]],) == before[g.query].labels and g.calls[0].arguments == before[g.query].calls[0].arguments
        for g in golden
    )


@pytest.mark.slow
def test_fewer_functions(assistant, tmp_path):
    check_families(assistant, tmp_path / "out", 2, rows=300)


@pytest.mark.slow
@pytest.mark.parametrize("count", [20, 50, 100])
def test_more_functions(count, assistant, tmp_path):
    # A family without slots has its parent's lengths, but cannot produce the longest.
    check_families(assistant, tmp_path / "out", count, rows=1000, least=0.95 if count < 100 else 0.9)


@pytest.mark.slow
def test_functions_of_a_closed_category(tmp_path):
    derived, domain = made(DOMAINS / "creative", tmp_path / "out", functions=32)
    assert len(derived.functions) == 32
    assert {"search_poster", "generate_menu"} <= set(domain.functions) and "search" not in domain.functions
    golden = load_golden(tmp_path / "out" / "golden.jsonl", domain.functions)
    assert all(
        call.name.split("_", 1)[1] == call.arguments["content_type"] for example in golden for call in example.calls
    )
    with pytest.raises(InputError, match="at most 32"):
        derive(DOMAINS / "creative", tmp_path / "more", DeriveOptions(functions=33))
    assert not (tmp_path / "more").exists()


@pytest.fixture
def joint(tmp_path) -> Path:
    """The tiny domain with its target as a joint distribution."""
    copied = tmp_path / "joint"
    shutil.copytree(TINY, copied)
    domain = load_domain(TINY)
    cells: Counter = Counter()
    for (function, category, _, _, length, language), share in target_shares(domain, probe_config(domain.path)).items():
        cells[function, category, length, language] += share * (3 if (category, length) == ("poster", "short") else 1)
    statistics = yaml.safe_load((TINY / "statistics.yaml").read_text())
    for given in ("functions", "categories", "lengths", "languages", "word_quantiles"):
        statistics.pop(given, None)
    statistics["slots"]["book"].pop("place")
    names = ("function", "category", "length", "language", "share")
    statistics["joint"] = [dict(zip(names, (*cell, share), strict=True)) for cell, share in cells.items()]
    (copied / "statistics.yaml").write_text(yaml.safe_dump(statistics))
    return copied


def test_functions_of_a_joint_target(joint, tmp_path):
    check_families(load_domain(joint), tmp_path / "out", 6, rows=200, least=0.5)  # as the tiny domain itself


def test_boost_of_a_joint_target(joint, tmp_path):
    source, (_, domain) = load_domain(joint), made(joint, tmp_path / "out", boost={"search.poster": 2})
    assert domain.statistics.functions == pytest.approx(source.statistics.functions)
    before, after = category_shares(source, "search"), category_shares(domain, "search")
    other = next(name for name in before if name != "poster")
    assert after["poster"] / after[other] == pytest.approx(2 * before["poster"] / before[other])


def test_a_slot_can_split_only_if_independent_of_other_slots(assistant):
    free = free_slots(assistant, Family("get_weather", "get_weather", "condition_description"))
    assert "time_range" in free and "geographic_poi" in free
    assert "city" not in free, "geographic_poi excludes it"
    without = Family("w", "get_weather", "condition_description", absent=frozenset({"geographic_poi"}))
    assert free_slots(assistant, without)["city"] == assistant.statistics.slots["get_weather"]["city"]
    assert "city" not in free_slots(
        assistant, Family("w", "get_weather", "condition_description", present=frozenset({"geographic_poi"}))
    )


def test_families_map_aliases_in_any_case(assistant):
    _, families = make_families(assistant, 80, [])
    said = {"LP": "play_music_record", "Songs": "play_music_songs", "gramophone": "play_music"}
    assert {item: families.of("play_music", {"music_item": item}) for item in said} == said
    assert families.of("play_music", {}) == "play_music"
    assert families.of("no_such_function", {}) is None


def test_another_golden_file_is_relabelled(tmp_path):
    golden = tmp_path / "golden.jsonl"
    calls = {
        "go": {"content_type": "poster", "extracted_prompt": "x"},
        "went": {"content_type": "menu", "extracted_prompt": "x"},
    }
    golden.write_text(
        "".join(json.dumps({"query": q, "call": {"name": "search", "arguments": c}}) + "\n" for q, c in calls.items())
    )
    derived, domain = made(DOMAINS / "creative", tmp_path / "out", functions=5, golden=golden)
    assert [example.labels[0] for example in load_golden(tmp_path / "out" / "golden.jsonl", domain.functions)] == [
        "search_poster",
        "search",
    ]
    assert (derived.golden, derived.dropped) == (2, 0)


@pytest.mark.parametrize(
    ("options", "found", "nearest"),
    [
        ({"templates": ["serch_fragment"]}, "serch_fragment", "search_fragment"),
        ({"boost": {"search.postr": 2}}, "postr", "poster"),
        ({"boost": {"serch.poster": 2}}, "serch", "search"),
        ({"templates": ["search_fragment"]}, "none", None),
        ({"templates": ["search_fragment", "book_*"], "routes": {"vision": 1}}, "vision", None),
        ({}, "none", None),
    ],
)
def test_invalid_options_are_refused(options, found, nearest, tmp_path):
    with pytest.raises(InputError) as error:
        derive(TINY, tmp_path / "out", DeriveOptions.model_validate(options))
    assert error.value.found == found
    if nearest:
        assert f"nearest:  {nearest}" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(InputError, match="new or empty"):
        derive(TINY, tmp_path, DeriveOptions(flat=True))
    assert (tmp_path / "mine").read_text() == "x"


@pytest.mark.slow
def test_topics_of_rows_without_a_call_can_be_left_out(tmp_path):
    """A tenth of the rows without a call; alarms and the like may be asked for, or none of their words occurs."""
    without = ["alarms", "reminders", "timers"]
    derived = derive(DOMAINS / "assistant", tmp_path / "out", DeriveOptions(without_topics=without))
    assert "without_topics" in (derived.path / "README.md").read_text()
    words = re.compile("alarm|remind|wake|timer|snooze", re.IGNORECASE)
    found = {}
    for folder in (DOMAINS / "assistant", derived.path):
        domain = load_domain(folder)
        config = RunConfig.model_validate(
            {
                **probe_config(domain.path, 4000).model_dump(),
                "dataset": {"size": 4000, "calls": {0: 0.5, 1: 0.5}},
                "generate": {"routes": {"heuristic": 1}},
            }
        )
        sampler = Sampler(domain, config)
        details = Composer(domain, config, sampler.strata).details(sampler.requests(0, sampler.size)).to_pylist()
        queries = [row["draft"] for row in details if not read_calls(row["calls"])]
        assert len(queries) > 1000
        found[folder] = sum(bool(words.search(query)) for query in queries)
    assert found[DOMAINS / "assistant"] > 30 and found[derived.path] == 0
    with pytest.raises(InputError, match="no such topic"):
        derive(DOMAINS / "assistant", tmp_path / "bad", DeriveOptions(without_topics=["alarm"]))


def test_languages_are_kept_with_their_files_and_shares(tmp_path: Path) -> None:
    """English alone is a domain of one language; German alone still has English for what it lacks."""
    rooms = ROOT / "tests" / "domains" / "rooms"
    derived, english = made(rooms, tmp_path / "en", languages=["en"])
    assert english.languages == {} and english.statistics.languages == {"en": 0.6}
    assert derived.golden == 6 and not (tmp_path / "en" / "languages").exists()
    details, _ = rows_of(english, 30)
    assert set(details["language"]) == {"en"}
    _, german = made(rooms, tmp_path / "de", languages=["de"])
    assert set(german.languages) == {"de"}
    source, _ = rows_of(load_domain(rooms), 60)
    details, _ = rows_of(german, 30)
    assert set(details["language"]) == {"de"} and set(source["language"]) == {"en", "de"}
    _, both = made(rooms, tmp_path / "both", languages=["de", "en"])
    assert both.statistics == load_domain(rooms).statistics
    assert "`domain derive`" in (tmp_path / "en" / "README.md").read_text()


def test_languages_of_a_joint_target_are_its_cells(tmp_path: Path) -> None:
    source = shutil.copytree(TINY, tmp_path / "source")
    statistics = yaml.safe_load((source / "statistics.yaml").read_text())
    kept = {name: statistics[name] for name in ("length_buckets", "routes") if name in statistics}
    cells = [
        {"function": "search", "category": category, "length": length, "language": language, "share": share}
        for category, length, language, share in [("poster", "short", "en", 0.4), ("poster", "long", "de", 0.6)]
    ]
    (source / "statistics.yaml").write_text(yaml.safe_dump({**kept, "joint": cells}))
    _, german = made(source, tmp_path / "de", languages=["de"])
    assert german.joint is not None and german.joint.cells("search", "poster") == {("long", "de"): 1.0}


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"languages": ["fr"]}, ["this language has no share", "fr", "de"]),
        ({"languages": []}, ["no language is left"]),
        ({"languages": ["de"], "flat": True}, ["languages of its own", "de", "`languages`|languages keeps one"]),
        ({"flat": True}, ["languages of its own"]),
    ],
)
def test_what_cannot_be_done_with_languages_is_refused(tmp_path: Path, options: dict, parts: list[str]) -> None:
    with pytest.raises(InputError) as error:
        made(ROOT / "tests" / "domains" / "rooms", tmp_path / "out", **options)
    assert all(re.search(part, str(error.value)) for part in parts)
    assert sorted(tmp_path.iterdir()) == []


def test_a_domain_of_a_graph_and_value_lists_can_be_derived_from(tmp_path: Path) -> None:
    """Its rules are written with the steps to the lists, so the edges to these must be there when it is read."""
    _, domain = made(ROOT / "tests" / "domains" / "rooms", tmp_path / "out", languages=["en"], flat=True)
    details, accepted = rows_of(domain, 60)
    assert set(details["function"]) == {"switch_light", "play_song", "remind"}
    assert accepted > 0.9
