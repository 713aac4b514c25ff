"""Finds out what a source is, and reads it."""

from __future__ import annotations

from pathlib import Path

from routenator.authoring.door.forms import EXPECTED, load_document, read_list
from routenator.authoring.door.openapi import is_openapi, read_openapi
from routenator.authoring.door.pythonfile import read_python
from routenator.authoring.door.server import MCP, read_address, read_command
from routenator.authoring.door.tools import Api
from routenator.errors import InputError


def read_source(source: str) -> Api:
    """Read an API's description.

    Args:
        source: a file, whose form is found out by its content; an http address; or ``mcp:COMMAND``.

    Raises:
        InputError: no such file, no description of an API, or one that cannot be read.
    """
    if source.startswith(MCP):
        return read_command(source)
    if source.lower().startswith(("http://", "https://")):
        return read_address(source)
    file = Path(source).expanduser()
    if file.is_dir():
        raise InputError("a folder does not describe an API", file=file, found="a folder", expected=EXPECTED)
    if file.suffix == ".py":
        return read_python(file)
    document = load_document(file)
    return read_openapi(document, file) if is_openapi(document) else read_list(document, file)
