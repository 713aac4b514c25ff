"""One small API in every form that ``domain init`` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TOOLS: list[dict[str, Any]] = [
    {
        "name": "list_books",
        "description": "List the books of a shelf.",
        "schema": {
            "type": "object",
            "properties": {
                "shelf": {"type": "string", "enum": ["kitchen", "office", "attic"], "description": "Where they stand"},
                "limit": {"type": "integer", "minimum": 1, "maximum": 50},
                "only_unread": {"type": "boolean"},
            },
            "required": ["shelf"],
        },
    },
    {
        "name": "add_book",
        "description": "Add a book to a shelf.",
        "schema": {
            "type": "object",
            "properties": {
                "title": {"type": "string"},
                "author": {"type": "string", "description": "Who wrote it"},
                "bought_on": {"type": "string", "format": "date"},
                "price": {"type": "number", "minimum": 0},
            },
            "required": ["title"],
        },
    },
    {
        "name": "delete_book",
        "description": "Delete a book.",
        "schema": {"type": "object", "properties": {"book_id": {"type": "integer"}}, "required": ["book_id"]},
    },
    {
        "name": "send_reminder",
        "description": "Send a reminder to a reader.",
        "schema": {
            "type": "object",
            "properties": {"email": {"type": "string", "format": "email"}, "message": {"type": "string"}},
            "required": ["email", "message"],
        },
    },
]

OPENAPI = """
openapi: 3.0.3
info: {title: Bookshelf, version: "1"}
paths:
  /shelves/{shelf}/books:
    parameters:
      - {name: shelf, in: path, required: true, schema: {type: string, enum: [kitchen, office, attic]}}
    get:
      operationId: list_books
      summary: List the books of a shelf.
      parameters:
        - {name: limit, in: query, schema: {type: integer, minimum: 1, maximum: 50}}
        - {name: only_unread, in: query, schema: {type: boolean}}
        - {name: X-Request-ID, in: header, schema: {type: string}}
        - {name: api_key, in: query, schema: {type: string}}
      responses: {"200": {description: ok}}
  /books:
    post:
      operationId: add_book
      summary: Add a book to a shelf.
      requestBody:
        required: true
        content: {application/json: {schema: {$ref: "#/components/schemas/Book"}}}
      responses: {"200": {description: ok}}
    put:
      operationId: replace_books
      deprecated: true
      responses: {"200": {description: ok}}
  /books/{bookId}:
    delete:
      parameters: [{name: bookId, in: path, required: true, schema: {type: integer}}]
      responses: {"200": {description: ok}}
  /reminders:
    post:
      operationId: send_reminder
      description: Send a reminder to a reader.
      requestBody:
        content:
          application/x-www-form-urlencoded:
            schema:
              type: object
              required: [email, message]
              properties: {email: {type: string, format: email}, message: {type: string}}
      responses: {"200": {description: ok}}
components:
  schemas:
    Thing: {type: object, properties: {id: {type: integer, readOnly: true}}}
    Book:
      allOf:
        - $ref: "#/components/schemas/Thing"
        - type: object
          required: [title]
          properties:
            title: {type: string}
            author: {type: string, nullable: true}
            bought_on: {type: string, format: date}
            price: {type: number, minimum: 0, exclusiveMinimum: true}
"""

SWAGGER: dict[str, Any] = {
    "swagger": "2.0",
    "info": {"title": "Bookshelf", "version": "1"},
    "paths": {
        "/shelves/{shelf}/books": {
            "get": {
                "operationId": "list_books",
                "summary": "List the books of a shelf.",
                "parameters": [
                    {"name": "shelf", "in": "path", "required": True, "type": "string", "enum": ["kitchen", "office"]},
                    {"name": "limit", "in": "query", "type": "integer", "minimum": 1, "maximum": 50},
                ],
            }
        },
        "/books": {
            "post": {
                "operationId": "add_book",
                "summary": "Add a book to a shelf.",
                "parameters": [{"name": "body", "in": "body", "schema": {"$ref": "#/definitions/Book"}}],
            }
        },
        "/reminders": {
            "post": {
                "operationId": "send_reminder",
                "parameters": [
                    {"name": "email", "in": "formData", "type": "string", "format": "email", "required": True},
                    {"name": "message", "in": "formData", "type": "string", "required": True},
                ],
            }
        },
    },
    "definitions": {
        "Book": {
            "type": "object",
            "required": ["title"],
            "properties": {"title": {"type": "string"}, "price": {"type": "number"}},
        }
    },
}


def _tool(key: str, tool: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**more, "name": tool["name"], "description": tool["description"], key: tool["schema"]}


def _renamed(schema: Any, types: dict[str, str], upper: bool = False) -> Any:
    if isinstance(schema, list):
        return [_renamed(item, types, upper) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _renamed(value, types, upper) for key, value in schema.items()}
    if isinstance(made.get("type"), str):
        name = types.get(made["type"], made["type"])
        made["type"] = name.upper() if upper else name
    return made


def documents() -> dict[str, tuple[str, str]]:
    """Form -> name and text of its file."""
    mcp = [_tool("inputSchema", tool) for tool in TOOLS]
    chat = [{"type": "function", "function": _tool("parameters", tool)} for tool in TOOLS]
    gemini = [{**_tool("parameters", tool), "parameters": _renamed(tool["schema"], {}, upper=True)} for tool in TOOLS]
    berkeley = [
        {**_tool("parameters", tool), "parameters": _renamed(tool["schema"], {"object": "dict", "number": "float"})}
        for tool in TOOLS
    ]
    return {
        "OpenAPI": ("api.yaml", OPENAPI),
        "Swagger": ("swagger.json", json.dumps(SWAGGER)),
        "MCP": ("mcp.json", json.dumps({"tools": mcp})),
        "MCP answer": ("answer.json", json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"tools": mcp}})),
        "OpenAI chat": ("chat.json", json.dumps(chat, indent=1)),
        "OpenAI Responses": ("flat.json", json.dumps([_tool("parameters", tool, type="function") for tool in TOOLS])),
        "Anthropic": ("claude.json", json.dumps([_tool("input_schema", tool) for tool in TOOLS])),
        "Gemini": ("gemini.json", json.dumps({"tools": [{"functionDeclarations": gemini}]})),
        "Berkeley": (
            "bfcl.json",
            "\n".join(json.dumps({"id": n, "question": [], "function": [item]}) for n, item in enumerate(berkeley)),
        ),
        "JSON lines": ("tools.jsonl", "\n".join(json.dumps(item) for item in mcp)),
    }


def write_document(form: str, folder: Path) -> Path:
    """Write the document of a form."""
    name, text = documents()[form]
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file
