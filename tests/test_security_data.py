"""What comes from elsewhere is data: domains, configs, models' replies, names and logs of others have bounds.

Each test hands in what a stranger could have written and sees it refused with a message, or kept harmless.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routenator.chat.replies import parse_reply
from routenator.compose import load_config
from routenator.domain.domain import Domain
from routenator.domain.fingerprint import domain_fingerprint
from routenator.domain.functions import check_call
from routenator.domain.golden import GoldenCall, GoldenExample, load_golden
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.evaluation.predict import Answers
from routenator.evaluation.run import write_predictions
from routenator.evaluation.verdict import judge_reply
from routenator.generation.engine import Reply
from routenator.generation.generator import Generator, _Written
from routenator.generation.prompts import check_template, render_messages
from routenator.generation.query import clean_query
from routenator.grammar import GrammarError, parse
from routenator.parsing import parse_yaml, read_yaml
from routenator.sampling.sampler import Sampler
from routenator.wording.composer import Composer
from tests.conftest import TINY, launch_here, make_config

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + earlier] * 10)}]\n"
    for earlier, name in zip("abcdefgh", "bcdefghi", strict=True)
)


HALF = "\\ud83d"  # JSON for one half of an emoji


DEEP = "[" * 500 + "]" * 500


HOSTILE = {
    "half of a surrogate pair": f'"{HALF}"',
    "a number of 5,000 digits": "9" * 5000,
    "a number that is no float": "9" * 400,
    "lists in lists": DEEP,
    "deeper than Python reads": "[" * 100_000 + "]" * 100_000,
}


@pytest.fixture
def domain_folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "domain"))


def refused(run: Any, *words: str) -> InputError:
    """Run it; it must end with an InputError that says these words."""
    with pytest.raises(InputError) as caught:
        run()
    for word in words:
        assert word in str(caught.value)
    return caught.value


def run_config(folder: Path, domain: Path) -> Path:
    """Write a run's config that needs no model; runs go to FOLDER/runs."""
    file = folder / "run.yaml"
    text = {"name": "data", "domain": str(domain), "root": str(folder / "runs"), "cluster": "local"}
    file.write_text(json.dumps(text | {"model": "smollm2-135m", "dataset": {"size": 20}}))
    return file


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_finding_17_a_reply_beyond_the_bounds_is_unparsable_in_the_evaluation(
    tiny: Domain, tmp_path: Path, value: str
) -> None:
    text = f'{{"name": "search", "arguments": {{"extracted_prompt": {value}}}}}'
    gold = GoldenExample("a cake", (GoldenCall("search", {"extracted_prompt": "a cake"}),))
    bare = (text, json.dumps({"name": "search", "arguments": f'{{"a": {value}}}'}), value)
    for reply in (*bare, *(f"<tool_call>{one}</tool_call>" for one in bare)):
        parsed = parse_reply(reply)
        assert not parsed.calls and parsed.problem == (None if reply in bare else "bad_block")
        verdict = judge_reply(gold, parsed, tiny.functions)
        assert verdict.errors == (("missing_call" if reply in bare else "unparsable", ""),)
        said = Answers(texts=[reply], engine="x", seconds=1.0, latencies=[1.0], replies=[parsed], verdicts=[verdict])
        write_predictions(tmp_path / "predictions.jsonl", [gold], {"after": said})
        assert json.loads((tmp_path / "predictions.jsonl").read_text())["after"]["reply"] == reply


def test_finding_17_a_reply_that_is_no_text_can_be_written_and_read(tiny: Domain, tmp_path: Path) -> None:
    gold, text = GoldenExample("a cake", (GoldenCall("search", {}),)), "no \ud83d text"
    parsed = parse_reply(text)
    verdict = judge_reply(gold, parsed, tiny.functions)
    said = Answers(texts=[text], engine="x", seconds=1.0, latencies=[1.0], replies=[parsed], verdicts=[verdict])
    write_predictions(tmp_path / "predictions.jsonl", [gold], {"after": said})
    assert json.loads((tmp_path / "predictions.jsonl").read_text())["after"]["reply"] == text


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_finding_17_a_reply_beyond_the_bounds_is_unparsable_in_the_generation(value: str) -> None:
    assert clean_query(f'{{"query": "a cake", "more": {value}}}', "json", "query") is None


