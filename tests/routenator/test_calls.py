"""Tests of rows without a call and of rows with several: quotas, words, checks, files of a data set."""

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
from routenator.compose import probe_config
from routenator.config import RunConfig
from routenator.dataset import export
from routenator.dataset.calls import call_parts
from routenator.domain.calls import Call, calls_text, read_calls
from routenator.domain.domain import Domain
from routenator.domain.functions import check_call
from routenator.domain.loader import load_domain
from routenator.domain.schema import NO_CALL, Join
from routenator.errors import InputError
from routenator.generation.heuristic import candidates
from routenator.sampling.sampler import Sampler
from routenator.sampling.strata import build_strata
from routenator.validation.checks import Context
from routenator.wording.composer import Composer
from routenator.wording.joining import joined
from slurm.planning.fingerprints import calls_key
from tests.conftest import ROOT, TINY, make_config
from tests.jobs.world import candidate, generate, make_run, merge, sample

SHARES = {0: 0.1, 1: 0.8, 2: 0.07, 3: 0.03}
ASSISTANT = ROOT / "configs" / "domains" / "assistant"


def config(size: int = 1000, prompt: str = "compact", calls: dict[int, float] = SHARES, **more: Any) -> RunConfig:
    return make_config(dataset={"size": size, "calls": calls, **more}, train={"prompt": prompt})


def details(domain: Domain, settings: RunConfig) -> list[dict[str, Any]]:
    sampler = Sampler(domain, settings)
    rows: list[dict[str, Any]] = (
        Composer(domain, settings, sampler.strata).details(sampler.requests(0, sampler.size)).to_pylist()
    )
    return rows


@pytest.mark.parametrize("size", [200, 1000, 4999])
@pytest.mark.parametrize("shares", [SHARES, {0: 1, 1: 8}, {1: 1, 2: 1}, {2: 1}, {0: 1}])
def test_quotas_of_calls_and_functions_are_exact(tiny: Domain, size: int, shares: dict[int, float]) -> None:
    """Rows follow the shares of calls, and the functions' shares hold over calls."""
    strata = build_strata(tiny, config(size, calls=shares))
    rows, functions = Counter[int](), Counter[str]()
    for stratum in strata:
        rows[stratum.calls] += stratum.quota
        functions.update({name: stratum.functions.count(name) * stratum.quota for name in set(stratum.functions)})
    total = sum(shares.values())
    assert rows.total() == size == sum(stratum.quota for stratum in strata)
    for number, share in shares.items():
        assert abs(rows[number] - size * share / total) < 1
    calls = sum(number * count for number, count in rows.items())
    assert functions.total() == calls
    for name, share in tiny.statistics.functions.items():
        assert abs(functions[name] - calls * share) < 1
    assert sum(stratum.target for stratum in strata) == pytest.approx(1, abs=0.06)


def test_rows_of_one_call_alone_have_the_strata_of_before(tiny: Domain) -> None:
    plain, stated = (
        build_strata(tiny, make_config()),
        build_strata(tiny, make_config(dataset={"size": 200, "calls": {1: 3}})),
    )
    assert plain == stated and all(stratum.calls == 1 and stratum.hidden is None for stratum in plain)


def test_combinations_are_bounded_and_follow_the_seed(tiny: Domain) -> None:
    settings = config(3000)
    strata = build_strata(tiny, settings)
    assert strata == build_strata(tiny, settings)
    several = [stratum.function for stratum in strata if stratum.calls == 3]
    assert 1 < len(several) == len(set(several)) <= 8, "2 functions, 3 calls"
    other = build_strata(tiny, settings.model_copy(update={"seed": settings.seed + 1}))
    assert [row.quota for row in other if row.calls == 3] != [row.quota for row in strata if row.calls == 3]


def test_words_of_rows_without_a_call_and_with_several(tiny: Domain) -> None:
    rows = details(tiny, config(2000, "tools"))
    kinds = Counter(len(read_calls(row["calls"])) for row in rows)
    assert set(kinds) == {0, 1, 2, 3}
    for row in rows:
        calls, slots = read_calls(row["calls"]), json.loads(row["slots"])
        assert len(calls) == len(slots) and row["calls"] == calls_text(calls)
        assert all(check_call(tiny.functions[call.name], call.arguments) == [] for call in calls)
        for said in slots:
            assert all(surface.lower() in row["draft"].lower() for surface in said.values())
        if not calls:
            assert row["function"] == NO_CALL and row["reply"] in tiny.no_call.replies["en"]
        else:
            assert row["function"] == " + ".join(call.name for call in calls) and row["reply"] is None
        assert "\n" not in row["draft"] and "{" not in row["draft"]
    near = [row for row in rows if row["template"].startswith("near/")]
    assert {row["template"] for row in near} == {"near/search", "near/book"}
    topics = [row["draft"] for row in rows if row["template"].startswith("no_call/")]
    assert len(set(topics)) > 0.9 * len(topics)


