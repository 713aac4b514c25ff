"""Tests of turning requests into prompts and candidates; those that need an engine use the real small model."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pyarrow as pa
import pytest
import yaml

from routenator.config import ChecksConfig, RunConfig
from routenator.domain.domain import Domain
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.generation.agreement import agreement_prompt, disagrees
from routenator.generation.describe import Describer
from routenator.generation.engine import Prompt, Reply
from routenator.generation.generator import Generator
from routenator.sampling.sampler import Sampler
from routenator.schemas import DETAIL_COLUMNS, arrow_schema
from routenator.wording.composer import Composer
from tests.conftest import ROOT, make_config

CACHE = ROOT / ".cache"
PROFILE = yaml.safe_load((ROOT / "configs" / "model" / "smollm2-135m.yaml").read_text())


def config(**model: Any) -> RunConfig:
    return make_config(model={**PROFILE["model"], **model}, generate=PROFILE["generate"], checks={"length": False})


@pytest.fixture(scope="module")
def requests(tiny: Domain) -> list[dict[str, Any]]:
    sampler = Sampler(tiny, config())
    rows: list[dict[str, Any]] = (
        Composer(tiny, config(), sampler.strata).details(sampler.requests(0, sampler.size)).to_pylist()
    )
    return rows


def generator_of(domain: Domain, settings: RunConfig) -> Generator:
    return Generator(Composer(domain, settings, ()), CACHE)


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=arrow_schema(DETAIL_COLUMNS))


def of_route(requests: list[dict[str, Any]], route: str, count: int = 4) -> list[dict[str, Any]]:
    return [request for request in requests if request["route"] == route][:count]


def test_prompts_are_functions_of_the_request(tiny: Domain, requests: list[dict[str, Any]]) -> None:
    rows = of_route(requests, "text", 8)
    first, second = (generator_of(tiny, config()) for _ in range(2))
    prompts = [first._prompt(row) for row in rows]
    assert prompts == [second._prompt(row) for row in reversed(rows)][::-1]
    assert len({prompt.seed for prompt in prompts}) == len(prompts)


def test_few_shot_examples_come_from_the_graph_in_the_configured_number(
    tiny: Domain, requests: list[dict[str, Any]]
) -> None:
    (row,) = of_route(requests, "text", 1)
    (message,) = generator_of(tiny, config())._prompt(row).messages
    assert message["content"].count("Rewrite:") == PROFILE["generate"]["examples"] + 1
    assert f"Request: {row['draft']}" in message["content"]


def test_a_profile_may_turn_guides_off(tiny: Domain, requests: list[dict[str, Any]]) -> None:
    (row,) = of_route(requests, "text", 1)
    guided = generator_of(tiny, config())._prompt(row)
    assert guided.grammar is not None and guided.schema is None
    free = generator_of(tiny, config(generator={**PROFILE["model"]["generator"], "guided": False}))._prompt(row)
    assert free.grammar is None and free.schema is not None and free.schema["required"] == ["query"]
    assert free.max_tokens == tiny.templates[row["template"]].max_tokens


def test_the_described_route_puts_the_picture_in_words(tiny: Domain, requests: list[dict[str, Any]]) -> None:
    (row,) = of_route(requests, "vision", 1)
    text = generator_of(tiny, config())._prompt(row).messages[-1]["content"]
    assert tiny.records[row["record"]]["title"] in text and "A design in" in text


def test_pictures_are_described_once(
    tiny: Domain, requests: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    describe = Describer.describe
    monkeypatch.setattr(Describer, "describe", lambda self, image: (seen.append(1), describe(self, image))[1])
    generator = generator_of(tiny, config())
    rows = of_route(requests, "vision", 12)
    for row in rows:
        generator._prompt(row)
    assert len(seen) == len({row["record"] for row in rows}) < len(rows)


def test_a_vision_language_model_gets_the_picture_itself(tiny: Domain, requests: list[dict[str, Any]]) -> None:
    engine = {"model": "org/vlm", "max_tokens": 33, "guided": False}
    generator = generator_of(tiny, config(vision={"kind": "vlm", "engine": engine, "image_size": [64, 64]}))
    (row,) = of_route(requests, "vision", 1)
    picture, text = generator._prompt(row).messages[-1]["content"]
    assert picture["image_url"]["url"].startswith("data:image/png;base64,") and "the attached image" in text["text"]
    assert generator.engine_config("vision") != generator.engine_config("text")
    assert generator.engine_config("heuristic") is None


def test_requests_without_a_usable_prompt_are_kept_with_their_reason(
    tiny: Domain, requests: list[dict[str, Any]]
) -> None:
    (row,) = of_route(requests, "vision", 1)
    blank = dict(tiny.records[row["record"]], title="", id="blank")
    domain = dataclasses.replace(tiny, records={**tiny.records, "blank": blank})
    generator = generator_of(domain, config())
    rows = [{**row, "record": None}, {**row, "record": "blank"}]
    candidates = generator.candidates(table_of(rows)).to_pylist()
    assert [candidate["reason"] for candidate in candidates] == ["no_image", "unreadable_image"]
    assert all(
        candidate["raw"] is None and not candidate["accepted"] and candidate["detail"] for candidate in candidates
    )


@pytest.mark.parametrize("kind", ["described", "vlm"])
def test_a_record_that_cannot_be_drawn_does_not_end_the_task(
    tiny: Domain, requests: list[dict[str, Any]], kind: str
) -> None:
    (row,) = of_route(requests, "vision", 1)
    broken = dict(tiny.records[row["record"]], topics=5, id="broken")
    domain = dataclasses.replace(tiny, records={**tiny.records, "broken": broken})
    generator = generator_of(domain, config(vision={"kind": kind, "engine": {"model": "org/vlm", "guided": False}}))
    (candidate,) = generator.candidates(table_of([{**row, "record": "broken"}])).to_pylist()
    assert (
        candidate["reason"] == "unreadable_image"
        and "cannot be drawn" in candidate["detail"]
        and not candidate["accepted"]
    )


@pytest.mark.slow
def test_preview_shows_prompt_reply_and_result_of_the_checks(tiny: Domain, requests: list[dict[str, Any]]) -> None:
    generator = generator_of(tiny, config())
    rows = [*of_route(requests, "heuristic", 2), *of_route(requests, "text", 3), *of_route(requests, "vision", 2)]
    previews = generator.preview(table_of(rows))
    assert [preview.candidate["index"] for preview in previews] == [row["index"] for row in rows]
    for preview in previews:
        candidate = preview.candidate
        if candidate["route"] == "heuristic":
            assert preview.messages == [] and candidate["query"] == candidate["draft"]
            continue
        assert preview.messages and preview.grammar and json.loads(candidate["raw"])["query"] == candidate["query"]
        assert candidate["accepted"], candidate["detail"]
        for surface in json.loads(candidate["slots"])[0].values():
            assert surface in candidate["query"]
    assert generator.engine_seconds > 0


@pytest.mark.slow
def test_the_judge_decides_last_on_rows_that_a_model_wrote(tiny: Domain, requests: list[dict[str, Any]]) -> None:
    """Uses the engine that the previous test loaded. Does not test how well the small model judges."""
    rows = [*of_route(requests, "heuristic", 2), *of_route(requests, "text", 6)]
    plain = generator_of(tiny, config()).candidates(table_of(rows)).to_pylist()
    asked = config().model_copy(update={"checks": config().checks.model_copy(update={"judge": True})})
    judged = generator_of(tiny, asked).candidates(table_of(rows)).to_pylist()
    for before, after in zip(plain, judged, strict=True):
        assert before["accepted"] and after["query"] == before["query"]
        if before["route"] == "heuristic":
            assert after == before
            continue
        assert (
            after["prompt_tokens"] > before["prompt_tokens"]
            and after["completion_tokens"] > before["completion_tokens"]
        )
        assert after["accepted"] or (after["reason"] == "judge" and "do not agree" in after["detail"])


def test_the_judge_sees_functions_query_and_call_and_can_only_say_yes_or_no(
    tiny: Domain, requests: list[dict[str, Any]]
) -> None:
    (row,) = of_route(requests, "text", 1)
    prompt = agreement_prompt(tiny, row, "find me something")
    text = " ".join(message["content"] for message in prompt.messages)
    assert "find me something" in text and all(name in text for name in tiny.functions)
    assert json.dumps(json.loads(row["calls"])[0], ensure_ascii=False) in text
    assert prompt.temperature == 0.0 and prompt.grammar is not None and "yes" in prompt.grammar
    assert disagrees("no") and disagrees(" No.") and not disagrees("yes") and not disagrees("")


def test_the_error_names_a_missing_model(tiny: Domain, requests: list[dict[str, Any]]) -> None:
    generator = generator_of(tiny, config(generator={"model": "/no/such/model"}))
    with pytest.raises(InputError, match="/no/such/model"):
        generator.candidates(table_of(of_route(requests, "text", 1)))


@pytest.fixture(scope="module")
def creative() -> Domain:
    return load_domain(ROOT / "configs" / "domains" / "creative")


def test_a_paraphrase_that_loses_its_functions_verb_is_refused(
    creative: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is a stand-in that asks for each call's design to be searched for, or to be made."""
    settings = config().model_copy(update={"checks": ChecksConfig(length=False)})
    sampler = Sampler(creative, settings)
    details = (
        Composer(creative, settings, sampler.strata).details(sampler.requests(0, min(400, sampler.size))).to_pylist()
    )
    rows = [row for row in details if row["route"] == "text"]

    class StandIn:
        name = "stand-in"

        def generate(self, prompts: list[Prompt]) -> list[Reply]:
            said = [" ".join(json.loads(row["slots"])[0].values()) for row in rows]
            return [Reply(json.dumps({"query": f"{opening} {text}"}), 1, 1) for text in said]

    monkeypatch.setattr("routenator.generation.generator.use_engine", lambda engine, cache: StandIn())
    refused: dict[tuple[str, str], list[bool]] = {}
    for opening in ("find me an existing", "use ai to create a completely new"):
        for made in generator_of(creative, settings).candidates(table_of(rows)).to_pylist():
            assert made["accepted"] or made["reason"] != "mistaken" or made["detail"].startswith("reads like ")
            if made["reason"] in (None, "mistaken"):
                refused.setdefault((made["function"], opening.split()[0]), []).append(made["reason"] == "mistaken")
    shares = {key: sum(found) / len(found) for key, found in refused.items()}
    assert len(shares) == 4 and all(len(found) >= 5 for found in refused.values())
    wrong = shares["search", "use"], shares["generate", "find"]
    assert shares["search", "find"] == shares["generate", "use"] == 0
    assert min(wrong) > 0.6, shares
    opening = "find me an existing"
    off = settings.model_copy(update={"checks": ChecksConfig(length=False, function=False)})
    made = generator_of(creative, off).candidates(table_of(rows))["reason"].to_pylist()
    assert "mistaken" not in made and made.count(None) > 10