@pytest.mark.parametrize("text", ["a \ud83d cake", f'{{"query": "a {HALF} cake"}}'], ids=["line", "json"])
def test_finding_17_a_reply_that_is_no_text_is_a_rejected_row_that_parquet_holds(
    tiny: Domain, tmp_path: Path, text: str
) -> None:
    config = make_config()
    sampler = Sampler(tiny, config)
    request = Composer(tiny, config, sampler.strata).details(sampler.requests(0, 1)).to_pylist()[0]
    name, template = next((n, t) for n, t in tiny.templates.items() if t.route == "text")
    head = template.head.model_copy(update={"output": "json" if "{" in text else "line"})
    domain = dataclasses.replace(tiny, templates={**tiny.templates, name: dataclasses.replace(template, head=head)})
    row = _Written(generator="x")
    Generator(Composer(domain, config, ()), tmp_path)._read(row, {**request, "template": name}, Reply(text, 1, 1))
    assert row.reason == "unparsable"
    pq.write_table(pa.table({"raw": [row.raw], "detail": [row.detail]}), tmp_path / "rows.parquet")


def test_finding_19_yaml_whose_aliases_stand_for_more_than_memory_holds_is_refused(
    tmp_path: Path, domain_folder: Path
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(BOMB)
    refused(lambda: load_config(file), "run.yaml", "with aliases written out", "at most 20,000 values", "line")
    (domain_folder / "lexicon.yaml").write_text(BOMB)
    refused(lambda: load_domain(domain_folder), "lexicon.yaml", "with aliases written out")
    template = domain_folder / "templates" / "heuristic" / "bomb.yaml"
    template.write_text(BOMB)
    (domain_folder / "lexicon.yaml").unlink()
    shutil.copy(TINY / "lexicon.yaml", domain_folder)
    refused(lambda: load_domain(domain_folder), "bomb.yaml", "with aliases written out")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[" * 100_000, "deeper than 64"),
        ("a: &a [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n".replace("*a-1", "*a") for n in range(100)), "by aliases"),
        ("a: &a [*a]", "within its own anchor"),
        (f"a: {'9' * 5000}", "digits"),
        ("a: 2024-99-99", "month"),
        ("? [a, b]\n: c", "as a key"),
    ],
    ids=["brackets", "aliases in aliases", "an endless alias", "digits", "a date", "a key"],
)
def test_finding_19_yaml_that_no_code_can_read_is_refused_with_its_place(tmp_path: Path, text: str, found: str) -> None:
    file = tmp_path / "some.yaml"
    file.write_text(text)
    refused(lambda: read_yaml(file), "some.yaml", found)


def test_yaml_aliases_within_the_bounds_are_read() -> None:
    assert parse_yaml("a: &a {x: 1}\nb: [*a, *a]") == {"a": {"x": 1}, "b": [{"x": 1}, {"x": 1}]}


@pytest.mark.parametrize("name", ["functions.json", "metadata.jsonl", "golden.jsonl"])
@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_finding_19_json_of_a_domain_beyond_the_bounds_is_refused(domain_folder: Path, name: str, value: str) -> None:
    (domain_folder / name).write_text(f'{{"a": {value}}}\n')
    functions = load_domain(TINY).functions
    read = load_golden if name == "golden.jsonl" else lambda file, _: load_domain(file.parent)
    refused(lambda: read(domain_folder / name, functions), "not JSON", name)


def test_finding_19_a_grammar_of_100_000_brackets_is_refused(domain_folder: Path) -> None:
    with pytest.raises(GrammarError, match="deeper than 50"):
        parse("[" * 100_000)
    (domain_folder / "templates" / "heuristic" / "deep.yaml").write_text(
        "functions: [search]\ntemplates:\n  deep: {text: '" + "(" * 100_000 + "x" + ")" * 100_000 + "'}\n"
    )
    refused(lambda: load_domain(domain_folder), "deep.yaml", "templates.deep.text, line 3", "deeper than 50")


@pytest.mark.parametrize(
    "text",
    ["${oc.env:PLANTED_SECRET}", "x ${oc.env:PLANTED_SECRET,y}", "${oc.${name}:PLANTED_SECRET}", "${oc.decode:'1'}"],
)
@pytest.mark.parametrize("place", ["file", "override"])
def test_finding_12_a_config_reads_no_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, place: str
) -> None:
    monkeypatch.setenv("PLANTED_SECRET", "the value")
    file = tmp_path / "run.yaml"
    base = {"name": "x", "domain": str(TINY), "cluster": "local", "model": "smollm2-135m"}
    own = {"cluster": {"profile": "local", "setup": ["true", text]}} if place == "file" else {}
    file.write_text(json.dumps(base | own))
    overrides = [] if place == "file" else [f"cluster.setup=[{json.dumps('true')}, {json.dumps(text)}]"]
    error = refused(lambda: load_config(file, overrides), "refer to its own keys only", "cluster.setup[1]")
    assert "the value" not in str(error)


