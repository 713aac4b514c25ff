"""APIs that post whatever they do, with a key in every body: what a key is, and what a path says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from routenator.authoring.door.init import init_domain
from routenator.authoring.door.openapi import read_openapi
from routenator.authoring.door.phrases import phrase_of
from routenator.authoring.door.sources import Sources
from routenator.authoring.door.tools import Api, Tool
from routenator.domain.functions import Function

PATHS = ("/ips/start-warmup.json", "/ips/info.json", "/tags/list.json", "/notes/send.json", "/urls/add-domain.json")


def operation(*parameters: dict[str, Any], **body: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": body, "required": list(body)}
    content = {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}} if body else {}
    return {"post": {"parameters": list(parameters), "responses": {}, **content}}


def read(paths: dict[str, Any]) -> Api:
    return read_openapi({"openapi": "3.0.0", "info": {"title": "t", "version": "1"}, "paths": paths}, "api.json")


def query(name: str, description: str = "") -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string"}}


def test_a_key_that_all_operations_take_is_no_argument(tmp_path: Path) -> None:
    text = {"type": "string"}
    paths = {path: operation(key=text, domain=text) for path in (*PATHS, "/pages/check")} | {
        "/tags/all.json": operation(domain=text)
    }
    document = {"openapi": "3.0.0", "info": {"title": "t", "version": "1"}, "paths": paths}
    for tool in read(paths).tools:
        assert list(tool.parameters["properties"]) == tool.parameters["required"] == ["domain"]
    (tmp_path / "api.json").write_text(json.dumps(document), encoding="utf-8")
    made = init_domain(str(tmp_path / "api.json"), tmp_path / "api")
    assert [note for note in made.notes if "key" in note] == [
        "6 functions: parameter key, left out: nearly all operations take it, so it is a credential"
    ]


def test_a_key_that_all_operations_are_about_is_an_argument() -> None:
    """A key-value store: the key is described, or part of the path."""
    told = {"type": "string", "description": "Name of the entry."}
    for paths in (
        {path: operation(key=told) for path in PATHS},
        {f"{path}/{{key}}": operation({**query("key"), "in": "path", "required": True}) for path in PATHS},
    ):
        assert all("key" in tool.parameters["required"] for tool in read(paths).tools)


def test_a_key_of_few_operations_is_an_argument() -> None:
    text = {"type": "string"}
    paths = {path: operation(domain=text) for path in PATHS[:3]} | {"/entries/get": operation(key=text)}
    assert "key" in read(paths).tools[-1].parameters["properties"]


@pytest.mark.parametrize(
    ("name", "description", "left_out"),
    [
        ("token", "Authentication token. Requires scope: `chat:write`", True),
        ("key", "A valid API key", True),
        ("access_token", "", True),
        ("client_secret", "", True),
        ("session_token", "The access token of the caller.", True),
        ("token", "The word to look for.", False),
        ("key", "Name of the entry.", False),
        ("monkey", "An access token.", False),
    ],
)
def test_a_parameter_whose_description_tells_a_credential_is_no_argument(
    name: str, description: str, left_out: bool
) -> None:
    for place in ("query", "body"):
        given = {"type": "string", "description": description}
        one = operation(query(name, description)) if place == "query" else operation(**{name: given})
        tool = read({"/chat": one}).tools[0]
        assert (name not in tool.parameters["properties"]) == left_out
        assert any("credential" in note for note in tool.notes) == left_out


@pytest.mark.parametrize(
    ("path", "verb", "about"),
    [
        ("/ips/start-warmup.json", "start", "IP warmup"),
        ("/tags/list.json", "list", "tags"),
        ("/ips/info.json", "get", "IP info"),
        ("/urls/add-domain.json", "add", "URL domain"),
        ("/pets", "create", "pets"),
        ("/pets/{petId}/photos", "create", "photo"),
    ],
)
def test_a_path_that_ends_in_a_verb_says_what_a_post_does(path: str, verb: str, about: str) -> None:
    tool = read({path: operation()}).tools[0]
    phrase = phrase_of(tool, tool.name)
    assert (phrase.verb, phrase.object) == (verb, about)


def test_an_operation_with_a_name_of_its_own_keeps_it() -> None:
    tool = Tool("send_note", "", {"properties": {}}, "POST /tags/list", "post")
    assert phrase_of(tool, tool.name).verb == "send"


def test_a_parameter_that_a_description_mentions_is_no_value() -> None:
    text = {"type": "string", "description": "Pages through `items`: set `cursor` to the `next_cursor` of the last."}
    function = Function("f", "", {"type": "object", "properties": {"cursor": text, "items": {"type": "string"}}})
    found = Sources(7).find(function, "cursor", "thing")
    assert found is not None and found.kind == "identifier"
    assert not {"cursor", "next_cursor", "items"} & {value for value, *_ in found.values}


def test_a_header_of_the_api_that_a_body_takes_too_is_no_argument() -> None:
    """A secret in a body became an argument, where the document declares it as a header."""
    text = {"type": "string", "description": "Your `secret`, which may also be in the header."}
    schemes = {"secret": {"type": "apiKey", "in": "header", "name": "ACME-SECRET"}}
    schemes["client"] = {"type": "apiKey", "in": "header", "name": "ACME-CLIENT-ID"}
    schemes["key"] = {"type": "apiKey", "in": "header", "name": "ACME-KEY"}
    given = operation(secret=text, client_id=text, key={"type": "string"}, amount={"type": "number"})
    document = {"openapi": "3.0.0", "info": {"title": "t", "version": "1"}, "paths": {"/transfers": given}}
    tool = read_openapi({**document, "components": {"securitySchemes": schemes}}, "api.json").tools[0]
    assert tool.parameters["required"] == ["key", "amount"]
    assert sum("a credential" in note for note in tool.notes) == 2
