"""Tests of the shipped domains' prompts: models they are for, their examples, and the plain ones for comparisons."""

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow.compute as pc
import pytest

from routenator.config import RunConfig
from routenator.domain.domain import Domain
from routenator.domain.loader import load_domain
from routenator.generation.generator import _POOLS, Generator
from routenator.generation.seeds import STREAM_POOL, derive
from routenator.sampling.sampler import Sampler
from routenator.sampling.strata import build_strata, target_shares
from routenator.wording.composer import Composer
from tests.conftest import ROOT

CACHE = ROOT / ".cache"
DOMAINS = ("assistant", "creative")


@pytest.fixture(scope="module", params=DOMAINS)
def domain(request: pytest.FixtureRequest) -> Domain:
    return load_domain(ROOT / "configs" / "domains" / request.param)


def config(domain: Domain, guided: bool = True, **changes: Any) -> RunConfig:
    model = {"generator": {"model": "none", "guided": guided}, "trainee": "none", "embedder": "none"}
    base = {"name": "test", "domain": str(domain.path), "seed": 5, "dataset": {"size": 2000}, "model": model}
    return RunConfig.model_validate({**base, **changes})


def plain(domain: Domain) -> Domain:
    """The domain with only its plain templates, at ``weight: 1``, and every length allowed."""
    kept = {
        name: dataclasses.replace(template, head=template.head.model_copy(update={"weight": 1.0}))
        for name, template in domain.templates.items()
        if template.weight == 0
    }
    low, high = (
        min(b[0] for b in domain.statistics.length_buckets.values()),
        max(b[1] for b in domain.statistics.length_buckets.values()),
    )
    buckets = dict.fromkeys(domain.statistics.length_buckets, (low, high))
    statistics = domain.statistics.model_copy(update={"length_buckets": buckets, "keyword_position": {}})
    return dataclasses.replace(domain, templates=kept, statistics=statistics)


def test_every_cell_has_prompts_for_either_kind_of_model(domain: Domain) -> None:
    used: dict[bool, set[str]] = {}
    for guided in (True, False):
        shares = target_shares(domain, config(domain, guided))
        used[guided] = {key[3] for key in shares}
        cells = {(key[0], key[1], key[4]) for key in shares}
        assert {(key[0], key[1], key[4]) for key in shares if key[2] == "text"} == cells
    prompts = [t for t in domain.templates.values() if t.route != "heuristic" and t.weight > 0]
    assert {t.name for t in prompts} <= used[True] | used[False]
    for template in prompts:
        assert (template.name in used[True], template.name in used[False]) == {
            "any": (True, True), "guided": (True, False), "free": (False, True),
        }[template.head.for_]  # fmt: skip
        assert template.head.for_ == "free" or template.guide == "slots", "a small model must say the slots' words"


def test_templates_without_weight_are_never_used(domain: Domain) -> None:
    plain_ones = {t.name for t in domain.templates.values() if t.weight == 0}
    assert plain_ones == {"text/single_prompt"} | {f"heuristic/basic_{function}" for function in domain.functions}
    assert not plain_ones & {stratum.template for stratum in build_strata(domain, config(domain))}


@pytest.mark.slow
def test_a_domain_works_with_plain_templates_alone(domain: Domain) -> None:
    """Heuristic rows pass the checks, and the guide of the single prompt offers the plain templates' words."""
    made = plain(domain)
    settings = config(made, generate={"routes": {"heuristic": 0.5, "text": 0.5}}, dataset={"size": 600})
    sampler = Sampler(made, settings)
    composer = Composer(made, settings, sampler.strata)
    details = composer.details(sampler.requests(0, sampler.size))
    generator = Generator(composer, CACHE)
    drafts = details.filter(pc.equal(details["route"], "heuristic"))
    verdicts = generator.candidates(drafts)["accepted"].to_pylist()
    assert sum(verdicts) / len(verdicts) > 0.97
    for row in details.filter(pc.equal(details["route"], "text")).slice(0, 40).to_pylist():
        _, gaps = generator._pool(row["function"], "en", 0)
        prompt = generator._prompt(row)
        assert prompt.grammar and row["function"] in str(prompt.messages[-1]["content"])
        openings = {opening.split()[0] for frames in gaps.frames.values() for opening, _ in frames if opening.split()}
        assert len(openings) <= 12, "few, plain openings, and none from the richer templates"


def test_few_shot_examples_contain_every_surface_of_their_call(domain: Domain) -> None:
    composer = Composer(domain, config(domain), ())
    for function in domain.rules:
        examples = composer.examples(3, function, "en", 200)
        assert all(
            surface in example[key]
            for example in examples
            for key in ("draft", "query")
            for surface in example["slots"].values()
        )
        assert sum(example["draft"] == example["query"] for example in examples) < 10, "two different wordings"
    a, b = composer.examples(3, function, "en", 20), composer.examples(4, function, "en", 20)
    assert not {example["query"] for example in a} & {example["query"] for example in b}


@pytest.mark.slow
def test_a_prompt_shows_examples_of_the_same_function_and_similar_length(domain: Domain) -> None:
    settings = config(domain, generate={"routes": {"text": 1}, "examples": 4}, dataset={"size": 300})
    sampler = Sampler(domain, settings)
    composer = Composer(domain, settings, sampler.strata)
    rows = composer.details(sampler.requests(0, 40)).to_pylist()
    rows = [row for row in rows if row["function"] in domain.functions]  # of one call; others have no prompt
    generator = Generator(composer, CACHE)
    seen, near = set(), []
    for row in rows:
        pool, _ = generator._pool(row["function"], "en", derive(row["seed"], STREAM_POOL) % _POOLS)
        low, high = domain.statistics.length_buckets[row["length"]]
        shown = generator._examples(pool, row["seed"], (low, high), "en")
        assert all(set(example["arguments"]) <= set(domain.functions[row["function"]].properties) for example in shown)
        near += [low <= len(example["query"].split()) <= high for example in shown]
        seen.add(tuple(example["query"] for example in shown))
    assert sum(near) / len(near) > 0.9
    assert len(seen) == len(rows), "examples differ from row to row"


@pytest.mark.slow
def test_a_prompt_places_the_keyword_where_the_draft_does(domain: Domain) -> None:
    settings = config(domain, guided=False, generate={"routes": {"text": 1}}, dataset={"size": 1500})
    sampler = Sampler(domain, settings)
    wanted = {s.stratum for s in sampler.strata if s.template == "text/keyword_place"}
    requests = sampler.requests(0, sampler.size)
    composer = Composer(domain, settings, sampler.strata)
    rows = composer.details(requests.filter([n in wanted for n in requests["stratum"].to_pylist()]))
    generator = Generator(composer, CACHE)
    texts = [str(generator._prompt(row).messages[-1]["content"]) for row in rows.to_pylist()[:40]]
    for third in ("first third", "middle", "last third"):
        assert any(f" in the {third}" in text for text in texts)
