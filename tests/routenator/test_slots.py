"""Slots that are more than a single value: lists, objects, tuples, maps; values that are said by a phrase or not."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from routenator.authoring.check import check_domain, presence_combinations
from routenator.domain.domain import Domain
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from tests.conftest import TINY
from tests.routenator.slot_domains import ITEM, PLACE, TEXTS, drawn, give, give_back, inspected, said


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "tiny"))


@pytest.mark.parametrize(
    ("schema", "rule", "counts", "between", "last"),
    [
        (TEXTS, {"items": "[a|b|c]", "count": {1: 1, 3: 1}}, {1, 3}, ", ", " and "),
        (TEXTS, {"items": "{mood}"}, {1, 2, 3}, ", ", " and "),
        (TEXTS, {"items": "[a|b|c]", "count": {2: 1}, "join": " or "}, {2}, " or ", " or "),
        (TEXTS, {"items": "[a|b|c]", "count": {3: 1}, "join": [" then ", " and last "]}, {3}, " then ", " and last "),
        (TEXTS, {"items": "[a|b|c]", "count": {3: 1}, "join": {"en": ["; "]}}, {3}, "; ", "; "),
        ({**TEXTS, "minItems": 2, "maxItems": 3}, {"items": "[a|b|c|d]"}, {2, 3}, ", ", " and "),
        ({"type": "array", "items": {"enum": [1, 2, 3]}}, {"items": "[1|2|3]"}, {1, 2, 3}, ", ", " and "),
        ({"anyOf": [{"type": "null"}, {"$ref": "#/$defs/few"}]}, {"items": "[1|2]", "count": {2: 1}}, {2}, "", " and "),
        (True, {"items": "[a|b]", "count": {2: 1}}, {2}, "", " and "),
    ],
)  # fmt: skip
def test_a_list_is_made_with_its_counts_and_said_as_people_join_it(
    copy: Path, schema: Any, rule: Any, counts: set[int], between: str, last: str
) -> None:
    """A list was an error of the check, and before that every row of it was refused."""
    give(copy, schema, rule, "get {slot}", **{"$defs": {"few": {"type": "array", "items": {"type": "integer"}}}})
    found = set()
    for query, slots, arguments in drawn(inspected(copy)):
        values = [str(value) for value in arguments["slot"]]
        found.add(len(values))
        assert len(set(values)) == len(values), "no item occurs twice"
        assert slots == {"slot": between.join(values[:-1]) + (last if len(values) > 1 else "") + values[-1]}
        assert query == f"get {slots['slot']}"
    assert found == counts


def test_the_counts_of_items_follow_their_weights(copy: Path) -> None:
    give(copy, TEXTS, {"items": "[a|b|c|d]", "count": {1: 0.5, 2: 0.3, 4: 0.2}})
    sizes = Counter(len(arguments["slot"]) for _, _, arguments in drawn(load_domain(copy), 4000))
    assert {size: count / 4000 for size, count in sizes.items()} == pytest.approx({1: 0.5, 2: 0.3, 4: 0.2}, abs=0.03)


def test_items_may_be_equal_if_the_rule_says_so(copy: Path) -> None:
    give(copy, TEXTS, {"items": "[a|b]", "count": {3: 1}, "unique": False})
    assert {len(set(arguments["slot"])) for _, _, arguments in drawn(load_domain(copy))} == {1, 2}


def test_a_list_ends_where_no_other_item_is_left(copy: Path) -> None:
    give(copy, TEXTS, {"items": "[a|b]", "count": {5: 1}})
    assert {len(arguments["slot"]) for _, _, arguments in drawn(load_domain(copy))} <= {1, 2}


def test_an_item_may_be_an_object_that_its_pattern_says(copy: Path) -> None:
    fields = {
        "city": {"value": "{City.code}", "surface": "{City}"},
        "size": {"said": {1: "once", 2: ["twice", "two times"]}},
    }
    rule = {"items": {"fields": fields, "surface": "{city}( {size})"}, "count": {2: 1}, "unique": "city"}
    give(copy, {"type": "array", "items": ITEM}, rule, "see {slot}", {"slot[].size": 0.5})
    nodes = copy / "nodes.csv"
    rows = [line.split(",") for line in nodes.read_text().splitlines()]
    rows = [[*row, "code" if number == 0 else f"{row[0]}!"] for number, row in enumerate(rows)]
    nodes.write_text("\n".join(",".join(row) for row in rows) + "\n")
    domain = inspected(copy)
    labels = {f"{node.id}!": node.surfaces for node in domain.nodes.values() if node.type == "City"}
    sizes: Counter[int | None] = Counter()
    for _, slots, arguments in drawn(domain):
        parts = slots["slot"].split(" and ")
        assert len({item["city"] for item in arguments["slot"]}) == len(parts) == 2, "the second city is drawn anew"
        for part, item in zip(parts, arguments["slot"], strict=True):
            says = {None: [""], 1: [" once"], 2: [" twice", " two times"]}[item.get("size")]
            assert part in {f"{label}{size}" for label in labels[item["city"]] for size in says}
            sizes[item.get("size")] += 1
    assert sizes[None] / sum(sizes.values()) == pytest.approx(0.5, abs=0.07) and sizes[1] and sizes[2]


def test_items_follow_the_edges_of_the_graph(copy: Path) -> None:
    """A step that is drawn anew starts from the node of the step before it, with the weights of the edges."""
    give(copy, TEXTS, {"items": "{City}", "count": {2: 1}})
    domain = load_domain(copy)
    targets = {
        source: {domain.nodes[edge.target].label for edge in domain.edges if edge.source == source}
        for source in domain.nodes
    }
    intents = {node.id: targets[node.id] for node in domain.nodes.values() if node.type == "Intent"}
    for _, _, arguments in drawn(domain):
        assert any({*arguments["slot"]} <= {*cities, *aliases(domain)} for cities in intents.values())


def aliases(domain: Domain) -> set[str]:
    return {alias for node in domain.nodes.values() for alias in node.aliases}


def test_unique_may_name_the_field_in_which_items_differ(copy: Path) -> None:
    fields = {"city": "[a|b|c]", "size": {"said": {1: "one", 2: "two", 3: "three"}}}
    rule = {"items": {"fields": fields, "surface": "{size} {city}"}, "count": {2: 1}}
    both = []
    for unique in (True, "city"):
        give(copy, {"type": "array", "items": ITEM}, {**rule, "unique": unique})
        both.append(drawn(load_domain(copy)))
        give_back(copy)
    same = [sum(len({item["city"] for item in a["slot"]}) < len(a["slot"]) for _, _, a in rows) for rows in both]
    assert same[0] > 0 and same[1] == 0
    assert all(len({json.dumps(item) for item in a["slot"]}) == 2 for _, _, a in both[0])


def test_the_fields_of_an_object_are_slots_of_their_own(copy: Path) -> None:
    rule = {"fields": {"city": "{City}", "floor": {"value": "[1|2|null]", "surface": "some floor"},
                       "at": {"fields": {"street": "[Mill Road|High Street]", "number": "[7|12]"}}}}  # fmt: skip
    shares = {"slot.floor": 0.5, "slot.at": 0.5, "slot.at.number": 0.5}
    give(
        copy,
        PLACE,
        rule,
        "in {slot.city}( at {slot.at.street}|)( {slot.at.number})( on {slot.floor})".replace("|)", ")"),
        shares,
    )
    domain = inspected(copy)
    seen = Counter()
    for query, slots, arguments in drawn(domain):
        place = arguments["slot"]
        flat = {f"slot.{name}" for name in place if name != "at"} | {f"slot.at.{name}" for name in place.get("at", {})}
        assert slots.keys() == flat and query.startswith(f"in {place['city']}")
        seen[frozenset(flat)] += 1
    assert len(seen) == 6, "number only where there is an address"
    at = sum(count for names, count in seen.items() if "slot.at.street" in names)
    assert at / 400 == pytest.approx(0.5, abs=0.08)
    assert seen.keys() <= set(presence_combinations(domain, "ask"))


def test_an_object_with_a_surface_is_said_in_one_piece(copy: Path) -> None:
    rule = {
        "fields": {"city": "{City}", "floor": "[1|2]"},
        "surface": "[{city}( floor {floor})|(floor {floor} in ){city}]",
    }
    give(copy, PLACE, rule, "go to {slot}", {"slot.floor": 0.5})
    for query, slots, arguments in drawn(inspected(copy)):
        city, floor = arguments["slot"]["city"], arguments["slot"].get("floor")
        said = {city} if floor is None else {f"{city} floor {floor}", f"floor {floor} in {city}"}
        assert slots["slot"] in said and query == f"go to {slots['slot']}"


def test_tuples_and_maps_are_made_and_said(copy: Path) -> None:
    pair = {
        "type": "array",
        "prefixItems": [{"type": "integer"}, {"enum": ["cm", "in"]}],
        "items": False,
        "minItems": 2,
    }
    table = {"type": "object", "additionalProperties": {"type": "integer"}, "propertyNames": {"pattern": "^[a-z]+$"}}
    rules = {
        "slot": {"items": ["[3|5]", {"said": {"cm": "centimetres", "in": "inches"}}]},
        "table": {"entries": {"key": "[ham|egg]", "value": {"said": {1: "one", 2: "two"}}, "surface": "{value} {key}"},
                  "count": {2: 1}},
    }  # fmt: skip
    give(copy, pair, rules, "{slot} with {table}", properties={"table": table})
    for query, slots, arguments in drawn(inspected(copy)):
        number, unit = arguments["slot"]
        assert slots["slot"] == f"{number} {'centimetres' if unit == 'cm' else 'inches'}"
        assert set(arguments["table"]) == {"ham", "egg"}, "keys differ"
        words_of = [f"{'one' if value == 1 else 'two'} {key}" for key, value in arguments["table"].items()]
        assert slots["table"] == " and ".join(words_of) and query == f"{slots['slot']} with {slots['table']}"


def test_lists_nest(copy: Path) -> None:
    """A list of objects that have a list of tuples: every level is written and said."""
    schema = {"type": "array", "items": {"type": "object", "properties": {
        "name": {"type": "string"},
        "spans": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}, "maxItems": 2}},
    }}}  # fmt: skip
    spans = {"items": {"items": ["[1|2]", "[8|9]"], "join": " to "}, "count": {1: 1, 2: 1}}
    rule = {
        "items": {"fields": {"name": "[a|b|c]", "spans": spans}, "surface": "{name} from {spans}"},
        "count": {1: 1, 2: 1},
    }
    give(copy, schema, rule)
    for _, slots, arguments in drawn(inspected(copy)):
        items = [
            f"{item['name']} from {' and '.join(f'{low} to {high}' for low, high in item['spans'])}"
            for item in arguments["slot"]
        ]
        assert slots["slot"] == " and ".join(items)


def test_a_value_may_be_sent_without_being_said(copy: Path) -> None:
    """A flag that is said by a phrase or not at all; the pattern's part for it is then left out."""
    rules = {
        "slot": {"said": {"true": ["gift wrapped", "as a gift"], "false": []}, "weights": {"true": 1, "false": 3}},
        "more": {"items": "[a|b]", "count": {0: 1, 1: 1}},
    }
    flag = {"properties": {"more": TEXTS}, "required": ["slot", "more"]}
    give(copy, {"type": "boolean"}, rules, "send it(, {slot})( with {more})", **flag)
    domain = inspected(copy)
    rows = drawn(domain, 2000)
    assert np.mean([arguments["slot"] for _, _, arguments in rows]) == pytest.approx(0.25, abs=0.04)
    for query, slots, arguments in rows:
        assert ("slot" in slots) == arguments["slot"] and ("more" in slots) == bool(arguments["more"])
        with_it = f" with {arguments['more'][0]}" if arguments["more"] else ""
        assert query == "send it" + (f", {slots['slot']}" if arguments["slot"] else "") + with_it
    assert frozenset() in presence_combinations(domain, "ask")