def test_words_depend_on_the_row_alone(tiny: Domain) -> None:
    """Whatever block a row is in, its words are the same."""
    settings = config(300)
    sampler = Sampler(tiny, settings)
    composer = Composer(tiny, settings, sampler.strata)
    whole = composer.details(sampler.requests(0, sampler.size)).to_pylist()
    parts = [composer.details(sampler.requests(row, row + 1)).to_pylist()[0] for row in range(0, sampler.size, 7)]
    assert parts == whole[::7]
    ones = [row for row in whole if len(read_calls(row["calls"])) == 1]
    assert {row["index"] for row in ones} == {
        row["index"] for row in whole if sampler.strata[row["stratum"]].calls == 1
    }


def test_near_misses_need_a_prompt_that_shows_tools(tiny: Domain) -> None:
    hidden = [{stratum.hidden for stratum in build_strata(tiny, config(500, style))} for style in ("compact", "tools")]
    assert hidden == [{None}, {None, "search", "book"}]
    every = config(500, "tools", no_call={"near": 1.0})
    assert all(stratum.hidden for stratum in build_strata(tiny, every) if stratum.calls == 0)
    with pytest.raises(InputError, match="nothing to make rows without a call of"):
        build_strata(tiny, config(500, "compact", no_call={"near": 1.0}))


@pytest.mark.parametrize("name", [pytest.param("assistant", marks=pytest.mark.slow), "creative"])
def test_the_checks_accept_nearly_all_of_them(name: str) -> None:
    domain = load_domain(ROOT / "configs" / "domains" / name)
    settings = probe_config(domain.path, 1500)
    dataset = settings.dataset.model_copy(update={"calls": {0: 0.6, 2: 0.3, 3: 0.1}})
    settings = settings.model_copy(update={"dataset": dataset})
    sampler = Sampler(domain, settings)
    drawn = Composer(domain, settings, sampler.strata).details(sampler.requests(0, sampler.size))
    rows = candidates(drawn, Context(domain, settings.checks, {})).to_pylist()
    reasons = Counter(row["reason"] for row in rows)
    assert reasons[None] > 0.98 * len(rows), reasons
    asked = {row["query"].lower() for row in rows if row["template"].startswith("no_call/")}
    assert len(asked) > 0.9 * sum(row["template"].startswith("no_call/") for row in rows)


def test_the_checks_see_every_call(tiny: Domain) -> None:
    """A call that breaks its schema or a value that is not said is found, whichever of the calls it is in."""
    settings = config(200, calls={2: 1})
    context = Context(tiny, settings.checks, {})
    sampler = Sampler(tiny, settings)
    table = Composer(tiny, settings, sampler.strata).details(sampler.requests(0, sampler.size))
    assert candidates(table, context)["reason"].null_count > 0.95 * table.num_rows
    frame = pl.DataFrame(pl.from_arrow(table))
    for broken in (0, 1):
        texts, slots = [], []
        for calls, said in zip(map(read_calls, frame["calls"]), map(json.loads, frame["slots"]), strict=True):
            calls[broken] = Call(calls[broken].name, {})
            said[broken] = {**said[broken], next(iter(said[broken])): "quite another thing"}
            texts.append(calls_text(calls))
            slots.append(json.dumps(said))
        for changed, code in ((frame.with_columns(calls=pl.Series(texts)), "schema"),
                              (frame.with_columns(slots=pl.Series(slots)), "ungrounded")):  # fmt: skip
            reasons = candidates(changed.to_arrow().cast(table.schema), context)["reason"].to_pylist()
            assert Counter(reasons)[code] > 0.9 * len(reasons)


