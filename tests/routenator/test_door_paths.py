"""What the path of an operation says: the object, which one it is, and whose."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from routenator.authoring.door.connectors import Slot
from routenator.authoring.door.init import init_domain
from routenator.authoring.door.names import verbs
from routenator.authoring.door.openapi import operation_name, read_openapi
from routenator.authoring.door.paths import Owner, resource_of
from routenator.authoring.door.patterns import patterns
from routenator.authoring.door.phrases import Phrase, phrase_of, phrases
from routenator.authoring.door.sources import Sources
from routenator.authoring.door.tools import Tool
from routenator.domain.functions import Function
from routenator.errors import InputError


def tool_at(path: str, method: str = "get", name: str = "", **properties: Any) -> Tool:
    for parameter in re.findall(r"\{([^}]*)\}", path):
        properties.setdefault(parameter, {"type": "string"})
    schema = {"type": "object", "properties": properties}
    return Tool(name or operation_name(method, path), "", schema, f"{method.upper()} {path}", method)


def phrase_at(path: str, method: str = "get", name: str = "", **properties: Any) -> Phrase:
    tool = tool_at(path, method, name, **properties)
    return phrase_of(tool, tool.name)


@pytest.mark.parametrize(
    ("path", "noun", "own", "owners"),
    [
        ("/boards/{idBoard}", "board", "idBoard", ()),
        ("/v1/boards/{idBoard}/cards/{id}/members", "members", "", (Owner("card", "id"), Owner("board", "idBoard"))),
        ("/cards/{id}/stickers/{idSticker}", "sticker", "idSticker", (Owner("card", "id"),)),
        ("/repos/{owner}/{repo}/issues", "issues", "", (Owner("repo", "repo"), Owner("owner", "owner"))),
        ("/cards/{id}/board/{field}", "field", "field", (Owner("board"), Owner("card", "id"))),
        ("/issues/{id}/properties/{propertyKey}", "property", "propertyKey", (Owner("issue", "id"),)),
        ("/me/inbox/unread", "my unread inbox", "", ()),
        ("/questions/featured", "featured questions", "", ()),
        ("/businesses/{business_id_or_alias}", "business", "business_id_or_alias", ()),
        ("/calls/{CallSid}{extension}", "call", "CallSid", ()),
    ],
)
def test_a_path_says_what_an_operation_acts_on(path: str, noun: str, own: str, owners: tuple[Owner, ...]) -> None:
    found = resource_of(tool_at(path), verbs())
    assert found is not None
    assert (found.noun, found.own, found.owners) == (noun, own, owners)


@pytest.mark.parametrize(
    ("phrase", "verb", "about", "full"),
    [
        (phrase_at("/lists/{id}/archiveAllCards", "post"), "archive", "cards", "cards of list"),
        (phrase_at("/boards/{id}/members", name="getBoardsMembersByIdBoard"), "get", "members", "members of board"),
        (phrase_at("/groups/{id}/users", "post", "addUserToGroup"), "add", "user", "user of group"),
        (phrase_at("/cards/{id}/name", "put", "updateCardsNameByIdCard"), "update", "name", "name of card"),
        (phrase_at("/pet/{petId}/uploadImage", "post", "uploadFile"), "upload", "file", "file of pet"),
        (phrase_at("/pet/findByStatus", name="findPetsByStatus"), "find", "pets", "pets"),
        (phrase_at("/businesses/search"), "search", "businesses", "businesses"),
        (phrase_at("/businesses/search/phone", phone={"type": "string"}), "search", "businesses", "businesses"),
        (phrase_at("/customers/{id}", "post"), "update", "customer", "customer"),
        (phrase_at("/user/logout", name="logoutUser"), "logout", "", ""),
        (phrase_at("/me/shows", name="get-users-saved-shows"), "get", "my saved shows", "my saved shows"),
        (phrase_at("/users.setPresence", "post", "users.setPresence"), "set", "presence", "presence"),
        (phrase_at("/files.delete", "post", "files.delete"), "delete", "file", "file"),
        (phrase_at("/checks/{id}", name="check_retrieve"), "retrieve", "check", "check"),
        (phrase_at("/domains", name="domain_list"), "list", "domains", "domains"),
        (phrase_at("/links/{id}", "patch", "link_update"), "update", "link", "link"),
        (phrase_at("/users/{id}/avatar", "put", "put_users_id_avatar"), "update", "avatar", "avatar of user"),
        (phrase_at("/statuses/destroy/{id}", "post"), "destroy", "status", "status"),
        (phrase_at("/files/{id}#add_shared_link", "put"), "add", "shared link", "shared link of file"),
        (phrase_at("/me/player/queue", "post", "add-to-queue"), "add", "", ""),
        (phrase_at("/notes/{id}/tags", "delete", "removetags"), "remove", "tags", "tags of note"),
    ],
)
def test_the_phrase_of_an_operation(phrase: Phrase, verb: str, about: str, full: str) -> None:
    assert (phrase.verb, phrase.object, phrase.full) == (verb, about, full)


def test_operations_of_one_noun_are_told_apart_by_whose_it_is() -> None:
    tools = [tool_at("/boards/{id}/members"), tool_at("/cards/{id}/members")]
    made = phrases(tools, [tool.name for tool in tools])
    assert [(each.object, each.owners) for each in made] == [
        ("members", (Owner("board", "id"),)),
        ("members", (Owner("card", "id"),)),
    ]
    assert all("show" in each.verbs for each in made)


@pytest.mark.parametrize("name", ["取得", "получить", "___", "_"])
@pytest.mark.parametrize("path", ["/ペット", "/ペット/{id}", "/{id}", "/", "/pets"])
def test_names_and_paths_without_letters_of_english_have_a_phrase(name: str, path: str) -> None:
    tools = [tool_at(path, name=name), tool_at(path, "post", f"{name}2")]
    for phrase in phrases(tools, [tool.name for tool in tools]):
        assert phrase.verb in verbs() or phrase.verb == "run"
        assert patterns(phrase, [Slot("id", "identifier", True)])


def test_queries_say_the_owner_right_after_the_object() -> None:
    tool = tool_at("/cards/{id}/stickers/{idSticker}", "delete")
    phrase = phrase_of(tool, tool.name)
    slots = [Slot("id", "identifier", True), Slot("idSticker", "identifier", True)]
    for each in patterns(phrase, slots):
        assert each.text.index("{idSticker}") < each.text.index("{id}")
        assert re.search(r"\[from\|from\|of\] \[card \{id\}", each.text), each.text
        assert "ID ID" not in each.text


def test_a_latitude_and_a_longitude_are_said_together() -> None:
    tool = tool_at("/businesses/search")
    slots = [Slot("latitude", "number", True), Slot("longitude", "number", True)]
    texts = [each.text for each in patterns(phrase_of(tool, tool.name), slots)]
    assert all("near {latitude}, {longitude}" in text and "the longitude" not in text for text in texts)


@pytest.mark.parametrize(
    ("name", "schema", "kind"),
    [
        ("idBoard", {}, "identifier"),
        ("idMembers", {}, "identifier"),
        ("fields", {"description": "all or a comma-separated list of: name, url or idOwner"}, "enum"),
        ("members", {"description": "One of: admins, all or none"}, "enum"),
        ("closed", {"description": "true or false"}, "boolean"),
        ("field", {}, "field"),
        ("limit", {"description": "a number from 0 to 1000"}, "digits"),
        ("pos", {"description": "A position: top, bottom or a positive number."}, "position"),
        ("view", {"description": "A JSON-encoded string of the view."}, "json"),
        ("value", {"description": "'word' in quotes is no value"}, "topic"),
        ("include_entities", {}, "boolean"),
        ("details", {"description": "When set to true, all of them."}, "boolean"),
        ("workspace", {"examples": ["1331", "98765"]}, "identifier"),
        ("uidOrKey", {"description": "The `uid` or `key` of the entry."}, "identifier"),
    ],
)
def test_values_of_untyped_parameters(name: str, schema: dict[str, Any], kind: str) -> None:
    function = Function("f", "", {"type": "object", "properties": {name: {"type": "string", **schema}}})
    found = Sources(7).find(function, name, "thing")
    assert found is not None and found.kind == kind


@pytest.mark.parametrize(
    ("pattern", "longest"), [("^card_[a-z0-9]+$", 15), ("^[+*]{2}a{3,}$", 11), ("^(ab)+c*$", 28), (r"^\+[0-9]{3}$", 4)]
)
def test_texts_of_a_pattern_without_an_end_are_short(pattern: str, longest: int) -> None:
    """IDs of a hundred letters came of ``+``."""
    schema = {"type": "string", "pattern": pattern}
    found = Sources(7).find(Function("f", "", {"type": "object", "properties": {"x": schema}}), "x", "thing")
    assert found is not None
    assert all(re.fullmatch(pattern, value) and len(value) <= longest for value, *_ in found.values)


def test_alternatives_that_a_value_fits_twice_are_not_said(tmp_path: Path) -> None:
    """An object that passes two branches of ``oneOf`` passes none of the schema; `init` failed on it."""
    one = {"type": "object", "properties": {"name": {"type": "string"}}}
    schema = {"oneOf": [one, {"type": "object", "properties": {"title": {"type": "string"}}}]}
    source = tmp_path / "tools.json"
    given = {"type": "object", "properties": {"city": {"type": "string"}, "filter": schema}, "required": ["city"]}
    source.write_text(json.dumps([{"name": "find_shops", "inputSchema": given}]), encoding="utf-8")
    made = init_domain(str(source), tmp_path / "out")
    assert "does not fit its schema" in made.silent["find_shops.filter"]


def test_names_that_differ_in_what_is_cut_stay_two(tmp_path: Path) -> None:
    long = "put_metadata_template_of_an_enterprise_security_classification_schema"
    source = tmp_path / "tools.json"
    tools = [{"name": f"{long}#{what}", "description": f"{what} a setting."} for what in ("add", "update")]
    source.write_text(json.dumps(tools), encoding="utf-8")
    made = init_domain(str(source), tmp_path / "out")
    assert len(set(made.functions)) == 2 and all(len(name) <= 64 for name in made.functions)


def test_a_value_is_not_said_in_full() -> None:
    """``price_desc`` became "price description"; it is an order."""
    schema = {"type": "string", "enum": ["price_desc", "price_asc"]}
    found = Sources(7).find(Function("f", "", {"type": "object", "properties": {"sort": schema}}), "sort", "thing")
    assert found is not None and ("price_desc", "price desc", "price_desc") in found.values


@pytest.mark.parametrize("kind", ["number", "identifier", "date", "city", "person", "enum", "boolean", "title"])
def test_a_parameter_without_a_word_is_joined_all_the_same(kind: str) -> None:
    tool = tool_at("/shops/{id}")
    for required in (False, True):
        assert patterns(phrase_of(tool, tool.name), [Slot("id", "number", True), Slot("_", kind, required)])
        assert patterns(phrase_at("/", name="search"), [Slot("_", kind, required)])


def test_a_callback_for_jsonp_is_no_argument() -> None:
    given = {"name": "callback", "in": "query", "description": "For JSONP.", "schema": {"type": "string"}}
    operation = {"get": {"parameters": [given], "responses": {}}}
    document = {"openapi": "3.0.0", "info": {"title": "t", "version": "1"}, "paths": {"/tags": operation}}
    tool = read_openapi(document, "api.json").tools[0]
    assert not tool.parameters["properties"] and "JSONP" in tool.notes[0]


def document(**paths: Any) -> dict[str, Any]:
    return {"openapi": "3.0.0", "info": {"title": "t", "version": "1"}, "paths": {f"/{k}": v for k, v in paths.items()}}


def query_parameter(name: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": True, "schema": {"type": "string", **schema}}


def test_an_operation_with_a_broken_reference_can_be_excluded(tmp_path: Path) -> None:
    broken = {"parameters": [{"$ref": "#/components/parameters/nowhere"}], "responses": {}}
    sound = {"parameters": [query_parameter("city")], "responses": {}}
    source = tmp_path / "api.json"
    source.write_text(json.dumps(document(pets={"get": broken}, shops={"get": sound})), encoding="utf-8")
    with pytest.raises(InputError, match=r"a reference leads nowhere(?s:.*)--exclude 'GET /pets'"):
        init_domain(str(source), tmp_path / "out")
    assert init_domain(str(source), tmp_path / "out", exclude=["GET /pets"]).functions == ["get_shops"]


def test_a_required_query_parameter_with_a_default_may_be_left_out() -> None:
    operation = {"parameters": [query_parameter("limit", default="20"), query_parameter("city")], "responses": {}}
    tool = read_openapi(document(shops={"get": operation}), "api.json").tools[0]
    assert tool.parameters["required"] == ["city"]
    assert any("limit" in note and "default" in note for note in tool.notes)


def test_a_function_that_no_query_can_say_is_left_out_with_the_reason(tmp_path: Path) -> None:
    """As many required parameters as nobody types made the whole of `init` fail."""
    colours = ("red", "blue", "green", "brown", "black", "white", "gray", "gold", "pink", "teal")
    many = [query_parameter(f"{colour}_note") for colour in colours]
    shops = {"parameters": [query_parameter("city")], "responses": {}}
    source = tmp_path / "api.json"
    both = document(notes={"get": {"parameters": many, "responses": {}}}, shops={"get": shops})
    for each in both["paths"]["/notes"]["get"]["parameters"]:
        each["schema"] = {"type": "array", "items": {"type": "string"}, "minItems": 4}
    source.write_text(json.dumps(both), encoding="utf-8")
    made = init_domain(str(source), tmp_path / "out")
    assert made.functions == ["get_shops"]
    assert "the checks accept no query for it" in made.left_out["get_notes"]
    assert "get_notes" not in (tmp_path / "out" / "functions.json").read_text("utf-8")


def test_operations_that_share_an_object_are_told_apart_without_saying_a_parameter_twice() -> None:
    media = {"media": {"type": "string"}}
    tools = [
        tool_at("/statuses/update", "post", "statuses_update", status={"type": "string"}),
        tool_at("/statuses/update_with_media", "post", "statuses_update_with_media", **media),
    ]
    assert not any("media" in each.object for each in phrases(tools, [tool.name for tool in tools]))