def test_prompts_are_tried_with_arguments_of_the_right_shape(copy: Path) -> None:
    """A prompt that reads a list's items or an object's fields was refused, as if the request lacked them."""
    item = {"fields": {"city": "{City}", "size": "[1|2]"}, "surface": "{city} {size}"}
    rules = {"slot": {"items": item}, "place": {"fields": {"city": "a", "floor": "1"}}}
    pattern = "{slot} in {place.city}( {place.floor})"
    give(copy, {"type": "array", "items": ITEM}, rules, pattern, {"place.floor": 0.5},
         properties={"place": PLACE}, required=["slot", "place"])  # fmt: skip
    body = "{{ arguments.slot[0].size }} {{ arguments.place.city }} {{ slots['place.city'] }}"
    prompts = {"templates": {"p": {"functions": ["ask"], "text": body}}}
    (copy / "templates/text").mkdir()
    (copy / "templates/text/p.yaml").write_text(yaml.safe_dump(prompts))
    check_domain(copy)
    prompts["templates"]["p"]["text"] = body + "{{ arguments.place.floor }}"
    (copy / "templates/text/p.yaml").write_text(yaml.safe_dump(prompts))
    with pytest.raises(InputError) as error:
        check_domain(copy)
    said(error, "cannot be rendered for ask", "floor")


