"""Finds out what a source is, and reads it."""

from __future__ import annotations

from pathlib import Path

from routenator.authoring.door.forms import EXPECTED, load_document, read_list
from routenator.authoring.door.openapi import is_openapi, read_openapi
from routenator.authoring.door.tools import Api
from routenator.errors import InputError


def read_source(source: str) -> Api:
    """Read an API's description.

    Args:
        source: a file; its form is found out by its content.

    Raises:
        InputError: no such file, no description of an API, or one that cannot be read.
    """
    file = Path(source).expanduser()
    if file.is_dir():
        raise InputError("a folder is no description of an API", file=file, found="a folder", expected=EXPECTED)
    document = load_document(file)
    return read_openapi(document, file) if is_openapi(document) else read_list(document, file)
