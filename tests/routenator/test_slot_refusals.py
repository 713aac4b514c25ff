"""What `domain check` refuses in the rules of slots: rules that do not fit the schema, and calls that violate it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from routenator.authoring.check import check_domain
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from tests.conftest import TINY
from tests.routenator.slot_domains import PLACE, TEXTS, give, inspected, said


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "tiny"))


@pytest.mark.parametrize(
    ("schema", "rule", "parts"),
    [
        ({"type": "string"}, {"items": "a"}, ["does not fit the schema", "for a list", "string (value or said)"]),
        (TEXTS, "a", ["does not fit the schema", "a rule for a single value", "array (items)"]),
        ({"$ref": "#/$defs/place"}, "a", ["does not fit the schema", "object (fields or entries)"]),
        (PLACE, {"fields": {"city": "a", "flor": "1"}}, ["not a field of this object", "flor", "nearest:  floor"]),
        (PLACE, {"fields": {"floor": "1"}}, ["a required field has no slot", "city", "slots.slot.fields"]),
        (PLACE, {"fields": {"city": "{Citi}"}}, ["unknown variable", "slot.city", "nearest:  City"]),
        ({"type": "array", "items": PLACE}, {"items": {"fields": {"city": "a"}}}, ["said in one piece", "slot.items"]),
        (TEXTS, {"items": {"said": {"a": "b", "c": []}}}, ["each item of a list or map is said", "without a phrase"]),
        ({**TEXTS, "maxItems": 2}, {"items": "a", "count": {3: 1}}, ["this number of items", "slot.count", "0 to 2"]),
        (TEXTS, {"items": "a", "unique": "city"}, ["`unique`", "city"]),
        (TEXTS, {"items": "a", "surface": "b"}, ["surface has no meaning beside items"]),
        (TEXTS, {"items": "a", "value": "b"}, ["value and items given"]),
        (TEXTS, {"join": ", "}, ["nothing given", "exactly one of value, said, items, fields, entries"]),
        (PLACE, {"entries": {"key": "a", "value": "b"}}, ["no fields other than its own", "a rule for a map"]),
        (TEXTS, {"items": {"items": "a", "count": {5000: 1}}}, ["does not fit the schema"]),
        (TEXTS, {"items": "a", "count": {5000: 1}}, ["too many slots", "more than 4,096"]),
        (TEXTS, {"items": "a", "count": {2: 0}}, ["all zero"]),
        ({"type": "boolean"}, {"said": {"true": "a"}, "weights": {"false": 1}}, ["not in said", "false"]),
    ],
)  # fmt: skip
def test_a_rule_that_does_not_fit_its_schema_is_refused(copy: Path, schema: Any, rule: Any, parts: list[str]) -> None:
    give(copy, schema, rule, **{"$defs": {"place": PLACE}})
    with pytest.raises(InputError) as error:
        inspected(copy)
    said(error, "domain.yaml", "functions.ask.slots", *parts)


def test_a_parameter_may_not_have_the_name_of_a_field(copy: Path) -> None:
    """Patterns could not tell the two apart."""
    rules = {"slot": {"fields": {"city": "a"}}, "slot.city": "b"}
    give(copy, PLACE, rules, properties={"slot.city": {"type": "string"}})
    with pytest.raises(InputError) as error:
        load_domain(copy)
    said(error, "two slots have the same name", "functions.ask.slots", "slot.city")


@pytest.mark.parametrize("role", ["category", "subprompt"])
def test_a_parameter_with_a_role_is_a_single_value(copy: Path, role: str) -> None:
    give(copy, {**TEXTS, "x-role": role}, {"items": "a"})
    with pytest.raises(InputError) as error:
        load_domain(copy)
    said(error, "a parameter with a role is a single value", "functions.ask.slots.slot", "a rule for a list")


def test_values_within_lists_and_objects_are_held_to_their_schema(copy: Path) -> None:
    cities = {"type": "array", "items": {"enum": ["Rome", "oslo"]}}
    give(copy, cities, {"items": "{City}"})
    with pytest.raises(InputError) as error:
        check_domain(copy)
    said(error, "a value of the slot slot[] of ask violates its schema", "nodes.csv", "node c_oslo", "nearest:  oslo")


def test_calls_that_break_a_rule_of_the_whole_list_are_errors_of_the_check(copy: Path) -> None:
    """Each item is right, but together they are too few: the words run out."""
    give(copy, {**TEXTS, "minItems": 3}, {"items": "[a|b]", "count": {3: 1}})
    with pytest.raises(InputError) as error:
        inspected(copy)
    said(error, "calls of ask that violate its schema", "too short")


def test_calls_with_rare_slots_are_drawn_too(copy: Path) -> None:
    """A slot that one call in a thousand has is hardly ever among the calls that the check draws."""
    pair = {"type": "array", "items": {"type": "string"}, "minItems": 3}
    rules = {"slot": "x", "pair": {"items": "[a|b]", "count": {3: 1}}}
    give(copy, {"type": "string"}, rules, "{slot}( {pair})", {"pair": 0.001}, properties={"pair": pair})
    with pytest.raises(InputError) as error:
        inspected(copy)
    said(error, "calls of ask that violate its schema", "functions.ask.slots", "too short")


def test_a_pattern_that_can_omit_a_field_is_an_error_of_the_check(copy: Path) -> None:
    """The query would hold the wording of the whole, but not that field of the call."""
    rule = {"items": {"fields": {"city": "a", "floor": "[1|2]"}, "surface": "{city}[ on {floor}|]"}}
    give(copy, {"type": "array", "items": PLACE}, rule, shares={"slot[].floor": 0.5})
    with pytest.raises(InputError) as error:
        check_domain(copy)
    said(error, "a pattern of ask can omit a field", "slots.slot[].surface", "floor can be missing")


def test_shares_of_fields_are_named_in_full(copy: Path) -> None:
    rule = {"fields": {"city": "a", "floor": "1"}}
    give(copy, PLACE, rule, "{slot.city}( {slot.floor})", {"slot.flor": 0.5})
    with pytest.raises(InputError) as error:
        load_domain(copy)
    said(error, "statistics.yaml", "slots.ask.slot.flor", "nearest:  slot.floor")