def test_only_the_topics_of_alarms_and_reminders_name_them(tiny: Domain) -> None:
    """A domain that leaves out these topics has no row with their words."""
    words = ("alarm", "remind", "wake", "timer", "snooze")
    named = {name for name, template in tiny.no_call.patterns.items() if any(w in template.body for w in words)}
    assert named == {"no_call/alarms", "no_call/reminders", "no_call/timers"}
    lists = " ".join(item.text for items in tiny.no_call.lexicon.values() for item in items).lower()
    assert not any(word in lists for word in words)


def test_topics_and_variety_of_the_package(tiny: Domain) -> None:
    topics = [name for name, kind in tiny.no_call.kinds.items() if kind == "topics"]
    assert len(topics) >= 40 and len(tiny.no_call.patterns) - len(topics) >= 5
    rows = details(tiny, config(20_000, calls={0: 1}))
    assert len({row["draft"].lower() for row in rows}) > 10_000


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "domain"
    shutil.copytree(TINY, folder)
    statistics = yaml.safe_load((folder / "statistics.yaml").read_text())
    (folder / "statistics.yaml").write_text(yaml.safe_dump({**statistics, "calls": {0: 0.2, 1: 0.7, 2: 0.1}}))
    return folder


def test_a_domain_extends_or_replaces_topics_words_replies_and_joins(copy: Path) -> None:
    own = {
        "words": {"city": ["Zwolle"], "cheese": ["gouda"]},
        "templates": {
            "cheese": {"text": "who eats {cheese} in {city}"},
            "jokes": {"text": "a joke on {cheese}"},
            "maths": {"weight": 0, "text": "-"},
        },
    }
    (copy / "templates" / "no_call.yaml").write_text(yaml.safe_dump(own))
    (copy / "templates" / "replies.yaml").write_text(yaml.safe_dump({"en": ["Not me."]}))
    (copy / "templates" / "joins.yaml").write_text(yaml.safe_dump({"en": [{"last": " ; and so "}]}))
    domain = inspect_domain(copy).domain
    assert {"no_call/cheese", "no_call/translate"} < set(domain.no_call.patterns)
    assert "no_call/maths" not in domain.no_call.patterns
    assert domain.no_call.patterns["no_call/jokes"].body == "[a joke on {cheese}]"
    rows = details(domain, make_config(dataset={"size": 2000}))
    drafts = {row["draft"] for row in rows if row["template"] == "no_call/cheese"}
    assert drafts and all("zwolle" in draft.lower() or "gouda" in draft.lower() for draft in drafts)
    assert {row["reply"] for row in rows if row["function"] == NO_CALL} == {"Not me."}
    assert all(" ; and so " in row["draft"].lower() for row in rows if row["template"] == "several")
    (copy / "templates" / "no_call.yaml").write_text(yaml.safe_dump({**own, "extends": False}))
    with pytest.raises(InputError, match="no pattern of chat"):
        build_strata(load_domain(copy), make_config())
    own["templates"]["hello"] = {"kind": "chat", "text": "hello"}
    (copy / "templates" / "no_call.yaml").write_text(yaml.safe_dump({**own, "extends": False}))
    assert set(load_domain(copy).no_call.patterns) == {"no_call/cheese", "no_call/jokes", "no_call/hello"}


def test_topics_that_the_api_serves_are_left_out_and_named(copy: Path) -> None:
    tools = json.loads((copy / "functions.json").read_text())
    tools[1]["function"]["description"] += " Converts units and tells jokes."
    (copy / "functions.json").write_text(json.dumps(tools))
    own = {"templates": {"fun": {"serves": ["joke"], "text": "make me laugh about [a|the] {animal}"}}}
    (copy / "templates" / "no_call.yaml").write_text(yaml.safe_dump(own))
    report = inspect_domain(copy)
    patterns = report.domain.no_call.patterns
    assert not {"no_call/units", "no_call/jokes"} & set(patterns) and "no_call/fun" in patterns
    found = " ".join(report.warnings)
    assert "units (book)" in found and "jokes (book)" in found and "fun is a topic of queries without a call" in found


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("no_call.yaml", {"templates": {"a": {"text": "[b"}}}, ["templates.a.text", "never closed"]),
        ("no_call.yaml", {"templates": {"a": {"text": "{nothing}"}}}, ["unknown variable", "nothing"]),
        ("no_call.yaml", {"templates": {"a": {"text": "b", "kinds": "chat"}}}, ["kinds", "kind"]),
        ("no_call.yaml", {"words": {"a": []}}, ["not a list of words"]),
        ("replies.yaml", {"en": "No."}, ["not lists by language"]),
        ("replies.yaml", {"en": [3]}, ["not a reply"]),
        ("joins.yaml", {"en": [{"between": ","}]}, ["last"]),
    ],
)
def test_faults_of_the_files_are_named(copy: Path, file: str, content: Any, expected: list[str]) -> None:
    (copy / "templates" / file).write_text(yaml.safe_dump(content))
    with pytest.raises(InputError) as caught:
        inspect_domain(copy)
    assert all(part in str(caught.value) for part in [file, *expected]), str(caught.value)


