"""Strata, one rule at a time: rounding, ties, requested rows, and domains that are refused."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import pytest

from routenator.domain.domain import Domain
from routenator.domain.joint import Joint
from routenator.domain.schema import NO_CATEGORY
from routenator.errors import InputError, StageError
from routenator.sampling.strata import (
    Diffusion,
    build_strata,
    category_shares,
    heuristic_templates,
    largest_remainder,
    length_language_shares,
    normalise,
    target_shares,
    with_requested,
)
from tests.conftest import make_config


def with_statistics(domain: Domain, **changes: Any) -> Domain:
    return dataclasses.replace(domain, statistics=domain.statistics.model_copy(update=changes))


def with_heads(domain: Domain, heads: Mapping[str, Mapping[str, Any]]) -> Domain:
    """The domain with the heads of some templates changed."""
    templates = dict(domain.templates)
    for name, changes in heads.items():
        head = templates[name].head.model_copy(update=dict(changes))
        templates[name] = dataclasses.replace(templates[name], head=head)
    return dataclasses.replace(domain, templates=templates)


def test_weights_become_shares_and_zeros_are_dropped() -> None:
    assert normalise({"a": 1, "b": 0, "c": 3}) == {"a": 0.25, "c": 0.75}


@pytest.mark.parametrize(
    ("shares", "total", "counts"),
    [
        ([0.7, 0.3], 1, [1, 0]),
        ([0.2, 0.3, 0.5], 4, [1, 1, 2]),
        ([2, 3, 5], 4, [1, 1, 2]),
        ([0.25, 0.25, 0.25, 0.25], 2, [1, 1, 0, 0]),
        ([0.5, 0.5], 0, [0, 0]),
        # One row for two equal shares; differences below 5e-10 count as a tie.
        ([0.5 - 2e-10, 0.5 + 2e-10], 1, [1, 0]),
        ([0.5 - 2e-9, 0.5 + 2e-9], 1, [0, 1]),
    ],
)
def test_the_largest_remainders_are_rounded_up_and_ties_go_to_the_first(
    shares: list[float], total: int, counts: list[int]
) -> None:
    assert largest_remainder(shares, total) == counts


@pytest.mark.parametrize(("gap", "first"), [(2e-10, "a"), (2e-9, "b")])
def test_diffusion_gives_to_the_part_furthest_behind_and_ties_go_to_the_first(gap: float, first: str) -> None:
    assert Diffusion().split({"a": 0.7, "b": 0.3}, 1) == {"a": 1, "b": 0}
    counts = Diffusion().split({"a": 0.5 - gap, "b": 0.5 + gap}, 1)
    assert [part for part, count in counts.items() if count] == [first]


def test_diffusion_remembers_what_it_owes() -> None:
    diffusion = Diffusion()
    given = [diffusion.split({"a": 0.75, "b": 0.25}, 1) for _ in range(8)]
    assert ["a" if counts["a"] else "b" for counts in given] == list("aaba" * 2)


def test_diffusion_gives_nothing_to_a_zero_share_even_if_rows_are_owed() -> None:
    diffusion = Diffusion()
    diffusion.split({"a": 0.4, "b": 0.6}, 1)
    assert diffusion.split({"a": 0.0, "b": 1.0}, 3) == {"a": 0, "b": 3}
    assert diffusion.split({"a": 0.0, "b": 0.5, "c": 0.5}, 1)["a"] == 0


def test_diffusion_tolerates_floating_point_noise_in_whole_numbers() -> None:
    """100 * 0.29 is 28.999999999999996."""
    assert Diffusion().split({"a": 0.29, "b": 0.71}, 100) == {"a": 29, "b": 71}
    assert 0.29 * 100 < 29


def test_diffusion_keeps_the_shares_for_each_name_of_a_cell() -> None:
    """Each name has its own balance, in addition to the overall one."""
    diffusion = Diffusion()
    assert diffusion.split({"a": 0.5, "b": 0.5}, 1, ("x",)) == {"a": 1, "b": 0}
    assert diffusion.split({"a": 0.5, "b": 0.5}, 1, ("y",)) == {"a": 0, "b": 1}
    # b is owed in x, a is owed in y; overall they are even.
    assert diffusion.split({"a": 0.5, "b": 0.5}, 1, ("y",)) == {"a": 1, "b": 0}
    assert diffusion.split({"a": 0.5, "b": 0.5}, 1, ("x",)) == {"a": 0, "b": 1}


def test_diffusion_owes_nothing_to_a_part_that_is_new() -> None:
    first, second = Diffusion(), Diffusion()
    assert first.split({"a": 0.5, "b": 0.5}, 1) == {"a": 1, "b": 0}
    assert first.split({"c": 0.5, "b": 0.5}, 1) == {"c": 0, "b": 1}, "b is owed half a row from before"
    assert second.split({"a": 0.2, "b": 0.8}, 1) == {"a": 0, "b": 1}
    assert second.split({"b": 0.5, "c": 0.5}, 1) == {"b": 0, "c": 1}, "b had a fifth of a row too much"


def test_requested_rows_are_the_routes_oversampling_rounded_up(tiny: Domain) -> None:
    config = make_config(generate={"oversample": {"heuristic": 1.25, "vision": 3.0}})
    for stratum in build_strata(tiny, config):
        factor = {"heuristic": 1.25, "vision": 3.0, "text": 1.0}[stratum.route]
        assert stratum.requested == math.ceil(stratum.quota * factor), stratum


@pytest.mark.parametrize("size", [20, 200])
def test_each_stratum_has_rows_and_its_target_and_number(tiny: Domain, size: int) -> None:
    config = make_config(dataset={"size": size})
    strata, target = build_strata(tiny, config), target_shares(tiny, config)
    assert [stratum.stratum for stratum in strata] == list(range(len(strata)))
    for item in strata:
        key = (item.function, item.category, item.route, item.template, item.length, item.language)
        assert item.quota >= 1 and item.target == pytest.approx(target[key])


def test_a_plan_may_set_other_numbers_for_the_same_strata(tiny: Domain) -> None:
    strata = build_strata(tiny, make_config())
    numbers = list(range(len(strata)))
    assert [stratum.requested for stratum in build_strata(tiny, make_config(), numbers)] == numbers
    with pytest.raises(StageError, match=f"counts for {len(strata) - 1} strata, but there are {len(strata)}"):
        with_requested(strata, numbers[1:])


def test_one_row_per_population_cell_is_enough(tiny: Domain) -> None:
    cells = sum(len(category_shares(tiny, function)) for function in ("search", "book"))
    assert sum(stratum.quota for stratum in build_strata(tiny, make_config(dataset={"size": cells}))) == cells
    with pytest.raises(InputError, match="too few rows") as caught:
        build_strata(tiny, make_config(dataset={"size": cells - 1}))
    assert (caught.value.key, caught.value.found) == ("dataset.size", cells - 1)
    assert caught.value.expected == f"at least {cells}"


def test_shares_of_an_optional_category(tiny: Domain) -> None:
    """It is absent as often as its slot is; a required one, or one that is not a slot, is never absent."""
    assert category_shares(tiny, "search") == pytest.approx({"poster": 0.5, "logo": 0.2, "card": 0.3})
    optional = {"bistro": 0.35, "diner": 0.35, NO_CATEGORY: 0.3}
    assert category_shares(tiny, "book") == pytest.approx(optional)
    assert category_shares(with_statistics(tiny, slots={"book": {}}), "book") == {"bistro": 0.5, "diner": 0.5}
    assert category_shares(with_statistics(tiny, slots={}), "book") == {"bistro": 0.5, "diner": 0.5}
    book = tiny.functions["book"]
    book = dataclasses.replace(book, parameters={**book.parameters, "required": [book.category]})
    required = dataclasses.replace(tiny, functions={**tiny.functions, "book": book})
    assert category_shares(required, "book") == {"bistro": 0.5, "diner": 0.5}
    rules = {**tiny.rules, "book": tiny.rules["book"].model_copy(update={"slots": {}})}
    assert category_shares(dataclasses.replace(tiny, rules=rules), "book") == {"bistro": 0.5, "diner": 0.5}
    rules["book"] = rules["book"].model_copy(update={"category": None})
    assert category_shares(dataclasses.replace(tiny, rules=rules), "book") == {NO_CATEGORY: 1.0}


def test_a_joint_target_takes_precedence_over_the_tables(tiny: Domain) -> None:
    joint = Joint({"search": {"logo": {("short", "en"): 3.0, ("long", "en"): 1.0}}})
    domain = dataclasses.replace(tiny, joint=joint)
    assert category_shares(domain, "search") == {"logo": 1.0}
    assert length_language_shares(domain, "search", "logo") == {("short", "en"): 0.75, ("long", "en"): 0.25}
    assert length_language_shares(tiny, "search", "logo") == {("short", "en"): 0.5, ("long", "en"): 0.5}


def test_heuristic_templates_are_filtered_by_function_language_and_weight(tiny: Domain) -> None:
    def found(**changes: Any) -> list[str]:
        domain = with_heads(tiny, {"heuristic/search_plain": changes})
        return [template.name for template in heuristic_templates(domain, "search", "en")]

    both = ["heuristic/search_fragment", "heuristic/search_plain"]
    assert found() == found(languages=["de", "en"]) == both
    assert found(weight=0) == found(functions=["book"]) == found(languages=["de"]) == both[:1]
    assert [template.name for template in heuristic_templates(tiny, "book", "en")] == ["heuristic/book_plain"]


def refusal(domain: Domain, **config: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        build_strata(domain, make_config(**config))
    return caught.value


def test_a_route_without_a_template_is_refused(tiny: Domain) -> None:
    for changes in ({"weight": 0}, {"functions": ["book"]}):
        error = refusal(with_heads(tiny, {"vision/picture": changes}))
        assert error.key == "routes.search.vision" and error.found == "vision"
    # The engine is held to the slots' words by default; a template for one that writes freely does not suit it.
    error = refusal(with_heads(tiny, {"vision/picture": {"for_": "free"}}))
    assert error.key == "routes.search.vision"


def test_all_zero_route_weights_are_refused(tiny: Domain) -> None:
    error = refusal(tiny, generate={"routes": {"heuristic": 0.0, "text": 0.0}})
    assert error.key == "generate.routes" and error.found == {"heuristic": 0.0, "text": 0.0}
    strata = build_strata(tiny, make_config(generate={"routes": {"heuristic": 0.0, "text": 1.0}}))
    assert {stratum.route for stratum in strata} == {"text"}


def test_images_need_metadata(tiny: Domain) -> None:
    bare = dataclasses.replace(tiny, records={})
    error = refusal(bare)
    assert error.key == "routes.search.vision" and error.found == "0 records"
    strata = build_strata(bare, make_config(generate={"routes": {"heuristic": 1.0, "text": 1.0}}))
    assert {stratum.route for stratum in strata} == {"heuristic", "text"}, "without images it is not needed"


def test_a_language_without_a_heuristic_template_is_refused(tiny: Domain) -> None:
    only_english = {name: {"languages": ["en"]} for name, item in tiny.templates.items() if item.route == "heuristic"}
    both = with_statistics(with_heads(tiny, only_english), languages={"en": 0.9, "de": 0.1})
    assert "search has no heuristic template for the language de" in str(refusal(both))
    assert build_strata(with_statistics(both, languages={"en": 0.9, "de": 0.0}), make_config())
    joint = Joint({name: {"x": {("short", "de"): 1.0}} for name in ("search", "book")})
    german = dataclasses.replace(with_statistics(both, languages={"en": 1.0}), joint=joint)
    assert "for the language de" in str(refusal(german)), "a joint target has its own languages"


def test_where_a_route_has_no_template_its_share_goes_to_the_others(tiny: Domain) -> None:
    """Text has a share of 0.3 and serves only short queries."""
    domain = with_heads(tiny, {"text/paraphrase": {"lengths": ["short"]}})
    shares = {(route, length): 0.0 for route in ("heuristic", "text", "vision") for length in ("short", "long")}
    for (function, _, route, _, length, _), share in target_shares(domain, make_config()).items():
        if function == "search":
            shares[route, length] += share / 0.6
    assert shares == pytest.approx(
        {
            ("heuristic", "short"): 0.3,
            ("text", "short"): 0.15,
            ("vision", "short"): 0.05,
            ("heuristic", "long"): 0.5 * 6 / 7,
            ("text", "long"): 0,
            ("vision", "long"): 0.5 * 1 / 7,
        }
    )


def test_templates_divide_their_routes_share_by_weight(tiny: Domain) -> None:
    shares: dict[str, float] = {}
    for (function, _, _, template, _, _), share in target_shares(tiny, make_config()).items():
        if function == "search":
            shares[template] = shares.get(template, 0.0) + share / 0.6
    assert shares == pytest.approx(
        {
            "heuristic/search_fragment": 0.2,
            "heuristic/search_plain": 0.4,
            "text/paraphrase": 0.3,
            "vision/picture": 0.1,
        }
    )


def test_a_cell_without_a_template_is_refused_by_name(tiny: Domain) -> None:
    short = {name: {"lengths": ["short"]} for name, item in tiny.templates.items() if "search" in item.functions}
    error = refusal(with_heads(tiny, short))
    assert "no template serves this cell" in str(error) and error.found == "search x poster x long x en"