def test_values_in_said_may_be_of_any_type(copy: Path) -> None:
    listed = {"enum": [1, True, None, "auto"]}
    give(copy, listed, {"said": {1: "once", "true": "always", None: "never", "auto": "as you like"}})
    seen = {slots["slot"]: arguments["slot"] for _, slots, arguments in drawn(inspected(copy))}
    assert seen == {"once": 1, "always": True, "never": None, "as you like": "auto"}


@pytest.mark.parametrize("count", [62, 63, 100])
def test_a_function_may_have_many_slots(copy: Path, count: int) -> None:
    """A function with more than 62 slots was refused."""
    names = [f"p{number}" for number in range(count)]
    rules = {"slot": "x", **{name: {"value": name} for name in names}}
    rules[names[-1]] = {"value": names[-1], "needs": [names[-2]], "excludes": [names[0]]}
    pattern = "{slot} <" + "|".join(f"({{{name}}})" for name in names) + ">[ plus| {" + names[-2] + "}]"
    give(copy, {"type": "string"}, rules, pattern, dict.fromkeys(names, 0.3),
         properties={name: {"type": "string"} for name in names})  # fmt: skip
    domain = load_domain(copy)
    rows = drawn(domain)
    ends = Counter()
    for _, slots, arguments in rows:
        assert slots == arguments
        last = names[-1] in arguments
        ends[last] += 1
        assert not last or (names[-2] in arguments and names[0] not in arguments)
    assert ends[True]


def test_items_may_come_from_a_value_list(copy: Path) -> None:
    (copy / "values").mkdir()
    (copy / "values/country.tsv").write_text("DE\tGermany\nFR\tFrance\nUS\tthe US\tAmerica\n")
    give(copy, TEXTS, {"items": {"value": "{country.value}", "surface": "{country}"}, "count": {2: 1}})
    said_as = {"DE": {"Germany"}, "FR": {"France"}, "US": {"the US", "America"}}
    for _, slots, arguments in drawn(inspected(copy)):
        first, second = arguments["slot"]
        assert slots["slot"] in {f"{a} and {b}" for a in said_as[first] for b in said_as[second]} and first != second