def test_names_that_such_rows_need_are_refused(copy: Path, tiny: Domain) -> None:
    statistics = yaml.safe_load((copy / "statistics.yaml").read_text())
    for changes, expected in (
        ({"calls": {5: 1}}, "calls"),
        ({"calls": {0: 0, 1: 0}}, "all weights are zero"),
        ({"languages": {"fi": 1.0}}, "fi"),
    ):
        (copy / "statistics.yaml").write_text(yaml.safe_dump({**statistics, **changes}))
        with pytest.raises(InputError, match=expected):
            inspect_domain(copy)


@pytest.mark.parametrize(
    ("name", "calls", "key"),
    [("none", {0: 1, 1: 1}, "dataset.calls"), ("a + b", {1: 1, 2: 1}, "dataset.calls")],
)
def test_functions_that_have_such_a_name_are_refused(copy: Path, name: str, calls: dict[int, float], key: str) -> None:
    """A function `a + b` was taken for a row of two calls, of functions that the API does not have."""
    tools = json.loads((copy / "functions.json").read_text())
    tools.append({"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}})
    (copy / "functions.json").write_text(json.dumps(tools))
    domain = load_domain(copy)
    assert build_strata(domain, config(calls={1: 1})), "rows of one call can have it"
    with pytest.raises(InputError) as error:
        build_strata(domain, config(calls=calls))
    assert name in str(error.value) and key in str(error.value)


JOINS = [
    (["show it", "Book a table."], [], Join(last=" and "), "show it and book a table."),
    (["Show it?", "Paris please"], ["Paris"], Join(last=", then "), "Show it, then Paris please"),
    (["Show it", "book a table"], [], Join(last=". Also, "), "Show it. Also, book a table"),
    (["Show it", "book a table"], [], Join(last=". "), "Show it. Book a table"),
    (["show it", "book a table"], [], Join(last=". "), "show it. book a table"),
    (
        ["A b.", "C d.", "E f."],
        [],
        Join(open="first ", between=", ", last=" and then "),
        "first A b, C d and then E f.",
    ),
    (["Show it", "NASA logo", "I want tea"], [], Join(last=" and "), "Show it, NASA logo and I want tea"),
]


@pytest.mark.parametrize(("drafts", "surfaces", "join", "query"), JOINS)
def test_requests_are_joined_as_people_join_them(
    drafts: list[str], surfaces: list[str], join: Join, query: str
) -> None:
    assert joined(drafts, surfaces, join) == query


def rows_of_export() -> pl.DataFrame:
    book, search = Call("book", {"city": "Oslo", "people": 2}), Call("search", {"q": 'a "b"\n'})
    rows = [
        {"function": "book", "calls": [book], "reply": None, "hidden": None},
        {"function": NO_CALL, "calls": [], "reply": "I can't.", "hidden": None},
        {"function": "search + book", "calls": [search, book], "reply": None, "hidden": None},
        {"function": NO_CALL, "calls": [], "reply": "No.", "hidden": ["book"]},
    ]
    frame = pl.DataFrame(
        [
            {**row, "calls": calls_text(row["calls"]), "number": len(row["calls"]), "index": 7 + place, "query": "q"}
            for place, row in enumerate(rows)
        ],
        schema_overrides={"hidden": pl.List(pl.String), "reply": pl.String},
    )
    return frame.with_columns(parts=call_parts(frame, ["book", "search"]), asked="query")


def test_formats_of_rows_without_a_call_and_with_several(tiny: Domain) -> None:
    tools, frame = tiny.tools(), rows_of_export()
    names = [tool["function"]["name"] for tool in tools]

    def lines(line: Any) -> list[dict[str, Any]]:
        return [json.loads(text) for text in frame.select(line(tools)).to_series()]

    table = export.openai_table(frame, tools).to_pylist()
    for number, row in enumerate(lines(export.openai_line)):
        answer = row["messages"][1]
        calls = [
            (call["id"], call["type"], call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in answer.get("tool_calls", [])
        ]
        expected = [(c.name, c.arguments) for c in read_calls(frame["calls"][number])]
        assert [call[2:] for call in calls] == expected and all(call[1] == "function" for call in calls)
        assert len({call[0] for call in calls}) == len(calls)
        assert answer.get("content") == frame["reply"][number] and ("content" in answer) != bool(calls)
        shown = [tool["function"]["name"] for tool in row["tools"]]
        assert shown == (["search"] if number == 3 else names)
        nested = table[number]
        assert json.loads(nested["tools"]) == row["tools"]
        assert nested["messages"][1]["content"] == frame["reply"][number]
        assert (nested["messages"][1]["tool_calls"] or []) == answer.get("tool_calls", [])
        assert nested["messages"][0] == {"role": "user", "content": "q", "tool_calls": None}
    turns = [row["conversations"][1] for row in lines(export.llamafactory_line)]
    assert [turn["from"] for turn in turns] == ["function_call", "gpt", "function_call", "gpt"]
    assert [turn["value"] for turn in turns[1::2]] == ["I can't.", "No."]
    assert json.loads(turns[0]["value"])["name"] == "book" and len(json.loads(turns[2]["value"])) == 2
    questions, answers = lines(export.bfcl_line), lines(export.bfcl_answer_line)
    assert [row["id"].rsplit("_", 1)[0] for row in questions] == [
        "multiple", "irrelevance", "parallel_multiple", "irrelevance",
    ]  # fmt: skip
    assert [len(row["function"]) for row in questions] == [2, 2, 2, 1]
    assert [len(row["ground_truth"]) for row in answers] == [1, 0, 2, 0]
    packed = lines(export.axolotl_line)[2]["tools"][0]["function"]["parameters"]
    assert json.loads(packed) == tools[0]["function"]["parameters"]


def test_a_data_set_has_them_with_their_replies_and_hidden_functions(tmp_path: Path, tiny: Domain) -> None:
    """The whole way: requests, candidates, merge with quotas, split and files."""
    run = make_run(tmp_path, dataset={"size": 400, "calls": SHARES}, train={"prompt": "tools"})
    generate(run, [candidate(request) for request in sample(run)])
    folder = merge(run)
    frame = pl.concat([pl.read_parquet(folder / "dataset" / f"{split}.parquet") for split in ("train", "validation")])
    numbers = Counter(len(read_calls(text)) for text in frame["calls"])
    summary = json.loads((folder / "merge.json").read_text())
    assert frame.height == summary["counts"]["final"] > 370
    assert all(0.8 * 400 * share <= numbers[number] <= 400 * share for number, share in SHARES.items())
    by_calls = {row["name"]: row for row in summary["distribution"]["dimensions"]["calls"]["rows"]}
    assert {int(name): row["final"]["rows"] for name, row in by_calls.items()} == dict(numbers)
    functions = summary["distribution"]["dimensions"]["function"]["rows"]
    calls = Counter(call.name for text in frame["calls"] for call in read_calls(text))
    assert {row["name"]: row["final"]["rows"] for row in functions} == dict(calls)
    lengths = summary["distribution"]["dimensions"]["length"]["rows"]
    assert sum(row["final"]["rows"] for row in lengths) == numbers[1]
    for row in frame.iter_rows(named=True):
        assert (row["reply"] is None) == (row["calls"] != "[]")
        assert row["hidden"] is None or (row["calls"] == "[]" and row["template"] == f"near/{row['hidden'][0]}")
    assert frame["hidden"].drop_nulls().len() > 0
    assert frame.group_by("group").agg(pl.col("split").n_unique())["split"].max() == 1
    assert any(row["calls"] == [] for row in summary["examples"])
    card = (folder / "dataset" / "README.md").read_text()
    assert "a sentence where no function fits, or several calls" in card


def test_the_plan_depends_on_what_such_rows_are_made_of(copy: Path) -> None:
    plain = make_config()
    assert calls_key(plain) == {}
    override = make_config(dataset={"calls": SHARES})
    found = calls_key(override)
    assert found["calls"] == SHARES and "no_call.yaml" in found["queries"]
    assert calls_key(make_config(dataset={"calls": SHARES}, train={"prompt": "compact"})) != found
    own = plain.model_copy(update={"domain": str(copy)})
    assert calls_key(own)["calls"] is None