def test_finding_12_a_config_may_refer_to_its_own_keys_and_escape_shell(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    base = {"name": "x", "domain": str(TINY), "model": "smollm2-135m", "root": "/tmp/${name}/a"}
    file.write_text(json.dumps(base | {"cluster": {"profile": "local", "setup": ["echo \\${HOME:-x}"]}}))
    config = load_config(file)
    assert config.root == "/tmp/x/a" and config.cluster.setup == ["echo ${HOME:-x}"]


def test_finding_12_references_that_multiply_each_other_are_refused(tmp_path: Path) -> None:
    names = [f"k{n}" for n in range(40)]
    file = tmp_path / "run.yaml"
    chain = {name: f"${{{earlier}}}${{{earlier}}}" for earlier, name in itertools.pairwise(names)}
    file.write_text(json.dumps({"k0": "x" * 100, **chain}))
    refused(lambda: load_config(file), "too many references")


def with_parameter(folder: Path, schema: dict[str, Any], **more: Any) -> Path:
    """Give the first function of a domain a parameter with this schema."""
    tools = json.loads((folder / "functions.json").read_text())
    parameters = tools[0]["function"]["parameters"]
    parameters["properties"]["more"] = schema
    parameters.update(more)
    (folder / "functions.json").write_text(json.dumps(tools))
    return folder


@pytest.mark.parametrize("reference", ["http://127.0.0.1:9/a.json", "file:///etc/passwd", "other.json", "#anchor"])
def test_finding_13_a_schema_refers_to_nothing_outside(domain_folder: Path, reference: str) -> None:
    with_parameter(domain_folder, {"anyOf": [{"type": "null"}, {"$ref": reference}]})
    refused(
        lambda: load_domain(domain_folder),
        "leads out of the schema",
        "functions.json",
        "[0].parameters.properties.more.anyOf[1].$ref",
        reference,
    )


@pytest.mark.parametrize(
    ("schema", "more", "found"),
    [
        ({"$dynamicRef": "http://127.0.0.1:9/a.json"}, {}, "$dynamicRef"),
        ({"$id": "http://127.0.0.1:9/", "$ref": "#/x"}, {}, "$id"),
        ({"$ref": "#/$defs/gone"}, {}, "leads nowhere"),
        ({"$ref": "#/properties/more"}, {}, "refers to itself"),
        (
            {"$ref": "#/$defs/d29"},
            {"$defs": {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n - 1}"}] * 2} if n else {} for n in range(30)}},
            "too large",
        ),
    ],
    ids=["dynamic", "base", "nowhere", "cycle", "bomb"],
)
def test_finding_13_a_schema_is_finite_and_small(
    domain_folder: Path, schema: dict[str, Any], more: dict[str, Any], found: str
) -> None:
    with_parameter(domain_folder, schema, **more)
    refused(lambda: load_domain(domain_folder), found, "functions.json", "[0].parameters.properties.more")


def test_a_reference_within_the_schema_is_followed(domain_folder: Path) -> None:
    with_parameter(domain_folder, {"$ref": "#/$defs/a~1b"}, **{"$defs": {"a/b": {"type": "integer"}}})
    search = load_domain(domain_folder).functions["search"]
    found = {error.kind for error in check_call(search, {"more": "x"}) if error.parameter == "more"}
    assert found == {"type"}


@pytest.mark.parametrize("pattern", ["^(a+)+$", "(a|a)*$", "(.*)*x"])
def test_finding_13_a_pattern_takes_linear_time_on_any_argument(domain_folder: Path, pattern: str) -> None:
    function = load_domain(with_parameter(domain_folder, {"type": "string", "pattern": pattern})).functions["search"]
    text = "a" * 5_000 + "!"
    assert {e.parameter: e.kind for e in check_call(function, {"more": text})}.get("more") == (
        None if pattern == "(a|a)*$" else "format"
    )
    assert "more" not in {e.parameter for e in check_call(function, {"more": "aax" if "x" in pattern else "aa"})}


@pytest.mark.parametrize(
    "pattern", ["(?=a)b", r"(a)\1", "a{1000}{1000}", "((.{0,100}){0,100}){0,100}x", "a" * 2000, "(" * 900 + ")" * 900]
)
def test_finding_13_a_pattern_without_a_bound_is_refused(domain_folder: Path, pattern: str) -> None:
    with_parameter(domain_folder, {"type": "string", "pattern": pattern})
    refused(lambda: load_domain(domain_folder), "pattern", "properties.more.pattern", "linear time")


def test_finding_13_an_argument_that_is_too_long_for_its_pattern_is_not_searched(domain_folder: Path) -> None:
    schema = {"type": "string", "pattern": "(.{0,100}){0,100}x"}
    function = load_domain(with_parameter(domain_folder, schema)).functions["search"]
    found = {error.parameter: error.message for error in check_call(function, {"more": "01" * 50_000})}
    assert "too long for the pattern" in found["more"]


def test_finding_13_keywords_that_run_patterns_elsewhere_are_refused(domain_folder: Path) -> None:
    with_parameter(domain_folder, {"type": "object", "patternProperties": {"^(a+)+$": {}}})
    refused(lambda: load_domain(domain_folder), "unsupported keyword", "patternProperties")


@pytest.mark.parametrize("target", ["secret.txt", "nowhere", ".."])
def test_finding_14_links_in_a_domain_that_lead_outside_are_refused(
    tmp_path: Path, domain_folder: Path, target: str
) -> None:
    (tmp_path / "secret.txt").write_text("private")
    (domain_folder / "templates" / "note.txt").symlink_to(tmp_path / target)
    for read in (load_domain, domain_fingerprint):
        refused(lambda read=read: read(domain_folder), "leads out of its folder", "note.txt", target)
    planned = launch_here("run", str(run_config(tmp_path, domain_folder)))
    assert planned.returncode == 2 and "leads out of its folder" in planned.stderr
    assert not list((tmp_path / "runs").rglob("note.txt"))


def test_finding_14_a_pipe_in_a_domain_is_refused(domain_folder: Path) -> None:
    os.mkfifo(domain_folder / "pipe")
    refused(lambda: domain_fingerprint(domain_folder), "neither a file nor a folder", "pipe")


def test_links_within_a_domain_are_followed(domain_folder: Path) -> None:
    (domain_folder / "lexicon.yaml").rename(domain_folder / "words")
    (domain_folder / "lexicon.yaml").symlink_to("words")
    assert load_domain(domain_folder).lexicon == load_domain(TINY).lexicon


GREEDY = {
    "a wide format": "{{ '%1000000000d' % 1 }}",
    "a wide format filter": "{{ '%1000000000d' | format(1) }}",
    "a wide format method": "{{ '{:1000000000}'.format(1) }}",
    "a width as an argument": "{{ '{:{w}}'.format(1, w=10**9) }}",
    "a width as an argument of %": "{{ '%*d' % (10**9, 1) }}",
    "repetition": "{{ 'a' * 10**9 }}",
    "a list repeated": "{{ ([1] * 10**9) | length }}",
    "a method": "{{ 'a'.center(10**9) }}",
    "a filter": "{{ 'a' | center(10**9) }}",
    "an indent": "{{ 'a\nb' | indent(10**9) }}",
    "a replacement": "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
    "a join": "{{ range(100000) | join('b' * 100000) }}",
    "a lazy join": "{{ range(90000) | map('string') | join('b' * 100000) }}",
    "a lazy join of a method": "{{ ('b' * 100000).join(range(90000) | map('string')) }}",
    "a power": "{{ 10 ** (10 ** 10) }}",
    "doubling by +": "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "doubling by ~": "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "doubling by lists": "{% set n = namespace(x=1) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
    "{{ n.x }}",
    "squaring": "{% set n = namespace(x=3) %}{% for i in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "output": "{% for a in range(99999) %}{{ 'a' * 999999 }}{% endfor %}",
    "a block": "{% set x %}{% for a in range(99999) %}{{ 'a' * 999999 }}{% endfor %}{% endset %}",
    "macros": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "deep brackets": "{{ " + "(" * 100_000 + "1" + ")" * 100_000 + " }}",
    "a deep sum": "{{ " + "1+" * 100_000 + "1 }}",
    "filler": "{{ lipsum(10**6) }}",
}


@pytest.mark.parametrize("body", GREEDY.values(), ids=GREEDY)
def test_finding_19_a_template_that_takes_all_memory_or_time_is_refused(tiny: Domain, body: str) -> None:
    template = next(t for t in tiny.templates.values() if t.route == "text")
    greedy = dataclasses.replace(template, body=f"Hello\n{body}\n")
    refused(lambda: check_template(tiny, greedy), str(template.file), greedy.place(line=2).partition(", line")[0])


def test_a_template_within_the_bounds_renders_as_before(tiny: Domain) -> None:
    body = (
        "{% for e in examples if e.q %}{{ loop.index }}/{{ loop.length }} {{ e.q | upper ~ '-' ~ loop.last }}\n"
        "{% else %}none{% endfor %}{{ '%s %5d' | format('x', 42) }} {{ '{:>4}'.format(7) }} {{ slots | tojson }} "
        "{{ (examples | map(attribute='q') | list) + ['z'] }} {{ 12345678901234 | string }} {{ 2 ** 8 }} {{ 'ab' * 2 }}"
    )
    template = dataclasses.replace(next(t for t in tiny.templates.values() if t.route == "text"), body=body)
    variables = {"examples": [{"q": "a'b"}, {"q": "é"}], "slots": {"s": "it's"}}
    (*_, message) = render_messages(template, variables, seed=1)
    assert message["content"] == (
        "1/2 A'B-False\n2/2 É-True\nx    42    7 {\"s\": \"it's\"} [\"a'b\", 'é', 'z'] 12345678901234 256 abab"
    )
