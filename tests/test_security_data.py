"""What comes from elsewhere is data: domains, configs, models' replies, names and logs of others have bounds.

Each test hands in what a stranger could have written and sees it refused with a message, or kept harmless.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routenator.compose import load_config
from routenator.domain.domain import Domain
from routenator.domain.golden import GoldenExample, load_golden
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.evaluation.parse import parse_reply
from routenator.evaluation.predict import Answers
from routenator.evaluation.run import write_predictions
from routenator.evaluation.verdict import judge_reply
from routenator.generation.engine import Reply
from routenator.generation.generator import Generator, _Written
from routenator.generation.query import clean_query
from routenator.grammar import GrammarError, parse
from routenator.parsing import parse_yaml, read_yaml
from routenator.sampling.sampler import Sampler
from routenator.wording.composer import Composer
from tests.conftest import TINY, make_config

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


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_finding_17_a_reply_beyond_the_bounds_is_unparsable_in_the_evaluation(
    tiny: Domain, tmp_path: Path, value: str
) -> None:
    text = f'{{"name": "search", "arguments": {{"extracted_prompt": {value}}}}}'
    gold = GoldenExample("a cake", "search", {"extracted_prompt": "a cake"})
    for reply in (text, json.dumps({"name": "search", "arguments": f'{{"a": {value}}}'}), value):
        parsed = parse_reply(reply)
        assert parsed.name is None and parsed.problem in ("no_json", "no_call")
        verdict = judge_reply(gold, parsed, tiny.functions)
        assert verdict.errors == (("unparsable", ""),)
        said = Answers(texts=[reply], engine="x", seconds=1.0, latencies=[1.0], replies=[parsed], verdicts=[verdict])
        write_predictions(tmp_path / "predictions.jsonl", [gold], {"after": said})
        assert json.loads((tmp_path / "predictions.jsonl").read_text())["after"]["reply"] == reply


def test_finding_17_a_reply_that_is_no_text_can_be_written_and_read(tiny: Domain, tmp_path: Path) -> None:
    gold, text = GoldenExample("a cake", "search", {}), "no \ud83d text"
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
    template = domain_folder / "templates" / "heuristic" / "bomb.txt"
    template.write_text(f"---\n{BOMB}---\nbody\n")
    (domain_folder / "lexicon.yaml").unlink()
    shutil.copy(TINY / "lexicon.yaml", domain_folder)
    refused(lambda: load_domain(domain_folder), "bomb.txt", "with aliases written out")


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
    (domain_folder / "templates" / "heuristic" / "deep.txt").write_text(
        "---\nfunctions: [search]\n---\n" + "(" * 100_000 + "x" + ")" * 100_000
    )
    refused(lambda: load_domain(domain_folder), "deep.txt", "body", "deeper than 50")
