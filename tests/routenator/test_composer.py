"""Tests of the words of requests: calls are valid, and drafts express them."""

from __future__ import annotations

import json

import numpy as np

from routenator.config import RunConfig
from routenator.domain.calls import Call, calls_text, read_calls
from routenator.domain.domain import Domain
from routenator.domain.functions import check_call
from routenator.domain.schema import NO_CATEGORY
from routenator.sampling.sampler import Sampler
from routenator.wording.composer import Composer
from routenator.wording.kernel import compose
from tests.conftest import make_config


def details(domain: Domain, config: RunConfig) -> dict[str, list]:
    """All rows of a run, by column."""
    sampler = Sampler(domain, config)
    return Composer(domain, config, sampler.strata).details(sampler.requests(0, sampler.size)).to_pydict()


def test_calls_are_valid(tiny):
    rows = details(tiny, make_config())
    for name, calls, slots, category in zip(
        rows["function"], rows["calls"], rows["slots"], rows["category"], strict=True
    ):
        ((made, call),) = read_calls(calls)
        assert made == name and calls == calls_text([Call(name, call)])
        assert check_call(tiny.functions[name], call) == []
        assert set(call) == set(json.loads(slots)[0])
        if name == "search":
            assert call["content_type"] == category
        else:
            assert call.get("place", NO_CATEGORY) == category or call["place"].lower() == category
            assert not ({"people", "near"} <= set(call)), "near excludes people"


def test_the_loop_is_compiled_once_for_arrays_of_arrow_and_of_numpy(tiny):
    """After `domain check`, which compiled it for one kind, each run's first task compiled it for the other: 20 s."""
    config = make_config()
    sampler = Sampler(tiny, config)
    requests = sampler.requests(0, 20)
    assert not requests["seed"].to_numpy().flags.writeable
    composer = Composer(tiny, config, sampler.strata)
    composer.details(requests)
    seeds = np.arange(1, 4)
    root = composer.writer.compiled.root["book", "heuristic/book_plain"]
    composer.writer.draw("book", seeds, np.full(3, NO_CATEGORY, dtype=object), np.full(3, root))
    assert len(compose.signatures) == 1


def test_every_draft_contains_every_present_slot(tiny):
    rows = details(tiny, make_config(dataset={"size": 600}))
    for draft, slots in zip(rows["draft"], rows["slots"], strict=True):
        for surface in json.loads(slots)[0].values():
            assert surface in draft
        assert not set("\x01\x02\x03") & set(draft)


def test_drafts_fall_into_their_length_bucket_where_a_template_can(tiny):
    rows = details(tiny, make_config(dataset={"size": 600}))
    inside = [
        tiny.statistics.length_buckets[bucket][0] <= len(draft.split()) <= tiny.statistics.length_buckets[bucket][1]
        for bucket, draft, template in zip(rows["length"], rows["draft"], rows["template"], strict=True)
        if template == "heuristic/search_fragment"
    ]
    assert sum(inside) / len(inside) > 0.7


def test_optional_slots_occur_with_their_shares(tiny):
    rows = details(tiny, make_config(dataset={"size": 4000}, sample={"tries": 1}))
    book = [json.loads(slots)[0] for slots, name in zip(rows["slots"], rows["function"], strict=True) if name == "book"]
    assert abs(sum("people" in slots for slots in book) / len(book) - 0.5) < 0.04
    assert abs(sum("place" in slots for slots in book) / len(book) - 0.7) < 0.02


def test_examples_are_pure_and_express_one_call_in_two_ways(tiny):
    composer = Composer(tiny, make_config(), ())
    other = Composer(tiny, make_config(seed=99, dataset={"size": 77}), ())
    assert composer.examples(5, "search", "en", 3) == other.examples(5, "search", "en", 3)
    for example in composer.examples(6, "book", "en", 8):
        assert example["arguments"]["city"].lower() in example["draft"].lower()
        assert all(surface.lower() in example["query"].lower() for surface in example["slots"].values())
